"""Who is using a model: any number of readers, or one thread that trains."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Usage:
    """Refuses, with RuntimeError, what would read weights while another thread changes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trainer: int | None = None
        self._depth = 0
        self._readers = 0

    @contextmanager
    def training(self) -> Iterator[None]:
        """Held while weights change. The same thread may enter again: callbacks run inside ``fit``."""
        with self._lock:
            if self._trainer not in (None, threading.get_ident()):
                raise RuntimeError("the model is being trained by another thread")
            if self._readers:
                raise RuntimeError("the model cannot be trained while another thread runs it")
            self._trainer = threading.get_ident()
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._trainer = None

    @contextmanager
    def reading(self) -> Iterator[bool]:
        """Held while weights are read; yields whether this is the thread that trains (a callback)."""
        with self._lock:
            own = self._trainer == threading.get_ident()
            if self._trainer is not None and not own:
                raise RuntimeError("the model is being trained by another thread; wait until fit returns")
            self._readers += not own
        try:
            yield own
        finally:
            with self._lock:
                self._readers -= not own
