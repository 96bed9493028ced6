"""Training's products in bfloat16: both operands rounded, everything else float32."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recurlm import _core, precision
from tests.ops import calls
from tests.ops.test_recurrent import SIZES
from tests.reference import Array
from tests.reference.cases import BFLOAT16_CELLS, CellSpec, Float32, double, normal, recurrent_case
from tests.reference.precision import round_to_bfloat16

# Products of rounded operands are exact in float32; up to 2049 of them are summed there.
SUMS = 5e-6
# States are rounded on their way into a product: where one lies next to a half, a difference of 3e-7 rounds it the
# other way, by 2^-8 of its size, times a weight of order 0.1. The longest case takes that through forty steps.
STATES = 4e-3
# The reference does not round the operands of a weight gradient: two relative errors of 2^-9 on average, of up to 2^-8.
GRADIENTS = 2.0**-6

# Rows, depth, width: odd extents, two blocks of depth of which one is odd, more rows than a block.
LINEAR = [(0, 3, 4), (4, 0, 3), (1, 1, 1), (3, 7, 5), (17, 33, 70), (61, 131, 50), (7, 2049, 40), (600, 1030, 33)]


def rounded(a: Float32) -> Array:
    return round_to_bfloat16(double(a))


@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
@pytest.mark.parametrize("sizes", LINEAR, ids=str)
def test_linear(sizes: tuple[int, int, int], transposed: bool, isa: str, threads: int) -> None:
    rows, depth, width = sizes
    rng = np.random.default_rng(1)
    x, kernel = normal(rng, rows, depth), normal(rng, depth, width, scale=max(depth, 1) ** -0.5)
    bias, dy, start = normal(rng, width), normal(rng, rows, width), normal(rng, depth, width)
    given: Float32 = np.ascontiguousarray(kernel.T) if transposed else kernel
    y, dx, dbias = calls.unwritten(rows, width), calls.unwritten(rows, depth), np.zeros(width, np.float32)
    dkernel = np.array(start.T if transposed else start, order="C")
    how: Any = {"transposed": transposed, "precision": "bfloat16"}
    _core.linear_forward(x, given, bias, y, _core.Workspace(), **how)
    _core.linear_backward(x, given, dy, dx, dkernel, dbias, _core.Workspace(), accumulate=True, **how)
    calls.assert_close(y, rounded(x) @ rounded(kernel) + bias, SUMS, "y")
    calls.assert_close(dx, rounded(dy) @ rounded(kernel).T, SUMS, "dx")
    calls.assert_close(dkernel.T if transposed else dkernel, start + rounded(x).T @ rounded(dy), SUMS, "dkernel")
    calls.assert_close(dbias, double(dy).sum(axis=0), SUMS, "dbias")


def special_values() -> Float32:
    """Halves that go up and down to the even, neighbours of halves, the largest, infinities, NaN of every kind."""
    bits = [
        0x3F808000,
        0x3F818000,
        0x3F807FFF,
        0x3F808001,
        0x7F7F7FFF,
        0x7F7FFFFF,
        0x7F800000,
        0x7F800001,
        0x7FFFFFFF,
        0,
    ]
    values = np.array(bits + [b | 0x80000000 for b in bits], np.uint32).view(np.float32)
    return np.concatenate([values, normal(np.random.default_rng(2), 1000)])


def test_rounding(isa: str) -> None:
    """Of both operands, by products with one."""
    x, one = special_values(), np.ones((1, 1), np.float32)
    left, right = calls.unwritten(len(x), 1), calls.unwritten(1, len(x))
    _core.linear_forward(x[:, None], one, None, left, _core.Workspace(), precision="bfloat16")
    _core.linear_forward(one, x[None], None, right, _core.Workspace(), precision="bfloat16")
    expected = precision.from_bfloat16(precision.to_bfloat16(x))
    np.testing.assert_array_equal(left[:, 0], expected)
    np.testing.assert_array_equal(right[0], expected)


@pytest.mark.parametrize("odd", [False, True], ids=["plain", "masked-reverse"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("spec", BFLOAT16_CELLS, ids=str)
def test_recurrent(spec: CellSpec, sizes: tuple[int, int, int, int], odd: bool, isa: str, threads: int) -> None:
    case = recurrent_case(spec, sizes, seed=7, masked=odd, reverse=odd)
    run, gradients = case.reference()
    forward = calls.forward(case)
    for actual, expected in zip(forward.states, run.states, strict=True):
        calls.assert_close(actual, expected, STATES, "state")
    wanted = [gradients.dx, *gradients.dparameters, *gradients.dinitial]
    for (name, actual), expected in zip(calls.backward(case, forward).arrays().items(), wanted, strict=True):
        calls.assert_close(actual, expected, GRADIENTS, name)


@pytest.mark.parametrize("spec", BFLOAT16_CELLS, ids=str)
def test_every_product_of_a_cell_is_rounded(spec: CellSpec, isa: str) -> None:
    """Operands in which only one of them, in turn, has digits to lose give other bits than float32."""
    case = recurrent_case(spec, (1, 9, 12, 20), seed=3)
    exact = {name: rounded(getattr(case, name)).astype(np.float32) for name in ("x", "kernel", "recurrent_kernel")}
    exact_case = replace(case, **exact, initial=tuple(rounded(s).astype(np.float32) for s in case.initial))
    for kept in ("x", "kernel", "recurrent_kernel", "initial"):
        one = replace(exact_case, **{kept: getattr(case, kept)})
        states = [
            calls.forward(replace(one, spec=replace(spec, precision=p))).states[0] for p in ("float32", "bfloat16")
        ]
        assert not np.array_equal(*states), kept
    wide, narrow = (
        calls.backward(other, calls.forward(other)).arrays()
        for other in (replace(exact_case, spec=replace(spec, precision="float32")), exact_case)
    )
    for name in ("dx", "dkernel", "drecurrent_kernel", "dinitial[0]"):
        assert not np.array_equal(wide[name], narrow[name]), name


@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
def test_projection_cross_entropy(transposed: bool, isa: str, threads: int) -> None:
    rng = np.random.default_rng(4)
    x, kernel, bias = normal(rng, 700, 33), normal(rng, 33, 601, scale=0.2), normal(rng, 601)
    targets = rng.integers(0, 601, 700, dtype=np.int32)
    given = np.ascontiguousarray(kernel.T) if transposed else kernel
    how: Any = {"transposed": transposed, "precision": "bfloat16"}
    actual = calls.projection_cross_entropy(x, given, bias, targets, None, **how)
    logits = rounded(x) @ rounded(kernel) + bias
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    calls.assert_close(actual.log_probs, log_probs[np.arange(700), targets], SUMS, "log_probs")
    dlogits = np.exp(log_probs)
    dlogits[np.arange(700), targets] -= 1
    calls.assert_close(actual.dbias, dlogits.sum(axis=0), SUMS, "dbias")
    # A gradient of a logit that lies next to a half may be rounded the other way.
    calls.assert_close(actual.dx, round_to_bfloat16(dlogits) @ rounded(kernel).T, 1e-4, "dx")
    dkernel = rounded(x).T @ round_to_bfloat16(dlogits)
    calls.assert_close(actual.dkernel.T if transposed else actual.dkernel, dkernel, 1e-4, "dkernel")


def test_a_precision_that_is_none() -> None:
    x, y = np.ones((1, 1), np.float32), calls.unwritten(1, 1)
    with pytest.raises(ValueError, match="precision must be float32 or bfloat16, not 'int8'"):
        _core.linear_forward(x, x, None, y, _core.Workspace(), precision="int8")
    assert np.isnan(y).all()
