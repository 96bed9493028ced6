"""Locks on files and folders, which end with the process that holds them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import hashlib
    import tempfile

    import portalocker

    @contextmanager
    def lock(path: Path, *, alone: bool, wait: bool = True) -> Iterator[None]:
        flags = portalocker.LockFlags.EXCLUSIVE if alone else portalocker.LockFlags.SHARED
        with _stand_in(path).open("ab") as file:
            try:
                portalocker.lock(file, flags if wait else flags | portalocker.LockFlags.NON_BLOCKING)
            except portalocker.AlreadyLocked:
                raise BlockingIOError(f"{path} is locked") from None
            except portalocker.LockException as error:
                raise OSError(str(error)) from None
            yield

    def _stand_in(path: Path) -> Path:
        """A folder cannot be opened there, nor a locked file read: another file is locked in the place of each."""
        name = hashlib.sha256(os.path.normcase(os.path.realpath(path)).encode("utf-8", "surrogatepass")).hexdigest()
        return Path(tempfile.gettempdir()) / f"recurlm-{name[:32]}.lock"

else:
    import fcntl

    @contextmanager
    def lock(path: Path, *, alone: bool, wait: bool = True) -> Iterator[None]:
        """Hold ``path``, which exists, against other processes and threads: with others who do, or alone.

        Raises:
            BlockingIOError: another holds it, and ``wait`` is false.
            OSError: it cannot be locked where it is.
        """
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(descriptor)
