import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, optimizers
from recurlm.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
)
from recurlm.layers import Dense

X = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
Y = 3 * X


def regression(**options: Any) -> Model:
    x = Input((1,))
    model = Model(x, Dense(1, kernel_initializer="zeros")(x))
    model.compile(optimizers.SGD(0.1), "mse", **options)
    return model


class Feed(Callback):
    """Puts figures into the logs of the epochs, for the callbacks after it."""

    def __init__(self, values: list[float], name: str = "val_loss") -> None:
        self.values, self.name = values, name

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs[self.name] = self.values[epoch]


def test_hooks_come_in_order() -> None:
    calls: list[str] = []

    class Recorder(Callback):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_"):
                return lambda *_: calls.append(name)
            return super().__getattribute__(name)

    regression().fit(X, Y, batch_size=10, verbose=0, validation_data=(X, Y), callbacks=[Recorder()])
    step = ["on_train_batch_begin", "on_train_batch_end"]
    test = ["on_test_begin", *["on_test_batch_begin", "on_test_batch_end"] * 2, "on_test_end"]
    assert calls == ["on_train_begin", "on_epoch_begin", *step * 2, *test, "on_epoch_end", "on_train_end"]


def test_history_and_stopping_in_an_epoch() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 1 and self.model.step == 6:
                self.model.stop_training = True

    model = regression()
    history = model.fit(X, Y, batch_size=5, epochs=5, verbose=0, validation_data=(X, Y), callbacks=[Stop()])
    assert history.epoch == [0, 1]
    assert len(history.history["val_loss"]) == 2
    assert model.step == 6


def test_early_stopping_restores_the_best_weights() -> None:
    kept: list[np.ndarray] = []

    class Keep(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            kept.append(self.model.get_weights()[0])

    values = [3.0, 1.0, 2.0, 2.5, 0.5]
    model = regression()
    stopping = EarlyStopping(patience=2, restore_best_weights=True)
    history = model.fit(X, Y, epochs=5, verbose=0, callbacks=[Keep(), Feed(values), stopping])
    assert history.epoch == [0, 1, 2, 3]
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (1.0, 1, 3)
    np.testing.assert_array_equal(model.get_weights()[0], kept[1])
    model, kept = regression(), []
    never = EarlyStopping(patience=2, restore_best_weights=True)
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[Keep(), Feed([np.nan] * 3), never])
    np.testing.assert_array_equal(model.get_weights()[0], kept[0])
    rising = EarlyStopping(monitor="val_accuracy", min_delta=0.2)
    history = model.fit(X, Y, epochs=5, verbose=0, callbacks=[Feed([0.1, 0.5, 0.6, 0.9, 1], "val_accuracy"), rising])
    assert history.epoch == [0, 1, 2]
    with pytest.raises(ValueError, match="EarlyStopping: monitor 'acc' is none of loss"):
        model.fit(X, Y, verbose=0, callbacks=[EarlyStopping("acc")])


def test_an_improvement_below_the_baseline_does_not_stop() -> None:
    stopping = EarlyStopping(patience=2, baseline=0.1)
    history = regression().fit(X, Y, epochs=6, verbose=0, callbacks=[Feed([1, 0.9, 0.8, 0.7, 0.9, 0.6]), stopping])
    assert history.epoch == [0, 1, 2, 3, 4]
    first = EarlyStopping(patience=0)
    assert regression().fit(X, Y, epochs=4, verbose=0, callbacks=[Feed([2, 1, 1, 0]), first]).epoch == [0, 1, 2]


@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau, ModelCheckpoint])
def test_a_missing_figure_of_validation_is_warned_of(kind: Any, tmp_path: Path) -> None:
    options = {"filepath": tmp_path / "best", "save_best_only": True} if kind is ModelCheckpoint else {}
    with pytest.warns(RuntimeWarning, match=f"{kind.__name__}: monitor 'val_acuracy' is none of loss.*nothing is done"):
        regression().fit(X, Y, verbose=0, callbacks=[kind(monitor="val_acuracy", **options)])


def test_the_other_names_of_batch_hooks_are_called() -> None:
    calls: list[tuple[str, int]] = []

    class Old(Callback):
        def on_batch_begin(self, batch: int, logs: Any = None) -> None:
            calls.append(("begin", batch))

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            assert "loss" in logs
            calls.append(("end", batch))

    regression().fit(X, Y, batch_size=10, verbose=0, callbacks=[Old()])
    assert calls == [("begin", 0), ("end", 0), ("begin", 1), ("end", 1)]


def test_checkpoints_of_models_and_weights(tmp_path: Path) -> None:
    model = regression()
    best = ModelCheckpoint(tmp_path / "best-{epoch:02d}", save_best_only=True)
    weights = ModelCheckpoint(tmp_path / "w{epoch}-{batch}.safetensors", save_weights_only=True, save_freq=3)
    model.fit(X, Y, batch_size=10, epochs=3, verbose=0, callbacks=[Feed([2.0, 3.0, 1.0]), best, weights])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-01", "best-03", "w2-1.safetensors", "w3-2.safetensors"]
    np.testing.assert_array_equal(Model.load(tmp_path / "best-03").get_weights()[0], model.get_weights()[0])
    again = regression()
    again.load_weights(tmp_path / "w3-2.safetensors")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    with pytest.raises(ValueError, match="names 'val_acc', which is no figure"):
        model.fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(tmp_path / "{val_acc:.2f}")])


