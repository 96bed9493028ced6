"""After the first call of each shape nothing allocates."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference.cases import BFLOAT16_CELLS, CELLS, CellSpec, Float32, normal, recurrent_case

Call = Callable[[_core.Workspace], object]


def recurrent_call(spec: CellSpec, sizes: tuple[int, int, int, int]) -> Call:
    case = recurrent_case(spec, sizes, seed=1, masked=True, dropped=True)
    return lambda workspace: calls.backward(case, calls.forward(case, workspace), workspace)


def linear_call(rows: int, depth: int, width: int, precision: str = "float32") -> Call:
    rng = np.random.default_rng(2)
    x, kernel, dy = normal(rng, rows, depth), normal(rng, depth, width), normal(rng, rows, width)
    y, dx, dkernel, dbias = np.empty_like(dy), np.empty_like(x), np.empty_like(kernel), np.empty(width, np.float32)

    def call(workspace: _core.Workspace) -> list[Float32]:
        _core.linear_forward(x, kernel, None, y, workspace, precision=precision)
        _core.linear_backward(x, kernel, dy, dx, dkernel, dbias, workspace, precision=precision)
        return [a.copy() for a in (y, dx, dkernel, dbias)]

    return call


def repeating_call(spec: CellSpec, count: int) -> Call:
    """Of `count` distinct inputs."""
    case = recurrent_case(spec, (6, 20, 33, 40), seed=1)
    rng = np.random.default_rng(4)
    repeated = calls.Repeated(normal(rng, count, 33), rng.integers(0, count, (6, 20), dtype=np.int32))
    return lambda workspace: calls.backward(
        case, calls.forward(case, workspace, repeated), workspace, repeated=repeated
    )


def loss_call(rows: int, vocabulary: int, width: int = 9, **how: Any) -> Call:
    rng = np.random.default_rng(3)
    x, targets = normal(rng, rows, width), rng.integers(0, vocabulary, rows, np.int32)
    kernel = normal(rng, vocabulary, width) if how.get("transposed") else normal(rng, width, vocabulary)
    return lambda workspace: calls.projection_cross_entropy(x, kernel, None, targets, None, workspace=workspace, **how)


CALLS = {
    **{
        str(spec): [recurrent_call(spec, s) for s in [(2, 3, 5, 9), (5, 17, 33, 40)]]
        for spec in [*CELLS[:4], *BFLOAT16_CELLS]
    },
    "linear": [linear_call(3, 5, 7), linear_call(70, 33, 130)],
    "linear, packed whole and panel by panel": [linear_call(513, 1024, 40), linear_call(5, 1024, 40)],
    "linear in bfloat16": [linear_call(513, 1024, 40, "bfloat16"), linear_call(5, 1024, 40, "bfloat16")],
    "projection_cross_entropy": [loss_call(5, 17), loss_call(300, 500)],
    "projection_cross_entropy, transposed": [loss_call(5, 17, transposed=True), loss_call(300, 500, transposed=True)],
    "projection_cross_entropy in bfloat16": [
        loss_call(5, 17, precision="bfloat16"),
        loss_call(301, 500, precision="bfloat16", transposed=True),
    ],
}


@pytest.mark.parametrize("shapes", CALLS.values(), ids=CALLS.keys())
def test_no_growth_once_every_shape_was_seen(shapes: list[Call], isa: str, threads: int) -> None:
    workspace = _core.Workspace()
    assert (workspace.nbytes, workspace.growths) == (0, 0)
    for call in shapes:
        call(workspace)
    nbytes, growths = workspace.nbytes, workspace.growths
    assert nbytes > 0
    assert growths > 0
    for call in [*shapes, *reversed(shapes), *shapes]:
        call(workspace)
    assert (workspace.nbytes, workspace.growths) == (nbytes, growths)


@pytest.fixture
def many_threads() -> Iterator[None]:
    """So many that what each of them takes for itself counts."""
    before = _core.get_num_threads()
    _core.set_num_threads(32)
    yield
    _core.set_num_threads(before)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("sizes", [(600, 1024, 10), (1100, 512, 10), (300, 40, 70)], ids=str)
def test_fewer_rows_need_no_more(sizes: tuple[int, int, int], precision: str, isa: str, threads: int) -> None:
    """Operands packed panel by panel, by each thread for itself, take no more than packed whole."""
    rows, depth, width = sizes
    workspace = _core.Workspace()
    linear_call(rows, depth, width, precision)(workspace)
    nbytes, growths = workspace.nbytes, workspace.growths
    for fewer in (rows * 5 // 6, 100, 7, 1):
        linear_call(fewer, depth, width, precision)(workspace)
    assert (workspace.nbytes, workspace.growths) == (nbytes, growths)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
@pytest.mark.usefixtures("many_threads")
def test_fewer_rows_in_larger_chunks_need_no_more(transposed: bool, precision: str, isa: str) -> None:
    """600 rows of 500 classes are two chunks of 300, 500 rows are one."""
    workspace = _core.Workspace()
    loss_call(600, 500, 20, transposed=transposed, precision=precision)(workspace)
    nbytes, growths = workspace.nbytes, workspace.growths
    for rows in (500, 300, 1):
        loss_call(rows, 500, 20, transposed=transposed, precision=precision)(workspace)
    assert (workspace.nbytes, workspace.growths) == (nbytes, growths)


@pytest.mark.parametrize("spec", [*CELLS[:4], *BFLOAT16_CELLS], ids=str)
def test_any_number_of_distinct_inputs_needs_the_same(spec: CellSpec, isa: str, threads: int) -> None:
    workspace = _core.Workspace()
    repeating_call(spec, 30)(workspace)
    nbytes, growths = workspace.nbytes, workspace.growths
    for count in (1, 29, 50, 120):
        repeating_call(spec, count)(workspace)
    assert (workspace.nbytes, workspace.growths) == (nbytes, growths)


def test_users_share_one_workspace_of_the_size_of_the_largest() -> None:
    every = [call for shapes in CALLS.values() for call in shapes]
    shared, alone = _core.Workspace(), []
    for call in every:
        workspace = _core.Workspace()
        call(workspace)
        alone.append(workspace.nbytes)
        call(shared)
    assert shared.nbytes == max(alone)


def arrays_of(result: object) -> list[Float32]:
    if isinstance(result, calls.Backward):
        return list(result.arrays().values())
    if isinstance(result, list):
        return result
    assert isinstance(result, calls.CrossEntropy)
    return [result.log_probs, result.dx, result.dkernel]


@pytest.mark.parametrize("name", CALLS)
def test_what_earlier_calls_left_behind_does_not_matter(name: str, isa: str, threads: int) -> None:
    """A workspace full of NaN gives the bits that a fresh one gives: padding is written before it is read."""
    workspace = _core.Workspace()
    full = np.full((300, 300), np.nan, np.float32)
    for call in CALLS[name]:
        for _ in range(2):  # the first call may grow the workspace, and what is new holds no NaN
            _core.linear_backward(full, full, full, full.copy(), full.copy(), None, workspace)
            actual = arrays_of(call(workspace))
        for a, expected in zip(actual, arrays_of(call(_core.Workspace())), strict=True):
            np.testing.assert_array_equal(a, expected)


def test_a_call_that_fails_leaves_the_workspace_usable() -> None:
    workspace = _core.Workspace()
    x, kernel = np.ones((3, 4), np.float32), np.ones((5, 6), np.float32)
    y = np.empty((3, 6), np.float32)
    with pytest.raises(ValueError, match="kernel"):
        _core.linear_forward(x, kernel, None, y, workspace)
    _core.linear_forward(x, kernel[:4], None, y, workspace)
    np.testing.assert_array_equal(y, 4.0)


def test_calls_make_no_arrays() -> None:
    """NumPy reports its allocations to tracemalloc; a temporary copy of the smallest argument here would be 40 kB."""
    rng = np.random.default_rng(4)
    x, kernel, y = normal(rng, 100, 100), normal(rng, 100, 100), np.empty((100, 100), np.float32)
    cell = _core.Cell("lstm", 100, 100)
    sequence, gates = normal(rng, 10, 10, 100), normal(rng, 100, 400)
    h, c = np.zeros((11, 10, 100), np.float32), np.zeros((11, 10, 100), np.float32)
    saved, workspace = np.empty(cell.saved_size(10, 10), np.float32), _core.Workspace()
    rule, slots = _core.UpdateRule("adam"), [[np.zeros_like(kernel), np.zeros_like(kernel)]]
    one, zero = np.ones(1), np.zeros(1)

    def step() -> None:
        _core.linear_forward(x, kernel, None, y, workspace)
        _core.linear_backward(x, kernel, y, None, y, None, workspace)
        _core.recurrent_forward(cell, sequence, gates, gates, None, h, c, saved, None, workspace)
        _core.activation_forward("softmax", x, y)
        _core.dropout(x, y, 0.5, 1, 2, 3)
        _core.apply_update(rule, 1, 1e-3, [kernel], [x], slots, one, zero)

    step()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    step()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 20_000
    assert after - before < 20_000
