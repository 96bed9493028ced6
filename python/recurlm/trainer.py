"""The training half of a model's interface: compile, fit, evaluate, predict, and the state that a resume needs."""

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import model_io, optimizers, training
from .callbacks import Callback, CallbackList, History, ProgressBar
from .compiled import Compiled, build
from .data import Batch, Batches, Names, batches_of, make_batch
from .graph import Graph
from .model_io import ModelState
from .optimizers import Optimizer
from .seeding import check_seed, global_seed
from .tape import Parameter, States, Tape
from .typing import Float
from .usage import Usage

if TYPE_CHECKING:
    from .model import Model

Callbacks = Iterable[Callback] | Callback | None


class Trainer:
    """What ``Model`` can do once it has a graph. Arrays are batch-first.

    Data is an array, a list or dict of arrays for several inputs, or an iterable of batches (x, y[, sample_weight]):
    an iterator is read on from epoch to epoch, anything else is iterated afresh in each. ``sample_weight`` has one
    entry for each sample or each position; a position of weight 0 is padding, which nothing looks at or counts.
    """

    graph: Graph
    trainable_weights: list[Parameter]

    def __init__(self, seed: int | None) -> None:
        self.seed = global_seed() if seed is None else check_seed(seed)
        self.step = 0  # training steps ever taken: what dropout draws from
        self.weights_version = 0
        self.last_loss = float("nan")
        self.stop_training = False
        self.usage = Usage()
        self.tape = Tape()  # of the thread that trains
        self._tapes: list[Tape] = []
        self._recipe: dict[str, Any] | None = None
        self._compiled: Compiled | None = None

    def ensure_built(self, x: Any) -> None:
        """A Sequential without an Input takes its shape from the first data."""

    @property
    def names(self) -> Names:
        """Names of inputs and outputs; an output is named after its layer."""
        return Names([t.name for t in self.graph.inputs], [t.name for t in self.graph.outputs])

    def take_tape(self) -> Tape:
        """A tape that no other call uses."""
        try:
            return self._tapes.pop()
        except IndexError:
            return Tape()

    def give_tape(self, tape: Tape) -> None:
        """Return what ``take_tape`` gave; a few are kept with their memory."""
        if len(self._tapes) < 4:
            self._tapes.append(tape)

    # Compiling ------------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
    ) -> None:
        """Choose how to train, by names or objects; for several outputs a list or a dict by output name."""
        self._recipe = {
            "optimizer": optimizers.get(optimizer),
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted": weighted_metrics,
        }
        self._compiled = None

    @property
    def compiled(self) -> Compiled:
        """Optimizer, losses and metrics; RuntimeError before ``compile``."""
        if self._recipe is None:
            raise RuntimeError("the model must be compiled first: model.compile(optimizer, loss)")
        if self._compiled is None:
            self._compiled = build(self.graph, self.names.outputs, **self._recipe)
        return self._compiled

    @property
    def is_compiled(self) -> bool:
        """Whether ``compile`` was called."""
        return self._recipe is not None

    @property
    def recipe(self) -> dict[str, Any]:
        """What ``compile`` was given."""
        return dict(self._recipe or {})

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer; RuntimeError before ``compile``."""
        if self._recipe is None:
            raise RuntimeError("the model must be compiled first: model.compile(optimizer, loss)")
        optimizer: Optimizer = self._recipe["optimizer"]
        return optimizer

    # Training -------------------------------------------------------------------------------------------------------

    def fit(
        self: "Model",
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Callbacks = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Iterable[int] = 1,
        *,
        initial_step: int = 0,
    ) -> History:
        """Train for ``epochs - initial_epoch`` epochs and return their History.

        The last batch may be short. The order of an epoch is a function of (seed, epoch). ``initial_step`` (not in
        Keras) is the number of batches of the first epoch that were done before an interruption; an iterable must start
        there itself. Stateful layers keep their states between batches and epochs; validation starts them from zero.

        Raises:
            FloatingPointError: the loss or a gradient is not finite. The weights are the last good ones.
            RuntimeError: the model is not compiled, or another thread is using it.
        """
        self.ensure_built(x)
        data = batches_of(
            self.names,
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            steps=steps_per_epoch,
            class_weight=class_weight,
            shuffle_seed=self.seed if shuffle else None,
        )
        held_out = None
        if validation_data is not None:
            size = batch_size if validation_batch_size is None else validation_batch_size
            held_out = self._validation_data(validation_data, size, validation_steps)
        elif validation_split:
            data, held_out = training.split_validation(data, validation_split)
        validation = None if held_out is None else training.Validation(held_out, validation_freq)
        listed = _with_progress(callbacks, verbose)
        with self.usage.training():
            return training.FitLoop(self, data, listed, range(initial_epoch, epochs), initial_step, validation).run()

    def _validation_data(self, given: Any, batch_size: int | None, steps: int | None) -> Batches:
        if isinstance(given, tuple):
            if not 2 <= len(given) <= 3:
                raise ValueError(f"validation_data must be (x, y) or (x, y, sample_weight), got {len(given)} items")
            return batches_of(self.names, *given, batch_size=batch_size, steps=steps)
        return batches_of(self.names, given, steps=steps)

    def train_on_batch(
        self: "Model",
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step; the loss and metrics of this batch alone, as ``evaluate`` returns them."""
        self.ensure_built(x)
        batch = make_batch(self.names, x, y, sample_weight, class_weight)
        with self.usage.training():
            self.compiled.reset()
            training.train_step(self, batch)
            return _figures(self.compiled.logs(), return_dict)

    # Running --------------------------------------------------------------------------------------------------------

    def evaluate(
        self: "Model",
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callbacks = None,
        return_dict: bool = False,
        *,
        states: States | None = None,
    ) -> Any:
        """The loss, or a list of it and the metrics, or a dict by name.

        ``states`` (not in Keras) is a dict, empty at first, that carries the states of stateful layers in place of
        the layers' own.
        """
        self.ensure_built(x)
        data = batches_of(self.names, x, y, sample_weight, batch_size=batch_size, steps=steps)
        listed = CallbackList(_with_progress(callbacks, verbose), self, {"steps": data.steps})
        return _figures(training.evaluate(self, data, listed, states), return_dict)

    def test_on_batch(
        self: "Model", x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """``evaluate`` of one batch, whatever its size."""
        return self.evaluate([(x, y, sample_weight)].__iter__(), verbose=0, return_dict=return_dict)

    def predict(
        self: "Model",
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Callbacks = None,
        *,
        states: States | None = None,
    ) -> Any:
        """The output for every sample, or a list where there are several outputs."""
        self.ensure_built(x)
        data = batches_of(self.names, x, batch_size=batch_size, steps=steps)
        listed = CallbackList(_with_progress(callbacks, verbose), self, {"steps": data.steps})
        outputs = training.predict(self, data, listed, states)
        return outputs[0] if len(outputs) == 1 else outputs

    def predict_on_batch(self: "Model", x: Any) -> Any:
        """``predict`` of one batch, whatever its size."""
        return self.predict([(x,)].__iter__(), verbose=0)

    def token_log_probs(
        self: "Model", x: Any, targets: Any, sample_weight: Any = None, *, states: States | None = None
    ) -> Float:
        """Natural log-probability of each target id, (B, T) float32, in one forward pass that forms no logits.

        The one output must be a ``Dense`` with softmax, or linear and read as logits. Positions of weight 0 give 0.
        """
        batch: Batch = make_batch(self.names, x, None, None, None)
        return training.token_log_probs(self, batch.x, np.asarray(targets), sample_weight, states)

    # State ----------------------------------------------------------------------------------------------------------

    def get_state(self: "Model") -> ModelState:
        """All that a bit-exact resume needs; the arrays are the model's own, to be written or copied at once."""
        return model_io.get_state(self)

    def set_state(self: "Model", state: ModelState) -> None:
        """Copy the state in; ValueError, and nothing changes, where it is not that of such a model."""
        with self.usage.training():
            model_io.set_state(self, state)
            self.weights_version += 1


def _with_progress(callbacks: Callbacks, verbose: int | str) -> list[Callback]:
    listed = [] if callbacks is None else [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    if verbose == "auto":
        verbose = 1 if sys.stderr.isatty() else 2
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
    return [*listed, ProgressBar(int(verbose))] if verbose else listed


def _figures(logs: dict[str, float], return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
