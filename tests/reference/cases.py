"""Random inputs for the ops: float32 values, as the core reads them, that the references take as float64.

Weights have the spread of Glorot's initialisation, so that activations and gradients stay of order one at any size.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tests.reference import Array, Mask, recurrent
from tests.reference.gru import GRU
from tests.reference.lstm import LSTM
from tests.reference.precision import Bfloat16Kernel
from tests.reference.rnn import SimpleRNN

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Float32:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def double(array: npt.NDArray[np.generic]) -> Array:
    return array.astype(np.float64)


@dataclass(frozen=True)
class CellSpec:
    """The arguments of `_core.Cell`, less the sizes, and how its products are formed."""

    kind: str
    activation: str = "tanh"
    reset_after: bool = True
    precision: str = "float32"  # of the operands of products

    @property
    def gates(self) -> int:
        return {"rnn": 1, "gru": 3, "lstm": 4}[self.kind]

    @property
    def states(self) -> int:
        return 2 if self.kind == "lstm" else 1

    def reference(self, state_factors: Float32 | None = None) -> recurrent.Cell:
        factors = 1.0 if state_factors is None else double(state_factors)
        if self.kind == "rnn":
            return SimpleRNN(self.activation, factors)
        return GRU(self.reset_after, factors) if self.kind == "gru" else LSTM(factors)

    def bias_shape(self, units: int) -> tuple[int, ...]:
        return (2, 3 * units) if self.kind == "gru" and self.reset_after else (self.gates * units,)

    def __str__(self) -> str:
        name = self.kind
        if self.kind == "gru" and not self.reset_after:
            name = "gru-reset-before"
        elif self.kind == "rnn":
            name = f"rnn-{self.activation}"
        return name if self.precision == "float32" else f"{name}-{self.precision}"


CELLS = [
    CellSpec("lstm"),
    CellSpec("gru"),
    CellSpec("gru", reset_after=False),
    CellSpec("rnn"),
    CellSpec("rnn", activation="relu"),
    CellSpec("rnn", activation="sigmoid"),
    CellSpec("rnn", activation="linear"),
]
BFLOAT16_CELLS = [replace(spec, precision="bfloat16") for spec in CELLS[:4]]


@dataclass(frozen=True)
class RecurrentCase:
    """Everything that goes into a forward and a backward pass of one cell over one batch."""

    spec: CellSpec
    x: Float32  # (T, B, D)
    kernel: Float32  # (D, G*H)
    recurrent_kernel: Float32  # (H, G*H)
    bias: Float32 | None
    initial: tuple[Float32, ...]  # (B, H) each: h or h, c
    dy: Float32  # (T, B, H)
    dfinal: tuple[Float32, ...]  # (B, H) each
    mask: Mask | None = None  # (T, B)
    reverse: bool = False
    state_factors: Float32 | None = None  # (B, H), of recurrent dropout

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """T, B, D, H."""
        steps, batch, width = self.x.shape
        return steps, batch, width, self.dy.shape[2]

    def reference_parameters(self) -> recurrent.Parameters:
        bias = np.zeros(self.spec.bias_shape(self.sizes[3])) if self.bias is None else double(self.bias)
        kernels = double(self.kernel), double(self.recurrent_kernel)
        if self.spec.precision == "bfloat16":
            kernels = Bfloat16Kernel.of(kernels[0]), Bfloat16Kernel.of(kernels[1])
        return recurrent.Parameters(*kernels, bias)

    def reference(self) -> tuple[recurrent.Run, recurrent.Gradients]:
        cell, p = self.spec.reference(self.state_factors), self.reference_parameters()
        initial = tuple(double(s) for s in self.initial)
        run = recurrent.forward(cell, p, double(self.x), initial, self.mask, self.reverse)
        dfinal = tuple(double(d) for d in self.dfinal)
        return run, recurrent.backward(cell, p, run, self.x.shape, double(self.dy), dfinal, self.mask, self.reverse)


def recurrent_case(
    spec: CellSpec,
    sizes: tuple[int, int, int, int],
    seed: int,
    *,
    masked: bool = False,
    reverse: bool = False,
    biased: bool = True,
    dropped: bool = False,
) -> RecurrentCase:
    """sizes: T, B, D, H. A mask keeps about two steps of three, in no particular order, dropout half of the states."""
    steps, batch, width, units = sizes
    rng = np.random.default_rng(seed)
    columns = spec.gates * units
    return RecurrentCase(
        spec,
        normal(rng, steps, batch, width),
        normal(rng, width, columns, scale=(width + units) ** -0.5),
        normal(rng, units, columns, scale=(2 * units) ** -0.5),
        normal(rng, *spec.bias_shape(units), scale=0.5) if biased else None,
        tuple(normal(rng, batch, units, scale=0.5) for _ in range(spec.states)),
        normal(rng, steps, batch, units),
        tuple(normal(rng, batch, units) for _ in range(spec.states)),
        rng.random((steps, batch)) < 0.67 if masked else None,
        reverse,
        2 * (rng.random((batch, units)) < 0.5).astype(np.float32) if dropped else None,
    )
