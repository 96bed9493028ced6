"""The core's calls as the tests make them: outputs begin as NaN, so that an element left unwritten shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recurlm import _core
from tests.reference.cases import CellSpec, Float32, Int32, RecurrentCase

# Half a unit in the last place of 1.0: the largest relative error of one rounding to float32.
UNIT = 2.0**-24


def unwritten(*shape: int) -> Float32:
    return np.full(shape, np.nan, np.float32)


def core_cell(spec: CellSpec, width: int, units: int) -> _core.Cell:
    return _core.Cell(spec.kind, width, units, activation=spec.activation, reset_after=spec.reset_after)


@dataclass(frozen=True)
class Forward:
    """What a forward pass leaves behind. states: h or h, c, each (T + 1, B, H)."""

    cell: _core.Cell
    states: tuple[Float32, ...]
    saved: Float32
    dropped_h: Float32 | None = None  # (T, B, H)


@dataclass(frozen=True)
class Backward:
    """dinitial: dh or dh, dc, each (B, H)."""

    dx: Float32
    dkernel: Float32
    drecurrent_kernel: Float32
    dbias: Float32
    dinitial: tuple[Float32, ...]

    def arrays(self) -> dict[str, Float32]:
        named = {"dx": self.dx, "dkernel": self.dkernel, "drecurrent_kernel": self.drecurrent_kernel}
        return named | {"dbias": self.dbias} | {f"dinitial[{i}]": d for i, d in enumerate(self.dinitial)}


@dataclass(frozen=True)
class Repeated:
    """The x of a case as rows (R, D) of which `rows` (T, B) tells where each stands."""

    x: Float32
    rows: Int32


def forward(case: RecurrentCase, workspace: _core.Workspace | None = None, repeated: Repeated | None = None) -> Forward:
    steps, batch, width, units = case.sizes
    cell = core_cell(case.spec, width, units)
    states = tuple(unwritten(steps + 1, batch, units) for _ in case.initial)
    for rows, s in zip(states, case.initial, strict=True):
        rows[steps if case.reverse else 0] = s
    saved = unwritten(cell.saved_size(steps, batch))
    dropped_h = None if case.state_factors is None else unwritten(steps, batch, units)
    _core.recurrent_forward(
        cell,
        repeated.x if repeated else case.x,
        case.kernel,
        case.recurrent_kernel,
        case.bias,
        states[0],
        states[1] if len(states) == 2 else None,
        saved,
        case.mask,
        workspace or _core.Workspace(),
        reverse=case.reverse,
        rows=repeated.rows if repeated else None,
        precision=case.spec.precision,
        state_factors=case.state_factors,
        dropped_h=dropped_h,
    )
    return Forward(cell, states, saved, dropped_h)


def backward(
    case: RecurrentCase,
    run: Forward,
    workspace: _core.Workspace | None = None,
    start: Sequence[Float32] | None = None,
    repeated: Repeated | None = None,
    dx: Float32 | None = None,
) -> Backward:
    """Use up `run`: the core overwrites what forward saved. Gradients of parameters are added to `start`, if given."""
    x = repeated.x if repeated else case.x
    dinitial = tuple(d.copy() for d in case.dfinal)
    shapes = [case.kernel.shape, case.recurrent_kernel.shape, case.spec.bias_shape(case.sizes[3])]
    dkernel, drecurrent_kernel, dbias = (unwritten(*s) for s in shapes) if start is None else (a.copy() for a in start)
    out = Backward(unwritten(*x.shape) if dx is None else dx, dkernel, drecurrent_kernel, dbias, dinitial)
    lstm = len(dinitial) == 2
    _core.recurrent_backward(
        run.cell,
        x,
        case.kernel,
        case.recurrent_kernel,
        case.bias,
        run.states[0],
        run.states[1] if lstm else None,
        run.saved,
        case.mask,
        case.dy,
        dinitial[0],
        dinitial[1] if lstm else None,
        out.dx,
        out.dkernel,
        out.drecurrent_kernel,
        out.dbias,
        workspace or _core.Workspace(),
        reverse=case.reverse,
        accumulate=start is not None,
        rows=repeated.rows if repeated else None,
        precision=case.spec.precision,
        state_factors=case.state_factors,
        dropped_h=run.dropped_h,
    )
    return out


def rows_of(case: RecurrentCase, rows: slice) -> RecurrentCase:
    """The same case for some rows of its batch."""
    return replace(
        case,
        x=np.ascontiguousarray(case.x[:, rows]),
        dy=np.ascontiguousarray(case.dy[:, rows]),
        initial=tuple(s[rows].copy() for s in case.initial),
        dfinal=tuple(d[rows].copy() for d in case.dfinal),
        mask=None if case.mask is None else np.ascontiguousarray(case.mask[:, rows]),
        state_factors=None if case.state_factors is None else case.state_factors[rows].copy(),
    )


@dataclass(frozen=True)
class CrossEntropy:
    loss: float
    log_probs: Float32  # (R,)
    ranks: Int32  # (R,)
    predictions: Int32  # (R,)
    dx: Float32  # (R, D)
    dkernel: Float32  # (D, V) or, transposed, (V, D)
    dbias: Float32  # (V,)


def projection_cross_entropy(
    x: Float32,
    kernel: Float32,
    bias: Float32 | None,
    targets: Int32,
    weights: Float32 | None,
    *,
    transposed: bool = False,
    precision: str = "float32",
    workspace: _core.Workspace | None = None,
    label_smoothing: float = 0.0,
) -> CrossEntropy:
    rows, vocabulary = len(x), kernel.shape[0 if transposed else 1]
    log_probs, dx, dkernel, dbias = (
        unwritten(rows),
        unwritten(*x.shape),
        unwritten(*kernel.shape),
        unwritten(vocabulary),
    )
    ranks, predictions = np.full(rows, -9, np.int32), np.full(rows, -9, np.int32)
    loss = _core.projection_cross_entropy(
        x,
        kernel,
        bias,
        targets,
        weights,
        log_probs,
        ranks,
        predictions,
        dx,
        dkernel,
        dbias if bias is not None else None,
        workspace or _core.Workspace(),
        transposed=transposed,
        precision=precision,
        label_smoothing=label_smoothing,
    )
    return CrossEntropy(loss, log_probs, ranks, predictions, dx, dkernel, dbias)


def assert_close(
    actual: Float32, expected: npt.NDArray[np.float64], relative: float, what: str = "", floor: float = 1.0
) -> None:
    """Within `relative` of the largest magnitude expected, or of `floor`: sums of terms of mixed sign cancel, their
    errors do not, so an error is measured against the terms and not against what is left of them."""
    assert actual.shape == expected.shape, what
    if actual.size:
        bound = relative * max(floor, float(np.abs(expected).max()))
        error = float(np.abs(actual - expected).max())
        assert error <= bound, f"{what}: error {error:.3g} exceeds {bound:.3g}"  # also where error is NaN
