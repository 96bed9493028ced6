"""Models and weights from and to other libraries."""

from .pytorch import from_pytorch, to_pytorch

__all__ = ["from_pytorch", "to_pytorch"]
