"""Numeric gradients of every input and parameter: first against the references' backward, then against the core's."""

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import (
    Array,
    activations,
    linear,
    losses,
    numeric,
    projection_cross_entropy,
    recurrent,
    softmax,
)
from tests.reference.cases import CELLS, CellSpec, RecurrentCase, double, normal, recurrent_case

# Central differences in float64 (see numeric.py) leave 1e-10; the factor is room for larger third derivatives.
EXACT = 1e-8
# float32: a gate is good to 3e-7, and a gradient here sums a few dozen products of such factors.
CORE = 1e-5


def numeric_recurrent(case: RecurrentCase) -> dict[str, Array]:
    """Gradients of Σ dy ⊙ outputs + Σ dfinal ⊙ final states by name, as `calls.Backward.arrays` has them."""
    x, p = double(case.x), case.reference_parameters()
    initial = tuple(double(s) for s in case.initial)
    steps = len(x)
    outputs, final = (slice(0, steps), 0) if case.reverse else (slice(1, steps + 1), steps)

    def value() -> float:
        run = recurrent.forward(case.spec.reference(case.state_factors), p, x, initial, case.mask, case.reverse)
        ends = sum((d * s[final]).sum() for d, s in zip(case.dfinal, run.states, strict=True))
        return float((case.dy * run.states[0][outputs]).sum() + ends)

    arrays = {"dx": x, "dkernel": p.kernel, "drecurrent_kernel": p.recurrent_kernel, "dbias": p.bias}
    arrays |= {f"dinitial[{i}]": s for i, s in enumerate(initial)}
    return {name: numeric.gradient(value, array) for name, array in arrays.items()}


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("masked", [False, True], ids=["dense", "masked"])
@pytest.mark.parametrize("dropped", [False, True], ids=["kept", "dropped"])
@pytest.mark.parametrize("spec", CELLS, ids=str)
def test_recurrent(spec: CellSpec, dropped: bool, masked: bool, reverse: bool, isa: str) -> None:
    case = recurrent_case(spec, (3, 2, 3, 2), seed=1, masked=masked, reverse=reverse, dropped=dropped)
    expected = numeric_recurrent(case)
    _, gradients = case.reference()
    reference = [gradients.dx, *gradients.dparameters, *gradients.dinitial]
    for (name, e), r in zip(expected.items(), reference, strict=True):
        np.testing.assert_allclose(r, e, rtol=EXACT, atol=EXACT, err_msg=name)
    for name, actual in calls.backward(case, calls.forward(case)).arrays().items():
        calls.assert_close(actual, expected[name], CORE, name)


def test_linear(isa: str) -> None:
    rng = np.random.default_rng(2)
    x, kernel, bias, dy = normal(rng, 3, 4), normal(rng, 4, 5), normal(rng, 5), normal(rng, 3, 5)
    x64, kernel64, bias64 = inputs = double(x), double(kernel), double(bias)
    expected = [numeric.gradient(lambda: float((dy * linear.forward(x64, kernel64, bias64)).sum()), a) for a in inputs]
    dx, dkernel, dbias = actual = calls.unwritten(3, 4), calls.unwritten(4, 5), calls.unwritten(5)
    _core.linear_backward(x, kernel, dy, dx, dkernel, dbias, _core.Workspace())
    for a, e, r in zip(actual, expected, linear.backward(x64, kernel64, double(dy)), strict=True):
        np.testing.assert_allclose(r, e, rtol=EXACT, atol=EXACT)
        calls.assert_close(a, e, CORE)


@pytest.mark.parametrize("name", ["linear", "tanh", "sigmoid", "relu", "gelu", "softmax"])
def test_activation(name: str, isa: str) -> None:
    rng = np.random.default_rng(3)
    x, dy = normal(rng, 3, 5), normal(rng, 3, 5)
    x64, dy64 = double(x), double(dy)

    def forward() -> Array:
        return softmax.forward(x64) if name == "softmax" else activations.forward(name, x64)

    expected = numeric.gradient(lambda: float((dy64 * forward()).sum()), x64)
    y = x64 if name == "gelu" else forward()
    reference = softmax.backward(y, dy64) if name == "softmax" else activations.backward(name, y, dy64)
    np.testing.assert_allclose(reference, expected, rtol=EXACT, atol=EXACT)
    actual = calls.unwritten(3, 5)
    _core.activation_backward(name, y.astype(np.float32), dy, actual)
    calls.assert_close(actual, expected, CORE)


def test_projection_cross_entropy(isa: str) -> None:
    rng = np.random.default_rng(4)
    x, kernel, bias = normal(rng, 4, 3), normal(rng, 3, 5), normal(rng, 5)
    targets, weights = np.array([4, 0, 2, 2], np.int32), np.array([1.0, 0.5, 0.0, 2.0], np.float32)
    x64, kernel64, bias64 = inputs = double(x), double(kernel), double(bias)

    def run() -> projection_cross_entropy.Result:
        return projection_cross_entropy.forward_backward(x64, kernel64, bias64, targets, double(weights))

    expected = [numeric.gradient(lambda: run().loss, a) for a in inputs]
    reference = run()
    actual = calls.projection_cross_entropy(x, kernel, bias, targets, weights)
    for name, e in zip(["dx", "dkernel", "dbias"], expected, strict=True):
        np.testing.assert_allclose(getattr(reference, name), e, rtol=EXACT, atol=EXACT, err_msg=name)
        calls.assert_close(getattr(actual, name), e, CORE, name)


@pytest.mark.parametrize(
    "name", ["mean_squared_error", "mean_absolute_error", "binary_crossentropy", "categorical_crossentropy"]
)
def test_loss(name: str, isa: str) -> None:
    rng = np.random.default_rng(5)
    # Away from 0 and 1, where clipping has a corner, and from y = p, where the absolute error has one.
    y_pred = rng.uniform(0.1, 0.4, (3, 4)).astype(np.float32)
    y_true = rng.uniform(0.6, 0.9, (3, 4)).astype(np.float32)
    weights = np.array([1.0, 0.0, 0.5], np.float32)
    p64 = double(y_pred)
    loss = getattr(losses, name)
    expected = numeric.gradient(lambda: float(weights @ loss(double(y_true), p64)[0]), p64)
    reference = weights[:, None] * loss(double(y_true), p64)[1]
    np.testing.assert_allclose(reference, expected, rtol=EXACT, atol=EXACT)
    actual = calls.unwritten(3, 4)
    _core.loss_backward(name, y_true, y_pred, weights, actual)
    calls.assert_close(actual, expected, CORE)


def test_softmax_cross_entropy(isa: str) -> None:
    rng = np.random.default_rng(6)
    logits, weights = normal(rng, 3, 4), np.array([1.0, 0.0, 0.5], np.float32)
    y_true = rng.uniform(0.0, 1.0, (3, 4)).astype(np.float32)  # rows need not sum to one
    z64 = double(logits)
    expected = numeric.gradient(lambda: float(weights @ losses.softmax_cross_entropy(z64, double(y_true))[0]), z64)
    reference = weights[:, None] * losses.softmax_cross_entropy(z64, double(y_true))[1]
    np.testing.assert_allclose(reference, expected, rtol=EXACT, atol=EXACT)
    actual = calls.unwritten(3, 4)
    _core.softmax_cross_entropy(logits, y_true, weights, calls.unwritten(3), actual)
    calls.assert_close(actual, expected, CORE)
