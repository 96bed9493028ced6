"""What the verbs share: defaults taken from the Python API, and JSON out."""

from __future__ import annotations

import argparse
import inspect
import json
import math
import re
from collections.abc import Callable
from typing import Any, Protocol


class _Takes(Protocol):
    def add_argument(self, *flags: str, **options: Any) -> argparse.Action: ...


_METAVARS = {int: "N", float: "X", str: "TEXT"}

Verbs = Any  # argparse does not export the type of add_subparsers' result


def new_parser(
    verbs: Verbs, name: str, summary: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """The parser of a verb, with ``--json``."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )
    parser.set_defaults(run=run, verb=parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def add_options(group: _Takes, function: Callable[..., Any], options: dict[str, str], **kinds: Any) -> None:
    """Add ``--name`` for each of ``options`` (name: help) with the default that it has in ``function``.

    ``kinds`` gives the type, or the choices, where the default does not tell.
    """
    parameters = inspect.signature(function).parameters
    for name, text in options.items():
        default = parameters[name].default
        flag = "--" + name.replace("_", "-")
        if default is False:
            group.add_argument(flag, action="store_true", help=text)
            continue
        kind = kinds.get(name, type(default))
        how = {"choices": kind} if isinstance(kind, tuple) else {"type": kind, "metavar": _METAVARS[kind]}
        shown = "" if default is None or default == "" else f" (default: {default})"
        group.add_argument(flag, default=default, help=text + shown, **how)


def name_options(verb: argparse.ArgumentParser, sentence: str) -> str:
    """``sentence`` with the options of ``verb`` for the arguments of the Python functions behind them.

    Only where no file could be meant: a name that opens the sentence and must be something, or ``name=value``.
    """
    flags = {action.dest: action.option_strings[-1] for action in verb._actions if action.option_strings}
    names = "|".join(flags)
    sentence = re.sub(rf"^({names})(?= must | needs |: )", lambda found: flags[found[1]], sentence)
    return re.sub(rf"(?<=[ (])({names})=(?=[\w.+-]+([\s,;:)]|$))", lambda found: f"{flags[found[1]]} ", sentence)


def chosen(arguments: argparse.Namespace, function: Callable[..., Any]) -> dict[str, Any]:
    """Those of ``function``'s arguments that the command has."""
    given = vars(arguments)
    return {name: given[name] for name in inspect.signature(function).parameters if name in given}


def print_json(value: Any) -> None:
    """Print ``value`` as JSON, which has no infinity and no NaN: null stands for them."""
    print(json.dumps(_finite(value), ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
