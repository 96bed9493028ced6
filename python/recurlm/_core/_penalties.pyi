"""Penalties that are added to a loss."""

from ._types import Float

def penalty(x: Float, l1: float, l2: float, gradient: Float | None) -> float:
    """``l1 * sum(|x|) + l2 * sum(x**2)``, x of any shape; its gradient is added to ``gradient`` of the same shape."""

def difference_penalty(x: Float, factor: float, gradient: Float | None) -> float:
    """``factor * sum((x[1:] - x[:-1])**2)``, x (T, ...); its gradient is added to ``gradient`` of the same shape."""
