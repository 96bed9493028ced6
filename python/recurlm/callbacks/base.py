"""The hooks of ``fit``, ``evaluate`` and ``predict``, and what calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ..model import Model

Logs = dict[str, float]


class Callback:
    """Override what is needed. ``model`` is the model in training; ``params`` holds epochs, steps and verbose.

    ``logs`` are the running figures of the epoch (batches), with validation's (epoch ends). A callback that must go on
    after an interruption (``BackupAndRestore``) names in ``kept`` the attributes that it starts in ``on_train_begin``.
    """

    model: Model
    params: dict[str, Any]
    listed: CallbackList  # all that are called
    last: ClassVar[bool] = False  # whether it is called after those that are not, wherever it stands among them
    kept: ClassVar[tuple[str, ...]] = ()  # the attributes that change while it is called, which BackupAndRestore keeps

    def set_model(self, model: Model) -> None:
        """Called first."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called first."""
        self.params = params

    def set_callbacks(self, callbacks: CallbackList) -> None:
        """Called first."""
        self.listed = callbacks

    def get_state(self) -> dict[str, Any]:
        """The attributes ``kept`` by name: numbers, strings, None, arrays, lists and dicts of these."""
        return {name: getattr(self, name) for name in self.kept}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what ``get_state`` gave; called after ``on_train_begin``."""
        for name in self.kept:
            setattr(self, name, state[name])

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
    """Calls each of ``callbacks`` in turn, those that are ``last`` at the end.

    ``resumed``, set by a callback in ``on_train_begin``, is the epoch and the step in it from which ``fit`` goes on.
    """

    resumed: tuple[int, int] | None = None

    def __init__(self, callbacks: Iterable[Callback], model: Model, params: dict[str, Any]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks must be objects of recurlm.callbacks.Callback, got {callback!r}")
        self.callbacks.sort(key=lambda callback: callback.last)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)
            callback.set_callbacks(self)


def _dispatcher(name: str) -> Callable[..., None]:
    count = getattr(Callback, name).__code__.co_argcount - 1  # without self

    def dispatch(self: CallbackList, *arguments: Any) -> None:
        given = arguments if len(arguments) == count else (*arguments, {})  # no logs: hooks may be any functions
        for callback in self.callbacks:
            getattr(callback, name)(*given)

    return dispatch


for _name in [name for name in vars(Callback) if name.startswith("on_")]:
    setattr(CallbackList, _name, _dispatcher(_name))


class History(Callback):
    """``history``: a list over epochs for each figure; ``epoch``: the numbers of these epochs."""

    kept = ("epoch", "history")

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
