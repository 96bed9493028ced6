"""The last projection of a model fused with softmax and cross-entropy: over all classes, or over a sample of them."""

from typing import NamedTuple

import numpy as np

from . import _core
from .graph import Graph
from .layers.base import SymbolicTensor
from .layers.core import Dense, LinearGradients
from .layers.wrappers import TimeDistributed
from .losses import Loss
from .metrics import Rows
from .sampled_softmax import SampledSoftmax
from .tape import Call, Parameter
from .typing import Array, Float, Ids


class Projected(NamedTuple):
    """What the fused loss says of each row, the weighted loss, and the gradient of x where it is wanted."""

    rows: Rows
    loss: float
    dx: Float | None


class _Weights(NamedTuple):
    """What logits are made with, and where its gradients go; None where there are none."""

    kernel: Float  # (D, V), transposed (V, D)
    bias: Float | None  # (V,)
    transposed: bool
    gradients: LinearGradients | None


def projection_of(graph: Graph, tensor: SymbolicTensor, loss: Loss | None = None) -> Dense | None:
    """The layer behind ``tensor`` if its softmax can be fused with a cross-entropy, else None."""
    layer = tensor.node.layer
    if loss is not None and layer.activity_regularizer is not None:  # which needs the outputs
        return None
    while isinstance(layer, TimeDistributed):  # a Dense does the same without, and passes the same mask on
        layer = layer.layer
    if not isinstance(layer, Dense) or graph.consumers[tensor] or graph.outputs.count(tensor) > 1:
        return None
    linear = layer.activation == "linear"
    accepted = layer.activation == "softmax" or linear if loss is None else loss.from_logits == linear
    return layer if accepted and layer.activation in ("softmax", "linear") else None


def project(
    call: Call, layer: Dense, x: Array, ids: Ids, row_weights: Float, gradient: bool, label_smoothing: float = 0.0
) -> Projected:
    """Over all classes; ids (R,) are the targets of the rows of x."""
    bias = None if layer.bias is None else layer.bias.value
    gradients = layer.open_gradients(call) if gradient else None
    weights = _Weights(layer.kernel.value, bias, layer.transposed, gradients)
    return _project(call, weights, x, ids, row_weights, label_smoothing)


def project_sample(
    call: Call, layer: Dense, x: Array, ids: Ids, row_weights: Float, sampling: SampledSoftmax
) -> Projected:
    """Over the classes of a sample, for a gradient; probabilities and ranks of the rows are among these."""
    sample = sampling.draw(ids[row_weights != 0], call.tape.seed, call.index, call.tape.step)
    classes = sample.classes
    axis = 0 if layer.transposed else 1
    shape = (len(classes), layer.kernel.shape[1]) if layer.transposed else (layer.kernel.shape[0], len(classes))
    kernel = np.take(layer.kernel.value, classes, axis, out=call.buffer("kernel", shape), mode="clip")
    bias = np.negative(sample.log_inclusion, out=call.buffer("bias", classes.shape))
    if layer.bias is not None:
        bias += layer.bias.value[classes]
    gradients = LinearGradients(
        call.buffer("dkernel", shape) if (layer.tied_to or layer).trainable else None,
        call.buffer("dbias", classes.shape) if layer.bias is not None and layer.trainable else None,
        accumulate=False,
    )
    weights = _Weights(kernel, bias, layer.transposed, gradients)
    rows, loss, dx = _project(call, weights, x, sample.places[ids], row_weights)
    if gradients.kernel is not None:
        _add_gradient(call, layer.kernel, classes, gradients.kernel, layer.transposed)
    if layer.bias is not None and gradients.bias is not None:
        _add_gradient(call, layer.bias, classes, gradients.bias, rows=False)
    predictions = np.take(classes, rows.predictions, out=rows.predictions, mode="clip")  # -1 stands at rows of weight 0
    return Projected(rows._replace(targets=ids, predictions=predictions), loss, dx)


def _add_gradient(call: Call, parameter: Parameter, classes: Ids, gradient: Float, rows: bool) -> None:
    """Add that of some classes, which are the rows or the columns of ``parameter``."""
    if rows:
        call.tape.add_rows(parameter, classes)
        _core.embedding_backward(classes, gradient, parameter.grad)
        return
    if call.tape.accumulate([parameter]):
        parameter.grad[..., classes] += gradient
    else:
        parameter.grad.fill(0)
        parameter.grad[..., classes] = gradient


def _project(
    call: Call, weights: _Weights, x: Array, targets: Ids, row_weights: Float, label_smoothing: float = 0.0
) -> Projected:
    flat = x.reshape(-1, x.shape[-1])
    count = (len(flat),)
    rows = Rows(
        targets,
        call.buffer("log_probs", count),
        call.buffer("ranks", count, np.int32),
        call.buffer("predictions", count, np.int32),
    )
    gradients = weights.gradients
    dx = call.gradient(x.shape) if gradients is not None and call.wanted[0] else None
    total = _core.projection_cross_entropy(
        flat,
        weights.kernel,
        weights.bias,
        targets,
        row_weights,
        rows.log_probs,
        rows.ranks,
        rows.predictions,
        None if dx is None else dx.reshape(flat.shape),
        gradients and gradients.kernel,
        gradients and gradients.bias,
        call.tape.workspace,
        transposed=weights.transposed,
        accumulate=gradients is not None and gradients.accumulate,
        precision=call.tape.precision,
        label_smoothing=label_smoothing,
    )
    return Projected(rows, total, dx)
