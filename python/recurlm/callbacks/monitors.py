"""Callbacks that watch one figure from epoch to epoch."""

import math
import operator
import sys
import warnings
from pathlib import Path

from ..typing import Float
from .base import Callback, Logs


class Monitor(Callback):
    """Watches one figure. ``mode`` min or max says what is better; auto knows accuracy and its like."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be auto, min or max, got {mode!r}")
        self.monitor = monitor
        grows = monitor.endswith(("acc", "accuracy", "precision", "recall", "auc"))
        self.mode = mode if mode != "auto" else "max" if grows else "min"
        self.min_delta = abs(min_delta)
        self.best = self.worst

    @property
    def worst(self) -> float:
        """What every figure is better than."""
        return math.inf if self.mode == "min" else -math.inf

    def better(self, value: float, than: float) -> bool:
        """Whether value improves on another by more than ``min_delta``."""
        compare = operator.lt if self.mode == "min" else operator.gt
        return bool(compare(value + self.min_delta if self.mode == "min" else value - self.min_delta, than))

    def figure(self, logs: Logs | None) -> float | None:
        """The figure watched; None, with a warning, where validation did not give it; ValueError if it is none at all.

        A figure of validation may be missing because validation is rarer than epochs, which cannot be told here.
        """
        logs = logs or {}
        if self.monitor not in logs:
            message = f"{type(self).__name__}: monitor {self.monitor!r} is none of {', '.join(logs)}"
            if not self.monitor.startswith("val_"):
                raise ValueError(message)
            warnings.warn(f"{message}; nothing is done", RuntimeWarning, stacklevel=3)
        return logs.get(self.monitor)


class EarlyStopping(Monitor):
    """Stops when ``monitor`` has not improved for ``patience`` epochs."""

    kept = ("best", "wait", "stopped_epoch", "best_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait, self.stopped_epoch, self.best_epoch = 0, 0, 0
        self.best = self.worst
        self.best_weights: list[Float] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.figure(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
            return  # as in Keras: an improvement never stops, even one that does not reach the baseline
        if self.restore_best_weights and self.best_weights is None:
            # The first figure is not a number: nothing was better so far.
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping", file=sys.stderr)
        if self.best_weights is not None:
            if self.verbose:
                print(f"Epoch {self.best_epoch + 1}: its weights are restored", file=sys.stderr)
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(Monitor):
    """Saves the model (a folder), or its weights (a .safetensors file), after epochs or every so many batches.

    ``filepath`` may contain ``{epoch:02d}`` and figures like ``{val_loss:.2f}``; folders on the way are made.
    """

    kept = ("best", "_batches")

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise ValueError(f"save_freq must be 'epoch' or a positive number of batches, got {save_freq!r}")
        self.filepath = str(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.best = self.worst if initial_value_threshold is None else initial_value_threshold
        self._epoch = self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self.save_freq != "epoch" and self._batches % int(self.save_freq) == 0:
            self._save(logs or {}, batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(logs or {}, 0)

    def _save(self, logs: Logs, batch: int) -> None:
        if self.save_best_only:
            value = self.figure(logs)
            if value is None or not self.better(value, self.best):
                return
            self.best = value
        try:
            path = self.filepath.format(epoch=self._epoch + 1, batch=batch + 1, **logs)
        except KeyError as error:
            raise ValueError(f"ModelCheckpoint: filepath {self.filepath!r} names {error}, which is no figure") from None
        if self.save_weights_only:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose:
            print(f"Epoch {self._epoch + 1}: saved {path}", file=sys.stderr)


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by ``factor`` when ``monitor`` has not improved for ``patience`` epochs."""

    kept = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 0.0001,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if factor >= 1:
            raise ValueError(f"factor must be below 1, got {factor!r}")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = self.cooldown_counter = 0
        self.best = self.worst

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.figure(logs)
        optimizer = self.model.optimizer
        if logs is not None:
            logs["learning_rate"] = optimizer.learning_rate
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            if self.wait >= self.patience and optimizer.learning_rate > self.min_lr:
                optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"Epoch {epoch + 1}: learning rate {optimizer.learning_rate:.3g}", file=sys.stderr)
