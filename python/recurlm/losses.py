"""Losses, with Keras's names, arguments and reductions.

>>> import numpy as np
>>> from recurlm import losses
>>> round(losses.MeanSquaredError()(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]])), 6)
2.0
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from . import _core
from .arrays import check_ids, reordered
from .checks import is_number
from .naming import resolve
from .sampled_softmax import SampledSoftmax
from .tape import Call, Tape
from .typing import Array, Float, Mask

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight")


class Loss:
    """A loss for each row of predictions, and how rows become one number.

    ``reduction``: sum_over_batch_size (or mean) divides the weighted sum by the number of rows, or of those that a
    mask leaves; mean_with_sample_weight divides by the sum of the weights; sum does not divide.
    """

    core_name: ClassVar[str] = ""
    sparse: ClassVar[bool] = False
    cross_entropy: ClassVar[bool] = False
    sampled_softmax: SampledSoftmax | None = None

    def __init__(self, name: str, reduction: str, *, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
        if not is_number(label_smoothing) or not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be from 0 to 1, got {label_smoothing!r}")
        self.name = name
        self.reduction = reduction
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    @property
    def link(self) -> str:
        """The activation that turns ``from_logits`` predictions into what the core's formula takes."""
        return "softmax" if self.cross_entropy else "sigmoid"

    def targets(self, y_true: Array, shape: tuple[int, ...], name: str = "y_true") -> Array:
        """Rows of targets, time-major, for predictions of batch-first ``shape``: ids (R,) or numbers (R, N)."""
        y_true = np.asarray(y_true)
        if y_true.shape == shape[:-1] and shape[-1] == 1:
            y_true = y_true[..., None]
        if y_true.shape != shape:
            raise ValueError(f"{name} must have the shape {shape} of the predictions, got {y_true.shape}")
        return self._smoothed(np.ascontiguousarray(reordered(y_true), np.float32).reshape(-1, shape[-1]))

    def _smoothed(self, rows: Float) -> Float:
        if self.label_smoothing == 0:
            return rows
        share = 1 / rows.shape[1] if self.cross_entropy else 0.5
        kept = np.float32(1 - self.label_smoothing)
        return np.asarray(rows * kept + np.float32(self.label_smoothing * share))

    def forward(self, call: Call, targets: Array, y_pred: Float) -> Float:
        """The loss of each row; y_pred (R, N)."""
        loss = call.buffer("loss", (len(y_pred),))
        self._forward_rows(targets, self._probabilities(call, y_pred), loss)
        return loss

    def backward(self, call: Call, targets: Array, y_pred: Float, weights: Float, dy: Float) -> None:
        """Gradient of the weighted sum with respect to y_pred."""
        probabilities = call.saved["probabilities"] if self.from_logits else y_pred
        self._backward_rows(targets, probabilities, weights, dy)
        if self.from_logits:
            _core.activation_backward(self.link, probabilities, dy, dy)

    def _forward_rows(self, targets: Array, y_pred: Float, loss: Float) -> None:
        _core.loss_forward(self.core_name, targets, y_pred, loss)

    def _backward_rows(self, targets: Array, y_pred: Float, weights: Float, dy: Float) -> None:
        _core.loss_backward(self.core_name, targets, y_pred, weights, dy)

    def valid(self, y_true: Array) -> Mask | None:
        """Which rows the loss is defined for, time-major; None for all."""
        return None

    def _probabilities(self, call: Call, y_pred: Float) -> Float:
        if not self.from_logits:
            return y_pred
        probabilities = call.saved["probabilities"] = call.buffer("probabilities", y_pred.shape)
        _core.activation_forward(self.link, y_pred, probabilities)
        return probabilities

    def row_weights(self, mask: Array | None, sample_weight: Array | None, rows: int) -> tuple[Float, float]:
        """The weight of each row, and the divisor of the weighted sum (0 where nothing is left to divide)."""
        weights = np.ones(rows, np.float32) if sample_weight is None else sample_weight.astype(np.float32)
        divisor: float = rows
        if mask is not None:
            weights *= mask
            divisor = int(np.count_nonzero(mask))
        if self.reduction == "sum":
            divisor = 1
        elif self.reduction == "mean_with_sample_weight":
            divisor = _core.weighted_sum(weights, None)
        return weights, float(divisor)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """The reduced loss of arrays; y_pred (..., N), sample_weight (batch,) or one for each row."""
        y_pred = np.asarray(y_pred, np.float32)
        if y_pred.ndim < 2:
            raise ValueError(f"y_pred must have shape (batch, [time,] N), got {y_pred.shape}")
        targets = self.targets(np.asarray(y_true), y_pred.shape)
        rows = np.ascontiguousarray(reordered(y_pred)).reshape(-1, y_pred.shape[-1])
        given = None if sample_weight is None else spread_weight(sample_weight, y_pred.shape[:-1])
        weights, divisor = self.row_weights(self.valid(np.asarray(y_true)), given, len(rows))
        total = _core.weighted_sum(self.forward(Tape().call(0), targets, rows), weights)
        return total / divisor if divisor else 0.0

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name, "reduction": self.reduction}


class MeanSquaredError(Loss):
    """Mean over the last axis of ``(y_true - y_pred)**2``."""

    core_name = "mean_squared_error"

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "mean_squared_error") -> None:
        super().__init__(name, reduction)


class MeanAbsoluteError(Loss):
    """Mean over the last axis of ``|y_true - y_pred|``."""

    core_name = "mean_absolute_error"

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "mean_absolute_error") -> None:
        super().__init__(name, reduction)


