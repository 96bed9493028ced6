from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, losses
from recurlm.layers import Dense
from tests.python.models import check_gradients, ids, normal
from tests.reference import losses as reference

RNG = np.random.default_rng(17)
B, T, N = 3, 4, 5


def distributions(*shape: int) -> np.ndarray:
    values = RNG.random(shape).astype(np.float32) + 0.05
    return values / values.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", ["mean_squared_error", "mean_absolute_error", "binary_crossentropy"])
@pytest.mark.parametrize("shape", [(B, N), (B, T, N), (B, 1)])
def test_elementwise_losses_are_means_over_rows(name: str, shape: tuple[int, ...]) -> None:
    y, p = RNG.random(shape), distributions(*shape) if shape[-1] > 1 else np.full(shape, 0.3, np.float32)
    rows, _ = getattr(reference, name)(y.reshape(-1, shape[-1]), p.astype(np.float64).reshape(-1, shape[-1]))
    loss = losses.get(name)
    assert loss(y, p) == pytest.approx(rows.mean(), rel=1e-5)
    weight = RNG.random(shape[:-1])
    expected = (rows * weight.reshape(-1)).mean()
    assert loss(y, p, weight) == pytest.approx(expected, rel=1e-5)
    if shape[-1] == 1:
        assert loss(y[..., 0], p) == pytest.approx(rows.mean(), rel=1e-5)


@pytest.mark.parametrize("logits", [False, True])
def test_cross_entropies_agree_with_each_other(logits: bool) -> None:
    targets = ids(RNG, N, B, T)
    p = normal(RNG, B, T, N) if logits else distributions(B, T, N)
    z = p.astype(np.float64)
    q = np.exp(z) / np.exp(z).sum(-1, keepdims=True) if logits else z
    expected = -np.log(np.take_along_axis(q, targets[..., None], -1)).mean()
    one_hot = np.eye(N, dtype=np.float32)[targets]
    assert losses.SparseCategoricalCrossentropy(from_logits=logits)(targets, p) == pytest.approx(expected, rel=1e-5)
    assert losses.SparseCategoricalCrossentropy(from_logits=logits)(targets[..., None], p) == pytest.approx(
        expected, rel=1e-5
    )
    assert losses.CategoricalCrossentropy(from_logits=logits)(one_hot, p) == pytest.approx(expected, rel=1e-5)


def test_reductions() -> None:
    y, p, w = RNG.random((B, N)), distributions(B, N), np.array([1.0, 0.0, 2.0])
    rows, _ = reference.mean_squared_error(y, p.astype(np.float64))
    expected = {
        "sum_over_batch_size": (rows * w).sum() / B,
        "mean": (rows * w).sum() / B,
        "sum": (rows * w).sum(),
        "mean_with_sample_weight": (rows * w).sum() / w.sum(),
    }
    for reduction, value in expected.items():
        assert losses.MeanSquaredError(reduction)(y, p, w) == pytest.approx(value, rel=1e-5)


def test_label_smoothing() -> None:
    targets = np.eye(N, dtype=np.float32)[ids(RNG, N, B)]
    p = distributions(B, N)
    smoothed = targets * 0.8 + 0.2 / N
    assert losses.CategoricalCrossentropy(label_smoothing=0.2)(targets, p) == pytest.approx(
        losses.CategoricalCrossentropy()(smoothed, p), rel=1e-5
    )
    assert losses.BinaryCrossentropy(label_smoothing=0.2)(targets, p) == pytest.approx(
        losses.BinaryCrossentropy()(targets * 0.8 + 0.1, p), rel=1e-5
    )


@pytest.mark.parametrize("fused", [True, False])
def test_ignored_classes_are_masked(fused: bool) -> None:
    x, y = normal(RNG, 4, 3), np.array([1, -1, 2, 0])
    inputs = Input((3,))
    model = Model(inputs, Dense(N, "softmax")(inputs))
    model.compile(
        "sgd",
        losses.SparseCategoricalCrossentropy(ignore_class=-1),
        metrics=None if fused else [lambda y, p: p[..., 0]],
    )
    assert (model.compiled.heads[0].projection is not None) == fused
    expected = losses.SparseCategoricalCrossentropy()(y[y >= 0], model.predict(x, verbose=0)[y >= 0])
    assert model.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)
    check_gradients(model, x, y)


@pytest.mark.parametrize("cls", [losses.BinaryCrossentropy, losses.CategoricalCrossentropy])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients_from_logits(cls: Any, smoothing: float) -> None:
    x = Input((None, 3))
    model = Model(x, Dense(N)(x))
    model.compile("sgd", cls(from_logits=True, label_smoothing=smoothing))
    check_gradients(model, normal(RNG, B, T, 3), np.eye(N, dtype=np.float32)[ids(RNG, N, B, T)])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.get("mse")(np.zeros((2, 3)), np.zeros((2, 4))), ValueError, r"shape \(2, 4\).*got \(2, 3\)"),
        (lambda: losses.get("hinge"), ValueError, "unknown loss 'hinge'; known are BinaryCrossentropy"),
        (lambda: losses.get(np.mean), ValueError, "a loss needs its gradient, so a callable cannot be one"),
        (lambda: losses.MeanSquaredError(reduction="median"), ValueError, "reduction must be one of"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=2), ValueError, "label_smoothing must be from 0 to 1"),
        (
            lambda: losses.SparseCategoricalCrossentropy()(np.array([0.5, 1]), np.zeros((2, 3))),
            TypeError,
            "y_true must be integers, got dtype float64",
        ),
    ],
)
def test_bad_arguments_are_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("loss", ["mse", "sparse_categorical_crossentropy"])
def test_an_output_of_weight_zero_is_shown_and_does_not_train(loss: str) -> None:
    x = Input((3,))
    first, second = Dense(2, name="first"), Dense(4, "softmax", name="second")
    data, labels = normal(RNG, 8, 3), [normal(RNG, 8, 2), normal(RNG, 8, 4) if loss == "mse" else ids(RNG, 4, 8)]
    model = Model(x, [first(x), second(x)])
    figures = []
    for weight in (1, 0):
        model.compile("sgd", ["mse", loss], loss_weights=[1, weight], metrics=[None, ["accuracy"]])
        figures.append(model.evaluate(data, labels, verbose=0, return_dict=True))
    assert figures[1]["second_loss"] == pytest.approx(figures[0]["second_loss"])
    assert figures[1]["second_accuracy"] == figures[0]["second_accuracy"]
    assert figures[1]["loss"] == pytest.approx(figures[0]["first_loss"])
    before = second.get_weights()[0]
    assert model.train_on_batch(data, labels, return_dict=True)["second_loss"] == figures[1]["second_loss"]
    np.testing.assert_array_equal(second.get_weights()[0], before)
    model.compile("sgd", ["mse", loss], loss_weights=[0, 0])
    assert model.train_on_batch(data, labels, return_dict=True)["loss"] == 0
