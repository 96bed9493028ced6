"""Every cell against its float64 reference: odd shapes, masks, both directions, lengths, optional arguments."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import recurrent
from tests.reference.cases import BFLOAT16_CELLS, CELLS, CellSpec, Float32, RecurrentCase, recurrent_case

# A gate is good to 3e-7 (test_activations.py); its argument sums up to 83 products of order 0.1; five steps add up.
STATES = 3e-6
# Gradients sum such errors over steps and rows; assert_close measures them against the largest gradient.
GRADIENTS = 5e-6

# T, B, D, H: each odd extent at least once beside others, and none at all of time or batch.
SIZES = [
    (0, 3, 7, 5),
    (5, 0, 7, 5),
    (1, 1, 1, 1),
    (5, 1, 7, 16),
    (1, 3, 33, 5),
    (5, 3, 1, 33),
    (1, 17, 7, 50),
    (5, 17, 33, 16),
    (5, 3, 7, 50),
    (5, 17, 1, 1),
    (5, 1, 33, 33),
    (2, 61, 20, 131),  # large enough for the work to be divided among threads
    (40, 64, 6, 70),  # enough positions for the weights of dx to be packed whole
]


@functools.cache
def with_reference(
    spec: CellSpec,
    sizes: tuple[int, int, int, int],
    masked: bool,
    reverse: bool,
    biased: bool = True,
    dropped: bool = False,
) -> tuple[RecurrentCase, recurrent.Run, recurrent.Gradients]:
    """Computed once for all instruction sets and numbers of threads."""
    case = recurrent_case(spec, sizes, seed=7, masked=masked, reverse=reverse, biased=biased, dropped=dropped)
    return case, *case.reference()


def assert_agrees(case: RecurrentCase, run: recurrent.Run, gradients: recurrent.Gradients) -> None:
    forward = calls.forward(case)
    for actual, expected in zip(forward.states, run.states, strict=True):
        calls.assert_close(actual, expected, STATES, "state")
    expected_gradients = [gradients.dx, *gradients.dparameters, *gradients.dinitial]
    backward = calls.backward(case, forward).arrays()
    for (name, actual), expected in zip(backward.items(), expected_gradients, strict=True):
        calls.assert_close(actual, expected, GRADIENTS, name)


@pytest.mark.parametrize(("masked", "reverse"), [(False, False), (True, True)], ids=["plain", "masked-reverse"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("spec", CELLS, ids=str)
def test_agrees_with_reference(
    spec: CellSpec, sizes: tuple[int, int, int, int], masked: bool, reverse: bool, isa: str, threads: int
) -> None:
    assert_agrees(*with_reference(spec, sizes, masked, reverse))


@pytest.mark.parametrize(("masked", "reverse"), [(False, False), (True, True)], ids=["plain", "masked-reverse"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("spec", CELLS[:4], ids=str)
def test_recurrent_dropout(
    spec: CellSpec, sizes: tuple[int, int, int, int], masked: bool, reverse: bool, isa: str, threads: int
) -> None:
    assert_agrees(*with_reference(spec, sizes, masked, reverse, dropped=True))


@pytest.mark.parametrize("spec", CELLS[:4], ids=str)
def test_factors_of_one_change_no_bit(spec: CellSpec, isa: str, threads: int) -> None:
    case = recurrent_case(spec, (5, 61, 40, 50), seed=13, masked=True)
    ones = replace(case, state_factors=np.ones((61, 50), np.float32))
    kept, dropped = calls.forward(case), calls.forward(ones)
    for actual, expected in zip(dropped.states, kept.states, strict=True):
        np.testing.assert_array_equal(actual, expected)
    expected_arrays = calls.backward(case, kept).arrays()
    for name, actual in calls.backward(ones, dropped).arrays().items():
        # dh + (a + b) where dropped, (dh + a) + b where not.
        calls.assert_close(actual, expected_arrays[name].astype(np.float64), GRADIENTS, name)


@pytest.mark.parametrize(("masked", "reverse"), [(True, False), (False, True)], ids=["masked", "reverse"])
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("spec", CELLS, ids=str)
def test_options(spec: CellSpec, biased: bool, masked: bool, reverse: bool, isa: str) -> None:
    assert_agrees(*with_reference(spec, (5, 3, 7, 17), masked, reverse, biased))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("spec", CELLS, ids=str)
def test_a_row_with_a_length_is_the_row_cut_off(spec: CellSpec, reverse: bool, isa: str) -> None:
    """Lengths are masks; a row of length 0 returns its initial state, and no gradient leaves what is cut off."""
    lengths = np.array([0, 1, 3, 5])
    case = recurrent_case(spec, (5, 4, 6, 18), seed=8, reverse=reverse)
    mask = np.arange(5)[:, None] < lengths[None]
    run = calls.forward(replace(case, mask=mask))
    gradients = calls.backward(replace(case, mask=mask), run)
    final, first = (0, 5) if reverse else (5, 0)
    for b, length in enumerate(lengths):
        row = calls.rows_of(replace(case, x=case.x[:length], dy=case.dy[:length]), slice(b, b + 1))
        if not reverse:  # the gradient of outputs that repeat the final state is one of the final state
            row.dfinal[0][...] = gradients_of_repeats(case, b, int(length))
        alone = calls.forward(row)
        for whole, cut in zip(run.states, alone.states, strict=True):
            np.testing.assert_array_equal(whole[final, b], cut[0 if reverse else length, 0])
            if length == 0:
                np.testing.assert_array_equal(whole[final, b], whole[first, b])
        assert not gradients.dx[length:, b].any()
        np.testing.assert_array_equal(gradients.dx[:length, b], calls.backward(row, alone).dx[:, 0])


def gradients_of_repeats(case: RecurrentCase, row: int, length: int) -> Float32:
    total: Float32 = case.dfinal[0][row].copy()
    for dy in case.dy[length:, row][::-1]:  # in the order in which the core adds them
        total += dy
    return total


@pytest.mark.parametrize("spec", CELLS, ids=str)
def test_initial_state_of_zero_and_no_gradient_of_outputs(spec: CellSpec, isa: str) -> None:
    """dy None is a dy of zeros, bit for bit; so is what is not asked for."""
    case = recurrent_case(spec, (4, 3, 5, 9), seed=9)
    case = replace(case, dy=np.zeros_like(case.dy))
    expected = calls.backward(case, calls.forward(case))
    run = calls.forward(case)
    dinitial = [d.copy() for d in case.dfinal]
    _core.recurrent_backward(
        run.cell,
        case.x,
        case.kernel,
        case.recurrent_kernel,
        case.bias,
        run.states[0],
        run.states[1] if len(dinitial) == 2 else None,
        run.saved,
        None,
        None,
        dinitial[0],
        dinitial[1] if len(dinitial) == 2 else None,
        None,
        None,
        None,
        None,
        _core.Workspace(),
    )
    for actual, wanted in zip(dinitial, expected.dinitial, strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("odd", [False, True], ids=["plain", "masked-reverse"])
@pytest.mark.parametrize("spec", CELLS + BFLOAT16_CELLS, ids=str)
def test_dx_may_lie_where_dy_does(spec: CellSpec, odd: bool, isa: str, threads: int) -> None:
    case = recurrent_case(spec, (5, 61, 40, 50), seed=12, masked=odd, reverse=odd)
    expected = calls.backward(case, calls.forward(case))
    memory = case.dy.copy()
    actual = calls.backward(
        replace(case, dy=memory), calls.forward(case), dx=memory.reshape(-1)[: case.x.size].reshape(case.x.shape)
    )
    for name, wanted in expected.arrays().items():
        np.testing.assert_array_equal(actual.arrays()[name], wanted, err_msg=name)


@pytest.mark.parametrize("spec", CELLS, ids=str)
def test_accumulate(spec: CellSpec, isa: str) -> None:
    case, _, gradients = with_reference(spec, (5, 3, 7, 16), True, False)
    rng = np.random.default_rng(10)
    before = [rng.standard_normal(p.shape).astype(np.float32) for p in gradients.dparameters]
    after = calls.backward(case, calls.forward(case), start=before)
    for actual, start, gradient in zip(
        [after.dkernel, after.drecurrent_kernel, after.dbias], before, gradients.dparameters, strict=True
    ):
        calls.assert_close(actual, start + gradient, GRADIENTS)


@pytest.mark.parametrize("spec", CELLS[:4], ids=str)
def test_saturated_gates_give_no_nan(spec: CellSpec, isa: str) -> None:
    case = recurrent_case(spec, (5, 3, 7, 16), seed=11)
    case = replace(case, x=case.x * np.float32(1e4))
    run = calls.forward(case)
    for states, expected in zip(run.states, case.reference()[0].states, strict=True):
        calls.assert_close(states, expected, 1e-5)
    for name, gradient in calls.backward(case, run).arrays().items():
        assert np.isfinite(gradient).all(), name


def test_saved_size_is_zero_for_nothing() -> None:
    for spec in CELLS:
        cell = calls.core_cell(spec, 3, 4)
        assert cell.saved_size(0, 5) == cell.saved_size(5, 0) == 0
        assert (cell.kind, cell.gates) == (spec.kind, spec.gates)
