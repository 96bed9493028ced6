"""The training steps that are measured: shapes, optimiser settings, initial weights and what a step multiplies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

LEARNING_RATE = 1e-3
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # Keras's Adam
CLIP_NORM = 0.25  # of pytorch/examples/word_language_model; low enough to be at work from the first step
FIRST_ID = 0  # what a model has read before a scored text begins
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True)
class Config:
    """A language model (embedding, layers, softmax over the vocabulary) and the window it trains on.

    Layers are recurrent or, with the cell "attention", GPT-2's: learned positions, then in each layer causal attention
    of ``heads`` and two Dense layers of four times the width, each after a LayerNormalization and with a residual.
    """

    name: str
    text: Literal["char", "word"]
    vocabulary: int
    embedding: int
    units: int
    layers: int
    batch: int
    steps: int
    cell: Literal["rnn", "gru", "lstm", "attention"] = "lstm"
    heads: int = 0

    @property
    def tokens(self) -> int:
        """Tokens a training step sees."""
        return self.batch * self.steps

    @property
    def gates(self) -> int:
        return GATES[self.cell]

    @property
    def input_dims(self) -> list[int]:
        """Input width of each recurrent layer."""
        return [self.embedding] + [self.units] * (self.layers - 1)

    @property
    def multiplied_weights(self) -> int:
        """Weights that multiply an activation; the embedding is looked up, the biases are added.

        For attention also the keys and values, of which a causal step sees half on average.
        """
        if self.cell == "attention":
            return self.layers * self.units * (12 * self.units + self.steps) + self.units * self.vocabulary
        cells = sum((dim + self.units) * self.gates * self.units for dim in self.input_dims)
        return cells + self.units * self.vocabulary

    @property
    def forward_flops(self) -> int:
        """Each weight is multiplied and added once a token."""
        return 2 * self.multiplied_weights * self.tokens

    @property
    def counted_flops(self) -> int:
        """Of a training step: one product forward, two backward."""
        return 3 * self.forward_flops


CONFIGS = {
    config.name: config
    for config in (
        Config("char-128", "char", 65, 128, 128, 1, 50, 50),
        Config("char-512x2", "char", 65, 512, 512, 2, 64, 64),
        Config("char-512x2-gru", "char", 65, 512, 512, 2, 64, 64, "gru"),
        Config("char-512x2-rnn", "char", 65, 512, 512, 2, 64, 64, "rnn"),
        Config("char-gpt-128x4", "char", 65, 128, 128, 4, 12, 64, "attention", heads=4),
        Config("ptb-small", "word", 10_000, 200, 200, 2, 20, 20),
        Config("ptb-medium", "word", 10_000, 650, 650, 2, 20, 35),
        Config("ptb-medium-gru", "word", 10_000, 650, 650, 2, 20, 35, "gru"),
        Config("ptb-medium-rnn", "word", 10_000, 650, 650, 2, 20, 35, "rnn"),
        Config("ptb-large", "word", 10_000, 1500, 1500, 2, 20, 35),
        Config("wt2-650-b80", "word", 33_278, 650, 650, 2, 80, 35),
    )
}
GENERATED = ("char-128", "char-512x2", "ptb-small", "ptb-medium", "ptb-large")
SCORED = ("char-512x2", "ptb-medium", "wt2-650-b80")
QUICK = ("char-128", "char-512x2", "ptb-small", "ptb-medium")
QUICK_GENERATED = ("char-128", "char-512x2")


def shape(
    units: int = 333,
    layers: int = 2,
    batch: int = 33,
    steps: int = 35,
    vocabulary: int = 257,
    cell: Literal["rnn", "gru", "lstm"] = "lstm",
) -> Config:
    """A size that nobody tuned for; words, as they alone have that many different tokens."""
    name = f"{cell}-h{units}-l{layers}-b{batch}-t{steps}-v{vocabulary}"
    return Config(name, "word", vocabulary, units, units, layers, batch, steps, cell)


SHAPES = {
    config.name: config
    for config in (
        shape(),
        shape(units=96),
        shape(units=1024),
        shape(batch=1),
        shape(batch=7),
        shape(batch=256),
        shape(steps=1),
        shape(steps=200),
        shape(layers=4),
        shape(vocabulary=50_257),
        shape(units=96, batch=7, steps=200),
        shape(units=1024, batch=256, steps=1),
        shape(units=96, layers=4, batch=1, steps=1),
        shape(cell="gru"),
        shape(cell="rnn"),
    )
}


def initial_weights(config: Config, seed: int = 0) -> list[Float]:
    """Uniform in ``±1 / sqrt(units)``, in the order and layout of Keras's ``get_weights``.

    embedding (V, D); for each layer kernel (D, G*H), recurrent_kernel (H, G*H), bias (G*H,) or, for a GRU, (2, 3*H);
    then the projection's kernel (H, V) and bias (V,). With attention: positions (T, D) after the embedding; for each
    layer gamma, beta, the kernel and bias of query, key, value and output, gamma, beta, and twice kernel and bias of a
    Dense layer; gamma and beta before the projection.
    """
    rng = np.random.default_rng(seed)
    bound = np.float32(config.units**-0.5)

    def draw(*shape: int) -> Float:
        weights = rng.random(shape, dtype=np.float32)
        weights *= 2 * bound
        weights -= bound
        return weights

    if config.cell == "attention":
        return attention_weights(config, draw)
    columns = config.gates * config.units
    weights = [draw(config.vocabulary, config.embedding)]
    for dim in config.input_dims:
        weights += [draw(dim, columns), draw(config.units, columns)]
        weights.append(draw(2, columns) if config.cell == "gru" else draw(columns))
    return [*weights, draw(config.units, config.vocabulary), draw(config.vocabulary)]


def attention_weights(config: Config, draw: Callable[..., Float]) -> list[Float]:
    width, heads, each = config.units, config.heads, config.units // config.heads
    weights = [draw(config.vocabulary, width), draw(config.steps, width)]
    for _ in range(config.layers):
        weights += [1 + draw(width), draw(width)]
        weights += 3 * [draw(width, heads, each), draw(heads, each)]
        weights += [draw(heads, each, width), draw(width), 1 + draw(width), draw(width)]
        weights += [draw(width, 4 * width), draw(4 * width), draw(4 * width, width), draw(width)]
    return [*weights, 1 + draw(width), draw(width), draw(width, config.vocabulary), draw(config.vocabulary)]


def running_weights(config: Config, seed: int = 0) -> list[Float]:
    """What generation and scoring run on: ``initial_weights``, scaled towards what training makes of them.

    With embeddings of order one and logits that tell tokens apart, a wrong state or token shows in the answers.
    """
    weights = initial_weights(config, seed)
    weights[0] *= np.float32(config.units**0.5)
    weights[-2] *= np.float32(4)
    return weights
