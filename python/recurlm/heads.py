"""What stands on an output of a compiled model: a loss, metrics, and how both are computed.

A cross-entropy on a ``Dense``, also inside ``TimeDistributed``, that ends in softmax (or is linear, with
``from_logits``) is fused with that layer: log-probabilities and gradients come from the core's projection, row chunk
by row chunk, and neither logits nor probabilities exist. It is not fused where a metric, another layer or another
output needs them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _core, metrics
from .arrays import to_batch_major
from .graph import Activations, Graph
from .layers.base import SymbolicTensor
from .losses import Loss, spread_weight
from .metrics import Metric, Rows
from .projection import project, project_sample, projection_of
from .tape import Call, Tape
from .typing import Array, Float, Ids, Mask


class Seed(NamedTuple):
    """Where a backward pass starts: the gradient of a tensor."""

    tensor: SymbolicTensor
    gradient: Float


class Target(NamedTuple):
    """Batch-first labels of one output and the weight of each sample or position."""

    y_true: Array
    sample_weight: Array | None


class _Positions(NamedTuple):
    """The rows of one batch at an output, time-major."""

    shape: tuple[int, ...]  # batch-first, without the last axis
    used: Float  # sample weight times mask
    loss: Float  # the factor of each row's loss: used / divisor, times the loss_weight that its gradient needs

    @property
    def unused(self) -> Mask:
        """Which positions are padding, batch-first."""
        unused: Mask = np.equal(self.used, 0).reshape(self.shape[::-1]).T
        return unused


class Head:
    """Loss and metrics of one output."""

    def __init__(
        self,
        graph: Graph,
        index: int,
        loss: Loss,
        loss_weight: float,
        plain_metrics: Sequence[Metric],
        weighted_metrics: Sequence[Metric],
    ) -> None:
        tensor = graph.outputs[index]
        self.index = index
        self.name = tensor.name
        self.tensor = tensor
        self.node_index = graph.index[tensor.node]
        self.loss = loss
        self.loss_weight = float(loss_weight)
        self.metrics = list(plain_metrics)
        self.weighted_metrics = list(weighted_metrics)
        self.node = tensor.node
        self.projection = projection_of(graph, tensor, loss) if loss.cross_entropy else None
        if not all(metric.from_rows for metric in (*plain_metrics, *weighted_metrics)):
            self.projection = None
        self._check_sampling()

    def run(
        self,
        tape: Tape,
        activations: Activations,
        target: Target,
        wanted: Mapping[SymbolicTensor, bool] | None,
    ) -> tuple[float, list[Seed]]:
        """Loss of a batch and, unless ``wanted`` is None, where its backward pass starts. Updates the metrics."""
        values, masks = activations
        gradient = wanted is not None and self.loss_weight != 0
        if self.projection is None:
            # Not the node's own call: its saved arrays are still needed by its backward pass.
            call = tape.call(-1 - self.index)
            return self._plain(call, values[self.tensor], masks[self.tensor], target, gradient)
        call = tape.call(self.node_index)
        source = self.node.inputs[0]
        x = values[source]
        shape = (*x.shape[:-1][::-1], self.projection.units)  # (T, B) inside is (B, T) outside; (B,) stays
        positions = self._positions(masks[source], target, shape)
        ids = self._ids(target, shape, positions)
        call.wanted = [wanted is not None and wanted[source]]
        if ids is None:
            return self._distribution(call, x, target, positions, gradient)
        if self.loss.sampled_softmax is not None and gradient and positions.loss.any():
            rows, total, dx = project_sample(call, self.projection, x, ids, positions.loss, self.loss.sampled_softmax)
        else:
            smoothing = self.loss.label_smoothing
            rows, total, dx = project(call, self.projection, x, ids, positions.loss, gradient, smoothing)
        self._update_from_rows(rows, positions)
        return self._unweighted(total), [Seed(source, dx)] if dx is not None else []

    # The ways to a loss ----------------------------------------------------------------------------------------------

    def _plain(
        self, call: Call, y_pred: Array, mask: Mask | None, target: Target, gradient: bool
    ) -> tuple[float, list[Seed]]:
        """From the output as it is."""
        shape = (*y_pred.shape[:-1][::-1], y_pred.shape[-1])
        positions = self._positions(mask, target, shape)
        targets = self.loss.targets(self._visible(target, positions), shape, self._label)
        rows = y_pred.reshape(-1, shape[-1])
        total = _core.weighted_sum(self.loss.forward(call, targets, rows), positions.loss)
        if self.metrics or self.weighted_metrics:
            self._update_from_outputs(target, to_batch_major(y_pred), positions)
        if not gradient:
            return self._unweighted(total), []
        dy = call.gradient(y_pred.shape)
        self.loss.backward(call, targets, rows, positions.loss, dy.reshape(rows.shape))
        return self._unweighted(total), [Seed(self.tensor, dy)]

    def _distribution(
        self, call: Call, x: Array, target: Target, positions: _Positions, gradient: bool
    ) -> tuple[float, list[Seed]]:
        """From labels that are no one-hot rows: log-softmax of the logits against them."""
        assert self.projection is not None
        shape = (*positions.shape, self.projection.units)
        logits = self.projection.linear(call, x)
        rows = logits.reshape(-1, shape[-1])
        loss = call.buffer("loss", (len(rows),))
        dlogits = call.gradient(logits.shape) if gradient else None
        targets = self.loss.targets(self._visible(target, positions), shape, self._label)
        flat = None if dlogits is None else dlogits.reshape(rows.shape)
        _core.softmax_cross_entropy(rows, targets, positions.loss, loss, flat)
        total = _core.weighted_sum(loss, positions.loss)
        if self.metrics or self.weighted_metrics:
            _core.activation_forward(self.projection.activation, logits, logits)
            self._update_from_outputs(target, to_batch_major(logits), positions)
        if dlogits is None:
            return self._unweighted(total), []
        dx = self.projection.linear_backward(call, dlogits)
        call.tape.give(dlogits)
        return self._unweighted(total), [] if dx is None else [Seed(self.node.inputs[0], dx)]

    def _ids(self, target: Target, shape: tuple[int, ...], positions: _Positions) -> Ids | None:
        """Ids of sparse labels or of rows that are exactly one-hot; None where they are something else."""
        y_true = self._visible(target, positions)
        if self.loss.sparse:
            return self.loss.targets(y_true, shape, self._label)
        if y_true.shape != shape:
            return None
        ones = y_true == 1
        counts = np.count_nonzero(ones, axis=-1)
        if np.count_nonzero(y_true) != counts.sum() or not ((counts == 1) | positions.unused).all():
            return None
        return np.ascontiguousarray(np.argmax(ones, axis=-1).T, np.int32).reshape(-1)

    # Parts ----------------------------------------------------------------------------------------------------------

    def _check_sampling(self) -> None:
        sampling = self.loss.sampled_softmax
        if sampling is None:
            return
        if self.projection is None:
            raise ValueError(
                f"sampled_softmax of output {self.name!r} needs a Dense with softmax (a linear one, for a loss "
                "from_logits) whose outputs no layer, metric or activity_regularizer reads"
            )
        if len(sampling.counts) != self.projection.units:
            counted, units = len(sampling.counts), self.projection.units
            raise ValueError(f"sampled_softmax of output {self.name!r} counts {counted} classes, expected {units}")

    @property
    def _label(self) -> str:
        return f"y of output {self.name!r}"

    def _positions(self, mask: Mask | None, target: Target, shape: tuple[int, ...]) -> _Positions:
        y_true = target.y_true
        flat = None if mask is None else mask.reshape(-1)
        valid = self.loss.valid(y_true) if y_true.shape[: len(shape) - 1] == shape[:-1] else None
        if valid is not None:
            flat = valid if flat is None else valid & flat
        rows = int(np.prod(shape[:-1]))
        given = None
        if target.sample_weight is not None:
            given = spread_weight(target.sample_weight, shape[:-1], f"sample_weight of output {self.name!r}")
        used, divisor = self.loss.row_weights(flat, given, rows)
        return _Positions(shape[:-1], used, used * np.float32(self._factor / divisor if divisor else 0.0))

    def _visible(self, target: Target, positions: _Positions) -> Array:
        """Labels, with 0 at positions of weight 0: they are padding and may be anything."""
        y_true = target.y_true
        unused = positions.unused
        if y_true.shape[: unused.ndim] != unused.shape or not unused.any():
            return y_true
        return np.where(unused.reshape(unused.shape + (1,) * (y_true.ndim - unused.ndim)), 0, y_true)

    @property
    def _factor(self) -> float:
        """What the loss is computed with: one of weight 0 is computed all the same, to be shown; it has no gradient."""
        return self.loss_weight or 1.0

    def _unweighted(self, total: float) -> float:
        return total / self._factor

    def _update_from_rows(self, rows: Rows, positions: _Positions) -> None:
        for metric in self.metrics:
            metric.update_rows(rows, positions.used != 0)
        for metric in self.weighted_metrics:
            metric.update_rows(rows, positions.used)

    def _update_from_outputs(self, target: Target, y_pred: Array, positions: _Positions) -> None:
        used = positions.used.reshape(positions.shape[::-1]).T
        for metric in self.metrics:
            metric.update_state(target.y_true, y_pred, (used != 0).astype(np.float32))
        for metric in self.weighted_metrics:
            metric.update_state(target.y_true, y_pred, used)


def build_metrics(spec: Any, tensor: SymbolicTensor, loss: Loss) -> list[Metric]:
    """Metrics of one output from one specification or a list of them."""
    listed = [] if spec is None else list(spec) if isinstance(spec, (list, tuple)) else [spec]
    width = tensor.shape[-1] or 0
    return [metrics.get(each, width=width, sparse=loss.sparse, from_logits=loss.from_logits) for each in listed]
