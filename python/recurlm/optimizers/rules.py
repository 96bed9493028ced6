"""The optimizers: names, defaults and hyperparameters of the core's rules."""

from typing import Any

from ..checks import check_factor
from .base import Optimizer, Rate


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
        self.initial_slot = check_factor("initial_accumulator_value", initial_accumulator_value)

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


class Lion(Optimizer):
    """Steps of one size in the direction of the sign of a momentum (Chen et al., 2023)."""

    kind = "lion"

    def __init__(self, learning_rate: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **kwargs: Any) -> None:
        super().__init__(learning_rate, {"beta_1": beta_1, "beta_2": beta_2}, **kwargs)
        if beta_1 == 0:
            raise ValueError("beta_1 must be above 0: without momentum Lion is descent along the sign of the gradient")
