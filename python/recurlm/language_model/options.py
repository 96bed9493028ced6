"""The recipe of a training run: limits, schedule, optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .. import optimizers
from ..precision import check_training_precision
from ..text.augmentation import Augmentation, BlankNoise, Noise, UnigramNoise
from ..text.batching import Streams
from ..text.corpus import StoredIds
from ..text.tokenizer import Tokenizer
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

# What checkpoints of a time when there was no choice were made with.
_FORMER = {
    "dtype": "float32",
    "unigram_noise": 0.0,
    "blank_noise": 0.0,
    "token_drop": 0.0,
    "random_windows": False,
    "shift_windows": False,
}


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
    unigram_noise: float
    blank_noise: float
    token_drop: float
    random_windows: bool
    shift_windows: bool

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
        for name in ("unigram_noise", "blank_noise", "token_drop"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        check_training_precision(self.dtype)
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")

    def _check_types(self) -> None:
        kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
        for each in fields(self):
            kind, value = str(each.type).removesuffix(" | None"), getattr(self, each.name)
            optional = value is None and kind != each.type
            if not optional and (isinstance(value, bool) > (kind == "bool") or not isinstance(value, kinds[kind])):
                what = {"int": "an integer", "float": "a number", "str": "a str", "bool": "True or False"}[kind]
                raise TypeError(f"{each.name} must be {what}, got {value!r}")

    def check_same(self, saved: dict[str, Any]) -> None:
        """ValueError if a run with the options ``saved`` cannot be resumed with these; only its limits may change."""
        limits = {"epochs", "early_stopping", "max_minutes", "max_tokens"}
        saved = _FORMER | saved
        for name in (field.name for field in fields(self)):
            if name not in limits and saved[name] != getattr(self, name):
                now = getattr(self, name)
                raise ValueError(f"the checkpoint was made with {name}={saved[name]}, got {now}: resume with the same")

    def count_epochs(self, streams: Streams) -> int:
        """Epochs at most: those asked for, else what the tokens take, else 10 unless time is the limit."""
        if self.epochs is not None:
            return self.epochs
        if self.max_tokens is not None:
            return -(-self.max_tokens // streams.tokens)
        return 10 if self.max_minutes is None else _MOST

    @property
    def step_tokens(self) -> int:
        """Tokens of a step with a window of the length asked for."""
        return self.batch_size * self.window

    def make_augmentation(self, tokenizer: Tokenizer, ids: StoredIds, seed: int) -> Augmentation | None:
        """What is done to the windows of ``ids`` in training, if anything; ValueError where it is not possible."""
        noises: list[Noise] = []
        if self.unigram_noise > 0:
            size, bos_id = tokenizer.vocabulary_size, tokenizer.bos_id
            noises.append(UnigramNoise.of(self.unigram_noise, ids, size, bos_id))
        if self.blank_noise > 0:
            if tokenizer.unknown_id is None:
                raise ValueError(f"blank_noise needs a tokenizer with <unk>, word or bpe, got {tokenizer.kind}")
            noises.append(BlankNoise(self.blank_noise, tokenizer.unknown_id))
        if not (noises or self.token_drop > 0 or self.random_windows or self.shift_windows):
            return None
        return Augmentation(seed, tuple(noises), self.token_drop, self.random_windows, self.shift_windows)

    def make_schedule(self, streams: Streams) -> Schedule:
        steps = float(self.count_epochs(streams)) * streams.tokens / self.step_tokens
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
