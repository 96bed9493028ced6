"""Metrics, with Keras's names: running figures over the positions that count (weight 0 and masked ones do not).

>>> from recurlm import metrics
>>> metric = metrics.BinaryAccuracy()
>>> metric.update_state([[1], [0], [1], [1]], [[0.9], [0.2], [0.1], [0.7]])
>>> metric.result()
0.75
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from .checks import check_optional_integer
from .naming import resolve, snake_case
from .typing import Array, Float, Ids

Values = npt.NDArray[np.float64]


class Rows(NamedTuple):
    """What the fused loss says of each row, (R,): enough for accuracy, top-k and perplexity, without any logits."""

    targets: Ids
    log_probs: Float
    ranks: Ids
    predictions: Ids


class Metric:
    """Sums in ``state``, and a result computed from them."""

    from_rows: ClassVar[bool] = False  # whether update_rows can stand in for update_state
    default_name: ClassVar[str] = ""

    def __init__(self, name: str | None = None, *, size: int = 2) -> None:
        self.name = name or self.default_name or snake_case(type(self).__name__)
        self.state = [0.0] * size

    def reset_state(self) -> None:
        """Forget everything seen."""
        self.state = [0.0] * len(self.state)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch; ``sample_weight`` has one entry for each sample or each position."""
        raise NotImplementedError

    def update_rows(self, rows: Rows, weights: Array) -> None:
        """Add a batch from what the fused loss computed."""
        raise NotImplementedError

    def result(self) -> float:
        """The figure over everything seen since the last reset; 0 where nothing was."""
        raise NotImplementedError


class Mean(Metric):
    """A weighted mean of values, one for each position."""

    def add(self, values: Values, weights: Array) -> None:
        """Add ``values`` and ``weights`` of equal shape."""
        used = weights != 0  # an unused position may hold anything, even NaN
        self.state[0] += float(np.sum(values[used] * weights[used].astype(np.float64)))
        self.state[1] += float(np.sum(weights[used], dtype=np.float64))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        values = np.asarray(self.values(np.asarray(y_true), np.asarray(y_pred)), np.float64)
        self.add(values, position_weights(sample_weight, values.shape))

    def update_rows(self, rows: Rows, weights: Array) -> None:
        self.add(self.row_values(rows), weights)

    def values(self, y_true: Array, y_pred: Array) -> Any:
        """One value for each position."""
        raise NotImplementedError

    def row_values(self, rows: Rows) -> Values:
        """One value for each row."""
        raise NotImplementedError

    def result(self) -> float:
        return self.state[0] / self.state[1] if self.state[1] else 0.0


class MeanMetricWrapper(Mean):
    """The mean of what ``fn(y_true, y_pred)`` returns: a value for each position or sample, or one for the batch."""

    def __init__(self, fn: Callable[[Array, Array], Any], name: str | None = None) -> None:
        super().__init__(name or getattr(fn, "__name__", type(fn).__name__))
        self.fn = fn

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        values = np.asarray(self.fn(np.asarray(y_true), np.asarray(y_pred)), np.float64)
        if values.ndim == 0:
            self.add(values[None], np.array([float(len(y_pred))]))
        else:
            self.add(values, position_weights(sample_weight, values.shape))


class MeanSquaredError(Mean):
    """Mean squared error."""

    def values(self, y_true: Array, y_pred: Array) -> Any:
        return np.mean(_difference(y_true, y_pred) ** 2, axis=-1)


class MeanAbsoluteError(Mean):
    """Mean absolute error."""

    def values(self, y_true: Array, y_pred: Array) -> Any:
        return np.mean(np.abs(_difference(y_true, y_pred)), axis=-1)


