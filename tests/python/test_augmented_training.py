"""Augmentation in ``LanguageModel.fit``: exact after interruptions, part of the recipe, in step with the schedule."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import LanguageModel, _core, checkpoint
from recurlm.callbacks import Callback

from . import samples
from .test_checkpoint import EPOCHS, StopAt, fit

AUGMENTED = {
    "unigram_noise": 0.1,
    "blank_noise": 0.1,
    "token_drop": 0.1,
    "random_windows": True,
    "shift_windows": True,
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return samples.text_file(tmp_path, 60)


def fit_augmented(source: Path, folder: Path | None, stop_at: int | None = None, **options: Any) -> LanguageModel:
    lm = LanguageModel(units=12, dropout=0.2, seed=4, tokenizer="word")
    callbacks = [] if stop_at is None else [StopAt(stop_at)]
    recipe = {"batch_size": 2, "window": 12, "epochs": EPOCHS, "checkpoint_every": 7, "verbose": False}
    lm.fit(source, checkpoint_dir=folder, callbacks=callbacks, **recipe | AUGMENTED | options)  # type: ignore[arg-type]
    return lm


def test_an_augmented_run_ends_with_the_same_bits(tmp_path: Path, source: Path, threads: int) -> None:
    _core.set_num_threads(1)
    straight = fit_augmented(source, None)
    steps = straight.model.optimizer.iterations
    _core.set_num_threads(threads)
    folder = tmp_path / "checkpoints"
    for run, stop_at in enumerate([3, steps // 2 + 1, 5]):
        with pytest.raises(KeyboardInterrupt):
            fit_augmented(source, folder, stop_at, resume=run > 0)
    resumed = fit_augmented(source, folder, resume=True)
    assert resumed.model.optimizer.iterations == steps
    assert samples.weight_bytes(resumed) == samples.weight_bytes(straight)


@pytest.mark.parametrize("option", AUGMENTED)
def test_each_augmentation_changes_a_run_and_must_be_the_same_in_a_resume(
    tmp_path: Path, source: Path, option: str
) -> None:
    without = {option: type(AUGMENTED[option])(0)}
    plain, augmented = (fit_augmented(source, None, epochs=1, **changed) for changed in (without, {}))
    assert samples.weight_bytes(plain) != samples.weight_bytes(augmented)
    with pytest.raises(KeyboardInterrupt):
        fit_augmented(source, tmp_path / "c", 3)
    message = f"made with {option}={AUGMENTED[option]}, got {without[option]}: resume with the same"
    with pytest.raises(ValueError, match=message):
        fit_augmented(source, tmp_path / "c", resume=True, **without)


def test_a_checkpoint_of_a_time_without_augmentation_goes_on(tmp_path: Path, source: Path) -> None:
    straight = fit(source, None)
    with pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "c", 5)
    path = checkpoint.newest(tmp_path / "c") / "training.json"
    training = json.loads(path.read_text(encoding="utf-8"))
    for option in AUGMENTED:
        del training["options"][option]
    path.write_text(json.dumps(training), encoding="utf-8")
    assert samples.weight_bytes(fit(source, tmp_path / "c", resume=True)) == samples.weight_bytes(straight)


@pytest.mark.parametrize("changes", [{"epoch": 2**70}, {"window": 10**6}, {"epoch": -1}])
def test_a_position_that_is_none_of_the_run_is_damage(tmp_path: Path, source: Path, changes: dict[str, int]) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_augmented(source, tmp_path / "c", 5)
    path = checkpoint.newest(tmp_path / "c") / "training.json"
    training = json.loads(path.read_text(encoding="utf-8"))
    training["position"] |= changes
    path.write_text(json.dumps(training), encoding="utf-8")
    with pytest.raises(ValueError, match="is no position of this run"):
        fit_augmented(source, tmp_path / "c", resume=True)


def test_the_end_of_an_augmented_run_is_known(tmp_path: Path, source: Path) -> None:
    ended = fit_augmented(source, tmp_path / "c")
    again = fit_augmented(source, tmp_path / "c", resume=True)
    assert again.model.optimizer.iterations == ended.model.optimizer.iterations
    assert samples.weight_bytes(again) == samples.weight_bytes(ended)
    limited = fit_augmented(source, None, epochs=None, max_tokens=24 * 20)
    assert limited.model.optimizer.iterations == pytest.approx(20, abs=4)


@pytest.mark.parametrize("windows", [50, 53, 56, 59])
def test_a_run_that_tokens_ended_amid_a_later_epoch_has_ended(tmp_path: Path, source: Path, windows: int) -> None:
    limits = {"epochs": None, "max_tokens": 24 * windows}
    ended = fit_augmented(source, tmp_path / "c", **limits)
    again = fit_augmented(source, tmp_path / "c", resume=True, **limits)
    assert again.model.optimizer.iterations == ended.model.optimizer.iterations


def test_the_learning_rate_is_in_proportion_to_the_window(source: Path) -> None:
    class Rates(Callback):
        def __init__(self) -> None:
            super().__init__()
            self.rates: list[float] = []

        def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            self.rates.append(self.model.optimizer.learning_rate)

    recipe = {"batch_size": 2, "window": 12, "epochs": 1, "schedule": "constant", "warmup_steps": 0, "verbose": False}
    callback = Rates()
    lm = LanguageModel(units=8, tokenizer="word")
    lm.fit(source, learning_rate=0.012, random_windows=True, callbacks=[callback], **recipe)  # type: ignore[arg-type]
    lengths = np.array(callback.rates) / 0.001
    np.testing.assert_allclose(lengths, np.round(lengths), atol=1e-3)
    assert len(set(np.round(lengths))) > 5
    assert lengths.sum() * 2 == pytest.approx(len(lm.tokenizer.encode(source.read_text("utf-8"))) * 0.9, abs=2)
