"""Penalties that are added to the loss, on weights or on a layer's outputs, with Keras's names, arguments and defaults.

>>> from recurlm import regularizers
>>> regularizers.L2(0.5)([1.0, 2.0])
2.5
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from .checks import check_factor
from .naming import resolve
from .typing import Float


class Regularizer:
    """Maps an array to a penalty. Configuration is whatever the constructor took."""

    def __call__(self, x: Any) -> float:
        return self.penalty(np.ascontiguousarray(x, np.float32), 1.0, None)

    def penalty(self, x: Float, scale: float, gradient: Float | None) -> float:
        """``scale`` times the penalty of ``x``; its gradient is added to ``gradient``, of x's shape."""
        raise NotImplementedError

    def activity_penalty(self, x: Float, gradient: Float | None) -> float:
        """That of outputs (B, D) or (T, B, D), (S, T, B, D): divided by the number of samples, as Keras does."""
        samples = x.shape[-2]
        return self.penalty(x, 1 / samples, gradient) if samples else 0.0

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(vars(self))


class L1L2(Regularizer):
    """``l1 * sum(|x|) + l2 * sum(x**2)``."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = check_factor("l1", l1)
        self.l2 = check_factor("l2", l2)

    def penalty(self, x: Float, scale: float, gradient: Float | None) -> float:
        return _core.penalty(x, scale * self.l1, scale * self.l2, gradient)


class L1(L1L2):
    """``l1 * sum(|x|)``."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(L1L2):
    """``l2 * sum(x**2)``."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class ActivationRegularizer(Regularizer):
    """AR of Merity et al. (2017), "Revisiting activation regularization for language RNNs": ``alpha * mean(x**2)``.

    The mean is over all elements, batch and time included. Not in Keras.
    """

    def __init__(self, alpha: float = 2.0) -> None:
        self.alpha = check_factor("alpha", alpha)

    def penalty(self, x: Float, scale: float, gradient: Float | None) -> float:
        return _core.penalty(x, 0.0, scale * self.alpha / max(1, x.size), gradient)

    def activity_penalty(self, x: Float, gradient: Float | None) -> float:
        return self.penalty(x, 1.0, gradient)


class TemporalActivationRegularizer(Regularizer):
    """TAR of Merity et al. (2017): ``beta * mean((x_t - x_{t-1})**2)`` over the steps of a sequence. Not in Keras.

    Outside a model x is time-major, (T, ...).
    """

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = check_factor("beta", beta)

    def penalty(self, x: Float, scale: float, gradient: Float | None) -> float:
        differences = x.size - (x[0].size if len(x) else 0)
        return _core.difference_penalty(x, scale * self.beta / max(1, differences), gradient)

    def activity_penalty(self, x: Float, gradient: Float | None) -> float:
        return self.penalty(x, 1.0, gradient) if x.ndim > 2 else 0.0  # a final state is no sequence


_CLASSES: dict[str, type[Regularizer]] = {
    cls.__name__: cls for cls in (L1, L2, L1L2, ActivationRegularizer, TemporalActivationRegularizer)
}
_ALIASES: dict[str, type[Regularizer]] = {"l1_l2": L1L2}


def get(identifier: Any) -> Regularizer | None:
    """A regularizer from its name, its serialized form, or itself; None stays None."""
    if identifier is None:
        return None
    found = resolve("regularizer", identifier, _CLASSES | _ALIASES)
    if not isinstance(found, Regularizer):
        raise TypeError(f"a regularizer needs its gradient, so it must be one of {', '.join(_CLASSES)}, got {found!r}")
    return found


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """``{"class_name", "config"}``, or None."""
    return (
        None if regularizer is None else {"class_name": type(regularizer).__name__, "config": regularizer.get_config()}
    )
