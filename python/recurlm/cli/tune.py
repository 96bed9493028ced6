"""``recurlm tune``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from ..tuning import Trial, Tuning, tune
from ..tuning.search import show
from .arguments import Verbs, add_options, chosen, new_parser, print_json

_WIDEST = 60  # of what is said about a failure

_TO_GO_ON = "; repeat the command with --resume to go on"


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(verbs, "tune", "try models of a space of arguments and keep the best", run)
    parser.add_argument(
        "data", nargs="+", type=Path, metavar="TEXT", help="UTF-8 files, read one after the other as one text"
    )
    parser.add_argument(
        "--space",
        required=True,
        type=Path,
        metavar="FILE",
        help='JSON object of what to try, such as {"units": {"type": "int", "low": 64, "high": 512, "log": true}, '
        '"cell": {"type": "categorical", "choices": ["lstm", "gru"]}, "epochs": 5}',
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="for the trials; the best is DIR/best")
    parser.add_argument("--validation", dest="validation_data", type=Path, metavar="TEXT", help="file to validate on")
    add_options(
        parser,
        tune,
        {
            "trials": "models to try in all",
            "processes": "models to try at a time; they share the cores",
            "max_minutes": "begin no model later, and end those that run with their epoch",
            "seed": "decides what is tried",
            "resume": "go on with the search in DIR: repeat the command and add this",
        },
        max_minutes=float,
    )
    parser.add_argument(
        "--no-pruning", dest="pruning", action="store_false", help="train all to their end, also those that lag behind"
    )


def run(arguments: argparse.Namespace) -> None:
    try:
        found = tune(**chosen(arguments, tune))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_TO_GO_ON) from None
    except SystemExit:
        print(f"recurlm: terminated{_TO_GO_ON}", file=sys.stderr)
        raise
    if arguments.json:
        print_json(asdict(found) | {"model": str(found.model)})
        return
    for line in _table(found):
        print(line)
    print(f"best model, of trial {found.best.number}, saved in {found.model}")


def _table(found: Tuning) -> list[str]:
    """A row for each trial, the best first; a column for each argument."""
    names = list(dict.fromkeys(name for trial in found.trials for name in trial.parameters))
    rows = [["trial", "state", "val_loss", "epochs", "seconds", *names, ""]]
    rows += [_row(trial, names) for trial in found.trials]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(trial: Trial, names: list[str]) -> list[str]:
    loss = "-" if trial.val_loss is None else f"{trial.val_loss:.4f}"
    seconds = "-" if trial.seconds is None else f"{trial.seconds:.1f}"
    drawn = [show(trial.parameters[name]) if name in trial.parameters else "-" for name in names]
    return [str(trial.number), trial.state, loss, str(trial.epochs), seconds, *drawn, (trial.error or "")[:_WIDEST]]
