"""Softmax over the last axis (Bridle 1990, "Probabilistic interpretation of feedforward classification network
outputs").

softmax(x)[n] = exp(x[n]) / Σ_k exp(x[k])

Both halves are divided by exp(max x), so no exponential overflows. With y = softmax(x) and any dy:

dx[n] = y[n] (dy[n] − Σ_k dy[k] y[k])
"""

import numpy as np

from tests.reference import Array


def log_softmax(x: Array) -> Array:
    """x (..., N) -> log-probabilities (..., N)."""
    shifted = x - x.max(axis=-1, keepdims=True)
    log_sum: Array = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.asarray(shifted - log_sum)


def forward(x: Array) -> Array:
    """x (..., N) -> y (..., N), rows that sum to one."""
    return np.exp(log_softmax(x))


def backward(y: Array, dy: Array) -> Array:
    """y, dy (..., N) -> dx (..., N)."""
    mean: Array = (dy * y).sum(axis=-1, keepdims=True)
    return y * (dy - mean)
