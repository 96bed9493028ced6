import errno
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model
from recurlm.callbacks import BackupAndRestore, Callback, EarlyStopping, History, LearningRateScheduler
from recurlm.layers import LSTM, Dense

from . import backup_run


class Killed(Exception):
    """Stands for the end of the process."""


class KillAt(Callback):
    """Ends the run after so many steps, or at the end of an epoch."""

    def __init__(self, step: int | None = None, epoch: int | None = None) -> None:
        self.step, self.epoch = step, epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.step == self.step:
            raise Killed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            raise Killed


def start(folder: Path, save_freq: object, pause: float) -> "subprocess.Popen[str]":
    command = [sys.executable, backup_run.__file__, str(folder), str(save_freq), str(pause)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def results(folder: Path) -> tuple[list[bytes], str, bytes, bytes]:
    with np.load(folder / "weights.npz") as arrays:
        weights = [arrays[name].tobytes() for name in arrays.files]
    history = (folder / "history.txt").read_text()
    return weights, history, (folder / "log.csv").read_bytes(), (folder / "best.safetensors").read_bytes()


@pytest.mark.parametrize("save_freq", ["epoch", 3])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(save_freq: object, tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    with start(straight, save_freq, 0) as process:
        process.communicate()
    assert process.returncode == 0
    moments = random.Random(3)
    for _ in range(4):
        with start(killed, save_freq, 0.02) as process:
            assert process.stdout is not None
            process.stdout.readline()  # a step is done
            with suppress(subprocess.TimeoutExpired):
                process.wait(moments.uniform(0, 0.3))
            process.kill()  # SIGKILL
    with start(killed, save_freq, 0) as process:
        process.communicate()
    assert process.returncode == 0
    assert results(killed) == results(straight)
    assert not (killed / "backup").exists()


def fit(folder: Path, *more: Callback, save_freq: Any = "epoch", seed: int | None = 1, **options: Any) -> Any:
    model, (x, y) = backup_run.build(seed), backup_run.data()
    listed = [BackupAndRestore(folder / "backup", save_freq, **options), *more]
    history = model.fit(x, y, batch_size=8, epochs=4, verbose=0, callbacks=listed)
    return [w.tobytes() for w in model.get_weights()], history.history


@pytest.mark.parametrize("step", [1, 7, 8, 9, 16, 30])
@pytest.mark.parametrize("save_freq", ["epoch", 1, 5])
def test_a_run_resumes_from_every_place(step: int, save_freq: Any, tmp_path: Path) -> None:
    straight = fit(tmp_path / "a", LearningRateScheduler(lambda epoch, rate: rate * 0.5))
    with pytest.raises(Killed):
        fit(tmp_path / "b", LearningRateScheduler(lambda epoch, rate: rate * 0.5), KillAt(step), save_freq=save_freq)
    # Where there is a backup, its seed decides, whatever that of the new process is.
    seed = 99 if names(tmp_path / "b" / "backup") else 1
    resumed = fit(tmp_path / "b", LearningRateScheduler(lambda epoch, rate: rate * 0.5), save_freq=save_freq, seed=seed)
    assert resumed == straight


def test_early_stopping_holds_over_an_interruption_at_its_very_end(tmp_path: Path) -> None:
    class KillAtEnd(Callback):
        def on_train_end(self, logs: Any = None) -> None:
            raise Killed

    def stopping() -> EarlyStopping:
        return EarlyStopping("loss", min_delta=100.0, patience=2, restore_best_weights=True)

    straight = fit(tmp_path / "a", stopping())
    with pytest.raises(Killed):
        fit(tmp_path / "b", stopping(), KillAtEnd())
    resumed = fit(tmp_path / "b", stopping())
    assert resumed == straight
    assert len(resumed[1]["loss"]) == 3


def test_stateful_layers_carry_their_states_over_an_interruption(tmp_path: Path) -> None:
    x, y = np.ones((6, 4, 2), np.float32), np.linspace(0, 1, 6, dtype=np.float32)[:, None]

    def run(*more: Callback) -> list[bytes]:
        inputs = Input(batch_shape=(2, 4, 2))
        model = Model(inputs, Dense(1)(LSTM(3, stateful=True)(inputs)), seed=1)
        model.set_weights([np.full(w.shape, 0.1) for w in model.weights])
        model.compile("adam", "mse")
        options: Any = {"batch_size": 2, "epochs": 3, "verbose": 0, "shuffle": False}
        model.fit(x, y, callbacks=list(more), **options)
        return [w.tobytes() for w in model.get_weights()]

    straight = run()  # first, so that automatic names are others in each of the runs that follow
    with pytest.raises(Killed):
        run(BackupAndRestore(tmp_path / "b", 2), KillAt(5))
    assert run(BackupAndRestore(tmp_path / "b", 2)) == straight


class Batches:
    """The same batches whenever it is iterated."""

    def __iter__(self) -> Iterator[Any]:
        x, y = backup_run.data()
        yield from ((x[i : i + 8], y[i : i + 8]) for i in range(0, 60, 8))


def endless() -> Iterator[Any]:
    while True:
        yield from Batches()


@pytest.mark.parametrize("step", [5, 11, 20])
@pytest.mark.parametrize(("source", "steps"), [(Batches, None), (Batches, 6), (endless, 5)])
def test_iterables_are_passed_over(source: Any, steps: int | None, step: int, tmp_path: Path) -> None:
    def run(*more: Callback) -> Any:
        model = backup_run.build()
        history = model.fit(source(), epochs=4, steps_per_epoch=steps, verbose=0, callbacks=list(more))
        return [w.tobytes() for w in model.get_weights()], history.history

    with pytest.raises(Killed):
        run(BackupAndRestore(tmp_path / "b", 2), KillAt(step))
    assert run(BackupAndRestore(tmp_path / "b", 2)) == run()


def test_a_callback_of_the_user_keeps_what_it_names(tmp_path: Path) -> None:
    class Sums(Callback):
        kept = ("count", "vector", "nested")

        def on_train_begin(self, logs: Any = None) -> None:
            self.count, self.vector, self.nested = 0, np.zeros(2, np.float64), [{"a": np.ones(1)}]

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.count += 1
            self.vector = self.vector + logs["loss"]
            self.nested[0]["a"] = self.nested[0]["a"] * 1.5

    straight, again = Sums(), Sums()
    fit(tmp_path / "a", straight)
    with pytest.raises(Killed):
        fit(tmp_path / "b", Sums(), KillAt(13), save_freq=3)
    fit(tmp_path / "b", again, save_freq=3)
    assert again.count == straight.count == 32
    np.testing.assert_array_equal(again.vector, straight.vector)
    np.testing.assert_array_equal(again.nested[0]["a"], straight.nested[0]["a"])

    class Bad(Callback):
        kept = ("thing",)
        thing = object()

    with pytest.raises(TypeError, match=r"Bad\.0\.thing keeps <object object at"):
        fit(tmp_path / "c", Bad())


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_how_many_backups_are_kept_and_what_is_deleted(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(tmp_path, KillAt(epoch=3))
    assert names(tmp_path / "backup") == ["step-24"]
    with pytest.raises(Killed):
        fit(tmp_path, KillAt(30), save_freq=3, double_checkpoint=True)
    assert names(tmp_path / "backup") == ["step-24", "step-27"]
    (tmp_path / "backup" / "mine.txt").write_text("stays")
    fit(tmp_path)
    assert names(tmp_path / "backup") == ["mine.txt"]
    fit(tmp_path, delete_checkpoint=False)
    assert names(tmp_path / "backup") == ["mine.txt", "step-32"]
    history = fit(tmp_path)[1]  # the run had ended: nothing is trained, the History is all of it
    assert len(history["loss"]) == 4


def test_a_backup_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: Any) -> None:
    straight = fit(tmp_path / "a")
    from recurlm.callbacks import backup

    def full(path: Path, value: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    class Fill(Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                monkeypatch.setattr(backup, "write_json", full)

    with pytest.raises(OSError, match="No space left"):
        fit(tmp_path / "b", Fill())
    monkeypatch.undo()
    assert names(tmp_path / "b" / "backup") == ["step-16"]
    assert fit(tmp_path / "b") == straight


def damage(folder: Path, how: str) -> None:
    path = folder / ("backup.safetensors" if how == "arrays" else "backup.json")
    if how == "missing":
        path.unlink()
    elif how == "epoch":
        path.write_text(re.sub(r'"epoch": \d', '"epoch": "x"', path.read_text(), count=1))
    elif how == "callbacks":
        path.write_text(path.read_text().replace('"history"', '"hist"'))
    else:
        path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("how", ["json", "arrays", "missing", "epoch", "callbacks"])
def test_a_damaged_backup_is_one_sentence_and_the_one_before_is_used(how: str, tmp_path: Path) -> None:
    straight = fit(tmp_path / "a")
    with pytest.raises(Killed):
        fit(tmp_path / "b", KillAt(20), save_freq=4, double_checkpoint=True)
    damage(tmp_path / "b" / "backup" / "step-16", how)
    with pytest.raises(ValueError, match=r"(is damaged|is no whole backup).*; delete .*step-16 to start anew$"):
        fit(tmp_path / "b", save_freq=4)
    with pytest.warns(RuntimeWarning, match="going on from .*step-12"):
        assert fit(tmp_path / "b", save_freq=4, double_checkpoint=True) == straight


def test_a_backup_of_another_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(tmp_path, KillAt(9))
    with pytest.raises(ValueError, match="of a run with the callbacks History, got EarlyStopping, History: call fit"):
        fit(tmp_path, EarlyStopping("loss"))
    model, (x, y) = backup_run.build(), backup_run.data()
    backup = BackupAndRestore(tmp_path / "backup")
    with pytest.raises(ValueError, match="of a run with 8 steps an epoch, got 60: call fit with the same data and"):
        model.fit(x, y, batch_size=1, epochs=4, verbose=0, callbacks=[backup])
    other = Model(inputs := Input((5, 3)), Dense(1)(LSTM(2)(inputs)))
    other.compile("adam", "mse")
    before = other.get_weights()
    with pytest.raises(ValueError, match="step-8: the state is not of this model: it lacks"):
        other.fit(x, y, batch_size=8, epochs=4, verbose=0, callbacks=[backup])
    for old, new in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("value", ["batch", 0, -1, True, 1.5])
def test_bad_frequencies_are_named(value: Any) -> None:
    with pytest.raises(ValueError, match="save_freq must be 'epoch' or a positive number of steps, got"):
        BackupAndRestore("x", value)
    with pytest.raises(ValueError, match="backup_dir must name a folder"):
        BackupAndRestore("")


def test_history_is_kept() -> None:
    assert History().get_state() == {"epoch": [], "history": {}}
