"""Files and folders that are whole at any moment: after a crash, a kill, a full disk, amid readers and writers."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, LanguageModel, Model, checkpoint, files
from recurlm.layers import Dense
from tests.python.models import saved


class Crash(Exception):
    pass


@pytest.mark.parametrize("rename", [0, 1, 2])
def test_a_crash_at_any_rename_leaves_a_whole_model(
    tmp_path: Path, rename: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the machine stopped there: nothing after the crash runs, not even the clean-up."""
    folder = saved(tmp_path / "model")
    old = Model.load(folder).get_weights()[0]
    x = Input((3,))
    new = Model(x, Dense(2, name="dense")(x))
    real, remove, calls = os.rename, files._remove, 0

    def crashing(a: Any, b: Any) -> None:
        nonlocal calls
        if calls >= rename:
            raise Crash
        calls += 1
        real(a, b)

    monkeypatch.setattr(files.os, "rename", crashing)
    monkeypatch.setattr(files, "_remove", lambda path: None if path.parent == tmp_path else remove(path))
    if rename < 2:
        with pytest.raises(Crash):
            new.save(folder)
    else:
        new.save(folder)
    monkeypatch.undo()
    loaded = Model.load(folder).get_weights()[0]
    np.testing.assert_array_equal(loaded, old if rename < 2 else new.get_weights()[0])
    saved(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_folders_that_are_missing_are_made(tmp_path: Path) -> None:
    files.atomic_write(tmp_path / "a" / "b" / "file", b"whole")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"whole"


def write_half(path: Path) -> None:
    with files.atomic_file(path) as file:
        file.write(b"half")
        raise Crash


def fill_half(path: Path) -> None:
    with files.replace_folder(path) as folder:
        (folder / "part").write_text("half")
        raise Crash


def test_atomic_files_are_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.atomic_write(path, b"old")
    with pytest.raises(Crash):
        write_half(path)
    assert path.read_bytes() == b"old"
    with pytest.raises(Crash):
        fill_half(tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@contextmanager
def writer(code: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that waits for ever amid writing."""
    block = "print('in', flush=True)\n    time.sleep(600)"
    code = f"import sys, time\nfrom recurlm import files\nwith files.{code}:\n    {block}"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("code", ["replace_folder(sys.argv[1])", "atomic_path(sys.argv[1])"])
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path, code: str) -> None:
    other = saved(tmp_path / "other")

    def temporary() -> list[str]:
        return [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]

    with writer(code, tmp_path / "model") as process:
        assert len(temporary()) == 1
        saved(tmp_path / "model")
        Model.load(tmp_path / "model")
        assert len(temporary()) == 1
        process.kill()
        process.wait(30)
        saved(other)
        assert len(temporary()) == 1  # it is of another name
        Model.load(tmp_path / "model")
        assert temporary() == []


def test_checkpoints_and_stored_ids_that_a_killed_process_left_are_removed(tmp_path: Path) -> None:
    for name in ("step-3", "tokens-0.bin"):
        with writer("atomic_path(sys.argv[1])", tmp_path / name):
            pass
    assert len(list(tmp_path.iterdir())) == 2
    checkpoint.save(tmp_path, 7, None, lambda folder: None)
    assert [path.name for path in tmp_path.iterdir()] == ["step-7"]


def test_files_may_be_read_by_those_whom_the_mask_lets(tmp_path: Path) -> None:
    """safetensors writes for the owner alone."""
    before = os.umask(0o027)
    try:
        files.write_safetensors(tmp_path / "weights.safetensors", {"a": np.zeros(3, np.float32)})
        files.write_json(tmp_path / "config.json", {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


def test_disk_full_keeps_the_previous_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path / "model")
    before = Model.load(folder).get_weights()[0]

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        saved(folder)
    monkeypatch.undo()
    np.testing.assert_array_equal(Model.load(folder).get_weights()[0], before)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "present", [{"thesis.txt": "years"}, {"config.json": "{}", "app.js": "x"}, {"config.json": "["}]
)
def test_folders_that_are_no_model_are_kept(tmp_path: Path, present: dict[str, str]) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    for name, text in present.items():
        (folder / name).write_text(text)
    with pytest.raises(ValueError, match="home exists and is not a model: choose another folder"):
        saved(folder)
    with pytest.raises(ValueError, match="home exists and is not a model: choose another folder"):
        LanguageModel(units=2).save(folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == present


def test_a_model_with_other_files_or_of_another_kind_is_kept(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    with pytest.raises(ValueError, match="exists and is not a model"):
        LanguageModel(units=2).save(folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt, which is no part of a model"):
        saved(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    Model.load(saved(tmp_path / "empty"))


@pytest.mark.parametrize("path", ["", ".", "..", "sub/.."])
def test_the_current_folder_is_not_replaced(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="is or contains the current folder"):
        saved(path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is or contains the current folder"):
        LanguageModel(units=2).save(path)
    assert (tmp_path / "here" / "sub").is_dir()


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "model")
    for _ in range(3):
        saved(link)
        Model.load(link)
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["disk", "link", "model"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]


def test_a_file_is_written_through_a_link_and_a_folder_is_named(tmp_path: Path) -> None:
    model, link = Model.load(saved(tmp_path / "model")), tmp_path / "link.safetensors"
    link.symlink_to(tmp_path / "weights.safetensors")
    model.save_weights(link)
    assert link.is_symlink()
    model.load_weights(tmp_path / "weights.safetensors")
    with pytest.raises(IsADirectoryError, match="model is a folder, expected the name of a file"):
        model.save_weights(tmp_path / "model")


def test_readers_and_writers_of_one_folder_do_not_meet(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    # A loader in another process, as long as there is input.
    code = (
        "import select, sys, recurlm\n"
        "print('ready', flush=True)\n"
        "while not select.select([sys.stdin], [], [], 0)[0]:\n"
        "    recurlm.Model.load(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"ready\n"
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            saved(folder)
        _, errors = reader.communicate(b"stop\n", timeout=60)
    assert (reader.returncode, errors) == (0, b"")


@pytest.mark.parametrize("other", [Model.load, saved])
def test_others_wait_while_a_folder_is_replaced(
    tmp_path: Path, other: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "model")
    real, done = os.rename, []
    thread = threading.Thread(target=lambda: done.append(other(folder)))

    def slow(a: Any, b: Any) -> None:
        real(a, b)
        if not thread.ident:  # after the first of two renames there is no folder
            thread.start()
            time.sleep(0.2)
            assert not done

    monkeypatch.setattr(files.os, "rename", slow)
    saved(folder)
    thread.join(30)
    assert len(done) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
