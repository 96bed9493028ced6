"""Model: a network that trains, evaluates, predicts, and is saved.

>>> import numpy as np
>>> from recurlm import Input, Model
>>> from recurlm.layers import Dense, Embedding, LSTM
>>> ids = Input(shape=(None,))
>>> model = Model(ids, Dense(10, "softmax")(LSTM(4)(Embedding(10, 3)(ids))))
>>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
>>> history = model.fit(np.zeros((8, 5), int), np.zeros(8, int), verbose=0)
>>> model.predict(np.zeros((2, 5), int), verbose=0).shape
(2, 10)
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import model_io, optimizers, pickling, training
from .callbacks import Callback, CallbackList, History, ProgbarLogger
from .compiled import Compiled, build
from .data import Batches, batches_of, make_batch
from .model_io import ModelState
from .network import Network
from .optimizers import Optimizer
from .precision import TrainingPrecision, check_training_precision
from .tape import States
from .typing import Float

Callbacks = Iterable[Callback] | Callback | None


class Model(Network):
    """The layers between ``inputs`` and ``outputs``, one symbolic tensor or a list of them each.

    Arrays are batch-first. Data is an array, a list or dict of arrays for several inputs, or an iterable of batches
    (x, y[, sample_weight]): an iterator is read on from epoch to epoch, anything else is iterated afresh in each.
    ``sample_weight`` has one entry for each sample or position; where it is 0 is padding, which nothing looks at.

    ``predict``, ``evaluate`` and ``token_log_probs`` may run on one model from many threads at once; while it trains,
    they raise RuntimeError in other threads, and so does all that copies or saves weights. Stateful layers carry one
    set of states, so that concurrent callers must bring their own: ``states`` (not in Keras) is a dict, empty at first,
    in which they are carried in place of the layers'. ``seed`` decides dropout and shuffling; by default it is the
    global seed.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, *, seed: int | None = None) -> None:
        super().__init__(inputs, outputs, name, seed=seed)
        self.last_loss = float("nan")
        self.stop_training = False
        self._recipe: dict[str, Any] | None = None
        self._compiled: Compiled | None = None

    # Compiling ------------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        *,
        dtype: TrainingPrecision = "float32",
    ) -> None:
        """Choose how to train, by names or objects; for several outputs a list or a dict by output name.

        ``dtype`` (not in Keras) ``"bfloat16"`` rounds the operands of a training step's products to bfloat16; sums,
        states, weights and the optimizer stay float32 (Micikevicius et al., 2018, "Mixed precision training"; bfloat16
        needs no scaling of the loss). Where the processor has no such products there is a UserWarning, and float32.
        ``evaluate`` and ``predict`` are float32, and so are the products within attention.
        """
        recipe = {
            "optimizer": optimizers.get(optimizer),
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted": weighted_metrics,
            "dtype": check_training_precision(dtype),
        }
        self.forget_averages()
        # Built before it is kept: what cannot be compiled leaves the model as it was.
        compiled = None if self._graph is None else build(self.graph, self.names.outputs, **recipe)
        self._recipe, self._compiled = recipe, compiled

    def forget_averages(self) -> None:
        if self._recipe is not None:
            self.optimizer.use_weights()

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
        self,
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
            FloatingPointError: the loss or a gradient is not finite, in a step, which then changed no weight, or in
                validation; the message names the step and, where the data are the cause, the samples.
            RuntimeError: the model is not compiled, or another thread is using it.
        """
        x = self.ensure_built(x)
        data = batches_of(
            self.names,
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            steps=steps_per_epoch,
            class_weight=class_weight,
            shuffle=bool(shuffle),
        )
        held_out = self._held_out(validation_data, validation_batch_size or batch_size, validation_steps)
        if held_out is None and validation_split:
            data, held_out = training.split_validation(data, validation_split)
        validation = None if held_out is None else training.Validation(held_out, validation_freq)
        with self.usage.training():
            loop = training.FitLoop(self, data, _with_progress(callbacks, verbose), epochs, validation)
            return loop.run(initial_epoch, initial_step)

    def _held_out(self, given: Any, batch_size: int | None, steps: int | None) -> Batches | None:
        if given is None:
            return None
        if isinstance(given, (tuple, list)):
            if not 2 <= len(given) <= 3:
                raise ValueError(f"validation_data must be (x, y) or (x, y, sample_weight), got {len(given)} items")
            return batches_of(self.names, *given, batch_size=batch_size, steps=steps)
        return batches_of(self.names, given, steps=steps)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step; the loss and metrics of this batch alone, as ``evaluate`` returns them."""
        x = self.ensure_built(x)
        batch = make_batch(self.names, x, y, sample_weight, class_weight)
        with self.usage.training():
            self.compiled.reset()
            training.train_step(self, batch)
            return _figures(self.compiled.logs(), return_dict)

    # Running --------------------------------------------------------------------------------------------------------

    def evaluate(
        self,
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
        """The loss, or a list of it and the metrics, or a dict by name."""
        x = self.ensure_built(x)
        data = batches_of(self.names, x, y, sample_weight, batch_size=batch_size, steps=steps)
        listed = CallbackList(_with_progress(callbacks, verbose), self, {"steps": data.steps})
        return _figures(training.evaluate(self, data, listed, states), return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """``evaluate`` of one batch, whatever its size."""
        return self.evaluate([(x, y, sample_weight)].__iter__(), verbose=0, return_dict=return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Callbacks = None,
        *,
        states: States | None = None,
    ) -> Any:
        """The output for every sample, or a list where there are several outputs."""
        x = self.ensure_built(x)
        data = batches_of(self.names, x, batch_size=batch_size, steps=steps)
        listed = CallbackList(_with_progress(callbacks, verbose), self, {"steps": data.steps})
        outputs = training.predict(self, data, listed, states)
        return outputs[0] if len(outputs) == 1 else outputs

    def predict_on_batch(self, x: Any) -> Any:
        """``predict`` of one batch, whatever its size."""
        return self.predict([(x,)].__iter__(), verbose=0)

    def token_log_probs(
        self, x: Any, targets: Any, sample_weight: Any = None, *, states: States | None = None
    ) -> Float:
        """Natural log-probability of each target id, (B, T) float32, in one forward pass that forms no logits.

        The one output must be a ``Dense`` with softmax, or linear and read as logits. Positions of weight 0 give 0.
        """
        batch = make_batch(self.names, x, None, None, None)
        return training.token_log_probs(self, batch.x, np.asarray(targets), sample_weight, states)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """While this is open, the weights are the averages that the optimizer keeps (``use_ema``, ``ASGD``).

        Afterwards, whatever happens, or as soon as training goes on, they are those of training again. No other thread
        may use the model meanwhile.

        Raises:
            ValueError: the optimizer keeps none.
            RuntimeError: another thread is using the model.
        """
        with self.usage.training(), self.optimizer.averaged(self.trainable_weights):
            yield

    # State ----------------------------------------------------------------------------------------------------------

    def get_state(self) -> ModelState:
        """All that a bit-exact resume needs; the arrays are the model's own, to be written or copied at once."""
        with self.usage.reading():
            return model_io.get_state(self)

    def set_state(self, state: ModelState) -> None:
        """Copy the state in; ValueError, and nothing changes, where it is not that of such a model."""
        with self.usage.training():
            model_io.set_state(self, state)

    # Files ----------------------------------------------------------------------------------------------------------

    def save_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Write all weights to a safetensors file, under the names of ``named_weights``."""
        with self.usage.reading():
            model_io.save_weights(self, filepath)

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Read what ``save_weights`` wrote; ValueError where names, shapes or the file itself are not right."""
        with self.usage.training():
            model_io.load_weights(self, filepath)

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Write a folder: architecture, weights and, where compiled, how it trains with the optimizer's moments.

        A model that is there is replaced.

        Raises:
            FileExistsError: ``filepath`` is a file.
            ValueError: it is a folder that holds anything else, or the current one.
            RuntimeError: another thread trains the model.
        """
        with self.usage.reading():
            model_io.save_model(self, filepath)

    @staticmethod
    def load(filepath: str | os.PathLike[str]) -> "Model":
        """The inverse of ``save``."""
        return model_io.load_model(filepath)

    def get_config(self) -> dict[str, Any]:
        """Layers and how they are connected, as JSON can hold them."""
        return model_io.graph_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Model":
        """The inverse of ``get_config``; the weights are new."""
        return model_io.model_from_config(config)

    def __reduce__(self) -> Any:
        # Pickled and deep-copied by what it is built from: layers of the core and locks cannot be.
        with self.usage.reading():
            return pickling.reduce_model(self)


def _with_progress(callbacks: Callbacks, verbose: int | str) -> list[Callback]:
    listed = [] if callbacks is None else [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    if verbose == "auto":
        verbose = 1 if sys.stderr.isatty() else 2
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
    return [*listed, ProgbarLogger(int(verbose))] if verbose else listed


def _figures(logs: dict[str, float], return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
