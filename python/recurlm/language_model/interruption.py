"""Ctrl-C at a moment when everything is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interruption:
    """While this is entered, Ctrl-C sets ``pending`` and the owner decides when to stop; a second one does not wait.

    Args:
        noted: called at the first, to tell the user.
    """

    def __init__(self, noted: Callable[[], None]) -> None:
        self.pending = False
        self._noted = noted
        self._previous: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True
        self._noted()

    def __exit__(self, *error: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
