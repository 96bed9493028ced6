import errno
import json
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import LanguageModel, _core, checkpoint
from recurlm.callbacks import Callback

from . import samples

EPOCHS = 3


class StopAt(Callback):
    """Ctrl-C in the middle of a step."""

    def __init__(self, step: int):
        super().__init__()
        self._left = step

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._left -= 1
        if self._left == 0:
            signal.raise_signal(signal.SIGINT)


def fit(source: Path, folder: Path | None, stop_at: int | None = None, **options: Any) -> LanguageModel:
    lm = LanguageModel(units=12, layers=2, dropout=0.2, seed=4)
    callbacks = [] if stop_at is None else [StopAt(stop_at)]
    recipe = samples.RECIPE | {"epochs": EPOCHS, "callbacks": callbacks, "checkpoint_every": 7}
    lm.fit(source, checkpoint_dir=folder, **recipe | options)
    return lm


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return samples.text_file(tmp_path, 60)


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, source: Path, threads: int) -> None:
    _core.set_num_threads(1)
    straight = fit(source, None)
    steps = straight.model.optimizer.iterations
    _core.set_num_threads(threads)
    folder = tmp_path / "checkpoints"
    for run, stop_at in enumerate([3, steps // 2 + 1, 5]):  # in the first epoch, beyond it, soon after the resume
        with pytest.raises(KeyboardInterrupt):
            fit(source, folder, stop_at, resume=run > 0)
    resumed = fit(source, folder, resume=True)
    assert resumed.model.optimizer.iterations == steps
    assert samples.weight_bytes(resumed) == samples.weight_bytes(straight)


def test_an_interruption_at_the_end_of_an_epoch_resumes_to_the_same_bits(tmp_path: Path, source: Path) -> None:
    straight = fit(source, None)
    windows = straight.model.optimizer.iterations // EPOCHS
    with pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "c", windows)
    assert samples.weight_bytes(fit(source, tmp_path / "c", resume=True)) == samples.weight_bytes(straight)


def test_the_best_weights_survive_a_resume(tmp_path: Path) -> None:
    source, held_out = samples.text_file(tmp_path, 6), samples.text_file(tmp_path, 30, "held_out.txt")
    recipe = {"epochs": 60, "batch_size": 2, "window": 16, "learning_rate": 0.03, "schedule": "constant"}

    def run(folder: Path | None, **options: Any) -> tuple[LanguageModel, dict[str, list[float]]]:
        lm = LanguageModel(units=32, seed=1)
        return lm, lm.fit(source, held_out, checkpoint_dir=folder, verbose=False, **recipe | options)

    straight, history = run(None)
    losses = history["val_loss"]
    best = losses.index(min(losses))
    assert best < len(losses) - 4  # so that the best checkpoint is none of the two newest
    steps = straight.model.optimizer.iterations // len(losses) * (len(losses) - 1) + 1
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c", callbacks=[StopAt(steps)])
    resumed, _ = run(tmp_path / "c", resume=True)
    assert samples.weight_bytes(resumed) == samples.weight_bytes(straight)


def test_the_history_goes_on_after_a_resume(tmp_path: Path, source: Path) -> None:
    expected = LanguageModel(units=12, seed=4).fit(source, epochs=EPOCHS, **samples.RECIPE)  # type: ignore[arg-type]
    options = samples.RECIPE | {"epochs": EPOCHS, "checkpoint_dir": tmp_path / "c"}
    with pytest.raises(KeyboardInterrupt):
        LanguageModel(units=12, seed=4).fit(source, callbacks=[StopAt(60)], **options)  # type: ignore[arg-type]
    history = LanguageModel(units=12, seed=4).fit(source, resume=True, **options)  # type: ignore[arg-type]
    for name in ("loss", "val_loss", "val_accuracy"):
        assert history[name] == expected[name]


def test_the_time_of_all_parts_of_a_run_is_added_up(tmp_path: Path, source: Path) -> None:
    seconds = []
    for stop_at in (20, 1):
        with pytest.raises(KeyboardInterrupt):
            fit(source, tmp_path / "c", stop_at, resume=bool(seconds))
        training = json.loads((checkpoint.newest(tmp_path / "c") / "training.json").read_text(encoding="utf-8"))
        seconds.append(training["position"]["seconds"])
    assert seconds[1] > seconds[0]


def test_two_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "state").write_text("x")

    for step in range(1, 8):
        checkpoint.save(tmp_path, step, 3 if step >= 3 else None, write)
    assert checkpoint.list_steps(tmp_path) == [3, 6, 7]
    assert checkpoint.newest(tmp_path) == tmp_path / "step-7"


