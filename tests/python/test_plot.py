import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import LanguageModel
from recurlm.callbacks import BackupAndRestore, Callback
from recurlm.cli import main
from recurlm.language_model.history import Curve, TrainingHistory

from . import samples

EPOCHS = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text.txt, a model trained on it and its checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    lm = LanguageModel(units=12, seed=1)
    lm.fit(samples.text_file(folder), epochs=EPOCHS, checkpoint_dir=folder / "model-checkpoints", **samples.RECIPE)  # type: ignore[arg-type]
    lm.save(folder / "model")
    return folder


def test_a_curve_keeps_the_mean_of_every_stretch() -> None:
    losses = np.random.default_rng(0).random(5000)
    curve = Curve(start=10)
    for step, loss in enumerate(losses):
        curve.add(float(loss), step / 10)
        assert len(curve.losses) < 512
    assert curve.stride == 16
    whole = len(losses) // 16
    np.testing.assert_allclose(curve.losses, losses[: whole * 16].reshape(whole, 16).mean(1), rtol=1e-12)
    assert curve.steps == [10 + 16 * (i + 1) for i in range(whole)]
    assert curve.learning_rates == [(16 * (i + 1) - 1) / 10 for i in range(whole)]


def test_the_history_is_saved_and_loaded(run: Path, tmp_path: Path) -> None:
    lm = LanguageModel.load(run / "model")
    history = lm.history
    assert history is not None
    assert len(history.epochs["loss"]) == EPOCHS
    steps = int(history.epochs["steps"][-1])
    assert history.epochs["tokens"][-1] == steps * 4 * 16
    assert len(history.curve.losses) == steps // history.curve.stride
    assert history.epochs["seconds"] == sorted(history.epochs["seconds"])
    # The curve is of the steps that the epochs are means of: the text's last windows may hold less.
    third = len(history.curve.losses) // EPOCHS
    assert np.mean(history.curve.losses[:third]) == pytest.approx(history.epochs["loss"][0], rel=0.02)
    lm.quantize().save(tmp_path / "narrow")
    assert LanguageModel.load(tmp_path / "narrow").history == history


