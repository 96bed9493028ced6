"""``recurlm generate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..language_model import GenerationConfig, LanguageModel
from .arguments import Verbs, add_options, chosen, new_parser, print_json

_SAMPLING = {
    "max_tokens": "tokens to draw at most",
    "temperature": "0 takes the most probable token, 1 draws from the model's distribution",
    "top_k": "draw among the k most probable, 0 for all",
    "top_p": "draw among the most probable that together have this probability",
    "min_p": "draw among tokens this probable relative to the most probable",
    "repetition_penalty": "above 1, what was seen becomes less probable",
    "presence_penalty": "taken from the logits of what was drawn before",
    "frequency_penalty": "the same, as often as each was drawn",
}


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(verbs, "generate", "continue a prompt", run)
    parser.add_argument("model", type=Path, metavar="DIR", help="a saved model")
    add_options(
        parser,
        LanguageModel.generate,
        {
            "prompt": "what to continue",
            "samples": "continuations to draw",
            "seed": "the same seed gives the same text",
        },
        samples=int,
        seed=int,
    )
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="stop before this text (may be repeated)"
    )
    add_options(
        parser.add_argument_group(
            "sampling",
            "What is not given is as the model's generation_config.json has it, at first what is in brackets.",
        ),
        LanguageModel.generate,
        {name: f"{text} ({getattr(GenerationConfig, name)})" for name, text in _SAMPLING.items()},
        **{name: type(getattr(GenerationConfig, name)) for name in _SAMPLING},
    )


def run(arguments: argparse.Namespace) -> None:
    lm = LanguageModel.load(arguments.model)
    options = chosen(arguments, LanguageModel.generate)
    if arguments.samples is None and not arguments.json:
        pieces = lm.generate(**options, stream=True)
        print(arguments.prompt, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
        return
    texts = lm.generate(**options | {"samples": 1 if arguments.samples is None else arguments.samples})
    if arguments.json:
        print_json({"prompt": arguments.prompt, "texts": texts})
        return
    for text in texts:
        print(f"{arguments.prompt}{text}\n")
