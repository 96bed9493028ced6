"""What ``compile`` makes of a model: an optimizer, a head for each output, penalties, and running figures."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import losses
from .data import Batch
from .graph import Activations, Graph
from .heads import Head, Seed, build_metrics
from .layers.base import SymbolicTensor
from .metrics import Metric
from .optimizers import Optimizer
from .precision import TrainingPrecision, available_training_precision
from .regularizers import Regularizer
from .tape import Parameter, Tape


class Compiled:
    """Losses and metrics of all outputs, as running figures over an epoch or an evaluation."""

    def __init__(self, graph: Graph, optimizer: Optimizer, heads: list[Head], precision: TrainingPrecision) -> None:
        self.graph = graph
        self.optimizer = optimizer
        self.heads = heads
        self.precision = precision  # of the operands of a training step's products
        # Sums of loss * samples: the total, then each output; the number of samples last.
        self.sums = [0.0] * (len(heads) + 2)

    def fresh(self) -> "Compiled":
        """The same with running figures of its own, for an evaluation beside training or in another thread."""
        heads = []
        for head in self.heads:
            twin = copy.copy(head)
            twin.metrics = copy.deepcopy(head.metrics)
            twin.weighted_metrics = copy.deepcopy(head.weighted_metrics)
            heads.append(twin)
        other = Compiled(self.graph, self.optimizer, heads, self.precision)
        other.reset()
        return other

    def run(self, tape: Tape, batch: Batch, wanted: Any = None) -> tuple[float, list[Seed]]:
        """Loss of a batch and, if ``wanted`` is given, where its backward pass starts; counts it in."""
        if len(batch.targets) != len(self.heads):
            raise ValueError("y is needed to compute a loss, got None; batches (x, y) come from an iterator, iter(...)")
        skip = [head.node for head in self.heads if head.projection is not None]
        activations = self.graph.forward(tape, batch.x, skip)
        total, seeds, each = self._weight_penalty(), list[Seed](), list[float]()
        for head, target in zip(self.heads, batch.targets, strict=True):
            loss, starts = head.run(tape, activations, target, wanted)
            total += loss * head.loss_weight
            each.append(loss)
            seeds += starts
        for penalty, starts in self._activity_penalties(tape, activations, wanted):
            total += penalty
            seeds += starts
        for i, value in enumerate((total, *each, 1.0)):
            self.sums[i] += value * batch.size
        return total, seeds

    def _regularized(self) -> Iterator[tuple[Parameter, Regularizer]]:
        for weight in dict.fromkeys(weight for layer in self.graph.layers for weight in layer.trainable_weights):
            if weight.regularizer is not None:
                yield weight, weight.regularizer

    def _weight_penalty(self) -> float:
        return math.fsum(regularizer.penalty(weight.value, 1.0, None) for weight, regularizer in self._regularized())

    def add_weight_gradients(self, tape: Tape) -> None:
        """Add those of the penalties on weights to the gradients of a backward pass."""
        for weight, regularizer in self._regularized():
            if not tape.accumulate([weight]):
                weight.grad.fill(0)
            regularizer.penalty(weight.value, 1.0, weight.grad)

    def _activity_penalties(
        self, tape: Tape, activations: Activations, wanted: Mapping[SymbolicTensor, bool] | None
    ) -> Iterator[tuple[float, list[Seed]]]:
        """For each output of a layer with an activity regularizer, its penalty and gradient."""
        for node in self.graph.nodes:
            regularizer = node.layer.activity_regularizer
            if regularizer is None:
                continue
            for tensor in node.outputs:
                value = activations.values[tensor]
                gradient = None
                if wanted is not None and wanted[tensor]:
                    gradient = tape.take(value.shape)
                    gradient.fill(0)
                penalty = regularizer.activity_penalty(np.ascontiguousarray(value), gradient)
                yield penalty, [] if gradient is None else [Seed(tensor, gradient)]

    def reset(self) -> None:
        """Start the running figures afresh."""
        self.sums = [0.0] * len(self.sums)
        for metric in self.metrics:
            metric.reset_state()

    @property
    def metrics(self) -> list[Metric]:
        """Of all outputs."""
        return [metric for head in self.heads for metric in (*head.metrics, *head.weighted_metrics)]

    def logs(self) -> dict[str, float]:
        """Running figures by name: loss, then each output's where there are several, then metrics."""
        samples = self.sums[-1]
        mean = [value / samples if samples else float("nan") for value in self.sums]
        logs = {"loss": mean[0]}
        several = len(self.heads) > 1
        if several:
            logs |= {f"{head.name}_loss": mean[1 + i] for i, head in enumerate(self.heads)}
        for head in self.heads:
            for weighted, listed in enumerate((head.metrics, head.weighted_metrics)):
                for metric in listed:
                    name = f"{head.name}_{metric.name}" if several else metric.name
                    logs[f"weighted_{name}" if weighted and name in logs else name] = metric.result()
        return logs

    def get_state(self) -> dict[str, Any]:
        """Running figures, as JSON can hold them."""
        return {"sums": list(self.sums), "metrics": [list(metric.state) for metric in self.metrics]}

    def set_state(self, state: dict[str, Any]) -> None:
        """The inverse of ``get_state``; ValueError, and nothing changes, where it is not of the same metrics."""
        metrics = self.metrics
        expected = [len(self.sums), *(len(metric.state) for metric in metrics)]
        try:
            found = [state["sums"], *state["metrics"]]
            lists = [[float(value) for value in values] for values in found]
        except (TypeError, ValueError, KeyError):
            raise ValueError(f"the saved metrics are damaged: {state!r}") from None
        if [len(values) for values in lists] != expected:
            raise ValueError("the saved metrics are not those the model is compiled with")
        self.sums = lists[0]
        for metric, values in zip(metrics, lists[1:], strict=True):
            metric.state = values


