"""dtype="bfloat16": which products it concerns, what stays float32, and what happens where the processor has none."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, LanguageModel, Model, _core, cli, utils
from recurlm.layers import GRU, LSTM, Dense, Embedding, SimpleRNN
from tests.python import samples
from tests.python.models import ids

SENTENCE = "training in float32: bfloat16 needs the instruction set amx or avx512bf16, in use is"


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a processor that has it: the others form the same products by way of float32."""
    monkeypatch.setattr(_core, "multiplies_bfloat16", lambda: True)


@pytest.fixture
def no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "multiplies_bfloat16", lambda: False)


def network(dtype: str = "float32", cell: Any = LSTM, loss: str = "sparse_categorical_crossentropy") -> Model:
    utils.set_random_seed(1)
    tokens = Input(shape=(None,))
    h = cell(12, return_sequences=True)(Embedding(9, 7)(tokens))
    model = Model(tokens, Dense(9, "softmax")(Dense(10, "tanh")(h)))
    model.compile("sgd", loss, dtype=dtype)  # type: ignore[arg-type]
    return model


def data() -> tuple[np.ndarray, np.ndarray]:
    x = ids(np.random.default_rng(2), 9, 6, 11)
    return x[:, :-1], x[:, 1:]


@pytest.mark.parametrize("cell", [LSTM, GRU, SimpleRNN])
def test_training_differs_a_little_and_evaluation_not_at_all(bfloat16: None, cell: Any) -> None:
    x, y = data()
    wide, narrow = network(cell=cell), network("bfloat16", cell)
    before = wide.get_weights()
    losses = [model.train_on_batch(x, y) for model in (wide, narrow)]
    assert 0 < abs(losses[0] - losses[1]) < 0.01
    for name, a, b, start in zip(wide.named_weights(), wide.get_weights(), narrow.get_weights(), before, strict=True):
        assert not np.array_equal(a, b), name  # every parameter has a gradient that passed through a product
        # Two operands of each product off by up to 2^-8, six products one after another.
        assert np.abs(a - b).max() < 12 * 2.0**-8 * np.abs(a - start).max(), name
    narrow.set_weights(wide.get_weights())
    assert wide.evaluate(x, y, verbose=0) == narrow.evaluate(x, y, verbose=0)
    np.testing.assert_array_equal(wide.predict(x, verbose=0), narrow.predict(x, verbose=0))
    np.testing.assert_array_equal(wide.token_log_probs(x, y), narrow.token_log_probs(x, y))


def test_weights_are_float32_and_keep_what_bfloat16_would_lose(bfloat16: None) -> None:
    """A hundred updates, each below half a unit in bfloat16's last place."""
    model = network("bfloat16")
    model.optimizer.learning_rate = 1e-4
    before = model.get_weights()
    x, y = data()
    for _ in range(100):
        model.train_on_batch(x, y)
    for a, b in zip(model.get_weights(), before, strict=True):
        assert not np.array_equal(a, b)


def test_evaluation_between_steps_does_not_change_their_precision(bfloat16: None) -> None:
    x, y = data()
    plain, watched = network("bfloat16"), network("bfloat16")
    for _ in range(3):
        plain.train_on_batch(x, y)
        watched.train_on_batch(x, y)
        watched.evaluate(x, y, verbose=0)
    for a, b in zip(plain.get_weights(), watched.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loss_that_is_not_fused(bfloat16: None) -> None:
    x, y = data()
    one_hot = utils.to_categorical(y, 9)
    losses = [network(dtype, loss="mean_squared_error").train_on_batch(x, one_hot) for dtype in ("float32", "bfloat16")]
    assert 0 < abs(losses[0] - losses[1]) < 1e-3


def test_without_the_instructions_there_is_a_warning_and_float32(no_bfloat16: None) -> None:
    x, y = data()
    with pytest.warns(UserWarning, match=SENTENCE):
        narrow = network("bfloat16")
    assert narrow.train_on_batch(x, y) == network().train_on_batch(x, y)


@pytest.mark.parametrize("dtype", ["int8", "float16", None, 16])
def test_another_dtype_is_refused(dtype: Any) -> None:
    model = network()
    with pytest.raises(ValueError, match="dtype must be float32 or bfloat16, got"):
        model.compile("sgd", "mse", dtype=dtype)
    assert model.compiled.precision == "float32"


def test_a_saved_model_trains_on_as_it_did(bfloat16: None, tmp_path: Path) -> None:
    x, y = data()
    model = network("bfloat16")
    model.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    assert loaded.train_on_batch(x, y) == model.train_on_batch(x, y)
    assert loaded.train_on_batch(x, y) != network().train_on_batch(x, y)


def test_a_model_saved_before_there_was_a_choice_is_float32(tmp_path: Path) -> None:
    network().save(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    del config["compiled"]["dtype"]
    path.write_text(json.dumps(config))
    assert Model.load(tmp_path / "m").compiled.precision == "float32"


def test_a_checkpoint_made_before_there_was_a_choice_is_gone_on_with(tmp_path: Path) -> None:
    source = samples.text_file(tmp_path, 60)
    options: Any = samples.RECIPE | {"checkpoint_dir": tmp_path / "c"}
    LanguageModel(units=8).fit(source, epochs=1, **options)
    (path,) = (tmp_path / "c").glob("*/training.json")
    training = json.loads(path.read_text())
    del training["options"]["dtype"]
    path.write_text(json.dumps(training))
    assert len(LanguageModel(units=8).fit(source, epochs=2, resume=True, **options)["loss"]) == 2


def test_a_language_model_resumes_to_the_same_bits(bfloat16: None, tmp_path: Path, threads: int) -> None:
    source = samples.text_file(tmp_path, 60)

    def fit(folder: Path | None, epochs: int, dtype: str = "bfloat16", resume: bool = False) -> LanguageModel:
        lm = LanguageModel(units=40, seed=4)
        options: Any = samples.RECIPE | {"schedule": "constant", "warmup_steps": 0, "dtype": dtype}
        lm.fit(source, checkpoint_dir=folder, epochs=epochs, resume=resume, **options)
        return lm

    straight = fit(None, 3)
    fit(tmp_path / "c", 1)
    with pytest.raises(ValueError, match="made with dtype=bfloat16, got float32"):
        fit(tmp_path / "c", 3, "float32", resume=True)
    assert samples.weight_bytes(fit(tmp_path / "c", 3, resume=True)) == samples.weight_bytes(straight)
    assert samples.weight_bytes(fit(None, 3, "float32")) != samples.weight_bytes(straight)


def test_the_command_warns_in_a_sentence(no_bfloat16: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = samples.text_file(tmp_path, 200)
    arguments = ["train", str(source), "--out", str(tmp_path / "m"), "--units", "8", "--epochs", "1"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as outside of these tests, where a warning is no error
        assert cli.main([*arguments, "--batch-size", "2", "--window", "16", "--dtype", "bfloat16"]) == 0
    assert f"recurlm: warning: {SENTENCE} {_core.get_isa()}\n" in capsys.readouterr().err
