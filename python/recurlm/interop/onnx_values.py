"""What the names of an ONNX graph stand for while it is read: constants, and tensors whose axes have names.

Axes: B batch, T time, S directions, D features. Ours are batch-first and without S: a tensor with S has a part for each
direction, and the order in which ONNX has the axes is only noted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ..layers import Activation, Concatenate, Dense, Embedding, SymbolicTensor
from ..typing import Array, Float


@dataclass(frozen=True)
class Constant:
    array: Array


@dataclass(frozen=True)
class Filled:
    """An array of one value, whose shape depends on the data."""

    value: float


@dataclass(frozen=True)
class Extents:
    """Something computed from shapes, which nothing here depends on."""


@dataclass(frozen=True)
class Tensor:
    """``last`` is the output of the last step of each part, where it is there; ``lengths`` are those of padded ones."""

    parts: list[SymbolicTensor]
    axes: str
    last: list[SymbolicTensor] | None = None
    lengths: str | None = None

    def __post_init__(self) -> None:
        assert len(self.parts) == 1 or "S" in self.axes

    @property
    def only(self) -> SymbolicTensor:
        """The tensor where there is one part; of directions side by side one is made by ``merged``."""
        return self.parts[0]

    def moved(self, axes: str) -> Tensor:
        """The same with its axes in another order."""
        return replace(self, axes=axes)

    def part(self, index: int) -> Tensor:
        """One direction."""
        last = None if self.last is None else [self.last[index]]
        return Tensor([self.parts[index]], self.axes.replace("S", ""), last, self.lengths)

    def merged(self) -> Tensor:
        """The features of all directions side by side."""
        if len(self.parts) == 1:
            return self.part(0)
        last = None if self.last is None else [Concatenate()(self.last)]
        return Tensor([Concatenate()(self.parts)], self.axes.replace("S", ""), last, self.lengths)

    def at_last_step(self) -> Tensor | None:
        """The output of the last step; None where it is not at hand."""
        return None if self.last is None else Tensor(self.last, self.axes.replace("T", ""))

    def activated(self, name: str) -> Tensor:
        return Tensor([Activation(name)(part) for part in self.parts], self.axes, None, self.lengths)


@dataclass(frozen=True)
class Linear:
    """``x @ kernel + bias``, not yet a layer: a bias or an activation may follow."""

    x: Tensor
    kernel: Float  # (D, units)
    bias: Float | None = None

    def layer(self, activation: str, tables: list[Embedding]) -> Tensor:
        """A Dense, tied where its kernel is one of the ``tables``, transposed."""
        units = self.kernel.shape[1]
        tied_to = next((table for table in tables if np.array_equal(table.embeddings.value, self.kernel.T)), None)
        dense = Dense(units, activation, self.bias is not None, "zeros", tied_to=tied_to)
        y = dense(self.x.only)
        dense.set_weights(
            [*([] if tied_to is not None else [self.kernel]), *([] if self.bias is None else [self.bias])]
        )
        return Tensor([y], self.x.axes, None, self.x.lengths)


@dataclass(frozen=True)
class Given:
    """An input of the graph; what it is follows from what reads it."""

    name: str
    shape: tuple[int | None, ...]
    integer: bool


Value: TypeAlias = "Constant | Filled | Extents | Tensor | Linear | Given"


def fixed(value: Value | None, what: str) -> Any:
    """The array of a constant; ValueError where the data decide."""
    if not isinstance(value, Constant):
        raise ValueError(f"{what} must be a constant")
    return value.array
