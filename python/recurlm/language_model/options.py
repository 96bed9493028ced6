"""The recipe of a training run: limits, schedule, optimiser."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

import numpy as np

from .. import optimizers
from ..callbacks import Callback, NonMonotonicTrigger
from ..losses import SparseCategoricalCrossentropy
from ..precision import check_training_precision
from ..sampled_softmax import SampledSoftmax
from ..text.augmentation import Augmentation, BlankNoise, Noise, UnigramNoise
from ..text.batching import Streams
from ..text.corpus import StoredIds, count_ids
from ..text.tokenizer import Tokenizer
from .schedule import Schedule
from .scoring import NATS

OPTIMIZERS: dict[str, type[optimizers.Optimizer]] = {
    "adamw": optimizers.AdamW,
    "adam": optimizers.Adam,
    "lion": optimizers.Lion,
    "rmsprop": optimizers.RMSprop,
    "adagrad": optimizers.Adagrad,
    "sgd": optimizers.SGD,
    "nt-asgd": optimizers.ASGD,
}

_WITH_BETA_2 = ("adamw", "adam", "lion")

_MOST = 2**53


@dataclass(frozen=True)
class FitOptions:
    """The arguments of ``LanguageModel.fit`` that decide what the weights become.

    Those from ``dtype`` on came later than the first checkpoints, which were made with what is now their default.
    """

    epochs: int | None = None
    batch_size: int = 32
    window: int = 64
    learning_rate: float | None = None
    schedule: str = "cosine"
    warmup_steps: int = 100
    optimizer: str = "adamw"
    beta_2: float | None = None
    weight_decay: float | None = None
    clipnorm: float | None = 1.0
    early_stopping: int | None = None
    max_minutes: float | None = None
    max_tokens: int | None = None
    dtype: str = "float32"
    label_smoothing: float = 0.0
    ema: float | None = None
    accumulate: int = 1
    unigram_noise: float = 0.0
    blank_noise: float = 0.0
    token_drop: float = 0.0
    random_windows: bool = False
    shift_windows: bool = False
    sampled_softmax: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> FitOptions:
        """TypeError where ``given`` holds what is no option."""
        known = [field.name for field in fields(cls)]
        for name in given.keys() - set(known):
            close = get_close_matches(name, known, 1)
            raise TypeError(f"fit has no argument {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        return cls(**given)

    def __post_init__(self) -> None:
        for name, value in vars(self).copy().items():
            if isinstance(value, np.generic):  # which JSON does not take
                object.__setattr__(self, name, value.item())
        self._check_types()
        self._check_optimizer()
        # Steps are counted in a float64 too: beyond its integers a limit would be no number, or another one.
        for name in ("epochs", "max_tokens"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= _MOST:
                raise ValueError(f"{name} must be from 1 to {_MOST:,}, got {value}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {self.warmup_steps}")
        for name in ("batch_size", "window", "accumulate", "early_stopping", "sampled_softmax"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.clipnorm is not None and not self.clipnorm >= 0:
            raise ValueError(f"clipnorm must be at least 0, got {self.clipnorm}")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ValueError(f"max_minutes must be positive, got {self.max_minutes}")
        for name in ("label_smoothing", "ema", "unigram_noise", "blank_noise", "token_drop"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
        if self.sampled_softmax is not None and self.label_smoothing > 0:
            raise ValueError("label_smoothing gives a share to all tokens: it does not go with sampled_softmax")
        check_training_precision(self.dtype)

    def _check_optimizer(self) -> None:
        """Options that one optimizer has and another has not, and their defaults."""
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        if self.beta_2 is not None and self.optimizer not in _WITH_BETA_2:
            raise ValueError(f"beta_2 is for {', '.join(_WITH_BETA_2)}, got it with {self.optimizer}")
        if self.ema is not None and self.optimizer == "nt-asgd":
            raise ValueError("ema: the optimizer nt-asgd keeps a mean of the weights of its own")
        if self.accumulate > 1 and self.random_windows:
            raise ValueError("random_windows scales the learning rate of each step: accumulate must be 1")
        plain = self.optimizer in ("sgd", "nt-asgd")
        defaults = {
            "learning_rate": 4.0 if plain else {"lion": 4e-4, "adagrad": 5e-2}.get(self.optimizer, 4e-3),
            "weight_decay": 1.2e-6 if plain else 0.01,  # it is multiplied by the rate
            "beta_2": 0.99,
        }
        for name, default in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)

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
        saved = {field.name: field.default for field in fields(self)} | saved
        for name in (field.name for field in fields(self)):
            if name not in limits and saved[name] != getattr(self, name):
                now = getattr(self, name)
                raise ValueError(f"the checkpoint was made with {name}={saved[name]}, got {now}: resume with the same")

    @property
    def peak(self) -> float:
        """The learning rate, the optimizer's default where none was given."""
        assert self.learning_rate is not None
        return self.learning_rate

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

    def make_loss(self, vocabulary_size: int, ids: StoredIds) -> SparseCategoricalCrossentropy:
        """Of a model that trains on ``ids``; ValueError where the vocabulary is too small to take a sample of."""
        sampling = None
        if self.sampled_softmax is not None:
            if self.sampled_softmax >= vocabulary_size:
                most = f"below the {vocabulary_size:,} tokens of the vocabulary"
                raise ValueError(f"sampled_softmax must be {most}, got {self.sampled_softmax:,}")
            sampling = SampledSoftmax(count_ids(ids, vocabulary_size), self.sampled_softmax)
        return SparseCategoricalCrossentropy(label_smoothing=self.label_smoothing, sampled_softmax=sampling)

    def make_schedule(self, streams: Streams) -> Schedule:
        steps = float(self.count_epochs(streams)) * streams.tokens / self.step_tokens
        limits = {
            "tokens": math.inf if self.max_tokens is None else self.max_tokens,
            "seconds": math.inf if self.max_minutes is None else self.max_minutes * 60,
        }
        return Schedule(self.schedule, self.peak, self.warmup_steps, steps, **limits)

    def make_optimizer(self) -> optimizers.Optimizer:
        arguments: dict[str, Any] = {"weight_decay": self.weight_decay, "global_clipnorm": self.clipnorm or None}
        if self.optimizer in _WITH_BETA_2:
            arguments["beta_2"] = self.beta_2
        if self.accumulate > 1:
            arguments["gradient_accumulation_steps"] = self.accumulate
        if self.optimizer == "nt-asgd":
            return optimizers.ASGD(self.peak, lambd=0.0, t0=None, **arguments)
        if self.ema is not None:
            arguments |= {"use_ema": True, "ema_momentum": self.ema}
        return OPTIMIZERS[self.optimizer](self.peak, **arguments)

    def make_triggers(self) -> list[Callback]:
        """Callbacks that belong to the optimizer."""
        return [NonMonotonicTrigger(f"val_{NATS}")] if self.optimizer == "nt-asgd" else []


def shows_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where ``function`` takes ``**options``, ``help`` and ``inspect`` show the fields of ``FitOptions``."""
    signature = inspect.signature(function)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    shown = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(FitOptions)
    ]
    function.__signature__ = signature.replace(parameters=[*own, *shown])  # type: ignore[attr-defined]
    return function
