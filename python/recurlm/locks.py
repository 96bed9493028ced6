"""Locks on files and folders, which end with the process that holds them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":  # run by nobody so far
    import ctypes
    import hashlib
    import msvcrt
    import tempfile
    from ctypes.wintypes import DWORD, HANDLE

    class _Overlapped(ctypes.Structure):
        _fields_ = (
            ("internal", ctypes.c_size_t), ("internal_high", ctypes.c_size_t),
            ("offset", DWORD), ("offset_high", DWORD), ("event", HANDLE),
        )  # fmt: skip

    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _FAIL_IMMEDIATELY, _EXCLUSIVE, _LOCK_VIOLATION = 1, 2, 33

    @contextmanager
    def lock(path: Path, *, alone: bool, wait: bool = True) -> Iterator[None]:
        stand_in = _stand_in(path)
        with stand_in.open("ab") as file:
            handle, place = HANDLE(msvcrt.get_osfhandle(file.fileno())), _Overlapped()
            flags = (_EXCLUSIVE if alone else 0) | (0 if wait else _FAIL_IMMEDIATELY)
            if not _kernel.LockFileEx(handle, flags, 0, 1, 0, ctypes.byref(place)):
                error = ctypes.get_last_error()
                raise BlockingIOError(f"{path} is locked") if error == _LOCK_VIOLATION else ctypes.WinError(error)
            try:
                yield
            finally:
                _kernel.UnlockFileEx(handle, 0, 1, 0, ctypes.byref(place))
        with suppress(OSError):  # another has it open
            stand_in.unlink()

    def _stand_in(path: Path) -> Path:
        """The file that is locked in the place of ``path``: a folder cannot be opened there, nor a locked file read.

        It keeps the processes of one user apart, on one machine.
        """
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
        # Some network file systems lock only files that are open for writing.
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(descriptor)
