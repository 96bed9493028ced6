"""Losses of each row on probabilities or values, as Keras 3 defines them, and their gradients with respect to y_pred.

mean_squared_error                 L = (1/N) Σ_n (p[n] − y[n])²
mean_absolute_error                L = (1/N) Σ_n |p[n] − y[n]|                        gradient 0 at p = y
binary_crossentropy                L = −(1/N) Σ_n y[n] ln q[n] + (1 − y[n]) ln(1 − q[n]),    q = clip(p)
categorical_crossentropy           L = −Σ_n y[n] ln q[n],                            q = clip(p / Σ_k p[k])
sparse_categorical_crossentropy    the same with y the one-hot row of an id

clip keeps q within [ε, 1 − ε], ε = 10⁻⁷; where it takes effect, no gradient passes. Cross-entropy is the negative
log-likelihood of the model (Good 1952, "Rational decisions").
"""

import numpy as np

from tests.reference import Array, Ids, softmax

EPSILON = 1e-7


def clip(q: Array) -> tuple[Array, Array]:
    """Clipped values and where the gradient passes (1.0 or 0.0)."""
    inside = (q >= EPSILON) & (q <= 1.0 - EPSILON)
    return np.clip(q, EPSILON, 1.0 - EPSILON), inside.astype(np.float64)


def mean_squared_error(y: Array, p: Array) -> tuple[Array, Array]:
    """y, p (R, N) -> loss (R,), dp (R, N); so for all functions below."""
    return ((p - y) ** 2).mean(axis=1), 2.0 * (p - y) / y.shape[1]


def mean_absolute_error(y: Array, p: Array) -> tuple[Array, Array]:
    return np.abs(p - y).mean(axis=1), np.sign(p - y) / y.shape[1]


def binary_crossentropy(y: Array, p: Array) -> tuple[Array, Array]:
    q, passes = clip(p)
    loss = -(y * np.log(q) + (1.0 - y) * np.log1p(-q)).mean(axis=1)
    return loss, passes * (q - y) / (q * (1.0 - q)) / y.shape[1]


def categorical_crossentropy(y: Array, p: Array) -> tuple[Array, Array]:
    """With s = Σ_k p[k] and u = p / s: ∂u[n]/∂p[k] = ([n = k] − u[n]) / s."""
    s: Array = p.sum(axis=1, keepdims=True)  # (R, 1)
    u = p / s
    q, passes = clip(u)
    du = -y / q * passes
    return -(y * np.log(q)).sum(axis=1), (du - (du * u).sum(axis=1, keepdims=True)) / s


def sparse_categorical_crossentropy(targets: Ids, p: Array) -> tuple[Array, Array]:
    """targets (R,)."""
    return categorical_crossentropy(np.eye(p.shape[1])[targets], p)


def softmax_cross_entropy(logits: Array, y: Array) -> tuple[Array, Array]:
    """L = −Σ_n y[n] log_softmax(logits)[n], without clipping; dlogits[n] = softmax(logits)[n] Σ_k y[k] − y[n]."""
    loss = -(y * softmax.log_softmax(logits)).sum(axis=1)
    return loss, softmax.forward(logits) * y.sum(axis=1, keepdims=True) - y
