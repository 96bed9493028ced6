"""Layers, with Keras's names, arguments, defaults, weight order and gate order."""

from .attention import AdditiveAttention, Attention
from .base import Layer, SymbolicTensor
from .core import Dense, Embedding, Input, InputLayer, Masking
from .merging import Add
from .multi_head_attention import MultiHeadAttention
from .normalization import LayerNormalization
from .position import PositionEmbedding
from .recurrent import GRU, LSTM, SimpleRNN
from .regularization import Dropout

__all__ = [
    "GRU",
    "LSTM",
    "Add",
    "AdditiveAttention",
    "Attention",
    "Dense",
    "Dropout",
    "Embedding",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "Masking",
    "MultiHeadAttention",
    "PositionEmbedding",
    "SimpleRNN",
    "SymbolicTensor",
]
