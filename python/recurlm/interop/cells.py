"""How other libraries store a recurrent cell: gates in rows and in their own order, biases of input and state apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..layers import GRU, LSTM, SimpleRNN
from ..layers.recurrent import Recurrent
from ..typing import Float

CELLS: dict[str, type[Recurrent]] = {cls.kind: cls for cls in (SimpleRNN, GRU, LSTM)}
_KIND_OF_GATES = {cls.gates: kind for kind, cls in CELLS.items()}


@dataclass(frozen=True)
class GateOrder:
    """Where each of a library's gates stands among ours, which are z r n (GRU) and i f g o (LSTM)."""

    gru: tuple[int, ...]
    lstm: tuple[int, ...]

    def of(self, kind: str) -> tuple[int, ...]:
        return {"rnn": (0,), "gru": self.gru, "lstm": self.lstm}[kind]


PYTORCH = GateOrder(gru=(1, 0, 2), lstm=(0, 1, 2, 3))  # r z n, i f g o
ONNX = GateOrder(gru=(0, 1, 2), lstm=(0, 3, 1, 2))  # z r h, i o f c


class CellRows(NamedTuple):
    """The weights of one direction of a layer, G gates of H units in rows."""

    kernel: Float  # (G * H, D)
    recurrent_kernel: Float  # (G * H, H)
    biases: tuple[Float, Float] | None  # of input and state, (G * H,) each

    @property
    def units(self) -> int:
        return int(self.recurrent_kernel.shape[1])

    @property
    def width(self) -> int:
        """Of the input, D."""
        return int(self.kernel.shape[1])

    @property
    def gates(self) -> int:
        return len(self.kernel) // self.units

    def check(self, name: str) -> None:
        """ValueError where the shapes are not those of a cell."""
        rows = len(self.kernel)
        fits = self.kernel.ndim == self.recurrent_kernel.ndim == 2 and self.recurrent_kernel.size > 0
        fits = fits and len(self.recurrent_kernel) == rows and rows % self.units == 0 and self.gates in _KIND_OF_GATES
        if not fits or any(bias.shape != (rows,) for bias in self.biases or ()):
            shapes = ", ".join(str(array.shape) for array in (self.kernel, self.recurrent_kernel, *(self.biases or ())))
            raise ValueError(f"{name}: shapes {shapes} are not those of an RNN, GRU or LSTM")

    def weights(self, layer: Recurrent, order: GateOrder) -> list[Float]:
        """As ``layer`` takes them. Two biases become one where the cell adds them anyway."""
        places = order.of(layer.kind)
        weights = [_to_columns(self.kernel, places), _to_columns(self.recurrent_kernel, places)]
        if self.biases is not None:
            one, other = (_to_columns(bias[:, None], places)[0] for bias in self.biases)
            weights.append(np.stack((one, other)) if len(layer.bias_shape()) == 2 else one + other)
        return weights

    @classmethod
    def of(cls, layer: Recurrent, order: GateOrder) -> CellRows:
        """The inverse of ``weights``; one bias becomes that of the input, beside zeros."""
        places = order.of(layer.kind)
        biases = None
        if layer.bias is not None:
            bias = layer.bias.value.reshape(-1, layer.gates * layer.units)
            one, other = bias if len(bias) == 2 else (bias[0], np.zeros_like(bias[0]))
            biases = _to_rows(one[None], places)[:, 0], _to_rows(other[None], places)[:, 0]
        return cls(_to_rows(layer.kernel.value, places), _to_rows(layer.recurrent_kernel.value, places), biases)


def kind_of(rows: CellRows) -> str:
    """The kind of cell that has so many gates."""
    return _KIND_OF_GATES[rows.gates]


def _to_columns(rows: Float, places: tuple[int, ...]) -> Float:
    """(G * H, D) in another's order to (D, G * H) in ours."""
    theirs = rows.reshape(len(places), -1, rows.shape[1])
    ours = np.empty_like(theirs)
    ours[list(places)] = theirs
    return np.ascontiguousarray(ours.reshape(rows.shape).T)


def _to_rows(columns: Float, places: tuple[int, ...]) -> Float:
    """The inverse of ``_to_columns``."""
    ours = columns.T.reshape(len(places), -1, columns.shape[0])
    return np.ascontiguousarray(ours[list(places)].reshape(columns.T.shape))
