"""Affine map of rows.

y = x W + b

Gradients (Rumelhart, Hinton, Williams 1986, "Learning representations by back-propagating errors"):

dx = dy Wᵀ        dW = xᵀ dy        db = Σ_r dy[r]
"""

from tests.reference import Array


def forward(x: Array, kernel: Array, bias: Array | None) -> Array:
    """x (R, D), kernel (D, N), bias (N,) -> y (R, N)."""
    y = x @ kernel
    return y if bias is None else y + bias


def backward(x: Array, kernel: Array, dy: Array) -> tuple[Array, Array, Array]:
    """dy (R, N) -> dx (R, D), dkernel (D, N), dbias (N,)."""
    return dy @ kernel.T, x.T @ dy, dy.sum(axis=0)
