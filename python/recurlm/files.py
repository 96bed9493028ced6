"""Files that are always whole: written under a temporary name, flushed, renamed. Nothing is ever unpickled."""

import json
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .locks import lock
from .typing import Array

_TEMPORARY = r"\.(?:{})\.[0-9a-f]{{12}}\.tmp"  # the pattern of names that ``_temporary`` gives


class DamagedFileError(ValueError):
    """A file does not hold what its name says."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name for a file that takes the place of ``path`` when the block ends, and vanishes if an error ends it.

    Where ``path`` is a link, that to which it points is replaced; folders that are missing are made.
    IsADirectoryError if it is a folder.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path) as temporary:
        yield temporary
        # Some writers let nobody else read; the folder around it was made with the process's own mask.
        os.chmod(temporary, temporary.parent.stat().st_mode & 0o666)
        _flush(temporary)
        os.replace(temporary, path)
    flush_folder(path.parent)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """As ``atomic_path``, with the file open for writing bytes."""
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        yield file


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace the contents of ``path`` by ``data``, whole or not at all."""
    with atomic_file(path) as file:
        file.write(data)


def check_target(path: str | os.PathLike[str], marks: Mapping[str, str], names: Collection[str]) -> Path:
    """The folder ``path`` means, through links, if it is missing or empty, or holds a model of our own.

    Only that may be replaced: a folder whose config.json has the entries ``marks``, with no files but ``names``.

    Raises:
        FileExistsError: it is a file.
        ValueError: it holds anything else, or is, or contains, the current folder.
    """
    target = Path(os.path.realpath(path))
    if Path(os.path.realpath(os.curdir)).is_relative_to(target):
        raise ValueError(f"{str(path)!r} is or contains the current folder, which cannot be replaced: name another one")
    with _locked(target.parent, alone=False):
        _refuse_file(target)
        found = {entry.name for entry in target.iterdir()} if target.exists() else set()
        ours = not found or _is_marked(target / "config.json", marks)
    if not ours:
        raise ValueError(f"{target} exists and is not a model: choose another folder")
    foreign = sorted(name for name in found - set(names) if not re.fullmatch(_TEMPORARY.format(".+"), name))
    if foreign:
        raise ValueError(f"{target} holds {foreign[0]}, which is no part of a model: move it or choose another folder")
    return target


def _is_marked(path: Path, marks: Mapping[str, str]) -> bool:
    try:
        config = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and all(config.get(key) == value for key, value in marks.items())


@contextmanager
def replace_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to fill; it takes the place of ``path`` when the block ends, and vanishes if an error ends it.

    A folder that is there already, whatever it holds, is renamed aside, the new one moved in, the old one deleted;
    ``reading_folder`` completes what a crash in between left. Where ``path`` is a link, that to which it points is
    replaced. FileExistsError if it is a file.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent, alone=False):
        _refuse_file(path)
    with _temporary(path) as temporary:
        temporary.mkdir()
        yield temporary
        for file in (entry for entry in temporary.rglob("*") if entry.is_file()):
            _flush(file)
        flush_folder(temporary)
        with _locked(path.parent, alone=True):
            _swap_in(temporary, path)


def remove_folder(path: Path) -> None:
    """Delete a folder, which has its name as long as it is whole."""
    with _temporary(path) as doomed:
        os.rename(path, doomed)