def test_the_learning_rate_falls_on_a_plateau() -> None:
    model = regression()
    plateau = ReduceLROnPlateau(factor=0.5, patience=2, cooldown=1, min_lr=0.03)
    history = model.fit(X, Y, epochs=8, verbose=0, callbacks=[Feed([1.0] * 8), plateau])
    # Keras logs the rate before it changes: it falls after epochs 2, 4 and, held at min_lr, 6.
    assert history.history["learning_rate"] == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03, 0.03])


def test_the_learning_rate_follows_a_schedule() -> None:
    model = regression()
    scheduler = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[scheduler])
    assert history.history["learning_rate"] == pytest.approx([0.1, 0.05, 0.025])
    of_epoch = LearningRateScheduler(lambda epoch: 0.5 / (1 + epoch))
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[of_epoch])
    assert history.history["learning_rate"] == pytest.approx([0.5, 0.25])
    with pytest.raises(ValueError, match="schedule must return the learning rate, a number, got None"):
        model.fit(X, Y, epochs=1, verbose=0, callbacks=[LearningRateScheduler(lambda epoch: None)])  # type: ignore[arg-type, return-value]


def test_csv_logs(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    model = regression()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[CSVLogger(path)])
    model.fit(X, Y, epochs=3, initial_epoch=2, verbose=0, callbacks=[CSVLogger(path, append=True)])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["val_loss"] == "NA"
    assert float(rows[2]["loss"]) < float(rows[0]["loss"])


@pytest.mark.parametrize("verbose", [1, 2])
def test_progress_goes_to_stderr(verbose: int, capsys: pytest.CaptureFixture[str]) -> None:
    model = regression(metrics=["mae"])
    model.fit(X, Y, epochs=2, batch_size=5, verbose=verbose, validation_split=0.2)
    model.evaluate(X, Y, verbose=verbose)
    model.predict(X, verbose=verbose)
    captured = capsys.readouterr()
    assert captured.out == ""
    for piece in ("Epoch 2/2", "loss", "mae", "val_loss", "Evaluating", "Predicting"):
        assert piece in captured.err
    assert ("\r" in captured.err) == (verbose == 1)
    model.fit(X, Y, verbose=0)
    assert capsys.readouterr().err == ""


def test_time_left_is_shown() -> None:
    stream = io.StringIO()
    regression().fit(X, Y, batch_size=5, verbose=0, callbacks=[ProgbarLogger(1, stream, interval=0)])
    assert "4/4 loss" in stream.getvalue()
    assert "0:00 left" in stream.getvalue()


def test_bad_modes_are_named() -> None:
    with pytest.raises(ValueError, match="mode must be auto, min or max, got 'up'"):
        EarlyStopping(mode="up")
    with pytest.raises(ValueError, match="factor must be below 1, got 2"):
        ReduceLROnPlateau(factor=2)
    with pytest.raises(ValueError, match="save_freq must be 'epoch' or a positive number of batches, got 'batch'"):
        ModelCheckpoint("x", save_freq="batch")


def test_functions_are_called_as_hooks() -> None:
    calls: list[tuple[Any, ...]] = []
    model = regression()
    listed = LambdaCallback(
        on_epoch_begin=lambda epoch, logs: calls.append(("epoch", epoch)),
        on_train_batch_end=lambda batch, logs: calls.append(("batch", batch, "loss" in logs)),
        on_train_end=lambda logs: calls.append(("end",)),
        on_test_end=lambda logs: calls.append(("test", "loss" in logs)),
    )
    model.fit(X, Y, batch_size=10, verbose=0, validation_data=(X, Y), callbacks=listed)
    assert calls == [("epoch", 0), ("batch", 0, True), ("batch", 1, True), ("test", True), ("end",)]
    with pytest.raises(TypeError, match="there is no hook 'on_epoch'"):
        LambdaCallback(on_epoch=print)
    with pytest.raises(TypeError, match="on_epoch_end must be a function, got 3"):
        LambdaCallback(on_epoch_end=3)  # type: ignore[arg-type]


def test_folders_of_weights_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "w.safetensors"
    regression().fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(path, save_weights_only=True)])
    assert path.is_file()


def test_a_csv_file_is_begun_afresh(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("of another run\n" * 50)
    regression().fit(X, Y, epochs=2, verbose=0, callbacks=[CSVLogger(path)])
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["epoch", "0", "1"]


def test_what_early_stopping_says(capsys: pytest.CaptureFixture[str]) -> None:
    stopping = EarlyStopping(patience=1, verbose=1, restore_best_weights=True)
    regression().fit(X, Y, epochs=5, verbose=0, callbacks=[Feed([2.0, 1.0, 3.0, 4.0, 5.0]), stopping])
    assert capsys.readouterr().err == "Epoch 3: early stopping\nEpoch 2: its weights are restored\n"


def test_callbacks_that_are_last_are_called_last() -> None:
    calls: list[str] = []

    class Named(Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            calls.append(self.name)

    class Last(Named):
        last = True

    regression().fit(X, Y, verbose=0, callbacks=[Last("c"), Named("a"), Last("d"), Named("b")])
    assert calls == ["a", "b", "c", "d"]
