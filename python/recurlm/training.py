"""The one training loop, and its counterparts that do not train: evaluate, predict, token log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import to_batch_major
from .callbacks import Callback, CallbackList, History, TerminateOnNaN
from .checks import check_integer
from .compiled import Compiled
from .data import ArrayBatches, Batch, Batches, IterableBatches, select
from .diagnosis import broken_weight, explain
from .losses import SparseCategoricalCrossentropy, spread_weight
from .projection import project, projection_of
from .tape import States, Tape
from .typing import Array, Float

if TYPE_CHECKING:
    from .model import Model


def train_step(model: Model, batch: Batch) -> None:
    """One update. FloatingPointError, and weights as they were, where the loss or a gradient is not finite."""
    compiled, tape = model.compiled, model.tape
    compiled.optimizer.use_weights()
    tape.training, tape.seed, tape.step, tape.states = True, model.seed, model.step, None
    tape.precision = compiled.precision
    with tape.gradients():
        model.last_loss = backpropagate(compiled, tape, batch)
        parameters = [p for p in model.trainable_weights if p in tape.written]
        compiled.optimizer.apply(parameters, [tape.rows_of(p) for p in parameters])
        for parameter in parameters:
            if parameter.constraint is not None:
                parameter.assign(parameter.constraint(parameter.value))
    model.step += 1


def backpropagate(compiled: Compiled, tape: Tape, batch: Batch) -> float:
    """Loss of a batch; the gradients of all parameters in ``tape.written``."""
    wanted = compiled.graph.wanted()
    loss, seeds = compiled.run(tape, batch, wanted)
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}")
    compiled.graph.backward(tape, seeds, wanted)
    compiled.add_weight_gradients(tape)
    return loss


class FitLoop:
    """``fit``: epochs of steps, with validation and callbacks between them."""

    def __init__(
        self,
        model: Model,
        data: Batches,
        callbacks: list[Callback],
        epochs: int,
        validation: Validation | None,
    ) -> None:
        self.model = model
        self.data = data
        self.epochs = check_integer("epochs", epochs, 0)
        self.validation = validation
        self.history = History()
        params = {"epochs": epochs, "steps": data.steps}
        self.callbacks = CallbackList([*callbacks, self.history], model, params)
        self.stops_on_nan = any(
            isinstance(each, TerminateOnNaN) and not each.raise_error for each in self.callbacks.callbacks
        )

    def run(self, initial_epoch: int, initial_step: int) -> History:
        """Train from there on; the History is that of this call."""
        self.model.stop_training = False
        logs: dict[str, float] = {}
        first: int | None = self.model.step
        self.callbacks.on_train_begin()
        if self.callbacks.resumed is not None:
            initial_epoch, initial_step = self.callbacks.resumed
            first = None  # steps of this call were taken before
            if isinstance(self.data, IterableBatches):
                self.data.skip(initial_epoch, initial_step)
        for epoch in range(initial_epoch, self.epochs):
            if self.model.stop_training:
                break
            logs = self._epoch(epoch, initial_step if epoch == initial_epoch else 0)
        if first is None or self.model.step > first:
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)
        self.callbacks.on_train_end(logs)
        return self.history

    def _epoch(self, epoch: int, start: int) -> dict[str, float]:
        compiled = self.model.compiled
        if start == 0:
            compiled.reset()
        self.callbacks.on_epoch_begin(epoch)
        logs = compiled.logs()
        for step, batch in enumerate(self.data.epoch(epoch, start, self.model.seed), start):
            self.callbacks.on_train_batch_begin(step)
            finite = self._step(epoch, step, batch)
            logs = compiled.logs() if finite else logs | {"loss": math.nan}
            self.callbacks.on_train_batch_end(step, logs)
            if self.model.stop_training:
                break
        if self.validation is not None and self.validation.due(epoch):
            logs = logs | self.validation.run(self.model, self.callbacks, epoch, not self.stops_on_nan)
        self.callbacks.on_epoch_end(epoch, logs)
        return logs

    def _step(self, epoch: int, step: int, batch: Batch) -> bool:
        """Whether the step was finite; if it was not, it changed no weight."""
        try:
            train_step(self.model, batch)
        except FloatingPointError as error:
            if not self.stops_on_nan:
                cause = explain(self.model, self.model.tape, batch, self.data.numbers(epoch, step, self.model.seed))
                outcome = "" if broken_weight(self.model) else "; no weight was changed"
                raise FloatingPointError(f"epoch {epoch + 1}, step {step + 1}: {error}{cause}{outcome}") from None
            self.model.stop_training = True
            return False
        return True


class Validation:
    """Data on which ``fit`` evaluates after every ``frequency`` epochs, or after those listed."""

    def __init__(self, data: Batches, frequency: int | Iterable[int]) -> None:
        if isinstance(frequency, int) and frequency < 1:
            raise ValueError(f"validation_freq must be a positive integer or a list of epochs, got {frequency!r}")
        self.data = data
        self.frequency = frequency if isinstance(frequency, int) else set(frequency)

    def due(self, epoch: int) -> bool:
        """Whether epoch, counted from 0, ends with an evaluation."""
        if isinstance(self.frequency, int):
            return (epoch + 1) % self.frequency == 0
        return epoch + 1 in self.frequency

    def run(self, model: Model, callbacks: CallbackList, epoch: int, raises: bool) -> dict[str, float]:
        """The figures, with ``val_`` before their names; stateful layers start from zero.

        With ``raises`` a loss that is not finite is a FloatingPointError.
        """

        def refuse(tape: Tape, step: int, batch: Batch, loss: float) -> None:
            cause = explain(model, tape, batch, self.data.numbers(0, step, model.seed))
            raise FloatingPointError(f"epoch {epoch + 1}, validation step {step + 1}: the loss is {loss}{cause}")

        logs = evaluate(model, self.data, callbacks, {}, refuse if raises else None)
        return {f"val_{name}": value for name, value in logs.items()}


def evaluate(
    model: Model,
    data: Batches,
    callbacks: CallbackList,
    states: States | None,
    refuse: Callable[[Tape, int, Batch, float], None] | None = None,
) -> dict[str, float]:
    """Losses and metrics over all batches; ``refuse`` is called at a loss that is not finite."""
    compiled = model.compiled.fresh()
    callbacks.on_test_begin()
    with model.borrow_tape(states) as tape:
        for step, batch in enumerate(data.epoch(0, 0, model.seed)):
            callbacks.on_test_batch_begin(step)
            loss, _ = compiled.run(tape, batch)
            if refuse is not None and not math.isfinite(loss):
                refuse(tape, step, batch, loss)
            callbacks.on_test_batch_end(step, compiled.logs())
    logs = compiled.logs()
    callbacks.on_test_end(logs)
    return logs


def predict(model: Model, data: Batches, callbacks: CallbackList, states: States | None) -> list[Float]:
    """Batch-first outputs of all batches."""
    parts: list[list[Float]] = []
    callbacks.on_predict_begin()
    with model.borrow_tape(states) as tape:
        for step, batch in enumerate(data.epoch(0, 0, model.seed)):
            callbacks.on_predict_batch_begin(step)
            values = model.graph.forward(tape, batch.x).values
            parts.append([to_batch_major(values[tensor]) for tensor in model.graph.outputs])
            callbacks.on_predict_batch_end(step)
    callbacks.on_predict_end()
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def token_log_probs(model: Model, x: list[Array], targets: Array, weights: Any, states: States | None) -> Float:
    """The log-probability of each target, (B,) or (B, T), by the fused projection."""
    layer = projection_of(model.graph, model.graph.outputs[0])
    if len(model.graph.outputs) != 1 or layer is None:
        raise ValueError("token_log_probs needs a model whose one output is a Dense with softmax or linear activation")
    node = model.graph.outputs[0].node
    with model.borrow_tape(states) as tape:
        hidden = model.graph.forward(tape, x, [node]).values[node.inputs[0]]
        positions = hidden.shape[:-1][::-1]
        used = None if weights is None else spread_weight(weights, positions)
        if used is not None and targets.shape == positions:
            targets = np.where(used.reshape(positions[::-1]).T == 0, 0, targets)
        ids = SparseCategoricalCrossentropy().targets(targets, (*positions, layer.units), "targets")
        ones = np.ones(len(ids), np.float32) if used is None else (used != 0).astype(np.float32)
        rows, _, _ = project(tape.call(model.graph.index[node]), layer, hidden, ids, ones, gradient=False)
        return np.array(rows.log_probs.reshape(positions[::-1]).T, order="C")


def split_validation(data: Batches, share: float) -> tuple[Batches, Batches]:
    """The first samples for training and the last ``share`` of them for validation."""
    if not 0 < share < 1:
        raise ValueError(f"validation_split must be from 0 to below 1, got {share!r}")
    if not isinstance(data, ArrayBatches):
        raise ValueError("validation_split needs arrays; give validation_data with an iterable")
    size = data.whole.size
    first = math.floor(size * (1 - share))
    if first == 0 or first == size:
        raise ValueError(f"validation_split={share!r} of {size} samples leaves nothing for training or for validation")
    steps = math.ceil(first / data.batch_size)
    kept = ArrayBatches(select(data.whole, slice(0, first)), data.batch_size, min(steps, data.steps or 0), data.shuffle)
    return kept, ArrayBatches(select(data.whole, slice(first, size)), data.batch_size, None, False, first)
