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


def reference(y: np.ndarray, p: np.ndarray, w: np.ndarray, threshold: float, k: int | None, c: int | None) -> tuple:
    """Precision and recall, counted a position and a class at a time in float64, ties to the lower class."""
    true_positive = false_positive = false_negative = np.float64(0)
    for place in np.ndindex(p.shape[:-1]):
        top = sorted(range(p.shape[-1]), key=lambda i: (-np.float64(p[place][i]), i))[:k]
        for i in range(p.shape[-1]) if c is None else [c]:
            positive = i in top and p[place][i] > threshold
            true_positive += w[place] * (positive and y[place][i] == 1)
            false_positive += w[place] * (positive and y[place][i] == 0)
            false_negative += w[place] * (not positive and y[place][i] == 1)
    return true_positive / (true_positive + false_positive), true_positive / (true_positive + false_negative)


@pytest.mark.parametrize("class_id", [None, 0, N - 1])
@pytest.mark.parametrize("top_k", [None, 1, 3, N, N + 2])
@pytest.mark.parametrize("thresholds", [None, 0.1])
def test_precision_and_recall_of_the_largest_and_of_one_class(
    thresholds: float | None, top_k: int | None, class_id: int | None
) -> None:
    rng = np.random.default_rng(5)
    p = np.round(rng.random((200, T, N)), 1)  # so that there are ties
    y, w = rng.integers(2, size=p.shape), rng.random(p.shape[:-1])
    threshold = thresholds if thresholds is not None else 0.5 if top_k is None else -np.inf
    expected = reference(y, p, w, threshold, top_k, class_id)
    for cls, figure in zip((metrics.Precision, metrics.Recall), expected, strict=True):
        metric = cls(thresholds, top_k, class_id)
        metric.update_state(y[:90], p[:90], w[:90])
        metric.update_state(y[90:], p[90:], w[90:])
        assert metric.result() == pytest.approx(figure, rel=1e-12)


def test_top_k_and_class_id_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"^Precision: top_k must be None or an integer from 1 on, got 0$"):
        metrics.Precision(top_k=0)
    with pytest.raises(ValueError, match=r"^Recall: class_id must be None or an integer from 0 on, got -1$"):
        metrics.Recall(class_id=-1)
    with pytest.raises(IndexError, match=r"^class_id is 7, but y_pred has 7 classes$"):
        metrics.Recall(class_id=N).update_state(np.eye(N)[Y], PREDICTED)


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
