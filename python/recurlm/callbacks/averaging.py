"""Callbacks for optimizers that keep averages of the weights: evaluation with them, and when averaging starts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..checks import check_integer
from ..optimizers import ASGD
from .base import Callback, Logs
from .monitors import Monitor

if TYPE_CHECKING:
    from ..model import Model


class _EvaluatesAverages(Callback):
    """The weights are their averages during evaluation and prediction."""

    def set_model(self, model: Model) -> None:
        if model.optimizer.averages is None:
            raise ValueError(f"{type(self).__name__} needs an optimizer with averages: use_ema=True, or ASGD")
        super().set_model(model)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        with self.model.usage.training():
            self.model.optimizer.use_averages(self.model.trainable_weights)

    def on_test_end(self, logs: Logs | None = None) -> None:
        with self.model.usage.training():
            self.model.optimizer.use_weights()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self.on_test_begin(logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self.on_test_end(logs)


class SwapEMAWeights(_EvaluatesAverages):
    """Evaluates with the averages of the weights that the optimizer keeps (``use_ema=True``, ``ASGD``).

    With ``swap_on_epoch`` the weights are their averages from the end of an epoch to the next one, for callbacks that
    stand behind this, such as ModelCheckpoint. Should an evaluation fail, training goes on with its own weights. It is
    for ``fit``; elsewhere ``Model.averaged_weights`` keeps other threads out.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self.on_test_end(logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self.on_test_begin(logs)


class NonMonotonicTrigger(Monitor, _EvaluatesAverages):
    """Starts the averaging of ``ASGD(t0=None)`` as NT-ASGD does (Merity et al., 2018), and evaluates with the average.

    Averaging starts at the first epoch whose ``monitor`` is worse than the best of the epochs more than ``patience``
    before it. What was seen is kept, and saved, with the optimizer.
    """

    def __init__(self, monitor: str = "val_loss", patience: int = 5, mode: str = "auto") -> None:
        super().__init__(monitor, mode)
        self.patience = check_integer("patience", patience, 0)

    def set_model(self, model: Model) -> None:
        if not isinstance(model.optimizer, ASGD):
            raise ValueError(f"NonMonotonicTrigger needs the optimizer ASGD, got {type(model.optimizer).__name__}")
        super().set_model(model)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value, optimizer = self.figure(logs), self.model.optimizer
        if value is None or not math.isfinite(value) or not isinstance(optimizer, ASGD):
            return
        earlier = optimizer.checks[: max(0, len(optimizer.checks) - self.patience)]
        if any(self.better(check, value) for check in earlier):
            optimizer.start_averaging()
        optimizer.checks.append(value)
