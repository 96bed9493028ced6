"""Models and weights from and to other libraries."""

from .keras import load_keras, load_keras_weights, save_keras_weights
from .pytorch import from_pytorch, to_pytorch

__all__ = ["from_pytorch", "load_keras", "load_keras_weights", "save_keras_weights", "to_pytorch"]
