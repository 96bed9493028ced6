"""``recurlm inspect``."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from ..files import atomic_write
from ..inspection import inspect_text, render_page
from ..language_model import LanguageModel
from ..language_model.progress import perplexity
from ..text.corpus import read_text
from .arguments import Verbs, add_options, new_parser, print_json


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(verbs, "inspect", "write a page that shows how a model reads a text, token by token", run)
    parser.add_argument("model", type=Path, metavar="DIR", help="a saved model")
    parser.add_argument(
        "text", type=Path, metavar="TEXT", help="a UTF-8 file (for bytes: any), or - for standard input"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the HTML file to write")
    parser.add_argument(
        "--unit",
        action="append",
        default=[],
        metavar="LAYER:INDEX",
        help="a hidden unit to colour the text by, from 0:0 on (may be repeated; default: those of largest variance)",
    )
    add_options(
        parser,
        inspect_text,
        {"top": "most probable tokens shown at each place", "max_tokens": "the most tokens that the text may have"},
    )


def run(arguments: argparse.Namespace) -> None:
    units = [_unit(given) for given in arguments.unit]
    lm = LanguageModel.load(arguments.model)
    text = _read(arguments.text, lm.tokenizer.errors)
    inspection = inspect_text(lm, text, top=arguments.top, max_tokens=arguments.max_tokens)
    name = "standard input" if arguments.text == Path("-") else arguments.text.name
    page = render_page(inspection, f"How {arguments.model.resolve().name} reads {name}", units)
    atomic_write(arguments.out, page.encode())
    loss = inspection.loss
    if arguments.json:
        print_json(
            {"page": str(arguments.out), "tokens": len(inspection.ids), "loss": loss, "perplexity": perplexity(loss)}
        )
        return
    print(f"{len(inspection.ids):,} tokens at {loss:.4f} nats each: open {arguments.out} in a browser")


def _unit(given: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+):(\d+)", given, re.ASCII)
    if found is None:
        raise ValueError(f"unit must be LAYER:INDEX, such as 0:17, got {given!r}")
    return int(found[1]), int(found[2])


def _read(path: Path, errors: str) -> str:
    if path != Path("-"):
        return "".join(read_text(path, errors))
    try:
        return sys.stdin.buffer.read().decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is not UTF-8: {error.reason} at byte {error.start}") from None
