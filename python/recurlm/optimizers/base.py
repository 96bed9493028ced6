"""What all optimizers share: clipping, weight decay, moments and the count of steps."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .. import _core
from ..naming import snake_case
from ..tape import Parameter
from ..typing import Array, Float, Ids
from . import schedules
from .schedules import LearningRateSchedule

Rate = float | LearningRateSchedule | Callable[[int], float]


class Optimizer:
    """A rule, its moments for each parameter, and the number of steps taken (``iterations``).

    ``learning_rate`` is a number or a schedule (any callable of the step counted from 0). ``weight_decay`` is
    decoupled: before each step a weight loses ``learning_rate * weight_decay`` of itself. At most one may be given of
    ``clipnorm`` (each gradient's norm), ``global_clipnorm`` (that of all together) and ``clipvalue`` (each element).
    """

    kind: ClassVar[str]
    initial_slot: float = 0.0

    def __init__(
        self,
        learning_rate: Rate,
        hyperparameters: Mapping[str, Any],
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        for key in unknown:
            raise TypeError(f"{type(self).__name__} has no argument {key!r}")
        for key, value in hyperparameters.items():
            if not isinstance(value, (int, float, np.number)):
                raise TypeError(f"{type(self).__name__}: {key} must be a number, got {value!r}")
        if weight_decay is not None and not 0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay must be a finite number from 0 on, got {weight_decay!r}")
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {key: value for key, value in clips.items() if value is not None}
        if len(given) > 1:
            raise ValueError(f"only one of clipnorm, clipvalue and global_clipnorm can be set, got {given}")
        for key, value in given.items():
            if not value > 0:
                raise ValueError(f"{key} must be positive, got {value!r}")
        self.name = name or snake_case(type(self).__name__)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.iterations = 0
        self.hyperparameters = dict(hyperparameters)
        self.rule = _core.UpdateRule(self.kind, clip_value=clipvalue or 0.0, **hyperparameters)
        self._slots: dict[Parameter, list[Float]] = {}
        self._not_decayed: tuple[set[Parameter], list[str]] = (set(), [])

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; may be set, unless it is a schedule."""
        rate = self._learning_rate
        return float(rate(self.iterations) if callable(rate) else rate)

    @learning_rate.setter
    def learning_rate(self, rate: Rate) -> None:
        if callable(getattr(self, "_learning_rate", None)):
            raise TypeError("learning_rate is a schedule and cannot be set; give the optimizer a number instead")
        if not callable(rate) and not (isinstance(rate, (int, float, np.number)) and 0 <= rate < math.inf):
            raise ValueError(f"learning_rate must be a finite number from 0 on or a schedule, got {rate!r}")
        self._learning_rate = rate if callable(rate) else float(rate)

    @property
    def scheduled(self) -> bool:
        """Whether the learning rate is a function of the step."""
        return callable(self._learning_rate)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Parameter] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Do not decay these parameters, nor those in whose name one of the patterns ``var_names`` is found."""
        self._not_decayed = (set(var_list or ()), list(var_names or ()))

    def slots(self, parameter: Parameter) -> list[Float]:
        """The moments of ``parameter``, created at its first step."""
        if parameter not in self._slots:
            made = [np.full(parameter.shape, self.initial_slot, np.float32) for _ in range(self.rule.slots)]
            self._slots[parameter] = made
        return self._slots[parameter]

    def apply(self, parameters: Sequence[Parameter], rows: Sequence[Ids | None] | None = None) -> None:
        """Take one step with the parameters' gradients.

        Args:
            rows: for each, the distinct rows of its gradient that are not zero, or None where any may be. A rule that
                leaves a weight without a gradient as it is touches only these.

        Raises:
            FloatingPointError: a gradient is not finite; no parameter has changed.
            ValueError: the schedule gave no finite learning rate; no parameter has changed.
        """
        rate = self.learning_rate
        if not math.isfinite(rate):
            raise ValueError(f"the learning rate of step {self.iterations} must be finite, the schedule gave {rate!r}")
        gradients = [parameter.grad for parameter in parameters]
        norms = np.sqrt(_core.squared_norms(gradients, rows))
        if not np.isfinite(norms).all():
            wrong = parameters[int(np.flatnonzero(~np.isfinite(norms))[0])]
            raise FloatingPointError(f"the gradient of {wrong.name} {wrong.shape} is not finite")
        decays = np.array([self._decay(parameter) for parameter in parameters], np.float64)
        _core.apply_update(
            self.rule,
            self.iterations + 1,
            rate,
            [parameter.value for parameter in parameters],
            gradients,
            [self.slots(parameter) for parameter in parameters],
            self._scales(norms),
            decays,
            rows if self._rests() and not decays.any() else None,
        )
        self.iterations += 1
        for parameter in parameters:
            parameter.version += 1

    def _rests(self) -> bool:
        """Whether a weight without a gradient stays as it is."""
        return False

    def _scales(self, norms: Array) -> Array:
        scales = np.ones(len(norms), np.float64)
        if self.clipnorm is not None:
            np.divide(self.clipnorm, norms, out=scales, where=norms > self.clipnorm)
        elif self.global_clipnorm is not None:
            norm = math.sqrt(math.fsum(float(norm) ** 2 for norm in norms))
            scales.fill(min(1.0, self.global_clipnorm / norm) if norm else 1.0)
        return scales

    def _decay(self, parameter: Parameter) -> float:
        excluded, patterns = self._not_decayed
        skip = parameter in excluded or any(re.search(pattern, parameter.name) for pattern in patterns)
        return 0.0 if skip or self.weight_decay is None else self.weight_decay

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        rate = self._learning_rate
        if callable(rate) and not isinstance(rate, LearningRateSchedule):
            raise ValueError(f"only the schedules of recurlm.optimizers.schedules can be saved, got {rate!r}")
        config = {key: getattr(self, key) for key in ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm")}
        shown = schedules.serialize(rate) if isinstance(rate, LearningRateSchedule) else rate
        return {"learning_rate": shown, **config, "name": self.name, **self.hyperparameters}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Optimizer":
        """The inverse of ``get_config``."""
        rate = config["learning_rate"]
        return cls(**{**config, "learning_rate": schedules.deserialize(rate) if isinstance(rate, dict) else rate})
