"""Optimizers, with Keras's names, arguments and defaults: rules of the core, which updates all parameters in one pass.

>>> from recurlm import optimizers
>>> optimizers.Adam(learning_rate=1e-3, global_clipnorm=5.0).learning_rate
0.001
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .. import _core
from ..naming import resolve, snake_case
from ..tape import Parameter
from ..typing import Array, Float, Ids
from . import schedules
from .schedules import LearningRateSchedule

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "get", "schedules", "serialize"]

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


class SGD(Optimizer):
    """Gradient descent, with momentum (Nesterov's too)."""

    kind = "sgd"

    def __init__(
        self, learning_rate: Rate = 0.01, momentum: float = 0.0, nesterov: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, {"momentum": momentum, "nesterov": nesterov}, **kwargs)

    def _rests(self) -> bool:
        return self.rule.slots == 0  # no momentum


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient (Hinton, 2012)."""

    kind = "rmsprop"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **kwargs: Any,
    ) -> None:
        hyperparameters = {"rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": centered}
        super().__init__(learning_rate, hyperparameters, **kwargs)


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of squared gradients (Duchi et al., 2011)."""

    kind = "adagrad"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, {"epsilon": epsilon}, **kwargs)
        if not 0 <= initial_accumulator_value < math.inf:
            raise ValueError(
                f"initial_accumulator_value must be a finite number from 0 on, got {initial_accumulator_value!r}"
            )
        self.initial_slot = initial_accumulator_value

    def _rests(self) -> bool:
        return True

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"initial_accumulator_value": self.initial_slot}


class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba, 2015), with Keras's epsilon outside the bias correction."""

    kind = "adam"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        hyperparameters = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, "amsgrad": amsgrad}
        super().__init__(learning_rate, hyperparameters, **kwargs)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **kwargs)


_CLASSES = {cls.__name__: cls for cls in (SGD, RMSprop, Adagrad, Adam, AdamW)}


def get(identifier: Any) -> Optimizer:
    """An optimizer from its name in any case, its serialized form, or itself."""
    if isinstance(identifier, str):
        identifier = next((name for name in _CLASSES if name.lower() == identifier.lower()), identifier)
    if isinstance(identifier, dict) and identifier.get("class_name") in _CLASSES:
        return _CLASSES[identifier["class_name"]].from_config(identifier["config"])
    found = identifier if isinstance(identifier, Optimizer) else resolve("optimizer", identifier, _CLASSES)
    if not isinstance(found, Optimizer):
        raise TypeError(f"optimizer must be a name or an object of recurlm.optimizers, got {identifier!r}")
    return found


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """``{"class_name", "config"}``."""
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}
