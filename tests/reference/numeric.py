"""Gradients by central differences: what the hand-written backward equations are checked against.

∂f/∂a[k] ≈ (f(a + h e_k) − f(a − h e_k)) / 2h

In float64 with h = 10⁻⁵ the error is about h² f‴ + 10⁻¹⁶ f / h, some 10⁻¹⁰ for functions of order one.
"""

from collections.abc import Callable

import numpy as np

from tests.reference import Array

STEP = 1e-5


def gradient(f: Callable[[], float], array: Array) -> Array:
    """`f` reads `array`, whose elements are moved one at a time and put back."""
    result = np.zeros_like(array)
    for k in np.ndindex(array.shape):
        value = array[k]
        array[k] = value + STEP
        above = f()
        array[k] = value - STEP
        below = f()
        array[k] = value
        result[k] = (above - below) / (2.0 * STEP)
    return result
