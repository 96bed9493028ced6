"""How a language model was trained: figures of each epoch, and the loss between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..text.tokenizer import field as typed

FORMAT_VERSION = 1
_MOST = 512  # points of a curve: more than a plot has room for


@dataclass
class Curve:
    """Loss in training as means over stretches of ``stride`` steps, which doubles when there are too many points.

    Attributes:
        start: the step before the first.
        losses, learning_rates: for each stretch the mean loss, and the learning rate of its last step.
        total, count: sum and number of the losses of the stretch that has begun.
    """

    start: int = 0
    stride: int = 1
    losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    total: float = 0.0
    count: int = 0

    def add(self, loss: float, learning_rate: float) -> None:
        """Of the next step."""
        self.total += loss
        self.count += 1
        if self.count < self.stride:
            return
        self.losses.append(self.total / self.stride)
        self.learning_rates.append(learning_rate)
        self.total, self.count = 0.0, 0
        if len(self.losses) == _MOST:
            self.stride *= 2
            self.losses[:] = [(a + b) / 2 for a, b in zip(self.losses[::2], self.losses[1::2], strict=True)]
            self.learning_rates[:] = self.learning_rates[1::2]

    @property
    def steps(self) -> list[int]:
        """The last step of each stretch."""
        return [self.start + self.stride * (i + 1) for i in range(len(self.losses))]

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Curve:
        """The inverse of ``dataclasses.asdict``, from a file that may hold anything."""
        given = dict(values)
        start, stride, count = (typed(given, name, int) for name in ("start", "stride", "count"))
        losses, rates = (_numbers(typed(given, name, list), name) for name in ("losses", "learning_rates"))
        if min(start, count) < 0 or stride < 1 or len(losses) != len(rates) or given.keys() != _CURVE:
            raise ValueError("the curve of losses is none")
        return cls(start, stride, losses, rates, float(typed(given, "total", float, int)), count)


_CURVE = {each.name for each in fields(Curve)}


@dataclass(frozen=True)
class TrainingHistory:
    """Of the last call of ``fit``.

    Attributes:
        epochs: lists over epochs: what ``fit`` returns.
        curve: the loss of steps within the epochs.
    """

    epochs: dict[str, list[float]]
    curve: Curve

    @property
    def best_epoch(self) -> int | None:
        """That of the lowest validation loss, from 0 on; None where there was no validation."""
        losses = self.epochs.get("val_loss", [])
        return losses.index(min(losses)) if losses else None

    def config(self) -> dict[str, Any]:
        """The contents of history.json."""
        return {"format_version": FORMAT_VERSION, "epochs": self.epochs, "curve": asdict(self.curve)}

    @classmethod
    def from_config(cls, config: Any) -> TrainingHistory:
        """The inverse of ``config``; ValueError where it is not one."""
        if not isinstance(config, dict):
            raise ValueError("it is no object")
        if config.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"format_version {config.get('format_version')!r}, expected {FORMAT_VERSION}")
        epochs = typed(config, "epochs", dict)
        return cls(
            {name: _numbers(values, name) for name, values in epochs.items()},
            Curve.restore(typed(config, "curve", dict)),
        )


def _numbers(values: Any, name: str) -> list[float]:
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise ValueError(f"field {name!r} must be a list of numbers")
    return values
