"""``recurlm quantize``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..language_model import LanguageModel
from ..precision import PRECISIONS
from .arguments import Verbs, add_options, new_parser, print_json


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(
        verbs, "quantize", "write a model with weights in less memory, which runs but cannot train", run
    )
    parser.add_argument("model", type=Path, metavar="DIR", help="a saved model")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write the quantized one")
    text = "int8 takes a quarter of the memory of float32, bfloat16 a half"
    add_options(parser, LanguageModel.quantize, {"precision": text}, precision=PRECISIONS[1:])


def run(arguments: argparse.Namespace) -> None:
    if arguments.out.resolve() == arguments.model.resolve():
        raise ValueError("--out must be another folder than DIR: a quantized model cannot be trained any more")
    quantized = LanguageModel.load(arguments.model).quantize(arguments.precision)
    before = _size(arguments.model)
    quantized.save(arguments.out)
    after = _size(arguments.out)
    if arguments.json:
        print_json({"saved": str(arguments.out), "bytes_before": before, "bytes": after})
        return
    print(f"{arguments.out}: {after / 1e6:,.1f} MB of weights in {arguments.precision}, {before / 1e6:,.1f} MB before")


def _size(folder: Path) -> int:
    return (folder / "model.safetensors").stat().st_size
