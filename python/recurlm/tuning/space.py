"""What to try: a JSON object of arguments of ``LanguageModel`` and of its ``fit``.

    {
      "units": {"type": "int", "low": 64, "high": 512, "log": true},
      "dropout": {"type": "float", "low": 0.0, "high": 0.5, "step": 0.1},
      "cell": {"type": "categorical", "choices": ["lstm", "gru"]},
      "epochs": 5
    }

An entry is a range of integers or numbers (``step`` or ``log`` may be given, not both), a choice, or a fixed value. The
tokenizer is a kind, or an object of it and of what its class takes: ``{"kind": "word", "size": 10000}``.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..checks import check_rate, is_integer, is_number
from ..files import read_json
from ..language_model import LanguageModel
from ..language_model.options import FitOptions
from ..language_model.parameters import FIT, MODEL
from ..language_model.schedule import Schedule
from ..text import tokenizers
from ..text.tokenizer import Tokenizer
from ..text.tokenizers import KINDS

# Losses of a token can be compared only where tokens, and the text that is held out, are the same.
_FIXED_ONLY = ("tokenizer", "validation_split")
_FIELDS = {"int": {"low", "high", "step", "log"}, "float": {"low", "high", "step", "log"}, "categorical": {"choices"}}
_SCALARS = (str, int, float, bool, type(None))


class Suggests(Protocol):
    """The part of ``optuna.Trial`` that draws."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...
    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...
    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True)
class Space:
    """Ranges and choices by argument, as the JSON has them, and fixed values.

    Raises:
        ValueError: an entry is not possible; the sentence names its key.
    """

    searched: Mapping[str, Mapping[str, Any]]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, entries: Any) -> Space:
        """From the JSON object, or the path of a file that holds one."""
        if isinstance(entries, (str, os.PathLike)):
            path = Path(entries)
            try:
                return cls.of(read_json(path))
            except FileNotFoundError:
                raise FileNotFoundError(f"there is no file {path}") from None
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: {error}") from None
        entries = _plain(entries)
        if not isinstance(entries, Mapping):
            raise ValueError(f"a space must be an object of arguments, got {type(entries).__name__}")
        for name, entry in entries.items():
            _check(name, entry)
        ranges = {name for name, entry in entries.items() if isinstance(entry, Mapping)} - {"tokenizer"}
        searched = {name: dict(entry) for name, entry in entries.items() if name in ranges}
        if not searched:
            raise ValueError("a space must have a range or a choice, got only fixed values")
        return cls(searched, {name: entry for name, entry in entries.items() if name not in searched})

    def config(self) -> dict[str, Any]:
        """The JSON object."""
        return {**self.searched, **self.fixed}

    def make_tokenizer(self) -> Tokenizer:
        """That of every model; it has no vocabulary yet."""
        return _make_tokenizer(self.fixed.get("tokenizer", MODEL["tokenizer"].default))

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        """A value for every argument of the space."""
        return {name: _suggest(trial, name, entry) for name, entry in self.searched.items()} | dict(self.fixed)


def _make_tokenizer(given: Any) -> Tokenizer:
    if isinstance(given, str):
        return tokenizers.get(given)
    if not isinstance(given, Mapping):
        raise ValueError(f"tokenizer must be a kind or an object with one, got {type(given).__name__}")
    options = dict(given)
    kind = options.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    for name in options.keys() - inspect.signature(KINDS[kind]).parameters.keys():
        raise ValueError(f"the tokenizer {kind!r} has no argument {name!r}")
    return KINDS[kind](**options)


def split_arguments(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of ``LanguageModel``, and those of its ``fit``."""
    model = {name: value for name, value in values.items() if name in MODEL}
    return model, {name: value for name, value in values.items() if name not in MODEL}


def _suggest(trial: Suggests, name: str, entry: Mapping[str, Any]) -> Any:
    if entry["type"] == "categorical":
        return trial.suggest_categorical(name, entry["choices"])
    low, high, log = entry["low"], entry["high"], entry.get("log", False)
    if entry["type"] == "int":
        return trial.suggest_int(name, low, high, step=entry.get("step", 1), log=log)
    return trial.suggest_float(name, low, high, step=entry.get("step"), log=log)


def _plain(value: Any) -> Any:
    """With the numbers of Python for those of NumPy, which JSON does not take."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _check(name: Any, entry: Any) -> None:
    if name not in MODEL and name not in FIT:
        raise ValueError(f"key {name!r} is no argument of a language model; known are {', '.join([*MODEL, *FIT])}")
    if name == "tokenizer" and not (isinstance(entry, Mapping) and "type" in entry):
        _try(name, entry)
        return
    if not isinstance(entry, Mapping):
        if not isinstance(entry, _SCALARS):
            raise ValueError(f"key {name!r} must be a value or an object with a type, got {type(entry).__name__}")
        _try(name, entry)
        return
    if name in _FIXED_ONLY:
        raise ValueError(f"key {name!r} must be one value: with several, losses could not be compared")
    kind = entry.get("type")
    if kind not in _FIELDS:
        raise ValueError(f"key {name!r} must have a type, one of {', '.join(_FIELDS)}, got {kind!r}")
    unknown = sorted(entry.keys() - _FIELDS[kind] - {"type"})
    if unknown:
        raise ValueError(f"key {name!r}: a {kind} has no field {unknown[0]!r}")
    for value in _check_choices(name, entry) if kind == "categorical" else _check_range(name, entry):
        _try(name, value)


def _check_choices(name: str, entry: Mapping[str, Any]) -> list[Any]:
    choices = entry.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, _SCALARS) for choice in choices):
        raise ValueError(f"key {name!r}: choices must be a list of values, got {choices!r}")
    return choices


def _check_range(name: str, entry: Mapping[str, Any]) -> list[Any]:
    """The ends of the range."""
    fits, what = (is_integer, "an integer") if entry["type"] == "int" else (is_number, "a number")
    for each in ("low", "high", "step"):
        value = entry.get(each)
        if (each in entry or each != "step") and not fits(value):
            raise ValueError(f"key {name!r}: {each} must be {what}, got {value!r}")
    low, high, step, log = entry["low"], entry["high"], entry.get("step", 1), entry.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"key {name!r}: log must be true or false, got {log!r}")
    if not -math.inf < low <= high < math.inf:
        raise ValueError(f"key {name!r}: low must be at most high, and both finite, got {low} and {high}")
    if not step > 0:
        raise ValueError(f"key {name!r}: step must be positive, got {step}")
    if log and ("step" in entry or not low > 0):
        raise ValueError(f"key {name!r}: log needs a positive low and no step, got low {low}")
    return [low, high]


def _try(name: str, value: Any) -> None:
    """ValueError where the language model refuses the value: better now than in every trial."""
    defaults = {each: parameter.default for each, parameter in FIT.items() if each != "validation_split"}
    try:
        if name == "tokenizer":
            _make_tokenizer(value)
        elif name in MODEL:
            LanguageModel(**{name: value})
        elif name == "validation_split":
            check_rate("validation_split", value)
        else:
            options = FitOptions(**defaults | {name: value})
            options.make_optimizer()
            Schedule(options.schedule, options.peak, options.warmup_steps, 1.0)
    except (TypeError, ValueError) as error:
        raise ValueError(f"key {name!r}: {error}") from None
