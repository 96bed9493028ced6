"""A run of fit that tests interrupt, ``python backup_run.py FOLDER SAVE_FREQ PAUSE``; it leaves results in FOLDER."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from recurlm import Input, Model, optimizers
from recurlm.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from recurlm.layers import GRU, Dense, Dropout
from recurlm.utils import set_random_seed

EPOCHS = 6


class Pause(Callback):
    """Gives a killer time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 0:
            print("step", flush=True)
        time.sleep(self.seconds)


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 5, 3)).astype(np.float32)
    return x, x.sum((1, 2), keepdims=True)[:, 0]


def build(dropout_seed: int | None = 1) -> Model:
    set_random_seed(7)
    x = Input((5, 3))
    model = Model(x, Dense(1)(Dropout(0.3)(GRU(6)(x))), seed=dropout_seed)
    model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


def callbacks(folder: Path, save_freq: Any) -> list[Callback]:
    """The backup stands first on purpose: it must be made after the others all the same."""
    return [
        BackupAndRestore(folder / "backup", save_freq),
        EarlyStopping(patience=3, min_delta=0.05, restore_best_weights=True),
        ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.05),
        LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        ModelCheckpoint(folder / "best.safetensors", save_best_only=True, save_weights_only=True),
        CSVLogger(folder / "log.csv"),
    ]


def main() -> None:
    folder, save_freq, pause = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    model, (x, y) = build(), data()
    listed = [*callbacks(folder, save_freq if save_freq == "epoch" else int(save_freq)), Pause(pause)]
    history = model.fit(x, y, batch_size=8, epochs=EPOCHS, verbose=0, validation_split=0.2, callbacks=listed)
    np.savez(folder / "weights.npz", *model.get_weights())
    (folder / "history.txt").write_text(repr((history.epoch, history.history)))


if __name__ == "__main__":
    main()
