"""Layers, with Keras's names, arguments, defaults, weight order and gate order."""

from .base import Layer, SymbolicTensor
from .cells import GRU, LSTM, SimpleRNN
from .core import Dense, Embedding, Input, InputLayer, Masking
from .regularization import Dropout

__all__ = [
    "GRU",
    "LSTM",
    "Dense",
    "Dropout",
    "Embedding",
    "Input",
    "InputLayer",
    "Layer",
    "Masking",
    "SimpleRNN",
    "SymbolicTensor",
]
