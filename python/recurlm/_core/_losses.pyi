"""Losses."""

from ._machine import Workspace
from ._types import Float, Ids

def projection_cross_entropy(
    x: Float,
    kernel: Float,
    bias: Float | None,
    targets: Ids,
    weights: Float | None,
    log_probs: Float,
    ranks: Ids,
    predictions: Ids,
    dx: Float | None,
    dkernel: Float | None,
    dbias: Float | None,
    workspace: Workspace,
    *,
    transposed: bool = False,
    accumulate: bool = False,
    precision: str = "float32",
    label_smoothing: float = 0.0,
) -> float:
    """Linear projection, log-softmax and cross-entropy over row chunks, so that no (R, V) array ever exists.

    x (R, D), kernel (D, V) or (V, D) if ``transposed``, targets (R,), weights (R,) or None for ones. Returns ``sum_r
    -weights[r] * log_probs[r]`` and writes per row the target's log-probability (natural), the number of entries more
    probable than the target and the arg max. Equal entries stand in the order of their ids, so rank 0 is a correct
    prediction. Gradients are of the returned value. A row of weight 0 is padding: its target is not looked at, its
    log_prob is 0, its rank -1 and prediction -1.

    ``label_smoothing`` s mixes the one-hot target with the uniform distribution: with q = (1 - s) onehot + s / V the
    returned value is ``sum_r -weights[r] * sum_v q[r, v] * log p[r, v]``. What is written per row is of the target
    alone.
    """

def loss_forward(name: str, y_true: Float, y_pred: Float, loss: Float) -> None:
    """Loss of each row, Keras's definitions on probabilities; y_true, y_pred (R, N), loss (R,).

    ``name``: mean_squared_error, mean_absolute_error, binary_crossentropy, categorical_crossentropy.
    """

def loss_backward(name: str, y_true: Float, y_pred: Float, weights: Float, dy: Float) -> None:
    """``dy = weights[:, None] * d loss[r] / d y_pred``."""

def sparse_categorical_crossentropy_forward(targets: Ids, y_pred: Float, loss: Float) -> None: ...
def sparse_categorical_crossentropy_backward(targets: Ids, y_pred: Float, weights: Float, dy: Float) -> None: ...
def softmax_cross_entropy(logits: Float, y_true: Float, weights: Float, loss: Float, dlogits: Float | None) -> None:
    """Dense targets: ``loss[r] = -sum_n y_true[r, n] * log_softmax(logits[r])[n]``; dlogits carries the weights."""

def weighted_sum(values: Float, weights: Float | None) -> float:
    """Sum in double over fixed blocks combined in order; the same bits for any number of threads."""
