"""What a weight must satisfy after every update, with Keras's names, arguments and defaults.

>>> from recurlm import constraints
>>> constraints.NonNeg()([-1.0, 2.0]).tolist()
[0.0, 2.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .checks import is_number
from .naming import resolve
from .typing import Float

_EPSILON = np.float32(1e-7)  # Keras's: a norm of zero stays zero


class Constraint:
    """Maps a weight to the nearest one that it allows. Configuration is whatever the constructor took."""

    def __call__(self, w: Any) -> Float:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(vars(self))


class NonNeg(Constraint):
    """No element is negative."""

    def __call__(self, w: Any) -> Float:
        return np.asarray(np.maximum(np.asarray(w, np.float32), np.float32(0)))


class MinMaxNorm(Constraint):
    """The norm along ``axis`` is from ``min_value`` to ``max_value``; ``rate`` below 1 goes that part of the way."""

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ) -> None:
        for name, value in {"min_value": min_value, "max_value": max_value, "rate": rate}.items():
            if not is_number(value):
                raise TypeError(f"{name} must be a number, got {value!r}")
        if not 0 <= min_value <= max_value:
            raise ValueError(f"0 <= min_value <= max_value is needed, got {min_value!r} and {max_value!r}")
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be from 0 to 1, got {rate!r}")
        self.min_value, self.max_value, self.rate = float(min_value), float(max_value), float(rate)
        self.axis = _checked_axis(axis)

    def __call__(self, w: Any) -> Float:
        w = np.asarray(w, np.float32)
        norms = _norms(w, self.axis)
        clipped = np.clip(norms, np.float32(self.min_value), np.float32(self.max_value))
        desired = np.float32(self.rate) * clipped + np.float32(1 - self.rate) * norms
        return np.asarray(w * (desired / (_EPSILON + norms)))


class MaxNorm(MinMaxNorm):
    """The norm along ``axis`` is at most ``max_value`` (Srebro and Shraibman, 2005)."""

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        super().__init__(0.0, max_value, 1.0, axis)

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class UnitNorm(Constraint):
    """The norm along ``axis`` is 1."""

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        self.axis = _checked_axis(axis)

    def __call__(self, w: Any) -> Float:
        w = np.asarray(w, np.float32)
        return np.asarray(w / (_EPSILON + _norms(w, self.axis)))


def _checked_axis(axis: Any) -> int | list[int]:
    listed = axis if isinstance(axis, (list, tuple)) else [axis]
    if not all(isinstance(each, int) for each in listed):
        raise TypeError(f"axis must be an integer or a list of integers, got {axis!r}")
    return list(listed) if listed is axis else int(axis)


def _norms(w: Float, axis: int | list[int]) -> Float:
    along = axis if isinstance(axis, int) else tuple(axis)
    return np.asarray(np.sqrt(np.sum(np.square(w), axis=along, keepdims=True)))


_CLASSES = {cls.__name__: cls for cls in (MaxNorm, MinMaxNorm, NonNeg, UnitNorm)}


def get(identifier: Any) -> Constraint | None:
    """A constraint from its name, its serialized form, or itself; None stays None."""
    if identifier is None:
        return None
    found = resolve("constraint", identifier, _CLASSES)
    if not isinstance(found, Constraint):
        raise TypeError(f"a constraint must be one of {', '.join(_CLASSES)}, got {found!r}")
    return found


def serialize(constraint: Constraint | None) -> dict[str, Any] | None:
    """``{"class_name", "config"}``, or None."""
    return None if constraint is None else {"class_name": type(constraint).__name__, "config": constraint.get_config()}
