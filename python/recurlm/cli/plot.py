"""``recurlm plot``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..language_model.plotting import save_plot
from ..language_model.storage import read_history
from .arguments import Verbs, new_parser, print_json


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(verbs, "plot", "draw how a model was trained: losses and learning rate", run)
    parser.add_argument("model", type=Path, metavar="DIR", help="a saved model, or the folder of its checkpoints")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a .png, .svg or .pdf file (default: DIR-curves.png beside DIR)"
    )


def run(arguments: argparse.Namespace) -> None:
    folder = arguments.model.resolve()
    out = folder.with_name(f"{folder.name}-curves.png") if arguments.out is None else arguments.out
    history = read_history(arguments.model)
    save_plot(history, out, f"Training of {folder.name}")
    best = history.best_epoch
    result = {
        "plot": str(out),
        "epochs": len(history.epochs.get("loss", [])),
        "best_epoch": None if best is None else best + 1,
        "best_val_loss": None if best is None else history.epochs["val_loss"][best],
    }
    if arguments.json:
        print_json(result)
        return
    print(f"the curves are in {out}")
