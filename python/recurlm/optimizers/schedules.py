"""Learning rates that depend on the step, with Keras's names and arguments.

>>> from recurlm.optimizers import schedules
>>> schedules.ExponentialDecay(1.0, decay_steps=10, decay_rate=0.5)(20)
0.25
"""

import math
from collections.abc import Sequence
from typing import Any


class LearningRateSchedule:
    """Maps a step, counted from 0, to a learning rate. ``get_config`` returns the constructor's arguments."""

    def __call__(self, step: int) -> float:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LearningRateSchedule":
        """The inverse of ``get_config``."""
        return cls(**config)


class ExponentialDecay(LearningRateSchedule):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``; ``staircase`` rounds the exponent down."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
    ) -> None:
        if decay_steps <= 0:
            raise ValueError(f"decay_steps must be positive, got {decay_steps!r}")
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase

    def __call__(self, step: int) -> float:
        exponent = step / self.decay_steps
        return float(
            self.initial_learning_rate * self.decay_rate ** (math.floor(exponent) if self.staircase else exponent)
        )


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[i]`` up to and including step ``boundaries[i]``, the last value after all of them."""

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        if len(values) != len(boundaries) + 1:
            raise ValueError(f"values must be one more than boundaries, got {len(values)} and {len(boundaries)}")
        self.boundaries = list(boundaries)
        self.values = list(values)

    def __call__(self, step: int) -> float:
        return float(self.values[sum(step > boundary for boundary in self.boundaries)])


class CosineDecay(LearningRateSchedule):
    """A half cosine from the initial rate to ``alpha`` times it over ``decay_steps``.

    With ``warmup_target`` the rate first rises linearly from the initial one to the target, over ``warmup_steps``, and
    the cosine starts from there.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        if decay_steps <= 0:
            raise ValueError(f"decay_steps must be positive, got {decay_steps!r}")
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        peak = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                rise = self.warmup_target - self.initial_learning_rate
                return float(self.initial_learning_rate + rise * step / self.warmup_steps)
            peak = self.warmup_target
            step -= self.warmup_steps
        cosine = 0.5 * (1 + math.cos(math.pi * min(step, self.decay_steps) / self.decay_steps))
        return float(peak * ((1 - self.alpha) * cosine + self.alpha))


_CLASSES = {cls.__name__: cls for cls in (ExponentialDecay, PiecewiseConstantDecay, CosineDecay)}


def serialize(schedule: LearningRateSchedule) -> dict[str, Any]:
    """``{"class_name", "config"}``; ValueError for a schedule that is not one of ours."""
    if type(schedule).__name__ not in _CLASSES:
        raise ValueError(f"only the schedules of recurlm.optimizers.schedules can be saved, got {schedule!r}")
    return {"class_name": type(schedule).__name__, "config": schedule.get_config()}


def deserialize(config: dict[str, Any]) -> LearningRateSchedule:
    """The inverse of ``serialize``."""
    if config.get("class_name") not in _CLASSES:
        raise ValueError(f"unknown schedule {config.get('class_name')!r}; known are {', '.join(_CLASSES)}")
    return _CLASSES[config["class_name"]].from_config(config["config"])
