"""``recurlm convert``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import Verbs, add_options, chosen, new_parser, print_json

_FORMATS = ".keras, .onnx, .safetensors of a PyTorch state dict, or a folder"


def add_parser(verbs: Verbs) -> None:
    from ..interop import from_pytorch, language_model

    parser = new_parser(verbs, "convert", "bring models of Keras, PyTorch and ONNX in, or take them there", run)
    parser.add_argument("source", type=Path, metavar="SOURCE", help=_FORMATS)
    parser.add_argument("target", type=Path, metavar="TARGET", help="a folder, .onnx, .safetensors or .weights.h5")
    group = parser.add_argument_group("from PyTorch, what a state dict does not tell")
    options = {
        "embedding": "name of the Embedding, where shapes do not tell",
        "linear": "name of the Linear, where shapes do not tell",
        "activation": "of the Linear: softmax for a language model",
        "nonlinearity": "of an nn.RNN: tanh or relu",
    }
    add_options(group, from_pytorch, options, embedding=str, linear=str)
    group.add_argument("--last", action="store_true", help="the Linear reads the last step alone")
    group = parser.add_argument_group("as a language model, which the other verbs take")
    group.add_argument(
        "--vocabulary", type=Path, metavar="FILE", help="the tokens, one a line in order of their ids, or as JSON"
    )
    texts = {"tokenizer": "what the tokens are: char, word or byte", "bos": "the token that begins a text"}
    add_options(group, language_model, texts, bos=str)


def run(arguments: argparse.Namespace) -> None:
    from ..interop import convert, from_pytorch, language_model

    if arguments.vocabulary is None and (arguments.bos is not None or arguments.tokenizer == "char"):
        raise ValueError("--tokenizer and --bos are of a language model, which needs its --vocabulary")
    if arguments.vocabulary is not None and arguments.target.suffix in (".onnx", ".safetensors", ".h5"):
        raise ValueError("a language model is a folder: leave --vocabulary out to write another format")
    model = convert.load(arguments.source, **chosen(arguments, from_pytorch) | {"return_sequences": not arguments.last})
    if arguments.vocabulary is None and arguments.tokenizer != "byte":
        convert.save(model, arguments.target)
    else:
        tokens = [] if arguments.vocabulary is None else convert.read_tokens(arguments.vocabulary)
        language_model(model, tokens, **chosen(arguments, language_model)).save(arguments.target)
    if arguments.json:
        print_json({"saved": str(arguments.target), "parameters": model.count_params()})
        return
    print(f"{arguments.target}: {model.count_params():,} parameters")
