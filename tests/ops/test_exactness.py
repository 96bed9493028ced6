"""The same bits: in one call or in pieces, alone or in a batch, on any number of threads.

Every comparison here is of equality; that is the promise. Where numbers of threads are compared, sizes are such that
the core divides the work (below half a million operations a thread it does not).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference.cases import BFLOAT16_CELLS, CELLS, CellSpec, Float32, RecurrentCase, normal, recurrent_case

PRECISION = pytest.mark.parametrize("precision", ["float32", "bfloat16"])


def assert_equal(actual: dict[str, Float32], expected: dict[str, Float32]) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


def piece_of(case: RecurrentCase, steps: slice, initial: tuple[Float32, ...]) -> RecurrentCase:
    mask = None if case.mask is None else case.mask[steps]
    return replace(case, x=case.x[steps], dy=case.dy[steps], mask=mask, initial=initial)


@pytest.mark.parametrize("odd", [False, True], ids=["dense", "masked-dropped"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("spec", CELLS + BFLOAT16_CELLS, ids=str)
def test_one_long_call_equals_three(spec: CellSpec, reverse: bool, odd: bool, isa: str) -> None:
    """States forward; dx and the gradient of the initial state backward. (Sums over time of parameters' gradients are
    associated differently in pieces.)"""
    case = recurrent_case(spec, (11, 5, 9, 21), seed=1, masked=odd, reverse=reverse, dropped=odd)
    whole = calls.forward(case)
    pieces = [slice(0, 3), slice(3, 4), slice(4, 11)]
    order = pieces[::-1] if reverse else pieces
    runs: list[tuple[slice, RecurrentCase, calls.Forward]] = []
    state = case.initial
    for steps in order:
        piece = piece_of(case, steps, state)
        run = calls.forward(piece)
        for part, every in zip(run.states, whole.states, strict=True):
            np.testing.assert_array_equal(part, every[steps.start : steps.stop + 1])
        state = tuple(s[0 if reverse else -1].copy() for s in run.states)
        runs.append((steps, piece, run))

    expected = calls.backward(case, whole)
    gradient = case.dfinal
    for steps, piece, run in reversed(runs):
        part_gradients = calls.backward(replace(piece, dfinal=gradient), run)
        np.testing.assert_array_equal(part_gradients.dx, expected.dx[steps])
        gradient = part_gradients.dinitial
    for actual, wanted in zip(gradient, expected.dinitial, strict=True):
        np.testing.assert_array_equal(actual, wanted)


# Batches on both sides of the height of a block of accumulators; widths that leave a partial panel.
@pytest.mark.parametrize("sizes", [(3, 17, 7, 33), (2, 40, 33, 16)], ids=str)
@pytest.mark.parametrize("odd", [False, True], ids=["dense", "masked-dropped"])
@pytest.mark.parametrize("spec", CELLS + BFLOAT16_CELLS, ids=str)
def test_a_batch_equals_its_rows(
    spec: CellSpec, odd: bool, sizes: tuple[int, int, int, int], isa: str, threads: int
) -> None:
    case = recurrent_case(spec, sizes, seed=2, masked=odd, dropped=odd)
    run = calls.forward(case)
    states = [s.copy() for s in run.states]
    gradients = calls.backward(case, run)
    for b in range(sizes[1]):
        row = calls.rows_of(case, slice(b, b + 1))
        alone = calls.forward(row)
        for every, one in zip(states, alone.states, strict=True):
            np.testing.assert_array_equal(every[:, b], one[:, 0])
        alone_gradients = calls.backward(row, alone)
        np.testing.assert_array_equal(gradients.dx[:, b], alone_gradients.dx[:, 0])
        for every, one in zip(gradients.dinitial, alone_gradients.dinitial, strict=True):
            np.testing.assert_array_equal(every[b], one[0])


@PRECISION
def test_rows_of_linear(precision: str, isa: str, threads: int) -> None:
    rng = np.random.default_rng(3)
    x, kernel, bias, dy = normal(rng, 45, 70), normal(rng, 70, 99), normal(rng, 99), normal(rng, 45, 99)
    for transposed, weights in [(False, kernel), (True, np.ascontiguousarray(kernel.T))]:
        for rows in [45, 1, 2, 13, 14, 16, 17, 31, 33]:
            for first in range(0, 45, rows):
                part = slice(first, min(first + rows, 45))
                y, dx = calls.unwritten(part.stop - first, 99), calls.unwritten(part.stop - first, 70)
                workspace = _core.Workspace()
                how: Any = {"transposed": transposed, "precision": precision}
                _core.linear_forward(x[part], weights, bias, y, workspace, **how)
                _core.linear_backward(x[part], weights, dy[part], dx, None, None, workspace, **how)
                if rows == 45:
                    whole_y, whole_dx = y, dx
                np.testing.assert_array_equal(y, whole_y[part])
                np.testing.assert_array_equal(dx, whole_dx[part])


@PRECISION
def test_many_rows_of_linear(precision: str, isa: str, threads: int) -> None:
    """Many rows meet weights that were packed as a whole, a few of them meet weights packed panel by panel."""
    rng = np.random.default_rng(9)
    x, kernel, dy = normal(rng, 520, 1030), normal(rng, 1030, 1100), normal(rng, 520, 1100)
    results = []
    for count in (520, 7):
        y, dx = calls.unwritten(count, 1100), calls.unwritten(count, 1030)
        _core.linear_forward(x[:count], kernel, None, y, _core.Workspace(), precision=precision)
        _core.linear_backward(x[:count], kernel, dy[:count], dx, None, None, _core.Workspace(), precision=precision)
        results.append({"y": y[:7], "dx": dx[:7]})
    assert_equal(results[1], results[0])


@PRECISION
def test_rows_of_projection_cross_entropy(precision: str, isa: str, threads: int) -> None:
    rng = np.random.default_rng(4)
    x, kernel, bias = normal(rng, 40, 9), normal(rng, 9, 130), normal(rng, 130)
    targets, weights = rng.integers(0, 130, 40, dtype=np.int32), rng.uniform(0.1, 1.0, 40).astype(np.float32)
    whole = calls.projection_cross_entropy(x, kernel, bias, targets, weights, precision=precision)
    for r in range(40):
        row = slice(r, r + 1)
        one = calls.projection_cross_entropy(x[row], kernel, bias, targets[row], weights[row], precision=precision)
        for name in ["log_probs", "ranks", "predictions", "dx"]:
            np.testing.assert_array_equal(getattr(one, name), getattr(whole, name)[row], err_msg=name)


def linear(
    rows: int, depth: int, width: int, precision: str, *, transposed: bool = False
) -> Callable[[np.random.Generator], dict[str, Float32]]:
    def run(rng: np.random.Generator) -> dict[str, Float32]:
        x, bias, dy = normal(rng, rows, depth), normal(rng, width), normal(rng, rows, width)
        kernel = normal(rng, width, depth) if transposed else normal(rng, depth, width)
        y, dx, dkernel, dbias = (calls.unwritten(*a.shape) for a in (dy, x, kernel, bias))
        workspace, how = _core.Workspace(), {"transposed": transposed, "precision": precision}
        _core.linear_forward(x, kernel, bias, y, workspace, **how)  # type: ignore[arg-type]
        _core.linear_backward(x, kernel, dy, dx, dkernel, dbias, workspace, **how)  # type: ignore[arg-type]
        return {"y": y, "dx": dx, "dkernel": dkernel, "dbias": dbias}

    run.__name__ = f"linear {(rows, depth, width)} {precision}{' transposed' if transposed else ''}"
    return run


# The second has few enough rows for weights packed panel by panel, in two blocks of depth.
LINEAR = [linear(*sizes, p) for sizes in [(300, 90, 170), (40, 1100, 1070)] for p in ("float32", "bfloat16")]
LINEAR.append(linear(300, 90, 170, "bfloat16", transposed=True))


def embedding(rng: np.random.Generator) -> dict[str, Float32]:
    ids = rng.integers(0, 40, 30_001, dtype=np.int32)
    table, dy = normal(rng, 40, 129), normal(rng, 30_001, 129)
    y, dtable = calls.unwritten(30_001, 129), np.zeros_like(table)
    _core.embedding_forward(ids, table, y)
    _core.embedding_backward(ids, dy, dtable)
    return {"y": y, "dtable": dtable}


def fused_loss(rng: np.random.Generator, precision: str = "float32") -> dict[str, Float32]:
    x, kernel, bias = normal(rng, 700, 30), normal(rng, 30, 700), normal(rng, 700)
    targets, weights = rng.integers(0, 700, 700, dtype=np.int32), rng.uniform(0, 1, 700).astype(np.float32)
    result = calls.projection_cross_entropy(x, kernel, bias, targets, weights, precision=precision)
    names = ["log_probs", "ranks", "predictions", "dx", "dkernel", "dbias"]
    return {name: getattr(result, name) for name in names} | {"loss": np.array(result.loss)}


def fused_loss_bfloat16(rng: np.random.Generator) -> dict[str, Float32]:
    return fused_loss(rng, "bfloat16")


def rows(rng: np.random.Generator) -> dict[str, Float32]:
    """Activations, losses and dropout, which divide rows or elements."""
    n, width = 2501, 147
    x, dy, weights = normal(rng, n, width), normal(rng, n, width), normal(rng, n)
    p = rng.uniform(0.01, 0.99, (n, width)).astype(np.float32)
    targets = rng.integers(0, width, n, dtype=np.int32)
    out: dict[str, Float32] = {}
    for name in ["tanh", "sigmoid", "relu", "softmax"]:
        y, dx = out[name], out[f"{name} backward"] = calls.unwritten(n, width), calls.unwritten(n, width)
        _core.activation_forward(name, x, y)
        _core.activation_backward(name, y, dy, dx)
    for name in ["mean_squared_error", "mean_absolute_error", "binary_crossentropy", "categorical_crossentropy"]:
        loss, dp = out[name], out[f"{name} backward"] = calls.unwritten(n), calls.unwritten(n, width)
        _core.loss_forward(name, np.ascontiguousarray(p[::-1]), p, loss)
        _core.loss_backward(name, np.ascontiguousarray(p[::-1]), p, weights, dp)
    loss, dp = out["sparse"], out["sparse backward"] = calls.unwritten(n), calls.unwritten(n, width)
    _core.sparse_categorical_crossentropy_forward(targets, p, loss)
    _core.sparse_categorical_crossentropy_backward(targets, p, weights, dp)
    loss, dp = out["dense"], out["dense backward"] = calls.unwritten(n), calls.unwritten(n, width)
    _core.softmax_cross_entropy(x, p, weights, loss, dp)
    out["dropout"] = calls.unwritten(n, width)
    _core.dropout(x, out["dropout"], 0.3, 1, 2, 3)
    return out


def sums(rng: np.random.Generator) -> dict[str, Float32]:
    values, weights = normal(rng, 4_000_003), normal(rng, 4_000_003)
    gradients = [normal(rng, size) for size in (1, 4097, 70_001, 4_000_003)]
    results = [_core.weighted_sum(values, weights), _core.weighted_sum(values, None), *_core.squared_norms(gradients)]
    return {"sums": np.array(results)}


def optimisers(rng: np.random.Generator) -> dict[str, Float32]:
    shapes = [(3,), (401, 999), (4096, 3), (5, 1)]
    out: dict[str, Float32] = {}
    for kind in ["sgd", "rmsprop", "adagrad", "adam"]:
        rule = _core.UpdateRule(kind, momentum=0.9, clip_value=0.5)
        parameters, gradients = [normal(rng, *s) for s in shapes], [normal(rng, *s) for s in shapes]
        slots = [[np.zeros(s, np.float32) for _ in range(rule.slots)] for s in shapes]
        for step in (1, 2):
            _core.apply_update(rule, step, 0.1, parameters, gradients, slots, np.ones(4), np.full(4, 0.1))
        out |= {f"{kind} {i}": p for i, p in enumerate(parameters)}
        out |= {f"{kind} {i} {k}": s for i, of in enumerate(slots) for k, s in enumerate(of)}
    return out


def recurrent(spec: CellSpec, sizes: tuple[int, int, int, int]) -> Callable[[np.random.Generator], dict[str, Float32]]:
    def run(rng: np.random.Generator) -> dict[str, Float32]:
        case = recurrent_case(spec, sizes, seed=5, masked=True, dropped=True)
        forward = calls.forward(case)
        out = {f"state {i}": s.copy() for i, s in enumerate(forward.states)}
        return out | calls.backward(case, forward).arrays()

    run.__name__ = f"{spec} {sizes}"
    return run


# One batch of many rows and few units, one that fits no block, one row of many units, an input kernel packed whole.
SEQUENCES = [(3, 700, 5, 33), (4, 37, 40, 230), (2, 1, 3, 530), (9, 130, 1100, 9)]
RECURRENT = [recurrent(spec, sizes) for spec in CELLS[:4] + BFLOAT16_CELLS for sizes in SEQUENCES]
EVERY_OP = [*LINEAR, embedding, fused_loss, fused_loss_bfloat16, rows, sums, optimisers, *RECURRENT]


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: op.__name__)
def test_any_number_of_threads(op: Callable[[np.random.Generator], dict[str, Float32]], isa: str) -> None:
    before = _core.get_num_threads()
    results = []
    for threads in (1, 2, 7):
        _core.set_num_threads(threads)
        results.append(op(np.random.default_rng(6)))
    _core.set_num_threads(before)
    for other in results[1:]:
        assert_equal(other, results[0])


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: op.__name__)
def test_a_call_repeated_gives_the_same_bits(op: Callable[[np.random.Generator], dict[str, Float32]], isa: str) -> None:
    """Nothing is read that was not written in the same call."""
    assert_equal(op(np.random.default_rng(7)), op(np.random.default_rng(7)))


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: op.__name__)
def test_instruction_sets_agree_closely(op: Callable[[np.random.Generator], dict[str, Float32]]) -> None:
    """Between instruction sets there is a tolerance: lengths of vectors change the order of sums along a row, and sse4
    rounds a product before adding it. Largest sums here have 700 terms of order one. In bfloat16 a difference in the
    last place can round an operand the other way, by 2^-8 of its size."""
    before = _core.get_isa()
    results = []
    for isa in _core.supported_isas():
        _core.set_isa(isa)
        results.append(op(np.random.default_rng(8)))
    _core.set_isa(before)
    tolerance = 2e-3 if "bfloat16" in op.__name__ else 1e-5
    for other in results[1:]:
        for name, array in results[0].items():
            calls.assert_close(other[name], array.astype(np.float64), tolerance, name)