class BinaryAccuracy(Mean):
    """How often predictions lie on the target's side of ``threshold``."""

    def __init__(self, name: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def values(self, y_true: Array, y_pred: Array) -> Any:
        return np.mean(like(y_true, y_pred) == (y_pred > self.threshold), axis=-1)


class _RowMean(Mean):
    """A mean that needs of each position the target's id only."""

    from_rows = True

    def ids(self, y_true: Array, y_pred: Array) -> Any:
        """The target's id, from ids or one-hot rows."""
        if y_true.shape == y_pred.shape and y_true.shape[-1] > 1:
            return np.argmax(y_true, axis=-1)
        return y_true.reshape(y_pred.shape[:-1]).astype(np.int64)


class SparseCategoricalAccuracy(_RowMean):
    """How often the most probable class is the target; targets are ids."""

    def values(self, y_true: Array, y_pred: Array) -> Any:
        return np.argmax(y_pred, axis=-1) == self.ids(y_true, y_pred)

    def row_values(self, rows: Rows) -> Values:
        return np.asarray(rows.predictions == rows.targets, np.float64)


class CategoricalAccuracy(SparseCategoricalAccuracy):
    """How often the most probable class is the target; targets are one-hot."""


class SparseTopKCategoricalAccuracy(_RowMean):
    """How often the target is among the ``k`` most probable classes; targets are ids."""

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(name)
        self.k = k

    def values(self, y_true: Array, y_pred: Array) -> Any:
        target = np.take_along_axis(y_pred, self.ids(y_true, y_pred)[..., None], axis=-1)
        return np.sum(y_pred > target, axis=-1) < self.k

    def row_values(self, rows: Rows) -> Values:
        return (rows.ranks < self.k).astype(np.float64)


class TopKCategoricalAccuracy(SparseTopKCategoricalAccuracy):
    """How often the target is among the ``k`` most probable classes; targets are one-hot."""


class SparseCategoricalCrossentropy(_RowMean):
    """The mean negative log-probability of the targets, which are ids."""

    def __init__(self, name: str | None = None, from_logits: bool = False) -> None:
        super().__init__(name)
        self.from_logits = from_logits

    def values(self, y_true: Array, y_pred: Array) -> Any:
        y_pred = y_pred.astype(np.float64)
        target = np.take_along_axis(y_pred, self.ids(y_true, y_pred)[..., None], axis=-1)[..., 0]
        if not self.from_logits:
            return -np.log(np.maximum(target, np.finfo(np.float32).tiny))
        top = y_pred.max(axis=-1)
        return top + np.log(np.sum(np.exp(y_pred - top[..., None]), axis=-1)) - target

    def row_values(self, rows: Rows) -> Values:
        return -rows.log_probs.astype(np.float64)


class Perplexity(SparseCategoricalCrossentropy):
    """``exp`` of the mean negative log-probability of the targets."""

    def result(self) -> float:
        mean = super().result()
        return math.exp(mean) if mean < 700 else math.inf


class _Detection(Metric):
    """Counts of true positives and of ``other``: false positives or false negatives.

    Args:
        thresholds: what a prediction must exceed to count as positive; None is 0.5, or with ``top_k`` no threshold.
        top_k: only the ``k`` largest predictions of a position may be positive; of equal ones those of lower classes.
        class_id: count this class only; None counts all.

    Raises:
        ValueError: one of these is not possible.
        IndexError: the predictions have no class ``class_id``.
    """

    def __init__(
        self,
        thresholds: float | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if thresholds is not None and not isinstance(thresholds, (int, float)):
            raise ValueError(f"{type(self).__name__}: thresholds must be one number or None, got {thresholds!r}")
        self.thresholds = (0.5 if top_k is None else -math.inf) if thresholds is None else thresholds
        self.top_k = check_optional_integer(f"{type(self).__name__}: top_k", top_k, 1)
        self.class_id = check_optional_integer(f"{type(self).__name__}: class_id", class_id, 0)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        predicted = self._positive(np.asarray(y_pred))  # (..., classes)
        actual = like(np.asarray(y_true), predicted).astype(bool)
        if self.class_id is not None:
            if self.class_id >= predicted.shape[-1]:
                raise IndexError(f"class_id is {self.class_id}, but y_pred has {predicted.shape[-1]} classes")
            predicted, actual = (flags[..., self.class_id, None] for flags in (predicted, actual))
        weights = position_weights(sample_weight, predicted.shape[:-1])[..., None]
        self.state[0] += float(np.sum((predicted & actual) * weights))
        self.state[1] += float(np.sum(self.other(predicted, actual) * weights))

    def _positive(self, y_pred: Array) -> Array:
        """Which classes of each position are predicted."""
        positive: Array = y_pred > self.thresholds
        if self.top_k is None:
            return positive
        order = np.argsort(-y_pred.astype(np.float64), axis=-1, kind="stable")
        top = np.zeros(y_pred.shape, bool)
        np.put_along_axis(top, order[..., : self.top_k], True, axis=-1)
        return positive & top

    def other(self, predicted: Array, actual: Array) -> Array:
        """What is wrong in the sense of this metric."""
        raise NotImplementedError

    def result(self) -> float:
        return self.state[0] / sum(self.state) if sum(self.state) else 0.0


class Precision(_Detection):
    """Share of true ones among what is predicted to be positive."""

    def other(self, predicted: Array, actual: Array) -> Array:
        return predicted & ~actual


class Recall(_Detection):
    """Share of what is predicted to be positive among the true ones."""

    def other(self, predicted: Array, actual: Array) -> Array:
        return ~predicted & actual


def like(y_true: Array, y_pred: Array) -> Array:
    """``y_true`` in the shape of ``y_pred``, of which it may lack a last axis of 1; ValueError otherwise."""
    if y_true.shape != y_pred.shape and y_true.shape != y_pred.shape[:-1]:
        raise ValueError(f"y_true must have the shape {y_pred.shape} of y_pred, got {y_true.shape}")
    return y_true.reshape(y_pred.shape)


def position_weights(sample_weight: Any, shape: tuple[int, ...]) -> Array:
    """Weights for every position, from none, one a sample or one a position."""
    if sample_weight is None:
        return np.ones(shape)
    weight = np.asarray(sample_weight, np.float64)
    weight = weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim))
    if weight.ndim > len(shape):
        # The metric has one value a sample, the weights one a position: what is left of a sample counts as a whole.
        weight = weight.reshape(*shape, -1).mean(axis=-1)
    return np.broadcast_to(weight, shape)


