"""Learning rates that depend on the step, with Keras's names and arguments.

>>> from recurlm.optimizers import schedules
>>> schedules.ExponentialDecay(1.0, decay_steps=10, decay_rate=0.5)(20)
0.25
"""

import math
from collections.abc import Sequence
from itertools import pairwise
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
        _check_positive("decay_steps", decay_steps)
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
        _check_positive("decay_steps", decay_steps)
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


class CosineDecayRestarts(LearningRateSchedule):
    """Half cosines one after the other (Loshchilov and Hutter, 2017, "SGDR").

    The first takes ``first_decay_steps``; each takes ``t_mul`` times the steps of the one before it and starts from
    ``m_mul`` times its rate. Each ends at ``alpha`` times the initial rate.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        _check_positive("first_decay_steps", first_decay_steps)
        if not t_mul >= 1:
            raise ValueError(f"t_mul must be at least 1, got {t_mul!r}")
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = first_decay_steps
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha

    def __call__(self, step: int) -> float:
        period, start, peak = float(self.first_decay_steps), 0.0, 1.0
        if self.t_mul == 1:
            restarts = math.floor(step / period)
            start, peak = restarts * period, self.m_mul**restarts
        else:
            while step >= start + period:  # a logarithm would miss a restart by rounding
                start, period, peak = start + period, period * self.t_mul, peak * self.m_mul
        cosine = 0.5 * peak * (1 + math.cos(math.pi * (step - start) / period))
        return float(self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha))


class PolynomialDecay(LearningRateSchedule):
    """From the initial rate to ``end_learning_rate`` over ``decay_steps``, by ``(1 - step / decay_steps) ** power``.

    With ``cycle`` the end moves on to the next multiple of ``decay_steps`` whenever it has been passed.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        _check_positive("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle

    def __call__(self, step: int) -> float:
        end = self.decay_steps * (max(1, math.ceil(step / self.decay_steps)) if self.cycle else 1)
        left = (1 - min(step, end) / end) ** self.power
        return float((self.initial_learning_rate - self.end_learning_rate) * left + self.end_learning_rate)


class InverseTimeDecay(LearningRateSchedule):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``; ``staircase`` rounds the quotient down."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
    ) -> None:
        _check_positive("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase

    def __call__(self, step: int) -> float:
        passed = step / self.decay_steps
        return float(
            self.initial_learning_rate / (1 + self.decay_rate * (math.floor(passed) if self.staircase else passed))
        )


class LinearWarmup(LearningRateSchedule):
    """From 0 to a rate in equal steps over ``warmup_steps``, then that rate, or the schedule from its step 0 on.

    ``LinearWarmup(CosineDecay(r, n), w)`` is ``CosineDecay(0, n, warmup_target=r, warmup_steps=w)``. Not in Keras.
    """

    def __init__(self, learning_rate: float | LearningRateSchedule, warmup_steps: int) -> None:
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {warmup_steps!r}")
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        after = max(0, step - self.warmup_steps)
        rate = self.learning_rate(after) if isinstance(self.learning_rate, LearningRateSchedule) else self.learning_rate
        return float(rate * step / self.warmup_steps if step < self.warmup_steps else rate)

    def get_config(self) -> dict[str, Any]:
        rate = self.learning_rate
        shown = serialize(rate) if isinstance(rate, LearningRateSchedule) else rate
        return super().get_config() | {"learning_rate": shown}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LinearWarmup":
        rate = config["learning_rate"]
        return cls(**{**config, "learning_rate": deserialize(rate) if isinstance(rate, dict) else rate})


class OneCycle(LearningRateSchedule):
    """One rise and fall of the rate (Smith and Topin, 2018, "Super-convergence"), as PyTorch's OneCycleLR has it.

    Over ``total_steps`` it goes from ``max_rate / div_factor`` up to ``max_rate``, which is reached after ``pct_start``
    of the steps, and down to the initial rate divided by ``final_div_factor``, where it stays; with ``three_phase``
    first as slowly down as it rose, to the initial rate. ``anneal_strategy`` is ``"cos"`` or ``"linear"``. Momentum is
    left as it is. Not in Keras.
    """

    def __init__(
        self,
        max_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        _check_positive("total_steps", total_steps)
        _check_positive("div_factor", div_factor)
        _check_positive("final_div_factor", final_div_factor)
        if not 0 <= pct_start <= (0.5 if three_phase else 1):
            raise ValueError(f"pct_start must be from 0 to {0.5 if three_phase else 1}, got {pct_start!r}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self.max_rate = max_rate
        self.total_steps = total_steps
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        self.three_phase = three_phase

    def __call__(self, step: int) -> float:
        start, last = self.max_rate / self.div_factor, self.total_steps - 1
        rise = self.pct_start * self.total_steps - 1
        points = [(0.0, start), (rise, self.max_rate), (last, start / self.final_div_factor)]
        if self.three_phase:
            points.insert(2, (2 * rise, start))
        for (begin, low), (end, high) in pairwise(points):
            if step < end:
                return self._between(low, high, (step - begin) / (end - begin))
        return float(points[-1][1])

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal_strategy == "cos":
            part = (1 - math.cos(math.pi * part)) / 2
        return float(start + (end - start) * part)


_CLASSES = {
    cls.__name__: cls
    for cls in (
        *(ExponentialDecay, PiecewiseConstantDecay, CosineDecay, CosineDecayRestarts),
        *(PolynomialDecay, InverseTimeDecay, LinearWarmup, OneCycle),
    )
}


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value!r}")


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