def build(
    graph: Graph,
    names: list[str],
    optimizer: Optimizer,
    loss: Any,
    loss_weights: Any,
    metrics: Any,
    weighted: Any,
    dtype: TrainingPrecision,
) -> Compiled:
    """Resolve what ``compile`` was given, for each output; UserWarning where the processor has no such ``dtype``."""
    if isinstance(loss, (str, losses.Loss)):
        loss = [loss] * len(names)
    specs = per_output(loss, names, "loss")
    weights = per_output(loss_weights, names, "loss_weights")
    plain, extra = per_output(metrics, names, "metrics"), per_output(weighted, names, "weighted_metrics")
    heads = []
    for i, tensor in enumerate(graph.outputs):
        if specs[i] is None:
            raise ValueError(f"loss is needed for output {names[i]!r}, got None")
        resolved = losses.get(specs[i])
        heads.append(
            Head(
                graph,
                i,
                resolved,
                1.0 if weights[i] is None else weights[i],
                build_metrics(plain[i], tensor, resolved),
                build_metrics(extra[i], tensor, resolved),
            )
        )
    return Compiled(graph, optimizer, heads, available_training_precision(dtype))


def per_output(spec: Any, names: list[str], what: str) -> Sequence[Any]:
    """One specification for each output, from none, a list in order, a dict by name, or the only output's."""
    if spec is None:
        return [None] * len(names)
    if isinstance(spec, dict):
        unknown = [name for name in spec if name not in names]
        if unknown:
            raise ValueError(f"{what} names output {unknown[0]!r}; the outputs are {', '.join(names)}")
        return [spec.get(name) for name in names]
    if len(names) == 1:
        return spec if what in ("loss", "loss_weights") and isinstance(spec, (list, tuple)) else [spec]
    if not isinstance(spec, (list, tuple)) or len(spec) != len(names):
        raise ValueError(f"{what} must have one entry for each output ({', '.join(names)}), got {spec!r}")
    return spec
