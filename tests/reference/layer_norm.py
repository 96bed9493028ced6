"""Layer normalisation of rows (Ba, Kiros, Hinton 2016).

n = (x − μ) / √(σ² + ε)        y = γ n + β

With g = γ dy:

dx = (g − mean(g) − n mean(g n)) / √(σ² + ε)        dγ = Σ_r dy n        dβ = Σ_r dy
"""

import numpy as np

from tests.reference import Array


def normalised(x: Array, epsilon: float) -> tuple[Array, Array]:
    """x (R, D) -> n (R, D) and 1 / √(σ² + ε) (R, 1)."""
    inverse = 1.0 / np.sqrt(x.var(axis=1, keepdims=True) + epsilon)
    return (x - x.mean(axis=1, keepdims=True)) * inverse, inverse


def forward(x: Array, gamma: Array, beta: Array, epsilon: float) -> Array:
    """x (R, D), gamma (D,), beta (D,) -> y (R, D)."""
    return gamma * normalised(x, epsilon)[0] + beta


def backward(x: Array, gamma: Array, epsilon: float, dy: Array) -> tuple[Array, Array, Array]:
    """dy (R, D) -> dx (R, D), dgamma (D,), dbeta (D,)."""
    n, inverse = normalised(x, epsilon)
    g = gamma * dy
    dx = inverse * (g - g.mean(axis=1, keepdims=True) - n * (g * n).mean(axis=1, keepdims=True))
    return dx, (dy * n).sum(axis=0), dy.sum(axis=0)