def test_the_curve_goes_on_after_an_interruption(run: Path, tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.model.step == 60:
                raise KeyboardInterrupt

    options: Any = samples.RECIPE | {"epochs": EPOCHS, "checkpoint_every": 25, "checkpoint_dir": tmp_path / "c"}
    with pytest.raises(KeyboardInterrupt):
        LanguageModel(units=12, seed=1).fit(run / "text.txt", callbacks=[Stop()], **options)
    resumed = LanguageModel(units=12, seed=1)
    resumed.fit(run / "text.txt", resume=True, **options)
    straight = LanguageModel.load(run / "model").history
    assert resumed.history is not None
    assert straight is not None
    assert resumed.history.curve == straight.curve


def test_a_model_without_a_history_still_loads(run: Path, tmp_path: Path) -> None:
    lm = LanguageModel.load(run / "model")
    lm.save(tmp_path / "m")
    (tmp_path / "m" / "history.json").unlink()
    assert LanguageModel.load(tmp_path / "m").history is None
    assert main(["plot", str(tmp_path / "m")]) == 1


def test_checkpoints_without_a_curve_still_resume(run: Path, tmp_path: Path) -> None:
    options: Any = samples.RECIPE | {"checkpoint_dir": tmp_path / "c", "schedule": "constant"}
    lm = LanguageModel(units=12, seed=1)
    lm.fit(run / "text.txt", epochs=1, **options)
    (path,) = (tmp_path / "c").glob("step-*/training.json")
    training = json.loads(path.read_text())
    steps = training["position"]["steps"]
    del training["position"]["curve"], training["position"]["history"]["steps"]
    path.write_text(json.dumps(training))
    again = LanguageModel(units=12, seed=1)
    again.fit(run / "text.txt", epochs=2, resume=True, **options)
    assert again.history is not None
    assert again.history.curve.start == steps
    assert again.history.curve.steps[-1] <= 2 * steps


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main(["plot", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("source", ["model", "model-checkpoints"])
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_plots(run: Path, tmp_path: Path, source: str, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / f"curves{suffix}"
    result = told(capsys, run / source, "--out", out)
    history = LanguageModel.load(run / "model").history
    assert history is not None
    best = int(np.argmin(history.epochs["val_loss"]))
    assert result == {
        "plot": str(out),
        "epochs": EPOCHS,
        "best_epoch": best + 1,
        "best_val_loss": history.epochs["val_loss"][best],
    }
    heads = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    assert out.read_bytes().startswith(heads[suffix])


def test_the_plot_shows_the_losses(run: Path) -> None:
    pytest.importorskip("matplotlib")
    from recurlm.language_model.plotting import plot_history

    history = LanguageModel.load(run / "model").history
    assert history is not None
    figure = plot_history(history, "Training of x")
    losses, rates = figure.axes
    lines = {str(line.get_label()): line for line in losses.get_lines()}
    np.testing.assert_array_equal(lines["validation"].get_xdata(), history.epochs["steps"])
    np.testing.assert_array_equal(lines["validation"].get_ydata(), history.epochs["val_loss"])
    np.testing.assert_array_equal(lines["training, mean of an epoch"].get_ydata(), history.epochs["loss"])
    (curve,) = (line for label, line in lines.items() if label.startswith("training, ") and "epoch" not in label)
    np.testing.assert_array_equal(curve.get_ydata(), history.curve.losses)
    (best,) = (line for label, line in lines.items() if label.startswith("best: epoch"))
    assert best.get_ydata() == [min(history.epochs["val_loss"])]
    np.testing.assert_array_equal(rates.get_lines()[0].get_ydata(), history.curve.learning_rates)
    assert (losses.get_ylabel(), rates.get_xlabel()) == ("loss (nats per token)", "optimiser steps")


def test_without_steps_or_validation_there_is_a_plot_too() -> None:
    pytest.importorskip("matplotlib")
    from recurlm.language_model.plotting import plot_history

    figure = plot_history(TrainingHistory({"loss": [2.0, 1.0]}, Curve()))
    assert figure.axes[1].get_xlabel() == "epochs"
    begun = Curve(losses=[1.0], learning_rates=[0.1])
    assert plot_history(TrainingHistory({}, begun)).axes[1].get_xlabel() == "optimiser steps"
    with pytest.raises(ValueError, match="nothing to plot: no step was trained"):
        plot_history(TrainingHistory({}, Curve()))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "history.json is damaged: it is not valid JSON"),
        ("[]", "history.json is damaged: it is no object"),
        ('{"format_version": 2}', "history.json is damaged: format_version 2, expected 1"),
        ('{"format_version": 1, "epochs": {"loss": ["x"]}, "curve": {}}', "field 'loss' must be a list of numbers"),
        ('{"format_version": 1, "epochs": {}, "curve": {}}', "field 'start' is missing"),
    ],
)
def test_damaged_histories_are_one_sentence(
    run: Path, tmp_path: Path, text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    LanguageModel.load(run / "model").save(tmp_path / "m")
    (tmp_path / "m" / "history.json").write_text(text)
    assert main(["plot", str(tmp_path / "m")]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1


def test_bad_arguments_are_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    assert main(["plot", str(run / "model"), "--out", str(tmp_path / "x.bmp")]) == 1
    assert "--out must end in .png, .svg or .pdf, got 'x.bmp'" in capsys.readouterr().err
    assert main(["plot", str(tmp_path / "none")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"BackupAndRestore is for Model\.fit: here checkpoint_dir and resume"):
        LanguageModel(units=4).fit(run / "text.txt", callbacks=[BackupAndRestore(tmp_path / "b")], **samples.RECIPE)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["plot", str(run / "model"), "--out", str(tmp_path / "x.png")]) == 1
    assert "a plot needs matplotlib: install recurlm with its extra [plot]" in capsys.readouterr().err
