"""Ctrl-C, or a request to terminate, at a moment when everything is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interruption:
    """While this is entered, Ctrl-C and SIGTERM set ``pending`` and the owner decides when to stop.

    A second Ctrl-C does not wait. SIGTERM, by which containers and batch systems stop a process, is left to the
    program around where that handles it itself.

    Args:
        noted: called at the first signal, to tell the user.
    """

    def __init__(self, noted: Callable[[], None]) -> None:
        self._noted = noted
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def pending(self) -> bool:
        return self._received is not None

    def stop(self) -> None:
        """End as what was received demands: KeyboardInterrupt, or SystemExit(143) after SIGTERM."""
        if self._received == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)  # as a shell counts it
        raise KeyboardInterrupt

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other
            self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, self._note)
            if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                self._previous[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pending and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.pending:
            self._received = number
            self._noted()

    def __exit__(self, *error: object) -> None:
        for number, previous in self._previous.items():
            if previous is not None:  # it was not set from Python, and cannot be set again
                signal.signal(number, previous)
