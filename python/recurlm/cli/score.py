"""``recurlm score``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ..language_model import LanguageModel
from ..language_model.scoring import TextScore
from .arguments import Verbs, add_options, new_parser, print_json

# Lines scored together: enough to batch those of similar length, few enough for input without end.
_LINES = 1024


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(verbs, "score", "print the log-probability, in nats, of each line of standard input", run)
    parser.add_argument("model", type=Path, metavar="DIR", help="a saved model")
    add_options(
        parser,
        LanguageModel.score,
        {
            "details": "print each token's log-probability and whether it is unknown too",
            "eos": "include the end of the text",
        },
    )


def run(arguments: argparse.Namespace) -> None:
    lm = LanguageModel.load(arguments.model)
    lines = _lines(lm.tokenizer.errors)
    first = 1
    while block := list(islice(lines, _LINES)):
        for text in _score(lm, block, first, arguments.eos):
            tokens = [token._asdict() for token in text.tokens]
            if arguments.json:
                print_json({"log_prob": text.log_prob} | ({"tokens": tokens} if arguments.details else {}))
                continue
            print(f"{text.log_prob:.6f}")
            for token in text.tokens if arguments.details else ():
                print(f"\t{token.token!r}\t{token.log_prob:.6f}{'	unknown' if token.unknown else ''}")
        first += len(block)


def _score(lm: LanguageModel, block: list[str], first: int, eos: bool) -> list[TextScore]:
    try:
        return lm.score(block, details=True, eos=eos)
    except ValueError:
        number = first
        try:
            for line in block:
                lm.tokenizer.encode(line)
                number += 1
        except ValueError as error:
            raise ValueError(f"line {number} of the input: {error}") from None
        raise


def _lines(errors: str) -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        yield _decode(line, number, errors).rstrip("\r\n")


def _decode(line: bytes, number: int, errors: str) -> str:
    try:
        return line.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"line {number} of the input is not UTF-8: {error.reason} at byte {error.start}") from None
