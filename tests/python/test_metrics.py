from typing import Any

import numpy as np
import pytest

from recurlm import metrics
from recurlm.metrics import Rows
from tests.python.models import ids

RNG = np.random.default_rng(19)
B, T, N = 6, 4, 7
PREDICTED = RNG.random((B, T, N)).astype(np.float32)
PREDICTED /= PREDICTED.sum(-1, keepdims=True)
Y = ids(RNG, N, B, T)
TARGET = np.take_along_axis(PREDICTED, Y[..., None], -1)[..., 0]
RANKS = np.sum(np.greater(PREDICTED, TARGET[..., None]), axis=-1)
EXPECTED = {
    "sparse_categorical_accuracy": RANKS == 0,
    "sparse_top_k_categorical_accuracy": RANKS < 5,
}


def both(metric: metrics.Metric, weight: np.ndarray | None = None) -> list[float]:
    """From outputs, in two batches; from what the fused loss says of rows; from one-hot labels."""
    w = np.ones((B, T)) if weight is None else weight
    results = []
    for half in (slice(0, 2), slice(2, B)):
        metric.update_state(Y[half], PREDICTED[half], None if weight is None else weight[half])
    results.append(metric.result())
    metric.reset_state()
    metric.update_rows(
        Rows(*(a.T.reshape(-1) for a in (Y, np.log(TARGET), RANKS, PREDICTED.argmax(-1)))), w.T.reshape(-1)
    )
    results.append(metric.result())
    metric.reset_state()
    metric.update_state(np.eye(N)[Y], PREDICTED, weight)
    return [*results, metric.result()]


@pytest.mark.parametrize("name", EXPECTED)
def test_accuracies(name: str) -> None:
    weight = RNG.random((B, T))
    weight[0] = 0
    for w in (None, weight):
        expected = np.average(EXPECTED[name], weights=w)
        assert both(metrics.get(name), w) == pytest.approx([expected] * 3)
    assert both(metrics.TopKCategoricalAccuracy(k=2)) == pytest.approx([(RANKS < 2).mean()] * 3)


def test_perplexity() -> None:
    expected = np.exp(-np.log(TARGET.astype(np.float64)).mean())
    assert both(metrics.Perplexity()) == pytest.approx([expected] * 3, rel=1e-5)
    logits = metrics.Perplexity(from_logits=True)
    logits.update_state(Y, np.log(PREDICTED) + 3)
    assert logits.result() == pytest.approx(expected, rel=1e-5)


def test_errors_and_binary_figures() -> None:
    y, p = RNG.random((B, T, N)), PREDICTED
    flags = RNG.integers(2, size=(B, T, N))
    cases: dict[str, tuple[Any, float]] = {
        "mse": (y, ((y - p) ** 2).mean()),
        "mean_absolute_error": (y, np.abs(y - p).mean()),
        "binary_accuracy": (flags, ((p > 0.5) == flags).mean()),
    }
    for name, (labels, expected) in cases.items():
        metric = metrics.get(name)
        metric.update_state(labels, p)
        assert metric.name == name
        assert metric.result() == pytest.approx(expected)


def test_precision_and_recall() -> None:
    flags, p = np.array([1, 1, 0, 0, 1]), np.array([[0.9], [0.2], [0.8], [0.1], [0.7]])
    precision, recall = metrics.Precision(), metrics.Recall()
    for metric in (precision, recall):
        metric.update_state(flags, p)
    assert precision.result() == pytest.approx(2 / 3)
    assert recall.result() == pytest.approx(2 / 3)
    strict = metrics.Precision(thresholds=0.75)
    strict.update_state(flags, p, np.array([1, 1, 3, 1, 1]))
    assert strict.result() == pytest.approx(1 / 4)


@pytest.mark.parametrize("cls", [metrics.Precision, metrics.Recall])
def test_no_threshold_is_one_half(cls: Any) -> None:
    metric = cls(thresholds=None)
    metric.update_state([[1], [0], [1]], [[0.6], [0.4], [0.7]])
    assert (metric.thresholds, metric.result()) == (0.5, 1.0)
    with pytest.raises(ValueError, match=r"thresholds must be one number or None, got \[0.1, 0.9\]"):
        cls(thresholds=[0.1, 0.9])


def test_callables_and_the_meaning_of_accuracy() -> None:
    def largest(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        return y_pred.max(axis=-1)

    metric = metrics.get(largest)
    metric.update_state(Y, PREDICTED)
    assert (metric.name, metric.result()) == ("largest", pytest.approx(PREDICTED.max(-1).mean()))
    scalar = metrics.get(lambda y_true, y_pred: len(y_pred))
    scalar.update_state(Y[:2], PREDICTED[:2])
    scalar.update_state(Y[2:], PREDICTED[2:])
    assert scalar.result() == pytest.approx((2 * 2 + 4 * 4) / 6)
    assert type(metrics.get("accuracy", width=1)) is metrics.BinaryAccuracy
    assert type(metrics.get("acc", width=3, sparse=True)) is metrics.SparseCategoricalAccuracy
    assert type(metrics.get("accuracy", width=3)) is metrics.CategoricalAccuracy


def test_nothing_seen_is_zero_and_unused_positions_may_hold_anything() -> None:
    assert metrics.MeanSquaredError().result() == 0
    metric = metrics.MeanSquaredError()
    metric.update_state([[1.0], [np.nan]], [[3.0], [0.0]], [1, 0])
    assert metric.result() == 4


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="unknown metric 'bleu'; known are"):
        metrics.get("bleu")
    with pytest.raises(ValueError, match=r"y_true must have the shape \(6, 4, 7\) of y_pred, got \(6, 7\)"):
        metrics.get("mse").update_state(np.zeros((6, 7)), PREDICTED)
