"""The network of a language model: embedding, recurrent layers, projection to the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from .. import initializers
from ..layers import GRU, LSTM, Dense, Dropout, Embedding, Input, SimpleRNN
from ..model import Model
from ..seeding import check_seed, temporary_seed

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN}
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}
EMBEDDING = "embedding.embeddings"


@dataclass(frozen=True)
class Architecture:
    """What the network is built from; the arguments of ``LanguageModel`` but for the tokenizer.

    Raises:
        ValueError: a value is not possible.
    """

    cell: str
    units: int
    layers: int
    embedding_dim: int
    dropout: float
    tie_weights: bool
    seed: int

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {self.cell!r}")
        for name, most in (("units", 2**31 - 1), ("layers", 1000), ("embedding_dim", 2**31 - 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
                raise ValueError(f"{name} must be an integer from 1 to {most:,}, got {value!r}")
            object.__setattr__(self, name, int(value))  # JSON takes no NumPy numbers
        object.__setattr__(self, "seed", check_seed(self.seed))
        if not isinstance(self.dropout, (int, float, np.number)) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")
        object.__setattr__(self, "dropout", float(self.dropout))
        if self.tie_weights and self.embedding_dim != self.units:
            raise ValueError(
                f"tie_weights needs one width, got embedding_dim={self.embedding_dim} and units={self.units}: "
                "the embedding is the projection, transposed"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture:
        """The inverse of ``dataclasses.asdict``, from a file that may hold anything."""
        names = {field.name for field in fields(cls)}
        if config.keys() != names:
            raise ValueError(f"fields {sorted(config.keys() ^ names)} are missing or unknown")
        return cls(**config)

    def config(self) -> dict[str, Any]:
        return asdict(self)

    def build(self, vocabulary_size: int, initial: bool = True) -> Model:
        """The network for ids (B, T) and probabilities (B, T, vocabulary_size), its recurrent layers stateful.

        Without ``initial`` the weights are zero, for those that are to be loaded: orthogonal ones take a while.
        """
        with temporary_seed(self.seed):
            ids = Input(shape=(None,), dtype="int32", name="ids")
            # Vectors of length 1, or short where they are the projection too: first predictions are even.
            spread = 0.05 if self.tie_weights else 1 / math.sqrt(self.embedding_dim)
            normal = initializers.RandomNormal(stddev=spread) if initial else "zeros"
            table = Embedding(vocabulary_size, self.embedding_dim, normal, name="embedding")
            start = {} if initial else {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
            x = self._drop(table(ids), 0)
            for layer in range(self.layers):
                name = f"{self.cell}_{layer}"
                x = CELLS[self.cell](self.units, return_sequences=True, stateful=True, name=name, **start)(x)
                x = self._drop(x, layer + 1)
            tied_to = table if self.tie_weights else None
            outputs = Dense(vocabulary_size, "softmax", tied_to=tied_to, name="projection")(x)
            return Model(ids, outputs)

    def _drop(self, x: Any, place: int) -> Any:
        return Dropout(self.dropout, name=f"dropout_{place}")(x) if self.dropout > 0 else x

    @property
    def input_widths(self) -> list[int]:
        """Of each recurrent layer."""
        return [self.embedding_dim] + [self.units] * (self.layers - 1)

    def shapes(self, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
        """The weights of the network by name, as ``Model.named_weights`` has them."""
        columns = _GATES[self.cell] * self.units
        shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (vocabulary_size, self.embedding_dim)}
        for layer, width in enumerate(self.input_widths):
            name = f"{self.cell}_{layer}."
            bias = (2, columns) if self.cell == "gru" else (columns,)
            parts = {"kernel": (width, columns), "recurrent_kernel": (self.units, columns), "bias": bias}
            shapes |= {name + part: shape for part, shape in parts.items()}
        if not self.tie_weights:
            shapes["projection.kernel"] = (self.units, vocabulary_size)
        shapes["projection.bias"] = (vocabulary_size,)
        return shapes
