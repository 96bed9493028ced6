"""The network of a language model: embedding, recurrent layers, projection to the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from .. import _core, initializers
from ..layers import GRU, LSTM, Dense, Dropout, Embedding, SimpleRNN
from ..model import Input, Model

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN}


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
        for name in ("units", "layers", "embedding_dim"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if self.tie_weights and self.embedding_dim != self.units:
            raise ValueError(
                f"tie_weights needs embedding_dim equal to units ({self.units}), got {self.embedding_dim}: "
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

    def build(self, vocabulary_size: int) -> Model:
        """The network for ids (B, T) and probabilities (B, T, vocabulary_size), its recurrent layers stateful."""
        seeds = iter(np.random.SeedSequence(self.seed).generate_state(2 * self.layers + 2).tolist())
        ids = Input(shape=(None,), dtype="int32", name="ids")
        # Rows of a length near 1, or, where they are the projection too, small enough for even first predictions.
        scale = 1 / math.sqrt(self.embedding_dim) if not self.tie_weights else 0.05
        table = Embedding(
            vocabulary_size,
            self.embedding_dim,
            initializers.RandomNormal(stddev=scale, seed=next(seeds)),
            name="embedding",
        )
        x = self._drop(table(ids), 0)
        for layer in range(self.layers):
            recurrent = CELLS[self.cell](
                self.units,
                kernel_initializer=initializers.GlorotUniform(seed=next(seeds)),
                recurrent_initializer=initializers.Orthogonal(seed=next(seeds)),
                return_sequences=True,
                stateful=True,
                name=f"{self.cell}_{layer}",
            )
            x = self._drop(recurrent(x), layer + 1)
        kernel = {} if self.tie_weights else {"kernel_initializer": initializers.GlorotUniform(seed=next(seeds))}
        tied_to = table if self.tie_weights else None
        outputs = Dense(vocabulary_size, "softmax", tied_to=tied_to, name="projection", **kernel)(x)
        return Model(ids, outputs)

    def _drop(self, x: Any, place: int) -> Any:
        return Dropout(self.dropout, seed=self.seed, name=f"dropout_{place}")(x) if self.dropout > 0 else x

    def pack(self, model: Model) -> _core.Decoder:
        """The weights of ``model``, which ``build`` made, packed for decoding."""
        weights = {name: parameter.value for name, parameter in model.named_weights().items()}
        cells = []
        width = self.embedding_dim
        for layer in range(self.layers):
            name = f"{self.cell}_{layer}"
            values = (weights[f"{name}.{part}"] for part in ("kernel", "recurrent_kernel", "bias"))
            cells.append((_core.Cell(self.cell, width, self.units), *values))
            width = self.units
        table = weights["embedding.embeddings"]
        kernel = table if self.tie_weights else weights["projection.kernel"]
        return _core.Decoder(table, cells, kernel, weights["projection.bias"], transposed=self.tie_weights)
