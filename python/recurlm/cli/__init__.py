"""The command ``recurlm``: one module a verb. Results go to stdout, all else to stderr."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from .. import __version__
from .arguments import name_options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0 success, 1 error, 2 wrong usage (by argparse), 130 Ctrl-C, 143 SIGTERM."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    verb: argparse.ArgumentParser | None = None
    try:
        arguments, unknown = _parser().parse_known_args(argv)
        verb = arguments.verb
        if unknown:  # told with the usage of the verb, which parse_args does not know
            arguments.verb.error(f"unrecognized arguments: {' '.join(unknown)}")
        arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        print(f"recurlm: interrupted{interrupt}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `recurlm generate ... | head`
        sys.stderr.close()
        return 1
    except (OSError, ValueError, FloatingPointError, ImportError, MemoryError) as error:
        sentence = _sentence(error)
        print(f"recurlm: error: {name_options(verb, sentence) if verb else sentence}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    # Imported here, because the core refuses to load where the environment asks for what this machine lacks.
    from . import convert, demo, evaluate, generate, info, inspect, pack, plot, quantize, score, serve, train, tune

    parser = argparse.ArgumentParser(
        prog="recurlm", description="Train and use recurrent language models on CPUs.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"recurlm {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in (train, tune, evaluate, generate, score, inspect, plot, quantize, pack, convert, serve, info, demo):
        verb.add_parser(verbs)
    return parser


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"recurlm: warning: {message}", file=sys.stderr)


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {error}"
    return str(error) or type(error).__name__
