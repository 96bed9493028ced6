"""What holds after every update."""

from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, constraints, optimizers
from recurlm.layers import LSTM, Dense, Embedding
from tests.python.models import normal

RNG = np.random.default_rng(5)


def norms(w: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.asarray(np.sqrt((w.astype(np.float64) ** 2).sum(axis=axis)))


@pytest.mark.parametrize("axis", [0, 1])
def test_norms(axis: int) -> None:
    w = 3 * normal(RNG, 6, 5)
    w[:, 2] *= 0.01
    before = norms(w, axis)
    np.testing.assert_allclose(norms(constraints.MaxNorm(2, axis)(w), axis), np.minimum(before, 2), rtol=1e-5)
    np.testing.assert_allclose(norms(constraints.UnitNorm(axis)(w), axis), 1, rtol=1e-5)
    between = constraints.MinMaxNorm(1.0, 2.0, 0.5, axis)(w)
    np.testing.assert_allclose(norms(between, axis), (before + np.clip(before, 1, 2)) / 2, rtol=1e-5)


def test_nothing_stays_nothing() -> None:
    for constraint in (constraints.MaxNorm(), constraints.UnitNorm(), constraints.NonNeg()):
        np.testing.assert_array_equal(constraint(np.zeros((3, 2))), np.zeros((3, 2)))


def test_they_hold_after_every_step() -> None:
    x = Input((None,))
    embedding = Embedding(7, 4, embeddings_constraint=constraints.UnitNorm(axis=1))
    lstm = LSTM(5, kernel_constraint="non_neg", recurrent_constraint=constraints.MaxNorm(0.5))
    dense = Dense(3, "softmax", kernel_constraint=constraints.MinMaxNorm(0.2, 0.3))
    model = Model(x, dense(lstm(embedding(x))))
    model.compile(optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    for _ in range(3):
        version = model.weights_version
        model.train_on_batch(RNG.integers(0, 7, (8, 6)), RNG.integers(0, 3, 8))
        assert model.weights_version > version
        np.testing.assert_allclose(norms(embedding.get_weights()[0], 1), 1, rtol=1e-5)
        assert lstm.get_weights()[0].min() >= 0
        assert norms(lstm.get_weights()[1]).max() <= 0.5 + 1e-6
        assert norms(dense.get_weights()[0]).max() <= 0.3 + 1e-6
        assert norms(dense.get_weights()[0]).min() >= 0.2 - 1e-6


def test_configurations_come_back() -> None:
    for constraint in (constraints.MaxNorm(3, axis=[0, 1]), constraints.MinMaxNorm(rate=0.5), constraints.NonNeg()):
        again: Any = constraints.get(constraints.serialize(constraint))
        assert type(again) is type(constraint)
        assert again.get_config() == constraint.get_config()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: constraints.MinMaxNorm(2, 1), ValueError, "0 <= min_value <= max_value is needed, got 2 and 1"),
        (lambda: constraints.MaxNorm("2"), TypeError, "max_value must be a number, got '2'"),
        (lambda: constraints.UnitNorm(axis=None), TypeError, "axis must be an integer or a list of integers, got None"),
        (
            lambda: Dense(2, bias_constraint=constraints.MaxNorm(axis=1))(np.zeros((1, 3), np.float32)),
            ValueError,
            r"the constraint of bias \(2,\) is not possible: axis 1 is out of bounds",
        ),
        (lambda: constraints.MinMaxNorm(rate=2), ValueError, "rate must be from 0 to 1, got 2"),
        (lambda: Dense(2, bias_constraint="positive"), ValueError, "unknown constraint 'positive'; known are MaxNorm"),
        (lambda: Dense(2, bias_constraint=abs), TypeError, "a constraint must be one of MaxNorm"),
    ],
)
def test_bad_arguments_are_named(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
