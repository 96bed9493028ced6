"""Hypothesis draws shapes that nobody thought of; the references say what must come out."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recurlm import _core
from tests.ops import calls
from tests.reference import linear, projection_cross_entropy
from tests.reference.cases import CELLS, CellSpec, double, normal, recurrent_case

# No deadline: the first example of a run pays for starting threads.
PROPERTY = settings(deadline=None, max_examples=60)

SIZE = st.integers(1, 70)
# Where a sum comes within rounding of 0, relu's derivative may fall on either side of its corner; test_recurrent.py has
# relu with fixed seeds.
SMOOTH = [spec for spec in CELLS if spec.activation != "relu"]
SEED = st.integers(0, 2**32 - 1)


@PROPERTY
@given(rows=st.integers(0, 70), depth=SIZE, width=SIZE, transposed=st.booleans(), biased=st.booleans(), seed=SEED)
def test_linear(rows: int, depth: int, width: int, transposed: bool, biased: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, kernel, bias, dy = (
        normal(rng, rows, depth),
        normal(rng, depth, width),
        normal(rng, width),
        normal(rng, rows, width),
    )
    stored = np.ascontiguousarray(kernel.T) if transposed else kernel
    y, dx, dkernel, dbias = (calls.unwritten(*a.shape) for a in (dy, x, stored, bias))
    workspace = _core.Workspace()
    _core.linear_forward(x, stored, bias if biased else None, y, workspace, transposed=transposed)
    _core.linear_backward(x, stored, dy, dx, dkernel, dbias, workspace, transposed=transposed)
    # Sums of up to 70 products of up to 3 * 3 each.
    bound = 70 * 9 * calls.UNIT
    calls.assert_close(y, linear.forward(double(x), double(kernel), double(bias) if biased else None), bound)
    expected_dx, expected_dkernel, expected_dbias = linear.backward(double(x), double(kernel), double(dy))
    calls.assert_close(dx, expected_dx, bound)
    calls.assert_close(dkernel, expected_dkernel.T if transposed else expected_dkernel, bound)
    calls.assert_close(dbias, expected_dbias, bound)


@PROPERTY
@given(
    spec=st.sampled_from(SMOOTH),
    sizes=st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(1, 40), st.integers(1, 40)),
    masked=st.booleans(),
    reverse=st.booleans(),
    biased=st.booleans(),
    seed=SEED,
)
def test_recurrent(
    spec: CellSpec, sizes: tuple[int, int, int, int], masked: bool, reverse: bool, biased: bool, seed: int
) -> None:
    case = recurrent_case(spec, sizes, seed, masked=masked, reverse=reverse, biased=biased)
    run, gradients = case.reference()
    forward = calls.forward(case)
    for actual, expected in zip(forward.states, run.states, strict=True):
        calls.assert_close(actual, expected, 1e-5)
    expected_gradients = [gradients.dx, *gradients.dparameters, *gradients.dinitial]
    for (name, actual), expected in zip(
        calls.backward(case, forward).arrays().items(), expected_gradients, strict=True
    ):
        calls.assert_close(actual, expected, 1e-5, name)


@PROPERTY
@given(rows=st.integers(0, 70), width=st.integers(1, 40), vocabulary=st.integers(1, 300), seed=SEED, data=st.data())
def test_projection_cross_entropy(rows: int, width: int, vocabulary: int, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    x, kernel, bias = normal(rng, rows, width), normal(rng, width, vocabulary), normal(rng, vocabulary)
    targets = rng.integers(0, vocabulary, rows, dtype=np.int32)
    weights = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=rows, max_size=rows)), np.float32)
    actual = calls.projection_cross_entropy(x, kernel, bias, targets, weights)
    expected = projection_cross_entropy.forward_backward(
        double(x), double(kernel), double(bias), targets, double(weights)
    )
    # Logits are sums of up to 40 products of up to 3 * 3; their rounding is that of the log-probabilities.
    bound = 40 * 9 * calls.UNIT
    for name in ["log_probs", "dx", "dkernel", "dbias"]:
        calls.assert_close(getattr(actual, name), getattr(expected, name), bound, name)
    np.testing.assert_allclose(actual.loss, expected.loss, rtol=bound, atol=bound)
