"""Callbacks that set or record something."""

import csv
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..checks import is_number
from .base import Callback, Logs

Hook = Callable[..., object]


class LambdaCallback(Callback):
    """Calls functions: those given, each under the name of the hook that it takes the place of.

    Epoch hooks take (epoch, logs), batch hooks (batch, logs), the others (logs). TypeError where there is no such hook.
    """

    def __init__(
        self,
        on_epoch_begin: Hook | None = None,
        on_epoch_end: Hook | None = None,
        on_train_begin: Hook | None = None,
        on_train_end: Hook | None = None,
        on_train_batch_begin: Hook | None = None,
        on_train_batch_end: Hook | None = None,
        **hooks: Hook | None,
    ) -> None:
        hooks |= {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        for name, hook in hooks.items():
            if not (name.startswith("on_") and hasattr(Callback, name)):
                raise TypeError(f"LambdaCallback: there is no hook {name!r}")
            if hook is not None and not callable(hook):
                raise TypeError(f"LambdaCallback: {name} must be a function, got {hook!r}")
            if hook is not None:
                setattr(self, name, hook)


class LearningRateScheduler(Callback):
    """Before each epoch sets the learning rate to ``schedule(epoch, current learning rate)`` or ``schedule(epoch)``."""

    def __init__(self, schedule: Callable[[int, float], float] | Callable[[int], float], verbose: int = 0) -> None:
        self.schedule: Callable[..., float] = schedule
        self.verbose = verbose
        self._takes_rate = _accepts_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        current = (self.model.optimizer.learning_rate,) if self._takes_rate else ()
        rate = self.schedule(epoch, *current)
        if not is_number(rate):
            raise ValueError(f"LearningRateScheduler: schedule must return the learning rate, a number, got {rate!r}")
        self.model.optimizer.learning_rate = float(rate)
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
    """A line of a CSV file for each epoch; the file is begun afresh unless ``append``, or a backup goes on with it."""

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False) -> None:
        self.filename = Path(filename)
        self.separator = separator
        self.append = append

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._keys: list[str] | None = None
        self._size = _size(self.filename) if self.append else 0

    def get_state(self) -> dict[str, Any]:
        return {"keys": self._keys, "size": self._size}

    def set_state(self, state: dict[str, Any]) -> None:
        self._keys, self._size = state["keys"], min(state["size"], _size(self.filename))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        lines: list[list[Any]] = []
        if self._keys is None:
            names = sorted(logs)
            # Validation may be rarer than epochs: its columns are there from the first line on.
            self._keys = names if any(n.startswith("val_") for n in names) else names + [f"val_{n}" for n in names]
        if self._size == 0:
            lines.append(["epoch", *self._keys])
        lines.append([epoch, *(logs.get(key, "NA") for key in self._keys)])
        with self.filename.open("a", newline="", encoding="utf-8") as file:
            file.truncate(self._size)  # lines of epochs that an interruption undid
            csv.writer(file, delimiter=self.separator).writerows(lines)
        self._size = _size(self.filename)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class TerminateOnNaN(Callback):
    """Where the loss or a gradient is not finite, ``fit`` stops and returns its History, instead of raising.

    Either way that step changes no weight. With ``raise_error`` it raises all the same.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error
