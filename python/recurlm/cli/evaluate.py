"""``recurlm eval``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from ..language_model import LanguageModel
from .arguments import Verbs, add_options, new_parser, print_json


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(verbs, "eval", "measure how well a model predicts text files", run)
    parser.add_argument("model", type=Path, metavar="DIR", help="a saved model")
    parser.add_argument(
        "text",
        nargs="+",
        type=Path,
        metavar="TEXT",
        help="UTF-8 files (for bytes: any), read one after the other as one text",
    )
    add_options(
        parser,
        LanguageModel.evaluate,
        {
            "streams": "read the text in so many parts side by side: faster, less exact",
            "adapt": "go on learning from the text, each part once it was predicted, with this learning rate",
        },
        adapt=float,
    )


def run(arguments: argparse.Namespace) -> None:
    lm = LanguageModel.load(arguments.model)
    result = asdict(lm.evaluate(arguments.text, arguments.streams, arguments.adapt))
    if arguments.json:
        print_json(result)
        return
    for name, value in result.items():
        print(
            f"{name.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{name.replace('_', ' ')} {value:.4f}"
        )
