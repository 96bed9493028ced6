"""Progress on the terminal."""

import sys
import time
from typing import TextIO

from .base import Callback, Logs


class ProgbarLogger(Callback):
    """Progress on ``stream`` (stderr): with ``verbose`` 1 a line that renews itself, with 2 a line for each epoch."""

    def __init__(self, verbose: int = 1, stream: TextIO | None = None, interval: float = 0.2) -> None:
        self.verbose = verbose
        self.stream = stream
        self.interval = interval
        self._width = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._start(f"Epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._step(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._finish(logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if "epochs" not in self.params:
            self._start("Evaluating")

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if "epochs" not in self.params:
            self._step(batch, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if "epochs" not in self.params:
            self._finish(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._start("Predicting")

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._step(batch, logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._finish(logs)

    def _start(self, title: str) -> None:
        self._title, self._began, self._shown, self._first = title, time.monotonic(), 0.0, -1

    def _step(self, batch: int, logs: Logs | None) -> None:
        now = time.monotonic()
        if self._first < 0:
            self._first = batch  # a resumed epoch does not start at 0
        if self.verbose != 1 or now - self._shown < self.interval:
            return
        self._shown = now
        steps, done = self.params.get("steps"), batch + 1
        left = ""
        if steps:
            pace = (now - self._began) / (done - self._first)
            left = f", {_duration(pace * (steps - done))} left"
        self._write(f"{self._title}: {done}/{steps or '?'} {_figures(logs)}{left}", end="")

    def _finish(self, logs: Logs | None) -> None:
        figures = f" {_figures(logs)}" if logs else ""
        self._write(f"{self._title}:{figures} in {_duration(time.monotonic() - self._began)}", end="\n")
        self._width = 0

    def _write(self, line: str, end: str) -> None:
        stream = self.stream or sys.stderr
        renew = "\r" if self.verbose == 1 else ""
        stream.write(f"{renew}{line:<{self._width}}{end}")
        stream.flush()
        self._width = len(line)


def _figures(logs: Logs | None) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
