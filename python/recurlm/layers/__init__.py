"""Layers, with Keras's names, arguments, defaults, weight order and gate order."""

from .activation import Activation
from .attention import AdditiveAttention, Attention
from .base import Layer, SymbolicTensor
from .cells import GRU, LSTM, SimpleRNN
from .core import Dense, Embedding, Input, InputLayer, Masking
from .merging import Add, Average, Concatenate, Multiply, Subtract
from .multi_head_attention import MultiHeadAttention
from .normalization import LayerNormalization
from .pooling import GlobalAveragePooling1D, GlobalMaxPooling1D
from .position import PositionEmbedding
from .regularization import Dropout, SpatialDropout1D
from .reshaping import Flatten, Permute, RepeatVector, Reshape
from .serialization import deserialize, serialize
from .steps import Lengths, Reverse
from .wrappers import Bidirectional, TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "Add",
    "AdditiveAttention",
    "Attention",
    "Average",
    "Bidirectional",
    "Concatenate",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "Lengths",
    "Masking",
    "MultiHeadAttention",
    "Multiply",
    "Permute",
    "PositionEmbedding",
    "RepeatVector",
    "Reshape",
    "Reverse",
    "SimpleRNN",
    "SpatialDropout1D",
    "Subtract",
    "SymbolicTensor",
    "TimeDistributed",
    "deserialize",
    "serialize",
]
