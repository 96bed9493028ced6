"""What keeps a ``LanguageModel`` from over-fitting: each option acts, in training only, and survives interruptions."""

import inspect
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import LanguageModel, _core, checkpoint
from recurlm.language_model.options import FitOptions
from recurlm.layers import Dropout, Embedding
from recurlm.layers.recurrent import Recurrent
from recurlm.optimizers import ASGD

from . import samples
from .test_checkpoint import StopAt

MODEL: dict[str, Any] = {
    "input_dropout": 0.1,
    "output_dropout": 0.3,
    "embedding_dropout": 0.1,
    "recurrent_dropout": 0.2,
    "weight_drop": 0.2,
    "variational": True,
    "activation_penalty": 2.0,
    "temporal_penalty": 1.0,
}
RECIPE: dict[str, Any] = {"label_smoothing": 0.1, "ema": 0.8, "accumulate": 2}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return samples.text_file(tmp_path, 60)


def fit(source: Path, folder: Path | None = None, stop_at: int | None = None, **options: Any) -> LanguageModel:
    model = {name: options.pop(name) for name in list(options) if name in MODEL}
    lm = LanguageModel(units=12, layers=2, dropout=0.2, seed=4, **model)
    callbacks = [] if stop_at is None else [StopAt(stop_at)]
    recipe = samples.RECIPE | {"epochs": 3, "callbacks": callbacks, "checkpoint_every": 7}
    lm.fit(source, checkpoint_dir=folder, **recipe | options)
    return lm


# Twelve epochs at such a rate: averaging starts amid them.
NT_ASGD = {"optimizer": "nt-asgd", "learning_rate": 30.0, "schedule": "constant", "clipnorm": None, "epochs": 12}