def _difference(y_true: Array, y_pred: Array) -> Values:
    difference: Values = y_pred.astype(np.float64) - like(y_true, y_pred)
    return difference


_CLASSES: dict[str, Callable[..., Metric]] = {
    cls.__name__: cls
    for cls in (
        *(MeanSquaredError, MeanAbsoluteError, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy),
        *(TopKCategoricalAccuracy, SparseTopKCategoricalAccuracy, Precision, Recall),
        *(SparseCategoricalCrossentropy, Perplexity),
    )
}
_ALIASES: dict[str, Callable[..., Metric]] = {
    **dict.fromkeys(("mse", "MSE"), MeanSquaredError),
    **dict.fromkeys(("mae", "MAE"), MeanAbsoluteError),
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
}


def get(identifier: Any, *, width: int = 0, sparse: bool = False, from_logits: bool = False) -> Metric:
    """A metric from its name, itself, or a callable ``fn(y_true, y_pred)``.

    ``"accuracy"`` (or ``"acc"``) is binary for predictions of ``width`` 1, else sparse or categorical by the loss;
    so is whether ``"perplexity"`` sees logits.
    """
    if identifier in ("accuracy", "acc"):
        accuracy = BinaryAccuracy if width == 1 else SparseCategoricalAccuracy if sparse else CategoricalAccuracy
        return accuracy(name=identifier)
    if identifier == "perplexity":
        return Perplexity(from_logits=from_logits)
    if isinstance(identifier, Metric):
        return identifier
    found = resolve("metric", identifier, _CLASSES | _ALIASES)
    if not isinstance(found, Metric):
        return MeanMetricWrapper(found)
    if isinstance(identifier, str):
        found.name = identifier
    return found
