"""A write that fails, whichever it is, loses nothing: the checkpoint and the model before it load and go on."""

import errno
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from safetensors import SafetensorError

from recurlm import LanguageModel, checkpoint
from tests.python import samples

RECIPE = {"batch_size": 4, "window": 16, "epochs": 1, "checkpoint_every": 3, "validation_split": 0, "verbose": False}
CALLS = ("mkdir", "rename", "replace", "fsync", "chmod", "unlink", "rmdir")


class Faults:
    """Makes one call fail among all that change the file system, counted from the first on."""

    def __init__(self, patch: pytest.MonkeyPatch, failing: int, error: int) -> None:
        self.calls = 0
        self.failing, self.error = failing, error
        for name in CALLS:
            patch.setattr(os, name, self._wrapped(getattr(os, name)))
        real_open, real_save = io.open, safetensors.numpy.save_file

        def open_(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if not set(mode) & set("wxa+"):
                return real_open(file, mode, *rest, **options)
            self.count(str(file))
            return io.BufferedWriter(_Raw(self, file, mode.replace("b", "")))

        def save(arrays: Any, path: Any, metadata: Any) -> None:
            real_save(arrays, path, metadata)
            try:
                self.count(None)
            except OSError as fault:  # as safetensors says it, with half of the file written
                os.truncate(path, os.path.getsize(path) // 2)
                said = f"Error while serializing: I/O error: {fault.strerror} (os error {fault.errno})"
                raise SafetensorError(said) from None

        patch.setattr(io, "open", open_)
        patch.setattr(safetensors.numpy, "save_file", save)

    @property
    def struck(self) -> bool:
        return self.calls >= self.failing

    def count(self, path: str | None) -> None:
        self.calls += 1
        if self.calls == self.failing:
            raise OSError(self.error, os.strerror(self.error), *([] if path is None else [path]))

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, **options: Any) -> Any:
            self.count(None if isinstance(path, int) else os.fspath(path))
            return real(path, *rest, **options)

        return call


class _Raw(io.FileIO):
    """Writes half where a write is to fail, and fails at the rest."""

    def __init__(self, faults: Faults, file: Any, mode: str) -> None:
        super().__init__(file, mode)
        self._faults = faults

    def write(self, data: Any) -> int:
        if self._faults.calls + 1 == self._faults.failing and len(data) > 1:
            return super().write(bytes(data[: len(data) // 2]))  # the rest comes as another call, which counts
        self._faults.count(None)
        return super().write(data)


def fit(source: Path, folder: Path, resume: bool, lm: LanguageModel | None = None) -> LanguageModel:
    lm = lm or LanguageModel(units=6, seed=2)
    lm.fit(source, checkpoint_dir=folder, resume=resume, **RECIPE)  # type: ignore[arg-type]
    return lm


@contextmanager
def faults(failing: int, error: int) -> Iterator[Faults]:
    with pytest.MonkeyPatch.context() as patch:
        yield Faults(patch, failing, error)


def check_error(error: OSError, folder: Path, code: int) -> None:
    assert error.errno == code
    assert error.filename is not None
    assert Path(error.filename).is_relative_to(folder)
    assert ".tmp" not in str(error)


def test_any_call_may_fail(tmp_path: Path) -> None:
    """n = 1, 2, ... until a run, from the text to the saved model, has no n-th call; without the variable, some n."""
    stride = 1 if "RECURLM_ENDURANCE" in os.environ else 9
    source = samples.text_file(tmp_path, 12)
    straight = fit(source, tmp_path / "straight", resume=False)
    older = samples.trained(["older"] * 20, epochs=1, units=6)
    failing, struck = 0, True
    while struck:
        failing += stride
        code = (errno.ENOSPC, errno.EIO)[failing % 2]
        folder = tmp_path / f"at-{failing}"
        out, checkpoints = folder / "model", folder / "checkpoints"
        older.save(out)
        lm = LanguageModel(units=6, seed=2)
        with faults(failing, code) as injected:
            try:
                fit(source, checkpoints, resume=False, lm=lm)
                lm.save(out)
            except OSError as error:
                check_error(error, folder, code)
        struck = injected.struck
        there = samples.weight_bytes(LanguageModel.load(out))
        assert there in (samples.weight_bytes(older), samples.weight_bytes(straight))
        for step in checkpoint.list_steps(checkpoints):
            LanguageModel.load(checkpoint.path_of(checkpoints, step))
        resumed = fit(source, checkpoints, resume=bool(checkpoint.list_steps(checkpoints)))
        assert samples.weight_bytes(resumed) == samples.weight_bytes(straight), failing
        resumed.save(out)
        assert samples.weight_bytes(LanguageModel.load(out)) == samples.weight_bytes(straight)
        assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "model"]
        assert not [path for path in checkpoints.iterdir() if path.name.startswith(".")]
    assert failing > 150  # that many calls a run takes, or this test injects into nothing


def test_a_temporary_folder_that_could_not_be_removed_is_no_reason_to_refuse(tmp_path: Path) -> None:
    lm = samples.trained(["older"] * 20, epochs=1, units=6)
    lm.save(tmp_path / "m")
    (tmp_path / "m" / ".config.json.0123456789ab.tmp").mkdir()
    lm.save(tmp_path / "m")
    assert len(list((tmp_path / "m").iterdir())) == 6


def limited(megabytes: float, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command, with no file larger than that: writes fail as on a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = int(megabytes * 1e6)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    command = [sys.executable, "-m", "recurlm", *map(str, arguments)]
    return subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("megabytes", [0.0001, 0.02], ids=["ids", "weights"])
def test_a_disk_that_is_full_is_told_in_one_sentence(tmp_path: Path, megabytes: float) -> None:
    source = samples.text_file(tmp_path, 12)
    arguments = ["train", source, "--out", tmp_path / "m", "--units", "64", "--batch-size", "4", "--window", "16"]
    done = limited(megabytes, *arguments, "--epochs", "1")
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith(f"recurlm: error: File too large: {tmp_path / 'm-checkpoints'}"), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "m").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "m-checkpoints") == ["text.txt"]


def test_a_checkpoint_that_fails_leaves_the_weights_in_memory(tmp_path: Path) -> None:
    lm = LanguageModel(units=6, seed=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "replace_folder", _full)
        with pytest.raises(OSError, match="No space left"):
            fit(samples.text_file(tmp_path, 12), tmp_path / "c", resume=False, lm=lm)
    assert lm.model.optimizer.iterations == RECIPE["checkpoint_every"]
    lm.save(tmp_path / "elsewhere")
    assert samples.weight_bytes(LanguageModel.load(tmp_path / "elsewhere")) == samples.weight_bytes(lm)


def _full(path: Path) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_what_a_kill_amid_the_last_tidying_left_goes_with_the_next_run(tmp_path: Path) -> None:
    source, folder = samples.text_file(tmp_path, 20), tmp_path / "c"
    fit(source, folder, resume=False)
    kept = sorted(path.name for path in folder.iterdir())
    newest = checkpoint.newest(folder)
    shutil.copytree(newest, checkpoint.path_of(folder, 1))
    (folder / ".step-2.0123456789ab.tmp").mkdir()
    fit(source, folder, resume=True)  # it has ended, and saves nothing
    assert sorted(path.name for path in folder.iterdir()) == kept