def test_what_is_not_a_checkpoint_is_left_alone(tmp_path: Path) -> None:
    for name in ("step-1.tmp", "step-x", "other"):
        (tmp_path / name).mkdir()
    assert checkpoint.list_steps(tmp_path) == []
    assert checkpoint.list_steps(tmp_path / "nothing") == []
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint in .* to resume from"):
        checkpoint.newest(tmp_path)


def test_a_full_disk_leaves_the_previous_checkpoint_whole(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        fit(source, folder, 5)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def no_space(path: Path, value: object) -> None:
        path.write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("recurlm.language_model.fitting.write_json", no_space)
    with pytest.raises(OSError, match="No space left"):
        fit(source, folder, resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    monkeypatch.undo()
    assert samples.weight_bytes(fit(source, folder, resume=True)) == samples.weight_bytes(fit(source, None))


def test_numbers_of_numpy_can_be_written(tmp_path: Path, source: Path) -> None:
    lm = LanguageModel(units=np.int64(8), seed=np.int32(1), dropout=np.float32(0.1))  # type: ignore[arg-type]
    recipe = {
        "epochs": np.int64(1),
        "batch_size": np.int32(4),
        "window": np.uint8(16),
        "learning_rate": np.float32(1e-3),
    }
    lm.fit(source, checkpoint_dir=tmp_path / "c", verbose=False, **recipe)  # type: ignore[arg-type]
    lm.save(tmp_path / "m")


def test_a_checkpoint_is_a_model(tmp_path: Path, source: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "c", 5)
    lm = LanguageModel.load(checkpoint.newest(tmp_path / "c"))
    assert len(lm.generate("the ", max_tokens=5)) == 5


@pytest.mark.parametrize("limits", [{}, {"max_tokens": 64 * 21, "epochs": None}])
def test_resuming_a_run_that_has_ended_changes_nothing(tmp_path: Path, source: Path, limits: dict[str, Any]) -> None:
    folder = tmp_path / "checkpoints"

    def run(**options: Any) -> tuple[LanguageModel, dict[str, list[float]]]:
        lm = LanguageModel(units=12, seed=4)
        recipe = samples.RECIPE | {"epochs": 2, "schedule": "constant", "checkpoint_every": 7, "checkpoint_dir": folder}
        return lm, lm.fit(source, **recipe | limits | options)

    ended, history = run()
    steps = checkpoint.list_steps(folder)
    again, told = run(resume=True)
    assert samples.weight_bytes(again) == samples.weight_bytes(ended)
    assert told == history
    assert checkpoint.list_steps(folder) == steps
    longer, _ = run(resume=True, **{name: value * 2 for name, value in limits.items() if value} or {"epochs": 4})
    assert longer.model.optimizer.iterations == 2 * ended.model.optimizer.iterations


def test_an_interruption_in_the_last_step_is_not_the_end_without_validation(tmp_path: Path, source: Path) -> None:
    limits = {"max_tokens": 64 * 20, "epochs": None, "schedule": "constant"}
    straight = fit(source, None, **limits)
    with pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "c", 20, **limits)
    resumed = fit(source, tmp_path / "c", resume=True, **limits)
    assert samples.weight_bytes(resumed) == samples.weight_bytes(straight)
    training = json.loads((checkpoint.newest(tmp_path / "c") / "training.json").read_text(encoding="utf-8"))
    assert len(training["position"]["history"]["val_loss"]) == 1


def test_a_resumed_run_remembers_that_it_stopped_early(tmp_path: Path) -> None:
    source, held_out = samples.text_file(tmp_path, 6), samples.text_file(tmp_path, 30, "held_out.txt")
    recipe = {"epochs": 60, "batch_size": 2, "window": 16, "learning_rate": 0.03, "schedule": "constant"}

    def run(early_stopping: int, resume: bool = False) -> tuple[LanguageModel, dict[str, list[float]]]:
        lm = LanguageModel(units=32, seed=1)
        options = {"early_stopping": early_stopping, "resume": resume, "verbose": False}
        return lm, lm.fit(source, held_out, checkpoint_dir=tmp_path / "c", **recipe | options)

    stopped, history = run(2)
    resumed, told = run(2, resume=True)
    assert told == history
    assert samples.weight_bytes(resumed) == samples.weight_bytes(stopped)
    _, patient = run(4, resume=True)
    assert len(patient["val_loss"]) > len(history["val_loss"])


def test_deleting_an_old_checkpoint_takes_its_name_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path) -> None:
        (folder / "state").write_text("x")

    for step in (1, 2):
        checkpoint.save(tmp_path, step, None, write)

    def crash_half_way(folder: Path, **options: Any) -> None:
        for file in folder.rglob("state"):
            file.unlink()

    monkeypatch.setattr("shutil.rmtree", crash_half_way)
    checkpoint.save(tmp_path, 3, None, write)
    monkeypatch.undo()
    assert checkpoint.list_steps(tmp_path) == [2, 3]
    assert any(path.name.startswith(".step-1.") for path in tmp_path.iterdir())
    checkpoint.save(tmp_path, 4, None, write)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-3", "step-4"]


