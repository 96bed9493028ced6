"""Locks on files and folders."""

import os
from pathlib import Path

import pytest

from recurlm.locks import lock


def can_lock(path: Path, *, alone: bool) -> bool:
    try:
        with lock(path, alone=alone, wait=False):
            return True
    except BlockingIOError:
        return False


@pytest.mark.parametrize("name", [".", "file"])
def test_readers_share_and_a_writer_is_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"content")
    path = tmp_path / name
    with lock(path, alone=False), lock(path, alone=False, wait=False):
        assert not can_lock(path, alone=True)
    with lock(path, alone=True):
        assert not can_lock(path, alone=False)
    assert can_lock(path, alone=True)
    assert os.listdir(tmp_path) == ["file"]  # no file of the lock's own is left
    assert (tmp_path / "file").read_bytes() == b"content"


def test_files_and_folders_are_locked_apart(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with lock(tmp_path, alone=True):
        assert can_lock(tmp_path / "file", alone=True)


def test_a_lock_has_one_name_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with lock(tmp_path / "folder", alone=True):
        assert not can_lock(tmp_path / "link", alone=True)
