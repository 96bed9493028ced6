"""Training checkpoints: folders ``step-N``, each written whole or not at all; the newest and the best are kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from .files import remove_folder, remove_leftovers, replace_folder

_NAME = re.compile(r"step-(\d+)")


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` is."""
    return folder / f"step-{step}"


def list_steps(folder: Path) -> list[int]:
    """The steps with a complete checkpoint, ascending; none if there is no such folder."""
    if not folder.is_dir():
        return []
    # A folder has this name only while it is complete: it is written, and deleted, under a temporary one.
    return sorted(int(match[1]) for entry in folder.iterdir() if (match := _NAME.fullmatch(entry.name)))


def newest(folder: Path) -> Path:
    """The newest complete checkpoint.

    Raises:
        FileNotFoundError: there is none.
    """
    steps = list_steps(folder)
    if not steps:
        raise FileNotFoundError(
            f"there is no checkpoint in {folder} to resume from: leave resume (command: --resume) out to start anew"
        )
    return path_of(folder, steps[-1])


def save(folder: Path, step: int, best: int | None, write: Callable[[Path], None], kept: int = 2) -> Path:
    """Let ``write`` fill the checkpoint of ``step``, then ``tidy``.

    An error while writing, such as a full disk, leaves the earlier checkpoints as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, step)
    with replace_folder(path) as temporary:
        write(temporary)
    tidy(folder, best, kept)
    return path


def tidy(folder: Path, best: int | None, kept: int = 2) -> None:
    """Delete what killed processes left, and all checkpoints but the newest ``kept`` and that of step ``best``."""
    remove_leftovers(folder)
    for old in set(list_steps(folder)[:-kept]) - {best}:
        remove_folder(path_of(folder, old))
