"""Callbacks beside Keras 3's, fed with the same figures; skipped where it is not installed."""

import inspect
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras", minversion="3")

from recurlm import callbacks  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
# What is not there: Keras's images, profiles and embeddings in TensorBoard; **kwargs of old names.
LEFT_OUT = {"write_images", "profile_batch", "embeddings_freq", "embeddings_metadata", "kwargs"}
NAMES = [
    "BackupAndRestore",
    "CSVLogger",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]


class StandIn:
    """As much of a model as the callbacks touch; its weights tell the epoch."""

    def __init__(self, rate: Any) -> None:
        self.stop_training = False
        self.optimizer = SimpleNamespace(learning_rate=rate)
        self.metrics: list[Any] = []
        self.epoch = -1
        self.restored: Any = None

    def get_weights(self) -> Any:
        return [self.epoch]

    def set_weights(self, weights: Any) -> None:
        self.restored = weights


def feed(callback: Any, figures: np.ndarray) -> tuple[list[float], StandIn]:
    """The learning rates after each epoch until training stops, and the model."""
    model, rates = StandIn(1.0), []
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(figures):
        model.epoch = epoch
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"val_loss": float(value)})
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            break
    callback.on_train_end({})
    return rates, model


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults_are_those_of_keras(name: str) -> None:
    theirs = inspect.signature(getattr(keras.callbacks, name).__init__).parameters
    ours = inspect.signature(getattr(callbacks, name).__init__).parameters
    for parameter, description in theirs.items():
        if parameter not in LEFT_OUT:
            assert parameter in ours
            assert ours[parameter].default == description.default, parameter
    shared = [parameter for parameter in theirs if parameter not in LEFT_OUT]
    assert [parameter for parameter in ours if parameter in shared] == shared


@pytest.mark.parametrize("seed", range(40))
def test_early_stopping(seed: int) -> None:
    rng = np.random.default_rng(seed)
    options = {
        "mode": str(rng.choice(["min", "max"])),
        "patience": int(rng.integers(4)),
        "min_delta": float(rng.choice([0, 0.1])),
        "baseline": [None, 0.3, 0.7][rng.integers(3)],
        "start_from_epoch": int(rng.integers(4)),
        "restore_best_weights": bool(rng.integers(2)),
    }
    figures = rng.random(15)
    theirs, ours = keras.callbacks.EarlyStopping(**options), callbacks.EarlyStopping(**options)
    (rates, model), (our_rates, our_model) = feed(theirs, figures), feed(ours, figures)
    assert len(our_rates) == len(rates)
    assert our_model.restored == model.restored
    for name in ("stopped_epoch", "best_epoch", "wait", "best"):
        assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize("seed", range(40))
def test_the_learning_rate_on_a_plateau(seed: int) -> None:
    rng = np.random.default_rng(seed)
    options = {
        "mode": str(rng.choice(["min", "max"])),
        "factor": float(rng.choice([0.1, 0.5])),
        "patience": int(rng.integers(1, 4)),
        "cooldown": int(rng.integers(3)),
        "min_delta": float(rng.choice([0, 0.1])),
        "min_lr": float(rng.choice([0, 0.2])),
    }
    figures = rng.random(20)
    theirs, ours = keras.callbacks.ReduceLROnPlateau(**options), callbacks.ReduceLROnPlateau(**options)
    np.testing.assert_allclose(feed(ours, figures)[0], feed(theirs, figures)[0], rtol=1e-6)


@pytest.mark.parametrize("validated", [False, True])
def test_csv_logs_hold_the_same_lines(validated: bool, tmp_path: Path) -> None:
    for library, name in ((keras.callbacks, "theirs"), (callbacks, "ours")):
        logger = library.CSVLogger(tmp_path / name, separator=";")
        logger.set_model(StandIn(1.0))
        logger.on_train_begin()
        for epoch in range(3):
            logger.on_epoch_end(epoch, {"loss": 1.5 * epoch, "acc": 0.25} | ({"val_loss": 2.0} if validated else {}))
        logger.on_train_end()
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
