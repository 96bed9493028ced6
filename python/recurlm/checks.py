"""Numbers that users pass: one sentence, with the name of the argument, about one that is not possible."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def is_integer(value: Any) -> bool:
    """Whether it is an int of Python or NumPy; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is an int or float of Python or NumPy; True and False are none."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """``value`` as an int, which JSON takes; ValueError unless it is an integer from ``least`` to ``most``."""
    if not is_integer(value) or not least <= value or not (most is None or value <= most):
        reach = "on" if most is None else f"to {most:,}"
        raise ValueError(f"{name} must be an integer from {least} {reach}, got {value!r}")
    return int(value)


def check_optional_integer(name: str, value: Any, least: int) -> int | None:
    """None, or what ``check_integer`` makes of it."""
    if value is not None and not (is_integer(value) and value >= least):
        raise ValueError(f"{name} must be None or an integer from {least} on, got {value!r}")
    return None if value is None else int(value)


def check_rate(name: str, value: Any) -> float:
    """``value`` as a float; ValueError unless it is a number from 0 to below 1."""
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
    return float(value)


def check_factor(name: str, value: Any) -> float:
    """``value`` as a float; ValueError unless it is a finite number from 0 on."""
    if not is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number from 0 on, got {value!r}")
    return float(value)
