"""Losses on probabilities and on logits, and sums in double."""

import math

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import losses
from tests.reference.cases import Float32, double, normal

NAMES = ["mean_squared_error", "mean_absolute_error", "binary_crossentropy", "categorical_crossentropy"]
SIZES = [(0, 3), (1, 1), (3, 2), (13, 7), (17, 65), (300, 33)]

# A mean of up to 65 terms in float32; logarithms are good to 1e-7 of values up to 16.
VALUES = 2e-6
# 1/q multiplies the rounding of q, and q goes down to 0.01 here.
GRADIENTS = 2e-6


def probabilities(rng: np.random.Generator, rows: int, width: int) -> Float32:
    p = rng.uniform(0.01, 0.99, (rows, width))
    return p.astype(np.float32)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_forward_and_backward(name: str, sizes: tuple[int, int], isa: str, threads: int) -> None:
    rng = np.random.default_rng(1)
    y_true, y_pred = probabilities(rng, *sizes), probabilities(rng, *sizes)
    weights = normal(rng, sizes[0])
    loss, dy = calls.unwritten(sizes[0]), calls.unwritten(*sizes)
    _core.loss_forward(name, y_true, y_pred, loss)
    _core.loss_backward(name, y_true, y_pred, weights, dy)
    expected, gradient = getattr(losses, name)(double(y_true), double(y_pred))
    calls.assert_close(loss, expected, VALUES)
    calls.assert_close(dy, double(weights)[:, None] * gradient, GRADIENTS)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sparse_categorical_crossentropy(sizes: tuple[int, int], isa: str, threads: int) -> None:
    rng = np.random.default_rng(2)
    y_pred = probabilities(rng, *sizes)
    targets = rng.integers(0, sizes[1], sizes[0], dtype=np.int32)
    weights = normal(rng, sizes[0])
    loss, dy = calls.unwritten(sizes[0]), calls.unwritten(*sizes)
    _core.sparse_categorical_crossentropy_forward(targets, y_pred, loss)
    _core.sparse_categorical_crossentropy_backward(targets, y_pred, weights, dy)
    expected, gradient = losses.sparse_categorical_crossentropy(targets, double(y_pred))
    calls.assert_close(loss, expected, VALUES)
    calls.assert_close(dy, double(weights)[:, None] * gradient, GRADIENTS)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_softmax_cross_entropy(sizes: tuple[int, int], isa: str, threads: int) -> None:
    rng = np.random.default_rng(3)
    logits, y_true = normal(rng, *sizes, scale=3.0), probabilities(rng, *sizes)
    weights = normal(rng, sizes[0])
    loss, dlogits = calls.unwritten(sizes[0]), calls.unwritten(*sizes)
    _core.softmax_cross_entropy(logits, y_true, weights, loss, dlogits)
    expected, gradient = losses.softmax_cross_entropy(double(logits), double(y_true))
    calls.assert_close(loss, expected, VALUES)
    calls.assert_close(dlogits, double(weights)[:, None] * gradient, GRADIENTS)
    alone = calls.unwritten(sizes[0])
    _core.softmax_cross_entropy(logits, y_true, weights, alone, None)
    np.testing.assert_array_equal(alone, loss)


@pytest.mark.parametrize("name", ["binary_crossentropy", "categorical_crossentropy"])
def test_certain_predictions_are_clipped(name: str, isa: str) -> None:
    y_true = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    y_pred = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    loss, dy = calls.unwritten(2), calls.unwritten(2, 2)
    _core.loss_forward(name, y_true, y_pred, loss)
    _core.loss_backward(name, y_true, y_pred, np.ones(2, np.float32), dy)
    # 1 - 1e-7 rounds to 1 - 2^-23 in float32: logarithms of what is left differ by up to ln(1.2).
    np.testing.assert_allclose(loss, [0.0, -math.log(1e-7)], atol=0.2)
    np.testing.assert_array_equal(dy, 0.0)  # no gradient passes a clip that takes effect


def test_softmax_cross_entropy_of_extreme_logits(isa: str) -> None:
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], np.float32)
    y_true = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], np.float32)
    loss, dlogits = calls.unwritten(2), calls.unwritten(2, 3)
    _core.softmax_cross_entropy(logits, y_true, np.ones(2, np.float32), loss, dlogits)
    np.testing.assert_allclose(loss, [0.0, 2e4], rtol=1e-6)
    np.testing.assert_allclose(dlogits, [[0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 4095, 4097, 20_000])
def test_weighted_sum(count: int, isa: str, threads: int) -> None:
    rng = np.random.default_rng(4)
    values, weights = normal(rng, count, scale=1e3), normal(rng, count)
    products = double(values) * double(weights)  # exact: two 24-bit factors fit into 53 bits
    for w, exact in [(weights, math.fsum(products)), (None, math.fsum(values))]:
        bound = 2.0**-52 * max(count, 1) * float(np.abs(values if w is None else products).sum())
        assert abs(_core.weighted_sum(values, w) - exact) <= bound


def test_unknown_name() -> None:
    a = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="hinge"):
        _core.loss_forward("hinge", a, a, np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="hinge"):
        _core.loss_backward("hinge", a, a, np.zeros(2, np.float32), a)


@pytest.mark.parametrize("bad", [-1, 3, 2**31 - 1])
def test_bad_target_is_named_and_nothing_is_written(bad: int) -> None:
    targets, p = np.array([0, bad], np.int32), np.full((2, 3), 0.5, np.float32)
    loss = np.full(2, 7.0, np.float32)
    with pytest.raises(IndexError, match=rf"targets\b.*\b1\b.*{bad}"):
        _core.sparse_categorical_crossentropy_forward(targets, p, loss)
    with pytest.raises(IndexError, match=rf"targets\b.*\b1\b.*{bad}"):
        _core.sparse_categorical_crossentropy_backward(targets, p, loss, p)
    assert (loss == 7.0).all()
    assert (p == 0.5).all()
