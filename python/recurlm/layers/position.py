"""PositionEmbedding."""

from typing import Any

import numpy as np

from .. import initializers
from ..checks import check_integer
from ..tape import Call
from ..typing import Array, Float, Shape
from .base import Layer


class PositionEmbedding(Layer):
    """The first T rows of a learned table, for each row of the batch: (B, T, D) -> (B, T, D), to be added to the input.

    The input gives the shape alone. One longer than ``sequence_length`` is refused.
    """

    def __init__(self, sequence_length: int, initializer: Any = "glorot_uniform", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sequence_length = check_integer(f"{self.name}: sequence_length", sequence_length, 1)
        self.initializer = initializers.get(initializer)

    def build(self, input_shapes: list[Shape]) -> None:
        shape = self.sequence_length, input_shapes[0][2] or 0
        self.embeddings = self.add_weight("embeddings", shape, self.initializer)

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][2] is None:
            raise ValueError(f"{self.name} takes one input (batch, time, width) of known width, got {shapes}")
        if self.built and shapes[0][2] != self.embeddings.shape[1]:
            raise ValueError(f"{self.name} takes inputs of width {self.embeddings.shape[1]}, got shape {shapes[0]}")
        self._check_length(shapes[0][1] or 0)

    def _check_length(self, steps: int) -> None:
        if steps > self.sequence_length:
            raise ValueError(f"{self.name} has {self.sequence_length} positions, got a sequence of {steps}")

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        shape = inputs[0].shape
        self._check_length(shape[0])
        y = call.buffer("y", shape)
        y[...] = self.embeddings.value[: shape[0], None]
        return [y]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy = grads[0]
        if dy is not None and self.trainable:
            table, steps = self.embeddings.grad, len(dy)
            if call.tape.accumulate([self.embeddings]):
                table[:steps] += dy.sum(axis=1)
            else:
                np.sum(dy, axis=1, out=table[:steps])
                table[steps:].fill(0)
        return [None]

    def get_config(self) -> dict[str, Any]:
        initializer = initializers.serialize(self.initializer)
        return super().get_config() | {"sequence_length": self.sequence_length, "initializer": initializer}
