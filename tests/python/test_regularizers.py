"""Penalties on weights and outputs: their values, gradients, what they add to losses, and how they are saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, _core, regularizers
from recurlm.layers import LSTM, Dense, Dropout, Embedding, TimeDistributed
from tests.python.models import check_gradients, gradients, ids, normal
from tests.reference import numeric

RNG = np.random.default_rng(4)


def formula(regularizer: Any, x: np.ndarray) -> float:
    """In float64; x is time-major where time matters."""
    x = x.astype(np.float64)
    if isinstance(regularizer, regularizers.TemporalActivationRegularizer):
        return float(regularizer.beta * np.mean((x[1:] - x[:-1]) ** 2)) if len(x) > 1 else 0.0
    if isinstance(regularizer, regularizers.ActivationRegularizer):
        return float(regularizer.alpha * np.mean(x**2))
    return float(regularizer.l1 * np.abs(x).sum() + regularizer.l2 * (x**2).sum())


ALL = [
    regularizers.L1(0.3),
    regularizers.L2(0.2),
    regularizers.L1L2(0.1, 0.4),
    regularizers.ActivationRegularizer(2.0),
    regularizers.TemporalActivationRegularizer(1.5),
]


@pytest.mark.parametrize("shape", [(1,), (5, 1), (3, 2, 33), (70, 9, 20)], ids=str)
@pytest.mark.parametrize("regularizer", ALL, ids=lambda r: type(r).__name__)
def test_value_and_gradient(regularizer: Any, shape: tuple[int, ...], isa: str, threads: int) -> None:
    x = normal(RNG, *shape)
    start = normal(RNG, *shape)
    gradient = start.copy()
    expected = formula(regularizer, x)
    assert regularizer(x) == pytest.approx(expected, rel=1e-6)
    assert regularizer.penalty(x, 2.0, gradient) == pytest.approx(2 * expected, rel=1e-6)
    if x.size < 1000:
        x64 = x.astype(np.float64)
        wanted = 2 * numeric.gradient(lambda: formula(regularizer, x64), x64)
        np.testing.assert_allclose(gradient - start, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("function", [_core.penalty, _core.difference_penalty], ids=["penalty", "difference"])
def test_the_same_bits_for_any_number_of_threads(function: Any, isa: str) -> None:
    x = normal(RNG, 40, 70, 130)
    factors = (0.3, 0.7) if function is _core.penalty else (0.7,)
    results = []
    for count in (1, 2, 7):
        before = _core.get_num_threads()
        _core.set_num_threads(count)
        gradient = np.ones_like(x)
        results.append((function(x, *factors, gradient), gradient))
        _core.set_num_threads(before)
    for value, gradient in results[1:]:
        assert value == results[0][0]
        np.testing.assert_array_equal(gradient, results[0][1])


def test_nothing_has_no_penalty() -> None:
    for regularizer in ALL:
        assert regularizer(np.zeros((0, 3), np.float32)) == 0.0
        assert regularizer.activity_penalty(np.zeros((0, 0, 3), np.float32), None) == 0.0


def language_model(**options: Any) -> Model:
    x = Input((None,))
    y = Embedding(9, 5, embeddings_regularizer=options.pop("embeddings", None))(x)
    y = LSTM(6, return_sequences=True, **options)(y)
    y = Dropout(0.3, activity_regularizer=options.get("activity_regularizer"))(y)
    model = Model(x, Dense(9, "softmax", bias_regularizer="l2")(y), seed=3)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


OPTIONS: list[dict[str, Any]] = [
    {"kernel_regularizer": regularizers.L2(0.1), "recurrent_regularizer": "l1", "bias_regularizer": "l1_l2"},
    {"embeddings": regularizers.L2(0.1)},  # of values near 0, where the slope of L1 turns
    {"activity_regularizer": "l2"},
    {"activity_regularizer": regularizers.ActivationRegularizer()},
    {"activity_regularizer": regularizers.TemporalActivationRegularizer()},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: next(iter(o)))
def test_gradients_of_a_model(options: dict[str, Any]) -> None:
    model = language_model(**options)
    check_gradients(model, ids(RNG, 9, 4, 5), ids(RNG, 9, 4, 5))


def test_a_penalty_on_an_embedding_reaches_rows_that_no_id_used() -> None:
    model = language_model(embeddings=regularizers.L2(0.5))
    x = np.full((2, 3), 4, np.int32)
    named = gradients(model, x, x)[1]
    table = model.layers[1].weights[0].value
    unused = np.arange(9) != 4
    np.testing.assert_allclose(named["embedding.embeddings"][unused], table[unused], rtol=1e-6)
    # The step after one without a penalty's rows must not find what this one left.
    again = gradients(model, x, x)[1]
    np.testing.assert_array_equal(again["embedding.embeddings"], named["embedding.embeddings"])


def test_the_loss_includes_penalties_and_metrics_do_not() -> None:
    nats = "sparse_categorical_crossentropy"
    x = Input((None,))
    dense = Dense(4, "softmax", kernel_regularizer=regularizers.L2(0.5))
    model = Model(x, dense(LSTM(3, return_sequences=True)(Embedding(4, 3)(x))))
    model.compile("sgd", nats, metrics=[nats])
    tokens = ids(RNG, 4, 2, 5)
    loss, plain = model.evaluate(tokens, tokens, verbose=0)
    assert loss - plain == pytest.approx(0.5 * float(np.sum(dense.get_weights()[0] ** 2)), rel=1e-5)


def test_an_output_that_is_penalised_is_not_fused() -> None:
    x = Input((3,))
    model = Model(x, Dense(4, "softmax", activity_regularizer=regularizers.L2(0.1))(x))
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert model.compiled.heads[0].projection is None
    check_gradients(model, normal(RNG, 5, 3), ids(RNG, 4, 5))


def test_frozen_weights_are_not_penalised() -> None:
    x = Input((3,))
    layer = Dense(4, kernel_regularizer="l2", trainable=False)
    model = Model(x, Dense(1)(layer(x)))
    model.compile("sgd", "mse")
    data, target = normal(RNG, 5, 3), normal(RNG, 5, 1)
    frozen = model.evaluate(data, target, verbose=0)
    layer.trainable = True
    assert model.evaluate(data, target, verbose=0) > frozen


def test_they_are_saved(tmp_path: Path) -> None:
    for options in OPTIONS:
        model = language_model(**options)
        model.save(tmp_path / "m")
        assert Model.load(tmp_path / "m").get_config() == model.get_config()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: regularizers.L2(-1), ValueError, "l2 must be a finite number from 0 on, got -1"),
        (lambda: regularizers.L1(np.nan), ValueError, "l1 must be a finite number from 0 on, got nan"),
        (lambda: Dense(2, kernel_regularizer="l3"), ValueError, "unknown regularizer 'l3'; known are"),
        (lambda: Dense(2, kernel_regularizer=np.sum), TypeError, "a regularizer needs its gradient"),
        (lambda: Dense(2, recurrent_regularizer="l2"), TypeError, "has no argument 'recurrent_regularizer'"),
    ],
)
def test_bad_arguments_are_named(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_tar_counts_sequences_only() -> None:
    x = Input((None, 3))
    layer = LSTM(2, return_sequences=True, return_state=True)
    layer.activity_regularizer = regularizers.TemporalActivationRegularizer(1.5)
    outputs, _, _ = layer(x)
    model = Model(x, outputs)
    model.compile("sgd", "mse")
    data = normal(RNG, 4, 5, 3)
    h = model.predict(data, verbose=0).astype(np.float64)
    assert model.evaluate(data, h, verbose=0) == pytest.approx(1.5 * np.mean(np.diff(h, axis=1) ** 2), rel=1e-5)


def test_activity_is_divided_by_the_batch_at_any_rank() -> None:
    x = Input((3, 5, 2))
    model = Model(x, TimeDistributed(LSTM(4, return_sequences=True), activity_regularizer=regularizers.L2(0.1))(x))
    model.compile("sgd", "mse")
    data = normal(RNG, 7, 3, 5, 2)
    y = model.predict(data, verbose=0)
    assert model.evaluate(data, y, verbose=0) == pytest.approx(
        0.1 * float(np.sum(y.astype(np.float64) ** 2)) / 7, rel=1e-5
    )
