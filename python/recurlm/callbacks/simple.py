"""Callbacks that set or record something."""

import csv
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .base import Callback, Logs


class LearningRateScheduler(Callback):
    """Before each epoch sets the learning rate to ``schedule(epoch, current learning rate)`` or ``schedule(epoch)``."""

    def __init__(self, schedule: Callable[[int, float], float] | Callable[[int], float], verbose: int = 0) -> None:
        self.schedule: Callable[..., float] = schedule
        self.verbose = verbose
        self._takes_rate = _accepts_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        current = (self.model.optimizer.learning_rate,) if self._takes_rate else ()
        self.model.optimizer.learning_rate = float(self.schedule(epoch, *current))
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {self.model.optimizer.learning_rate:.3g}", file=sys.stderr)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


def _accepts_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # it does not say what it takes
        return True
    return True


class CSVLogger(Callback):
    """A line of a CSV file for each epoch."""

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False) -> None:
        self.filename = Path(filename)
        self.separator = separator
        self.append = append

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._keys: list[str] | None = None
        self._header = not (self.append and self.filename.exists() and self.filename.stat().st_size)
        if not self.append:
            self.filename.write_text("")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        lines: list[list[Any]] = []
        if self._keys is None:
            names = sorted(logs)
            # Validation may be rarer than epochs: its columns are there from the first line on.
            self._keys = names if any(n.startswith("val_") for n in names) else names + [f"val_{n}" for n in names]
            lines += [["epoch", *self._keys]] * self._header
        lines.append([epoch, *(logs.get(key, "NA") for key in self._keys)])
        with self.filename.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=self.separator).writerows(lines)


class TerminateOnNaN(Callback):
    """Where the loss or a gradient is not finite, ``fit`` stops and returns its History, instead of raising.

    Either way that step changes no weight.
    """
