"""``recurlm pack``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..language_model import LanguageModel
from .arguments import Verbs, new_parser, print_json


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(verbs, "pack", "write a model as the C library maps it: many processes share one copy", run)
    parser.add_argument("model", type=Path, metavar="DIR", help="a saved model, quantized or not")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write the packed one")


def run(arguments: argparse.Namespace) -> None:
    if arguments.out.resolve() == arguments.model.resolve():
        raise ValueError("--out must be another folder than DIR: Python does not load a packed model")
    LanguageModel.load(arguments.model).save(arguments.out, packed=True)
    size = (arguments.out / "packed.safetensors").stat().st_size
    if arguments.json:
        print_json({"saved": str(arguments.out), "bytes": size})
        return
    print(f"{arguments.out}: {size / 1e6:,.1f} MB of packed weights, for the C library")
