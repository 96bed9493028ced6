"""Inputs that repeat, each multiplied once: the same states bit for bit, and gradients summed by row."""

from dataclasses import replace

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import Array
from tests.reference.cases import BFLOAT16_CELLS, CELLS, CellSpec, RecurrentCase, normal, recurrent_case

# As in test_recurrent.py; here a gradient is a sum over the positions of a row as well.
GRADIENTS = 5e-6
BFLOAT16_GRADIENTS = 2.0**-6  # see test_bfloat16.py

# T, B, D, H and R: every row used many times, some never, fewer and more rows than positions, no position at all.
SIZES = [(5, 3, 7, 5, 2), (4, 17, 33, 50, 9), (1, 1, 1, 1, 6), (0, 3, 7, 5, 4), (3, 0, 7, 5, 0), (6, 61, 20, 131, 40)]


def repeating(
    spec: CellSpec, sizes: tuple[int, int, int, int, int], *, odd: bool = False
) -> tuple[RecurrentCase, calls.Repeated]:
    steps, batch, width, units, count = sizes
    case = recurrent_case(spec, (steps, batch, width, units), seed=3, masked=odd, reverse=odd)
    rng = np.random.default_rng(4)
    x = normal(rng, count, width)
    rows = rng.integers(0, max(count, 1), (steps, batch), dtype=np.int32)
    return replace(case, x=x[rows]), calls.Repeated(x, rows)


def summed_by_row(repeated: calls.Repeated, dx: Array) -> Array:
    total = np.zeros(repeated.x.shape)
    np.add.at(total, repeated.rows, dx)
    return total


@pytest.mark.parametrize("odd", [False, True], ids=["plain", "masked-reverse"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("spec", CELLS[:4] + BFLOAT16_CELLS, ids=str)
def test_states_are_the_same_bits_and_gradients_agree(
    spec: CellSpec, sizes: tuple[int, int, int, int, int], odd: bool, isa: str, threads: int
) -> None:
    case, repeated = repeating(spec, sizes, odd=odd)
    run = calls.forward(case, repeated=repeated)
    for shared, whole in zip(run.states, calls.forward(case).states, strict=True):
        np.testing.assert_array_equal(shared, whole)
    _, gradients = case.reference()
    expected = [summed_by_row(repeated, gradients.dx), *gradients.dparameters, *gradients.dinitial]
    actual = calls.backward(case, run, repeated=repeated).arrays()
    for (name, value), wanted in zip(actual.items(), expected, strict=True):
        calls.assert_close(value, wanted, GRADIENTS if spec.precision == "float32" else BFLOAT16_GRADIENTS, name)


@pytest.mark.parametrize("spec", CELLS[:4], ids=str)
def test_any_number_of_threads(spec: CellSpec, isa: str) -> None:
    case, repeated = repeating(spec, (3, 61, 20, 131, 40))
    results = []
    before = _core.get_num_threads()
    try:
        for threads in (1, 2, 7):
            _core.set_num_threads(threads)
            results.append(calls.backward(case, calls.forward(case, repeated=repeated), repeated=repeated).arrays())
    finally:
        _core.set_num_threads(before)
    for other in results[1:]:
        for name, value in other.items():
            np.testing.assert_array_equal(value, results[0][name], name)


def test_fewer_or_more_distinct_rows_take_the_same_memory(isa: str) -> None:
    workspace = _core.Workspace()
    nbytes = set()
    for count in (2, 15, 7):
        case, repeated = repeating(CELLS[0], (5, 3, 7, 5, count))
        calls.backward(case, calls.forward(case, workspace, repeated), workspace, repeated=repeated)
        nbytes.add(workspace.nbytes)
    assert len(nbytes) == 1


def test_a_row_out_of_range_is_named() -> None:
    case, repeated = repeating(CELLS[0], (2, 3, 4, 5, 6))
    repeated.rows[1, 2] = 6
    with pytest.raises(IndexError, match=r"rows\[1, 2\] is 6; ids must be from 0 to 5"):
        calls.forward(case, repeated=repeated)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_distinct_ids(count: int) -> None:
    ids = np.random.default_rng(5).integers(0, 70, count, dtype=np.int32)
    distinct, rows = np.full(count, -7, np.int32), np.full(count, -7, np.int32)
    found = _core.distinct_ids(ids, 70, distinct, rows, _core.Workspace())
    assert distinct[:found].tolist() == list(dict.fromkeys(ids.tolist()))
    np.testing.assert_array_equal(distinct[rows], ids)
    assert (distinct[found:] == -7).all()