def test_resuming_something_else_is_refused(tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "checkpoints"
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        fit(source, folder, resume=True)
    with pytest.raises(KeyboardInterrupt):
        fit(source, folder, 5)
    with pytest.raises(ValueError, match="holds checkpoints of an earlier run"):
        fit(source, folder)
    with pytest.raises(ValueError, match="made with window=16, got 8"):
        fit(source, folder, resume=True, window=8)
    with pytest.raises(ValueError, match="made with units=12, got 13"):
        LanguageModel(units=13, layers=2, dropout=0.2, seed=4).fit(
            source,
            checkpoint_dir=folder,
            resume=True,
            **samples.RECIPE,  # type: ignore[arg-type]
        )
    with pytest.raises(ValueError, match="another text"):
        fit(samples.text_file(tmp_path, 61, "other.txt"), folder, resume=True)
    for options in ({"validation_split": 0.3}, {"validation_split": 0}, {"validation_data": source}):
        with pytest.raises(ValueError, match="made with another"):
            fit(source, folder, resume=True, **options)
    with pytest.raises(ValueError, match="resume needs checkpoint_dir"):
        fit(source, None, resume=True)


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 10**6}, {"sample_prompt": "@"}, {"learning_rate": 0.0}, {"validation_split": 2.0}, {"epochs": 0}],
)
@pytest.mark.parametrize("folder", ["there", "new/deep"])
def test_a_run_that_fails_leaves_nothing(tmp_path: Path, source: Path, folder: str, options: dict[str, Any]) -> None:
    (tmp_path / "there").mkdir()
    before = listing(tmp_path)
    with pytest.raises(ValueError):  # noqa: PT011 - what it says is tested elsewhere
        fit(source, tmp_path / folder, **options)
    assert listing(tmp_path) == before


def test_a_resume_that_is_refused_leaves_nothing(tmp_path: Path, source: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "c", 5)
    other = samples.text_file(tmp_path, 61, "other.txt")
    before = listing(tmp_path)
    with pytest.raises(ValueError, match="another text"):
        fit(other, tmp_path / "c", resume=True)
    assert listing(tmp_path) == before
    fit(source, tmp_path / "c", resume=True)


def test_stored_ids_stay_as_long_as_a_checkpoint_needs_them(tmp_path: Path, source: Path) -> None:
    folder, held_out = tmp_path / "c", samples.text_file(tmp_path, 30, "held_out.txt")
    folder.mkdir()
    (folder / f"tokens-{'0' * 24}.bin").write_bytes(b"old")
    (folder / "tokens-mine.bin").write_bytes(b"mine")
    fit(source, folder, validation_data=held_out)
    training = json.loads((checkpoint.newest(folder) / "training.json").read_text(encoding="utf-8"))
    expected = {f"tokens-{training[name]}.bin" for name in ("corpus", "validation")} | {"tokens-mine.bin"}
    assert {path.name for path in folder.glob("tokens-*")} == expected
    assert len(expected) == 3


def test_a_damaged_checkpoint_gets_a_sentence(tmp_path: Path, source: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "c", 5)
    path = checkpoint.newest(tmp_path / "c") / "training.json"
    training = json.loads(path.read_text(encoding="utf-8"))
    del training["position"]
    path.write_text(json.dumps(training), encoding="utf-8")
    with pytest.raises(ValueError, match=r"training.json is damaged: KeyError\('position'\); delete .* to start anew"):
        fit(source, tmp_path / "c", resume=True)


def test_an_older_checkpoint_is_named_where_the_newest_is_damaged(tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "c"
    with pytest.raises(KeyboardInterrupt):
        fit(source, folder, 5, checkpoint_every=2)
    older, newest = (checkpoint.path_of(folder, step) for step in checkpoint.list_steps(folder)[-2:])
    weights = newest / "training.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"is damaged.*; delete {newest} to go on from {older}"):
        fit(source, folder, resume=True)
    shutil.rmtree(newest)
    fit(source, folder, resume=True)


@pytest.mark.parametrize(
    "change", [{"epoch": "3"}, {"window": 10**6}, {"steps": -1}, {"best_step": 1.5}, {"history": {"loss": 3}}]
)
def test_a_damaged_position_gets_a_sentence(tmp_path: Path, source: Path, change: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "c", 5)
    path = checkpoint.newest(tmp_path / "c") / "training.json"
    training = json.loads(path.read_text(encoding="utf-8"))
    training["position"] |= change
    path.write_text(json.dumps(training), encoding="utf-8")
    with pytest.raises(ValueError, match=r"training.json is damaged: "):
        fit(source, tmp_path / "c", resume=True)
