"""Locks, as each system has them: those of Windows, on other files in the place of folders, run anywhere."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import recurlm.files
import recurlm.locks
from recurlm.files import reading_folder, replace_folder


@pytest.fixture(params=["posix", "windows"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The module as it is on either system."""
    if request.param == "windows":
        pytest.importorskip("portalocker")
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path.parent))
    try:
        yield importlib.reload(recurlm.locks)
    finally:
        monkeypatch.undo()
        importlib.reload(recurlm.locks)


def can_lock(locks: ModuleType, path: Path, *, alone: bool) -> bool:
    try:
        with locks.lock(path, alone=alone, wait=False):
            return True
    except BlockingIOError:
        return False


def test_readers_share_and_a_writer_is_alone(locks: ModuleType, tmp_path: Path) -> None:
    with locks.lock(tmp_path, alone=False), locks.lock(tmp_path, alone=False, wait=False):
        assert not can_lock(locks, tmp_path, alone=True)
    with locks.lock(tmp_path, alone=True):
        assert not can_lock(locks, tmp_path, alone=False)
    assert can_lock(locks, tmp_path, alone=True)


def test_files_and_folders_are_locked_apart(locks: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    with locks.lock(tmp_path, alone=True), locks.lock(file, alone=True, wait=False):
        pass
    assert sorted(os.listdir(tmp_path)) == ["file"]  # no lock is left beside them


def test_a_lock_has_one_name_for_a_folder(locks: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with locks.lock(tmp_path / "folder", alone=True):
        assert not can_lock(locks, tmp_path / "link", alone=True)


def test_folders_are_replaced_and_read(locks: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recurlm.files, "lock", locks.lock)
    for number in range(3):
        with replace_folder(tmp_path / "model") as folder:
            np.save(folder / "number.npy", number)
    with reading_folder(tmp_path / "model") as folder:
        assert np.load(folder / "number.npy") == 2
    assert os.listdir(tmp_path) == ["model"]
