"""``recurlm serve``."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from ..extras import needing
from ..language_model import LanguageModel
from .arguments import Verbs, add_options, chosen, new_parser, print_json

_LIMITS = {
    "streams": "texts drawn side by side",
    "waiting": "requests that may wait for room",
    "tokens": "tokens that a request may ask for, and that its prompts may have",
    "body": "bytes of a request",
    "seconds": "that a request may take",
    "cache": "bytes of states of prompts that are kept",
}


def add_parser(verbs: Verbs) -> None:
    from ..serving.limits import Limits

    parser = new_parser(verbs, "serve", "answer requests over HTTP, as OpenAI's completions", run)
    parser.add_argument("model", type=Path, metavar="DIR", help="a saved model, quantized or not")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="0 takes a free one (default: 8000)")
    parser.add_argument("--name", metavar="TEXT", help="of the model, as requests call it (default: DIR's name)")
    add_options(parser.add_argument_group("limits"), Limits, _LIMITS)


def run(arguments: argparse.Namespace) -> None:
    from ..serving.limits import Limits

    if not 0 <= arguments.port < 65536:
        raise ValueError(f"port must be from 0 to 65535, got {arguments.port}")
    limits = Limits(**chosen(arguments, Limits))
    with needing("serve", "recurlm serve"):
        from ..serving.run import is_local, serve
    lm = LanguageModel.load(arguments.model)
    name = arguments.name or arguments.model.resolve().name

    def tell(url: str) -> None:
        if arguments.json:
            print_json({"url": url, "model": name})
        else:
            print(f"serving {name} on {url}, Ctrl-C to end", file=sys.stderr)
        sys.stdout.flush()
        if not is_local(arguments.host):
            warnings.warn(
                f"whoever reaches {arguments.host} may use it: there are no passwords and no TLS", stacklevel=1
            )

    serve(lm, host=arguments.host, port=arguments.port, name=name, limits=limits, ready=tell)
