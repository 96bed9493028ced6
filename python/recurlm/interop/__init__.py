"""Models and weights from and to other libraries: Keras, PyTorch, ONNX."""

from .classifier import export_classifier
from .convert import load, save
from .keras import load_keras, load_keras_weights, save_keras_weights
from .onnx_export import save_onnx
from .onnx_import import load_onnx
from .pytorch import from_pytorch, to_pytorch
from .vocabulary import language_model

__all__ = [
    "export_classifier",
    "from_pytorch",
    "language_model",
    "load",
    "load_keras",
    "load_keras_weights",
    "load_onnx",
    "save",
    "save_keras_weights",
    "save_onnx",
    "to_pytorch",
]