class BinaryCrossentropy(Loss):
    """Mean over the last axis of ``-y log p - (1 - y) log(1 - p)``; p is kept 1e-7 away from 0 and 1."""

    core_name = "binary_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str = "binary_crossentropy",
    ) -> None:
        super().__init__(name, reduction, from_logits=from_logits, label_smoothing=label_smoothing)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


class CategoricalCrossentropy(Loss):
    """``-sum(y log p)`` over the last axis; y is one-hot or a distribution."""

    core_name = "categorical_crossentropy"
    cross_entropy = True

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
    ) -> None:
        super().__init__(name, reduction, from_logits=from_logits, label_smoothing=label_smoothing)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


class SparseCategoricalCrossentropy(Loss):
    """``-log p[y]``; y is an id at every position. Rows whose id is ``ignore_class`` count as masked.

    ``label_smoothing`` (not in Keras, which has it for one-hot labels) gives that share of the target's probability to
    all classes in equal parts. ``sampled_softmax`` (not in Keras), a ``recurlm.sampled_softmax.SampledSoftmax``, takes
    a sample of the classes in training.
    """

    sparse = True
    cross_entropy = True

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str = "sum_over_batch_size",
        name: str = "sparse_categorical_crossentropy",
        *,
        label_smoothing: float = 0.0,
        sampled_softmax: SampledSoftmax | dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, reduction, from_logits=from_logits, label_smoothing=label_smoothing)
        self.ignore_class = ignore_class
        if isinstance(sampled_softmax, dict):  # of a configuration
            sampled_softmax = SampledSoftmax(**sampled_softmax)
        if not isinstance(sampled_softmax, (SampledSoftmax, type(None))):
            raise TypeError(f"sampled_softmax must be a SampledSoftmax or None, got {sampled_softmax!r}")
        if sampled_softmax is not None and label_smoothing != 0:
            raise ValueError("label_smoothing gives a share to all classes: it does not go with sampled_softmax")
        self.sampled_softmax = sampled_softmax

    def targets(self, y_true: Array, shape: tuple[int, ...], name: str = "y_true") -> Array:
        y_true = np.asarray(y_true)
        if y_true.shape == (*shape[:-1], 1):
            y_true = y_true[..., 0]
        if y_true.shape != shape[:-1]:
            raise ValueError(f"{name} must hold one id for each prediction, shape {shape[:-1]}, got {y_true.shape}")
        if y_true.dtype.kind == "f" and np.array_equal(y_true, np.trunc(y_true)):
            y_true = y_true.astype(np.int64)
        if self.ignore_class is not None:
            y_true = np.where(y_true == self.ignore_class, 0, y_true)
        check_ids(y_true, shape[-1], name)
        return np.ascontiguousarray(y_true.T, np.int32).reshape(-1)

    def valid(self, y_true: Array) -> Mask | None:
        if self.ignore_class is None:
            return None
        rows = y_true[..., 0] if y_true.ndim > 1 and y_true.shape[-1] == 1 else y_true
        return np.ascontiguousarray((rows != self.ignore_class).T).reshape(-1)

    def _forward_rows(self, targets: Array, y_pred: Float, loss: Float) -> None:
        if self.label_smoothing:
            _core.loss_forward("categorical_crossentropy", self._one_hot(targets, y_pred), y_pred, loss)
        else:
            _core.sparse_categorical_crossentropy_forward(targets, y_pred, loss)

    def _backward_rows(self, targets: Array, y_pred: Float, weights: Float, dy: Float) -> None:
        if self.label_smoothing:
            _core.loss_backward("categorical_crossentropy", self._one_hot(targets, y_pred), y_pred, weights, dy)
        else:
            _core.sparse_categorical_crossentropy_backward(targets, y_pred, weights, dy)

    def _one_hot(self, targets: Array, y_pred: Float) -> Float:
        rows = np.zeros_like(y_pred)
        rows[np.arange(len(rows)), targets] = 1
        return self._smoothed(rows)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "label_smoothing": self.label_smoothing,
            "sampled_softmax": self.sampled_softmax and self.sampled_softmax.get_config(),
        }


def spread_weight(weight: Any, shape: tuple[int, ...], name: str = "sample_weight") -> Float:
    """One weight for each row, time-major, from one for each sample or position of batch-first ``shape``."""
    weight = np.asarray(weight, np.float32)
    if weight.ndim == 2 and len(shape) == 1 and weight.shape[1] == 1:
        weight = weight[:, 0]
    if weight.ndim not in (1, len(shape)) or weight.shape not in (shape[:1], shape, (shape[0], 1)):
        raise ValueError(f"{name} must have shape {shape[:1]} or {shape}, got {weight.shape}")
    weight = weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim))
    return np.ascontiguousarray(np.broadcast_to(weight, shape).T).reshape(-1)


_CLASSES: dict[str, Callable[..., Loss]] = {
    cls.__name__: cls
    for cls in (
        *(MeanSquaredError, MeanAbsoluteError, BinaryCrossentropy, CategoricalCrossentropy),
        SparseCategoricalCrossentropy,
    )
}
_ALIASES: dict[str, Callable[..., Loss]] = {
    **dict.fromkeys(("mse", "MSE"), MeanSquaredError),
    **dict.fromkeys(("mae", "MAE"), MeanAbsoluteError),
    "bce": BinaryCrossentropy,
}


def get(identifier: Any) -> Loss:
    """A loss from its name, its serialized form, or itself."""
    loss = resolve("loss", identifier, _CLASSES | _ALIASES)
    if not isinstance(loss, Loss):
        known = ", ".join(_CLASSES)
        raise ValueError(f"a loss needs its gradient, so a callable cannot be one; use one of {known}")
    return loss


def serialize(loss: Loss) -> dict[str, Any]:
    """``{"class_name", "config"}``."""
    return {"class_name": type(loss).__name__, "config": loss.get_config()}
