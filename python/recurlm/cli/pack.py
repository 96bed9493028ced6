"""``recurlm pack``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import interop
from ..language_model import LanguageModel
from ..model_io import is_saved_model
from .arguments import Verbs, new_parser, print_json


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(verbs, "pack", "write a model as the C library takes it", run)
    parser.add_argument(
        "model", type=Path, metavar="MODEL",
        help="a language model, quantized or not, whose packed copy many processes share; or a classifier or tagger of "
        "ids: a folder that Model.save wrote, .keras, .onnx or .safetensors",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write it")


def run(arguments: argparse.Namespace) -> None:
    if arguments.out.resolve() == arguments.model.resolve():
        raise ValueError("--out must be another folder than MODEL: Python does not load a packed model")
    if arguments.model.is_file() or is_saved_model(arguments.model):
        interop.export_classifier(interop.load(arguments.model), arguments.out)
    else:
        LanguageModel.load(arguments.model).save(arguments.out, packed=True)
    (weights,) = arguments.out.glob("*.safetensors")
    size = weights.stat().st_size
    if arguments.json:
        print_json({"saved": str(arguments.out), "bytes": size})
        return
    print(f"{arguments.out}: {size / 1e6:,.1f} MB of packed weights, for the C library")
