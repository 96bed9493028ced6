"""Choosing a language model by trials: what to try, trying it in parallel, keeping the best."""

from .search import tune
from .space import Space
from .trials import Trial, Tuning

__all__ = ["Space", "Trial", "Tuning", "tune"]
