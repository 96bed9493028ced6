"""What all optimizers share: clipping, weight decay, moments and the count of steps."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from .. import _core
from ..checks import check_factor, check_optional_integer, is_number
from ..naming import snake_case
from ..tape import Parameter
from ..typing import Array, Float, Ids
from . import schedules
from .averaging import Averages
from .schedules import LearningRateSchedule

_CONFIGURED = (
    *("weight_decay", "clipnorm", "clipvalue", "global_clipnorm"),
    *("use_ema", "ema_momentum", "ema_overwrite_frequency", "gradient_accumulation_steps"),
)

Rate = float | LearningRateSchedule | Callable[[int], float]


class Optimizer:
    """A rule, its moments for each parameter, and the number of steps taken.

    ``learning_rate`` is a number or a schedule (any callable of the step counted from 0). ``weight_decay`` is
    decoupled: before each step a weight loses ``learning_rate * weight_decay`` of itself. At most one may be given of
    ``clipnorm`` (each gradient's norm), ``global_clipnorm`` (that of all together) and ``clipvalue`` (each element).

    With ``use_ema`` the optimizer keeps an exponential moving average of each weight, ``ema_momentum * average + (1 -
    ema_momentum) * weight`` after each step. Every ``ema_overwrite_frequency`` iterations, and when ``fit`` ends, the
    weights become their averages.

    With ``gradient_accumulation_steps`` only every so many steps update the weights, by the mean of the gradients
    since the last update. As in Keras, ``iterations`` and ``ema_overwrite_frequency`` then count updates, while
    averages move, and a schedule advances, at every step.
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
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        for key in unknown:
            raise TypeError(f"{type(self).__name__} has no argument {key!r}")
        for key, value in hyperparameters.items():
            if not isinstance(value, (int, float, np.number)):
                raise TypeError(f"{type(self).__name__}: {key} must be a number, got {value!r}")
        _check_weight_decay(weight_decay)
        _check_clipping({"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm})
        if not (is_number(ema_momentum) and 0 <= ema_momentum <= 1):
            raise ValueError(f"ema_momentum must be from 0 to 1, got {ema_momentum!r}")
        self.name = name or snake_case(type(self).__name__)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum = use_ema, ema_momentum
        self.ema_overwrite_frequency = check_optional_integer("ema_overwrite_frequency", ema_overwrite_frequency, 1)
        self.gradient_accumulation_steps = check_optional_integer(
            "gradient_accumulation_steps", gradient_accumulation_steps, 2
        )
        self.steps = 0  # gradients applied or accumulated
        self.averages = Averages() if use_ema else None
        self.hyperparameters = dict(hyperparameters)
        self.rule = _core.UpdateRule(self.kind, clip_value=clipvalue or 0.0, **hyperparameters)
        self._slots: dict[Parameter, list[Float]] = {}
        self._gradients: dict[Parameter, Float] = {}  # means since the last update
        self._not_decayed: tuple[set[Parameter], list[str]] = (set(), [])

    @property
    def iterations(self) -> int:
        """How many times the weights were updated."""
        return self.steps // (self.gradient_accumulation_steps or 1)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; may be set, unless it is a schedule."""
        rate = self._learning_rate
        return float(rate(self.steps) if callable(rate) else rate)

    @learning_rate.setter
    def learning_rate(self, rate: Rate) -> None:
        if callable(getattr(self, "_learning_rate", None)):
            raise TypeError("learning_rate is a schedule and cannot be set; give the optimizer a number instead")
        if not callable(rate) and not (is_number(rate) and 0 <= rate < math.inf):
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

    def arrays(self, parameter: Parameter) -> dict[str, Float]:
        """All that belongs to ``parameter``, by names to save it under; made if it was not yet there."""
        named = {str(i): slot for i, slot in enumerate(self.slots(parameter))}
        if self.gradient_accumulation_steps:
            named["gradient"] = self._accumulated(parameter)
        if self.averages is not None:
            named["average"] = self.averages.of(parameter)
        return named

    # Steps ----------------------------------------------------------------------------------------------------------

    def apply(self, parameters: Sequence[Parameter], rows: Sequence[Ids | None] | None = None) -> None:
        """Take one step with the parameters' gradients.

        Args:
            rows: for each, the distinct rows of its gradient that are not zero, or None where any may be. A rule that
                leaves a weight without a gradient as it is touches only these.

        Raises:
            FloatingPointError: a gradient is not finite; nothing has changed.
            ValueError: the schedule gave no finite learning rate; nothing has changed.
        """
        rate = self.learning_rate
        if not math.isfinite(rate):
            raise ValueError(f"the learning rate of step {self.steps} must be finite, the schedule gave {rate!r}")
        gradients = [parameter.grad for parameter in parameters]
        norms = _finite_norms(parameters, gradients, rows)
        if self.gradient_accumulation_steps is None:
            self._update(parameters, rate, gradients, norms, rows)
        else:
            self._accumulate(parameters, rate, gradients)
        self._average(parameters)
        self.steps += 1

    def _accumulate(self, parameters: Sequence[Parameter], rate: float, gradients: list[Float]) -> None:
        total = self.gradient_accumulation_steps or 1
        count = self.steps % total + 1
        means = [self._accumulated(parameter) for parameter in parameters]
        _core.update_means(gradients, means, 1 / count)
        if count == total:
            self._update(parameters, rate, means, np.sqrt(_core.squared_norms(means)), None)
            for mean in self._gradients.values():
                mean.fill(0)

    def _accumulated(self, parameter: Parameter) -> Float:
        if parameter not in self._gradients:
            self._gradients[parameter] = np.zeros(parameter.shape, np.float32)
        return self._gradients[parameter]

    def _update(
        self,
        parameters: Sequence[Parameter],
        rate: float,
        gradients: list[Float],
        norms: Array,
        rows: Sequence[Ids | None] | None,
    ) -> None:
        decays = np.array([self._decay(parameter) for parameter in parameters], np.float64)
        _core.apply_update(
            self.rule,
            self.iterations + 1,
            self._rate_of_update(rate),
            [parameter.value for parameter in parameters],
            gradients,
            [self.slots(parameter) for parameter in parameters],
            self._scales(norms),
            decays,
            rows if self._rests() and not decays.any() else None,
        )
        for parameter in parameters:
            parameter.version += 1

    def _rate_of_update(self, rate: float) -> float:
        return rate

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

    # Averages -------------------------------------------------------------------------------------------------------

    def _average(self, parameters: Sequence[Parameter]) -> None:
        """The end of a step, of which ``iterations`` do not know yet."""
        if self.averages is None:
            return
        if weight := self._weight_in_average():
            self.averages.update(parameters, weight)
        if self.ema_overwrite_frequency and (self.iterations + 1) % self.ema_overwrite_frequency == 0:
            self.averages.overwrite(parameters)

    def _weight_in_average(self) -> float:
        """Of the weights as this step leaves them."""
        return 1.0 if self.iterations == 0 else 1.0 - self.ema_momentum

    def use_averages(self, var_list: Iterable[Parameter]) -> None:
        """Exchange these weights and their averages until ``use_weights``; ValueError where there are no averages."""
        if self.averages is None:
            raise ValueError(f"{type(self).__name__} keeps no averages of weights: give it use_ema=True")
        if self.steps:
            self.averages.swap_in(var_list)

    def use_weights(self) -> None:
        """Undo ``use_averages``, if it was called. A training step does this by itself."""
        if self.averages is not None:
            self.averages.swap_out()

    @contextmanager
    def averaged(self, var_list: Iterable[Parameter]) -> Iterator[None]:
        """While this is open, the weights are their averages."""
        before = self.averages is not None and bool(self.averages.swapped)
        self.use_averages(var_list)
        try:
            yield
        finally:
            if not before:
                self.use_weights()

    def finalize_variable_values(self, var_list: Iterable[Parameter]) -> None:
        """Make the averages, if there are any, the weights: the end of ``fit``."""
        if self.averages is not None and self.steps:
            self.averages.overwrite(var_list)

    # State ----------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Beside ``arrays``, all that a bit-exact resume needs, as JSON can hold it."""
        return {"swapped": bool(self.averages and self.averages.swapped)}

    def check_state(self, state: Mapping[str, Any]) -> None:
        """ValueError where ``set_state`` would not understand it."""
        if not isinstance(state, Mapping) or not isinstance(state.get("swapped", False), bool):
            raise ValueError(f"the state is damaged: swapped must be true or false in {state!r}")

    def set_state(self, state: Mapping[str, Any], var_list: Iterable[Parameter]) -> None:
        """The inverse of ``get_state`` for an optimizer of ``var_list``."""
        if self.averages is not None:
            self.averages.swapped = list(var_list) if state.get("swapped") else []

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        rate = self._learning_rate
        if callable(rate) and not isinstance(rate, LearningRateSchedule):
            raise ValueError(f"only the schedules of recurlm.optimizers.schedules can be saved, got {rate!r}")
        config = {key: getattr(self, key) for key in _CONFIGURED}
        shown = schedules.serialize(rate) if isinstance(rate, LearningRateSchedule) else rate
        return {"learning_rate": shown, **config, "name": self.name, **self.hyperparameters}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Optimizer":
        """The inverse of ``get_config``."""
        rate = config["learning_rate"]
        return cls(**{**config, "learning_rate": schedules.deserialize(rate) if isinstance(rate, dict) else rate})


def _check_weight_decay(value: float | None) -> None:
    if value is not None:
        check_factor("weight_decay", value)


def _check_clipping(clips: Mapping[str, float | None]) -> None:
    given = {key: value for key, value in clips.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"only one of clipnorm, clipvalue and global_clipnorm can be set, got {given}")
    for key, value in given.items():
        if not (is_number(value) and value > 0):
            raise ValueError(f"{key} must be a positive number, got {value!r}")


def _finite_norms(parameters: Sequence[Parameter], gradients: list[Float], rows: Sequence[Ids | None] | None) -> Array:
    """Of each gradient; FloatingPointError where one is not finite."""
    norms: Array = np.sqrt(_core.squared_norms(gradients, rows))
    if not np.isfinite(norms).all():
        wrong = parameters[int(np.flatnonzero(~np.isfinite(norms))[0])]
        raise FloatingPointError(f"the gradient of {wrong.name} {wrong.shape} is not finite")
    return norms