def _refuse_file(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file; a folder cannot take its place")


def _swap_in(temporary: Path, path: Path) -> None:
    aside = _aside(path)
    if path.exists():
        _remove(aside)
        os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except BaseException:
        if aside.exists():
            os.rename(aside, path)
        raise
    flush_folder(path.parent)
    _remove(aside)


@contextmanager
def reading_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """``path``, which nobody replaces until the block ends; put back first if a crash struck amid its replacement.

    Raises:
        FileNotFoundError: there is no such folder, nor an old one aside.
        NotADirectoryError: it is a file.
    """
    path = Path(os.path.realpath(path))
    remove_leftovers(path.parent, re.escape(path.name))
    with _locked(path.parent, alone=False):
        # Under the lock nobody is between two renames: what is still aside was left by a crash.
        if not path.exists() and _aside(path).is_dir():
            with suppress(FileNotFoundError):  # another reader was first
                os.rename(_aside(path), path)
        if not path.exists():
            raise FileNotFoundError(f"there is no folder {path}")
        if not path.is_dir():
            raise NotADirectoryError(f"{path} is a file, expected the folder of a saved model")
        yield path


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name for what will take the place of ``path``, in a new folder beside it: only there is renaming atomic.

    What stands there when the block ends is removed. The folder is locked until then, which tells it from those that
    were left by processes that died; these are removed first.
    """
    remove_leftovers(path.parent, re.escape(path.name))
    folder = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    with naming(path, folder), ExitStack() as stack:
        with _locked(path.parent, alone=False):  # nobody can take it for a left one before it is locked
            folder.mkdir()
            stack.enter_context(_locked(folder, alone=False))
        try:
            yield folder / path.name
        finally:
            _remove(folder)


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """An OSError that names no file, or one within ``temporary``, leaves the block with the name of ``path``."""
    try:
        yield
    except OSError as error:
        named = error.filename
        hidden = temporary is not None and named is not None and Path(os.fsdecode(named)).is_relative_to(temporary)
        if error.errno is None or (named is not None and not hidden):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_leftovers(folder: Path, names: str = ".+") -> None:
    """Remove from ``folder`` what processes that died amid writing left; ``names`` is a pattern of what they wrote."""
    pattern = re.compile(_TEMPORARY.format(names))
    with suppress(OSError):  # in use, on a file system without locks, or not ours: another will remove them
        found = [entry for entry in folder.iterdir() if pattern.fullmatch(entry.name)]
        if not found:
            return
        with lock(folder, alone=True, wait=False):
            for entry in found:
                with suppress(OSError), lock(entry, alone=True, wait=False):
                    _remove(entry)


@contextmanager
def _locked(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold ``folder`` against other processes and threads: shared by readers, alone while names within it change.

    The lock is on the folder itself, so that no file of its own is left behind. Some network file systems cannot lock a
    folder, and some users may not open it: there replacing a model while it is read can still make the reader fail.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(lock(folder, alone=alone))
        yield


def flush_folder(path: Path) -> None:
    """Make renames within ``path`` durable."""
    _flush(path)


def _flush(path: Path) -> None:
    windows = sys.platform == "win32"  # which flushes what was opened for writing, and no folders
    if windows and path.is_dir():
        return
    with naming(path):
        descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _aside(path: Path) -> Path:
    """Where the old folder waits while the new one is moved in."""
    return path.with_name(f".{path.name}.old")


def _remove(folder: Path) -> None:
    import shutil  # costs a fifth of what importing recurlm may

    shutil.rmtree(folder, ignore_errors=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    atomic_write(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: str | os.PathLike[str]) -> Any:
    """What ``write_json`` wrote; ValueError where the file is damaged, FileNotFoundError where there is none."""
    try:
        return json.loads(Path(path).read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: it is not valid JSON ({error})") from None


def write_safetensors(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays by name, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with atomic_path(path) as temporary:
        # Without metadata a file of no arrays could not be read again.
        try:
            save_file(contiguous, temporary, {"format": "np", **(metadata or {})})
        except SafetensorError as error:
            raise _os_error(error, temporary) from None


def _os_error(error: Exception, path: Path) -> Exception:
    """The OSError that safetensors wraps, of which it tells the number; ``error`` itself where there is none."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path)) if found else error


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Arrays by name; ValueError where the file is damaged, FileNotFoundError where there is none."""
    return dict(iterate_safetensors(path))


def iterate_safetensors(path: str | os.PathLike[str]) -> Iterator[tuple[str, Array]]:
    """As ``read_safetensors``, an array after the other, so that they need not be in memory together."""
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):
        pass  # safetensors calls every file missing that it cannot open
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                yield name, file.get_tensor(name)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedFileError(f"{path} is damaged: it is not a valid safetensors file ({error})") from None
