"""The recipe of a training run: limits, schedule, optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .. import optimizers
from ..precision import check_training_precision
from ..text.batching import Streams
from .schedule import Schedule

OPTIMIZERS: dict[str, type[optimizers.Optimizer]] = {
    "adamw": optimizers.AdamW,
    "adam": optimizers.Adam,
    "lion": optimizers.Lion,
    "rmsprop": optimizers.RMSprop,
    "adagrad": optimizers.Adagrad,
    "sgd": optimizers.SGD,
}

_MOST = 2**53


@dataclass(frozen=True)
class FitOptions:
    """The arguments of ``LanguageModel.fit`` that decide what the weights become."""

    epochs: int | None
    batch_size: int
    window: int
    learning_rate: float
    schedule: str
    warmup_steps: int
    optimizer: str
    beta_2: float
    weight_decay: float
    clipnorm: float | None
    early_stopping: int | None
    max_minutes: float | None
    max_tokens: int | None
    dtype: str

    def __post_init__(self) -> None:
        for name, value in vars(self).copy().items():
            if isinstance(value, np.generic):  # which JSON does not take
                object.__setattr__(self, name, value.item())
        self._check_types()
        # Steps are counted in a float64 too: beyond its integers a limit would be no number, or another one.
        for name in ("epochs", "max_tokens"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= _MOST:
                raise ValueError(f"{name} must be from 1 to {_MOST:,}, got {value}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {self.warmup_steps}")
        for name in ("batch_size", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.early_stopping is not None and self.early_stopping < 1:
            raise ValueError(f"early_stopping must be at least 1 epoch, got {self.early_stopping}")
        if self.clipnorm is not None and not self.clipnorm >= 0:
            raise ValueError(f"clipnorm must be at least 0, got {self.clipnorm}")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ValueError(f"max_minutes must be positive, got {self.max_minutes}")
        check_training_precision(self.dtype)
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")

    def _check_types(self) -> None:
        kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}
        for each in fields(self):
            kind, value = str(each.type).removesuffix(" | None"), getattr(self, each.name)
            optional = value is None and kind != each.type
            if not optional and (isinstance(value, bool) or not isinstance(value, kinds[kind])):
                what = {"int": "an integer", "float": "a number", "str": "a str"}[kind]
                raise TypeError(f"{each.name} must be {what}, got {value!r}")

    def check_same(self, saved: dict[str, Any]) -> None:
        """ValueError if a run with the options ``saved`` cannot be resumed with these; only its limits may change."""
        limits = {"epochs", "early_stopping", "max_minutes", "max_tokens"}
        saved = {"dtype": "float32"} | saved  # of a time when there was no choice
        for name in (field.name for field in fields(self)):
            if name not in limits and saved[name] != getattr(self, name):
                now = getattr(self, name)
                raise ValueError(f"the checkpoint was made with {name}={saved[name]}, got {now}: resume with the same")

    def count_epochs(self, streams: Streams) -> int:
        """Epochs at most: those asked for, else what the tokens take, else 10 unless time is the limit."""
        if self.epochs is not None:
            return self.epochs
        if self.max_tokens is not None:
            return -(-self.max_tokens // (streams.steps * self.batch_size * self.window))
        return 10 if self.max_minutes is None else _MOST

    def make_schedule(self, streams: Streams) -> Schedule:
        steps = float(self.count_epochs(streams)) * streams.steps
        limits = {
            "tokens": math.inf if self.max_tokens is None else self.max_tokens,
            "seconds": math.inf if self.max_minutes is None else self.max_minutes * 60,
        }
        return Schedule(self.schedule, self.learning_rate, self.warmup_steps, steps, **limits)

    def make_optimizer(self) -> optimizers.Optimizer:
        arguments: dict[str, Any] = {"weight_decay": self.weight_decay, "global_clipnorm": self.clipnorm or None}
        if self.optimizer in ("adamw", "adam", "lion"):
            arguments["beta_2"] = self.beta_2
        return OPTIMIZERS[self.optimizer](self.learning_rate, **arguments)