@pytest.mark.parametrize("options", [MODEL | RECIPE, NT_ASGD | {"weight_drop": 0.2}], ids=["ema", "nt-asgd"])
def test_a_regularized_run_ends_with_the_same_bits(
    tmp_path: Path, source: Path, options: dict[str, Any], threads: int
) -> None:
    _core.set_num_threads(1)
    straight = fit(source, None, **options)
    steps = straight.model.step
    optimizer = straight.model.optimizer
    assert not isinstance(optimizer, ASGD) or optimizer.averaging
    _core.set_num_threads(threads)
    folder = tmp_path / "checkpoints"
    for run, stop_at in enumerate([3, steps // 2 + 1, 5]):
        with pytest.raises(KeyboardInterrupt):
            fit(source, folder, stop_at, resume=run > 0, **options)
    resumed = fit(source, folder, resume=True, **options)
    assert resumed.model.step == steps
    assert samples.weight_bytes(resumed) == samples.weight_bytes(straight)


@pytest.mark.parametrize("option", [*MODEL, *RECIPE])
def test_each_option_changes_a_run(source: Path, option: str) -> None:
    plain, changed = fit(source, epochs=1), fit(source, epochs=1, **{option: (MODEL | RECIPE)[option]})
    assert samples.weight_bytes(plain) != samples.weight_bytes(changed)


@pytest.mark.parametrize("option", RECIPE)
def test_a_resume_needs_the_same_recipe(tmp_path: Path, source: Path, option: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "c", 9, **{option: RECIPE[option]})
    with pytest.raises(ValueError, match=f"made with {option}={RECIPE[option]}"):
        fit(source, tmp_path / "c", resume=True)


def test_a_checkpoint_of_an_earlier_version_goes_on(tmp_path: Path, source: Path) -> None:
    straight = fit(source)
    with pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "c", 9)
    path = checkpoint.newest(tmp_path / "c")
    for name, part in (("config.json", None), ("training.json", "options")):
        fields = json.loads((path / name).read_text())
        held = fields if part is None else fields[part]
        for option in (*MODEL, *RECIPE):
            held.pop(option, None)
        (path / name).write_text(json.dumps(fields))
    assert samples.weight_bytes(fit(source, tmp_path / "c", resume=True)) == samples.weight_bytes(straight)


def test_the_network_has_what_was_asked_for() -> None:
    lm = LanguageModel(units=8, layers=2, embedding_dim=8, tie_weights=True, tokenizer="byte", dropout=0.5, **MODEL)
    layers = lm.model.layers
    drops = [layer for layer in layers if isinstance(layer, Dropout)]
    assert [drop.rate for drop in drops] == [0.1, 0.5, 0.3]
    assert all(drop.noise_shape == (None, 1, None) for drop in drops)
    assert [drop.activity_regularizer is not None for drop in drops] == [False, False, True]
    cells = [layer for layer in layers if isinstance(layer, Recurrent)]
    assert [(cell.recurrent_dropout, cell.weight_drop) for cell in cells] == [(0.2, 0.2)] * 2
    assert [cell.activity_regularizer is not None for cell in cells] == [False, True]
    assert [layer.dropout for layer in layers if isinstance(layer, Embedding)] == [0.1]


def test_a_penalty_needs_no_dropout() -> None:
    lm = LanguageModel(units=8, tokenizer="byte", activation_penalty=2.0)
    assert [layer.rate for layer in lm.model.layers if isinstance(layer, Dropout)] == [0.0]


def test_it_is_saved_and_does_not_act_on_scores(tmp_path: Path, source: Path) -> None:
    lm = fit(source, **MODEL)
    lm.save(tmp_path / "m")
    loaded = LanguageModel.load(tmp_path / "m")
    assert loaded.architecture == lm.architecture
    plain = LanguageModel(units=12, layers=2, tokenizer=lm.tokenizer)
    plain.model.set_weights(lm.model.get_weights())
    texts = ["the", "to the"]
    for scores in (lm.score(texts), loaded.score(texts)):
        np.testing.assert_array_equal(scores, plain.score(texts))


def test_losses_shown_are_without_penalties_and_smoothing(source: Path) -> None:
    history = fit(source, activation_penalty=100.0, label_smoothing=0.5, epochs=1, learning_rate=1e-9).history
    assert history is not None
    assert history.epochs["loss"][0] < 1.2 * math.log(30)  # of even guesses among the characters of the text


def test_the_moving_average_is_what_is_validated_and_saved(source: Path) -> None:
    lm = fit(source, ema=0.8, epochs=2, learning_rate=0.05, schedule="constant")
    raw = fit(source, epochs=2, learning_rate=0.05, schedule="constant")
    assert samples.weight_bytes(lm) != samples.weight_bytes(raw)
    assert lm.history is not None
    losses = lm.history.epochs["val_loss"]
    held_out = source.read_text()[-round(0.1 * len(source.read_text())) :]
    # Streams there, one text here: the figure is nearer to that of the averages than to that of the weights.
    average, weights = (abs(each.evaluate([held_out]).loss - min(losses)) for each in (lm, raw))
    assert average < 0.5 * weights


def test_a_long_average_forgets_how_it_began(source: Path) -> None:
    """0.999 to the power of these steps is above 0.9: uncorrected, the average would hardly have learned."""
    lm, raw = fit(source, ema=0.999), fit(source)
    assert lm.model.step < 100
    assert lm.history is not None
    assert raw.history is not None
    first = math.log(lm.tokenizer.vocabulary_size)
    learned, wanted = (first - each.history.epochs["val_loss"][-1] for each in (lm, raw))  # type: ignore[union-attr]
    assert learned > 0.7 * wanted > 0


def test_averaging_starts_when_validation_gets_worse(source: Path) -> None:
    for epochs, averaging in ((5, False), (12, True)):
        optimizer = fit(source, **NT_ASGD | {"epochs": epochs}).model.optimizer
        assert isinstance(optimizer, ASGD)
        assert optimizer.averaging == averaging


def test_help_shows_the_recipe() -> None:
    parameters = inspect.signature(LanguageModel.fit).parameters
    assert {field: parameters[field].default for field in ("epochs", "window", "ema")} == {
        "epochs": None,
        "window": 64,
        "ema": None,
    }
    assert FitOptions() == FitOptions(**{n: p.default for n, p in parameters.items() if n in vars(FitOptions())})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda s: LanguageModel(recurrent_dropout=1.0),
            ValueError,
            "recurrent_dropout must be at least 0 and below",
        ),
        (
            lambda s: LanguageModel(input_dropout="x"),
            ValueError,
            "input_dropout must be at least 0 .* got 'x'",
        ),
        (lambda s: LanguageModel(activation_penalty=-1), ValueError, "activation_penalty must be a finite number"),
        (lambda s: fit(s, optimizer="sgd", beta_2=0.9), ValueError, "beta_2 is for adamw, adam, lion, got it with sgd"),
        (lambda s: fit(s, optimizer="nt-asgd", ema=0.9), ValueError, "ema: the optimizer nt-asgd keeps a mean"),
        (lambda s: fit(s, accumulate=2, random_windows=True), ValueError, "accumulate must be 1"),
        (lambda s: fit(s, accumulate=10**6), ValueError, "accumulate must be at most the .* steps of the run"),
        (lambda s: fit(s, early_stopping=1, validation_split=0), ValueError, "early_stopping needs validation"),
        (lambda s: fit(s, optimizer="nt-asgd", validation_split=0), ValueError, "nt-asgd needs validation"),
        (lambda s: fit(s, ema=1.0), ValueError, "ema must be at least 0 and below 1, got 1.0"),
        (lambda s: fit(s, accumulate=0), ValueError, "accumulate must be at least 1, got 0"),
        (lambda s: fit(s, label_smoothing=True), TypeError, "label_smoothing must be a number, got True"),
        (lambda s: fit(s, epoch=1), TypeError, "fit has no argument 'epoch'; did you mean 'epochs'"),
    ],
)
def test_bad_options_are_named(source: Path, make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(source)
