"""Element-wise activations, each with its derivative written in terms of its own output y; gelu's in terms of x.

σ(x) = 1 / (1 + e⁻ˣ)                       σ′ = y (1 − y)
tanh(x) = 2 σ(2x) − 1                      tanh′ = 1 − y²
relu(x) = max(x, 0)                        relu′ = [y > 0]
linear(x) = x                              linear′ = 1
gelu(x) = x Φ(x)                           gelu′ = Φ(x) + x φ(x), the normal distribution and its density
"""

import math
from collections.abc import Callable

import numpy as np

from tests.reference import Array


def sigmoid(x: Array) -> Array:
    """Any shape. tanh never overflows, where 1 / (1 + exp(-x)) does for x < -709."""
    return 0.5 * (np.tanh(0.5 * x) + 1.0)


def normal_distribution(x: Array) -> Array:
    """Any shape. erfc keeps the digits of small values, where 1 + erf loses them."""
    return np.asarray(np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2.0)), otypes=[np.float64])(x))


def gelu_derivative(x: Array) -> Array:
    """Any shape."""
    bounded = np.clip(x, -40.0, 40.0)  # an infinity times the density there, 0, would be NaN
    return normal_distribution(x) + bounded * np.exp(-0.5 * bounded * bounded) / math.sqrt(2.0 * math.pi)


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": sigmoid,
    "tanh": lambda x: np.asarray(np.tanh(x)),
    "relu": lambda x: np.maximum(x, 0.0),
    "linear": lambda x: x.copy(),
    "gelu": lambda x: np.where(x == -np.inf, 0.0, x) * normal_distribution(x),
}
DERIVATIVES: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda y: y * (1.0 - y),
    "tanh": lambda y: 1.0 - y * y,
    "relu": lambda y: np.where(y > 0.0, 1.0, 0.0),
    "linear": np.ones_like,
    "gelu": gelu_derivative,
}


def forward(name: str, x: Array) -> Array:
    """Any shape."""
    return FUNCTIONS[name](x)


def backward(name: str, y: Array, dy: Array) -> Array:
    """Output y (for gelu: input) and the output's gradient dy, of any equal shape -> dx."""
    return dy * DERIVATIVES[name](y)
