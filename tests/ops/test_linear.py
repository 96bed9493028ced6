"""Linear: the packed matrix product in all the forms that training needs."""

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import Array, linear
from tests.reference.cases import Float32, double, normal

# R, D, N. Rows around the height of a block of accumulators, columns around one and two panels of 32, and a depth
# beyond any block of k. Weights are packed panel by panel for few rows and whole for many: at a depth of 1024 or more,
# for more than 512.
SIZES = [
    (0, 3, 4),
    (1, 1, 1),
    (1, 7, 33),
    (3, 33, 31),
    (13, 5, 32),
    (14, 16, 65),
    (27, 2, 100),
    (64, 40, 7),
    (5, 1500, 3),
    (7, 1100, 70),
    (513, 1100, 34),
    (600, 34, 1100),
]


def assert_product(actual: Float32, a: Array, b: Array, added: Array | float = 0.0) -> None:
    """a @ b + added, within the bound of k + 1 roundings of half a unit in the last place of a partial sum each."""
    bound = 1.01 * (a.shape[1] + 2) * calls.UNIT * (np.abs(a) @ np.abs(b) + np.abs(added))
    error = np.abs(actual - (a @ b + added))
    assert actual.shape == error.shape
    assert (error <= bound).all(), f"exceeds its bound by {(error - bound).max():.3g}"


def stored(kernel: Float32, transposed: bool) -> Float32:
    return np.ascontiguousarray(kernel.T) if transposed else kernel


@pytest.mark.parametrize("transposed", [False, True], ids=["kernel", "transposed"])
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_forward(sizes: tuple[int, int, int], biased: bool, transposed: bool, isa: str, threads: int) -> None:
    rows, depth, width = sizes
    rng = np.random.default_rng(1)
    x, kernel = normal(rng, rows, depth), normal(rng, depth, width)
    bias = normal(rng, width) if biased else None
    y = calls.unwritten(rows, width)
    _core.linear_forward(x, stored(kernel, transposed), bias, y, _core.Workspace(), transposed=transposed)
    assert_product(y, double(x), double(kernel), 0.0 if bias is None else double(bias))


@pytest.mark.parametrize("transposed", [False, True], ids=["kernel", "transposed"])
@pytest.mark.parametrize("accumulate", [False, True], ids=["overwrite", "accumulate"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_backward(sizes: tuple[int, int, int], accumulate: bool, transposed: bool, isa: str, threads: int) -> None:
    rows, depth, width = sizes
    rng = np.random.default_rng(2)
    x, kernel, dy = normal(rng, rows, depth), normal(rng, depth, width), normal(rng, rows, width)
    before_kernel, before_bias = normal(rng, depth, width), normal(rng, width)
    dx = calls.unwritten(rows, depth)
    dkernel, dbias = stored(before_kernel, transposed).copy(), before_bias.copy()
    if not accumulate:
        dkernel[...] = dbias[...] = np.nan
    _core.linear_backward(
        x,
        stored(kernel, transposed),
        dy,
        dx,
        dkernel,
        dbias,
        _core.Workspace(),
        transposed=transposed,
        accumulate=accumulate,
    )
    x64, dy64 = double(x), double(dy)
    assert_product(dx, dy64, double(kernel).T)
    assert_product(stored(dkernel, transposed), x64.T, dy64, double(before_kernel) if accumulate else 0.0)
    assert_product(dbias[None], np.ones((1, rows)), dy64, double(before_bias)[None] if accumulate else 0.0)


def test_reference_backward_is_what_the_products_above_are() -> None:
    rng = np.random.default_rng(3)
    x, kernel, dy = rng.standard_normal((3, 4)), rng.standard_normal((4, 5)), rng.standard_normal((3, 5))
    dx, dkernel, dbias = linear.backward(x, kernel, dy)
    np.testing.assert_array_equal(dx, dy @ kernel.T)
    np.testing.assert_array_equal(dkernel, x.T @ dy)
    np.testing.assert_array_equal(dbias, dy.sum(axis=0))


@pytest.mark.parametrize("wanted", ["dx", "dkernel", "dbias"])
def test_backward_computes_only_what_is_asked_for(wanted: str, isa: str) -> None:
    rng = np.random.default_rng(4)
    x, kernel, dy = normal(rng, 9, 5), normal(rng, 5, 37), normal(rng, 9, 37)
    every = {"dx": calls.unwritten(9, 5), "dkernel": calls.unwritten(5, 37), "dbias": calls.unwritten(37)}
    workspace = _core.Workspace()
    _core.linear_backward(x, kernel, dy, every["dx"], every["dkernel"], every["dbias"], workspace)
    alone = calls.unwritten(*every[wanted].shape)
    arguments = {name: alone if name == wanted else None for name in every}
    _core.linear_backward(x, kernel, dy, arguments["dx"], arguments["dkernel"], arguments["dbias"], workspace=workspace)
    np.testing.assert_array_equal(alone, every[wanted])


def test_arrays_need_no_alignment(isa: str) -> None:
    """A view that starts four bytes into a cache line gives the bits that an aligned array gives."""

    def shifted(array: Float32) -> Float32:
        memory = np.empty(array.size + 1, np.float32)
        view = memory[1:].reshape(array.shape)
        view[...] = array
        return view

    rng = np.random.default_rng(5)
    x, kernel, bias = normal(rng, 14, 35), normal(rng, 35, 70), normal(rng, 70)
    y, y_shifted = calls.unwritten(14, 70), shifted(calls.unwritten(14, 70))
    _core.linear_forward(x, kernel, bias, y, _core.Workspace())
    _core.linear_forward(shifted(x), shifted(kernel), shifted(bias), y_shifted, _core.Workspace())
    np.testing.assert_array_equal(y, y_shifted)


def test_inputs_may_be_read_only() -> None:
    """A memory-mapped file is."""
    rng = np.random.default_rng(6)
    x, kernel, bias = normal(rng, 3, 4), normal(rng, 4, 5), normal(rng, 5)
    for array in (x, kernel, bias):
        array.flags.writeable = False
    y = calls.unwritten(3, 5)
    _core.linear_forward(x, kernel, bias, y, _core.Workspace())
    assert_product(y, double(x), double(kernel), double(bias))


def test_outputs_may_not_be_read_only() -> None:
    y = np.zeros((3, 5), np.float32)
    y.flags.writeable = False
    x, kernel = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    with pytest.raises((TypeError, ValueError), match=r"\by\b.*writ|read-only"):
        _core.linear_forward(x, kernel, None, y, _core.Workspace())
    assert not y.any()


def test_what_is_not_finite_stays_where_it_is(isa: str) -> None:
    """Padding of panels and blocks must not carry NaN or infinity into other rows or columns."""
    rng = np.random.default_rng(7)
    x, kernel = normal(rng, 15, 6), normal(rng, 6, 35)
    x[4, 2], kernel[3, 34] = np.nan, np.inf
    y = np.zeros((15, 35), np.float32)
    _core.linear_forward(x, kernel, None, y, _core.Workspace())
    expected = np.isfinite(y)
    assert not expected[4].any()
    assert not expected[:, 34].any()
    expected[4], expected[:, 34] = True, True
    assert expected.all()
