"""``recurlm info``."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path
from typing import Any

from .. import __version__, _core
from ..language_model import LanguageModel
from ..language_model.history import TrainingHistory
from .arguments import Verbs, new_parser, print_json

_BFLOAT16 = {
    "amx": "yes, by AMX: --dtype bfloat16 trains up to three times as fast as float32",
    "avx512bf16": "yes, by AVX-512 BF16, which on Intel is slower than float32",
}


def add_parser(verbs: Verbs) -> None:
    parser = new_parser(verbs, "info", "tell what runs here, or what a model is", run)
    parser.add_argument("model", nargs="?", type=Path, metavar="DIR", help="a saved model")


def run(arguments: argparse.Namespace) -> None:
    facts = _machine() if arguments.model is None else _model(arguments.model)
    if arguments.json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name.replace('_', ' ')}: {_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if type(value) is int else f"{value:.5g}" if type(value) is float else str(value)


def _machine() -> dict[str, Any]:
    return {
        "version": __version__,
        "processor": _processor(),
        "instruction_set": _core.get_isa(),
        "supported": _core.supported_isas(),
        "bfloat16_training": _BFLOAT16.get(_core.get_isa(), "no: it is done in float32"),
        "cores": _core.available_cores(),
        "threads": _core.get_num_threads(),
        "openmp": "yes" if _core.has_openmp() else "no: every computation runs on one thread",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _model(folder: Path) -> dict[str, Any]:
    lm = LanguageModel.load(folder)
    facts: dict[str, Any] = {"tokenizer": lm.tokenizer.kind, "vocabulary_size": lm.tokenizer.vocabulary_size}
    facts |= lm.architecture.config()
    facts["precision"] = lm.precision
    facts["parameters"] = lm.count_params()
    facts["bytes"] = sum(path.stat().st_size for path in folder.iterdir())
    return facts | ({} if lm.history is None else _training(lm.history))


def _training(history: TrainingHistory) -> dict[str, Any]:
    """Of the last call of ``fit``."""
    facts: dict[str, Any] = {"epochs": len(history.epochs.get("loss", []))}
    for name in ("steps", "tokens", "seconds"):
        if values := history.epochs.get(name):
            facts[f"trained_{name}"] = round(values[-1])
    if (best := history.best_epoch) is not None:
        facts |= {"best_epoch": best + 1, "best_val_loss": history.epochs["val_loss"][best]}
    return facts
