"""The network of a language model: embedding, recurrent layers, projection to the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from .. import initializers, regularizers
from ..checks import check_factor, check_integer, check_rate
from ..layers import GRU, LSTM, Dense, Dropout, Embedding, Input, SimpleRNN
from ..layers.recurrent import Recurrent
from ..model import Model
from ..seeding import check_seed, temporary_seed

CELLS: dict[str, type[Recurrent]] = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN}
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}
_RATES = ("dropout", "input_dropout", "output_dropout", "embedding_dropout", "recurrent_dropout", "weight_drop")
EMBEDDING = "embedding.embeddings"


@dataclass(frozen=True)
class Architecture:
    """What the network is built from; the arguments of ``LanguageModel`` but for the tokenizer.

    Those from ``input_dropout`` on act in training only: a file of a time before they existed lacks them.

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
    input_dropout: float | None = None
    output_dropout: float | None = None
    embedding_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    weight_drop: float = 0.0
    variational: bool = False
    activation_penalty: float = 0.0
    temporal_penalty: float = 0.0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {self.cell!r}")
        for name, most in (("units", 2**31 - 1), ("layers", 1000), ("embedding_dim", 2**31 - 1)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), 1, most))
        object.__setattr__(self, "seed", check_seed(self.seed))
        for name in _RATES:
            if getattr(self, name) is not None or name not in ("input_dropout", "output_dropout"):
                object.__setattr__(self, name, check_rate(name, getattr(self, name)))
        for name in ("activation_penalty", "temporal_penalty"):
            object.__setattr__(self, name, check_factor(name, getattr(self, name)))
        if self.tie_weights and self.embedding_dim != self.units:
            raise ValueError(
                f"tie_weights needs one width, got embedding_dim={self.embedding_dim} and units={self.units}: "
                "the embedding is the projection, transposed"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture:
        """The inverse of ``dataclasses.asdict``, from a file that may hold anything."""
        known = {field.name: field.default is MISSING for field in fields(cls)}
        missing = [name for name, needed in known.items() if needed and name not in config]
        if missing or not config.keys() <= known.keys():
            raise ValueError(f"fields {sorted({*missing, *(config.keys() - known.keys())})} are missing or unknown")
        return cls(**config)

    def config(self) -> dict[str, Any]:
        return asdict(self)

    def plain(self) -> Architecture:
        """The same without dropout and penalties, for weights that are trained already."""
        rates = dict.fromkeys(_RATES, 0.0)
        return replace(self, **rates, activation_penalty=0.0, temporal_penalty=0.0)  # type: ignore[arg-type]

    def build(self, vocabulary_size: int, initial: bool = True) -> Model:
        """The network for ids (B, T) and probabilities (B, T, vocabulary_size), its recurrent layers stateful.

        Without ``initial`` the weights are zero, for those that are to be loaded: orthogonal ones take a while.
        """
        with temporary_seed(self.seed):
            ids = Input(shape=(None,), dtype="int32", name="ids")
            # Vectors of length 1, or short where they are the projection too: first predictions are even.
            spread = 0.05 if self.tie_weights else 1 / math.sqrt(self.embedding_dim)
            normal = initializers.RandomNormal(stddev=spread) if initial else "zeros"
            table = Embedding(
                vocabulary_size, self.embedding_dim, normal, dropout=self.embedding_dropout, name="embedding"
            )
            start = {} if initial else {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
            x = self._drop(table(ids), 0)
            for layer in range(self.layers):
                x = self._recurrent(layer, **start)(x)
                x = self._drop(x, layer + 1)
            tied_to = table if self.tie_weights else None
            outputs = Dense(vocabulary_size, "softmax", tied_to=tied_to, name="projection")(x)
            return Model(ids, outputs)

    def _recurrent(self, layer: int, **start: Any) -> Recurrent:
        penalty = None
        if layer == self.layers - 1 and self.temporal_penalty > 0:
            penalty = regularizers.TemporalActivationRegularizer(self.temporal_penalty)
        return CELLS[self.cell](
            self.units,
            return_sequences=True,
            stateful=True,
            recurrent_dropout=self.recurrent_dropout,
            weight_drop=self.weight_drop,
            activity_regularizer=penalty,
            name=f"{self.cell}_{layer}",
            **start,
        )

    def _drop(self, x: Any, place: int) -> Any:
        """What stands behind the embedding (place 0) and behind each recurrent layer."""
        ends = {0: self.input_dropout, self.layers: self.output_dropout}
        given = ends.get(place)
        rate, penalty = self.dropout if given is None else given, None
        if place == self.layers and self.activation_penalty > 0:
            penalty = regularizers.ActivationRegularizer(self.activation_penalty)
        if rate == 0 and penalty is None:
            return x
        noise_shape = (None, 1, None) if self.variational else None
        return Dropout(rate, noise_shape, activity_regularizer=penalty, name=f"dropout_{place}")(x)

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
