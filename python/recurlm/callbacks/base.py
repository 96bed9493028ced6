"""The hooks of ``fit``, ``evaluate`` and ``predict``, and what calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..model import Model

Logs = dict[str, float]


class Callback:
    """Override what is needed. ``model`` is the model in training; ``params`` holds epochs, steps and verbose.

    ``logs`` are the running figures of the epoch (batches), with validation's (epoch ends).
    """

    model: Model
    params: dict[str, Any]

    def set_model(self, model: Model) -> None:
        """Called first."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called first."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before the first batch of an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a step; by default calls ``on_batch_begin``."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a step; by default calls ``on_batch_end``."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Another name for ``on_train_batch_begin``."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Another name for ``on_train_batch_end``."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of an evaluation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of a prediction."""


class CallbackList(Callback):
    """Calls each of ``callbacks`` in turn."""

    def __init__(self, callbacks: Iterable[Callback], model: Model, params: dict[str, Any]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks must be objects of recurlm.callbacks.Callback, got {callback!r}")
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)


def _dispatcher(name: str) -> Callable[..., None]:
    def dispatch(self: CallbackList, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, name)(*arguments)

    return dispatch


for _name in [name for name in vars(Callback) if name.startswith("on_")]:
    setattr(CallbackList, _name, _dispatcher(_name))


class History(Callback):
    """``history``: a list over epochs for each figure; ``epoch``: the numbers of these epochs."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
