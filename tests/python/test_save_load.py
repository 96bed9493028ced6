import copy
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, LanguageModel, Model, optimizers
from recurlm.layers import GRU, LSTM, Dense, Dropout, Embedding, Masking, SimpleRNN
from recurlm.model_io import ModelState
from recurlm.optimizers import schedules
from recurlm.text.tokenizers import CharTokenizer
from tests.python.models import ids, normal, saved

RNG = np.random.default_rng(29)
V = 9


def everything() -> Model:
    tokens, features = Input((None,), name="tokens"), Input((None, 3), name="features")
    table = Embedding(V, 4, mask_zero=True)
    x = Dropout(0.3, noise_shape=(None, 1, None))(table(tokens))
    x, h, c = LSTM(4, return_sequences=True, return_state=True, dropout=0.1)(x)
    y, g = GRU(4, return_state=True, stateful=True, name="memory")(Masking()(features))
    x = LSTM(4, return_sequences=True)(x, initial_state=[h, c])
    shared = Dense(4, "tanh")
    model = Model(
        [tokens, features],
        [Dense(V, "softmax", tied_to=table)(shared(x)), SimpleRNN(2)(shared(features_of(features))), shared(y), g],
    )
    model.compile(
        optimizers.Adam(schedules.CosineDecay(0.01, 50)),
        ["sparse_categorical_crossentropy", "mse", "mse", "mae"],
        metrics=[["accuracy"], None, ["mse"], None],
    )
    return model


def features_of(features: Any) -> Any:
    return Dense(4)(features)


def batch() -> tuple[list[np.ndarray], list[np.ndarray]]:
    x = [ids(RNG, V, 5, 6), normal(RNG, 5, 4, 3)]
    return x, [ids(RNG, V, 5, 6), normal(RNG, 5, 2), normal(RNG, 5, 4), normal(RNG, 5, 4)]


def test_a_loaded_model_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    model, (x, y) = everything(), batch()
    model.fit(x, y, verbose=0, epochs=2, batch_size=5)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert model.layers[0].name == loaded.layers[0].name
    assert list(model.named_weights()) == list(loaded.named_weights())
    for m in (model, loaded):
        m.fit(x, y, verbose=0, epochs=4, initial_epoch=2, batch_size=5)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.optimizer.iterations == 4
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        *("config.json", "model.safetensors", "training.safetensors")
    ]


def test_a_layer_may_be_tied_to_one_that_comes_after_it(tmp_path: Path) -> None:
    features, tokens = Input((4,)), Input(())
    table = Embedding(V, 4)
    deep = Dense(2)(Dense(3)(Dense(V, "tanh", tied_to=table)(features)))
    model = Model([features, tokens], [deep, table(tokens)])
    assert model.layers.index(table) > model.layers.index(deep.node.inputs[0].node.inputs[0].node.layer)
    model.save(tmp_path / "model")
    x = [normal(RNG, 3, 4), ids(RNG, V, 3)]
    for a, b in zip(model.predict(x, verbose=0), Model.load(tmp_path / "model").predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_travel_between_models_built_alike(tmp_path: Path) -> None:
    first, second = everything(), everything()
    first.save_weights(tmp_path / "w.safetensors")
    second.load_weights(tmp_path / "w.safetensors")
    x, _ = batch()
    for a, b in zip(first.predict(x, verbose=0), second.predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)
    tokens = Input((None,))
    other = Model(tokens, LSTM(3)(Embedding(V, 4)(tokens)))
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"w\.safetensors is not of this model: it has 'dense\.bias'"):
        other.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(other.get_weights()[0], before[0])


@pytest.mark.parametrize("size", [0, 7, 20, 100])
def test_truncated_weights_are_one_clear_error(tmp_path: Path, size: int) -> None:
    path = saved(tmp_path / "model") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: it is not a valid safetensors file"):
        Model.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c["model"]["layers"][1]["config"].update(units=3),
            "dense.bias must be float32|dense.kernel must be",
        ),
        (lambda c: c["model"]["layers"][1].update(class_name="os.system"), "unknown layer 'os.system'"),
        (lambda c: c["model"]["nodes"][1].update(inputs=[[7, 0]]), "the architecture is damaged"),
        (lambda c: c["model"].pop("nodes"), "the architecture is damaged: KeyError 'nodes'"),
        (lambda c: c.pop("model"), "config.json is damaged"),
        (lambda c: c.update(format_version=99), "has format_version 99; this version of recurlm reads up to 1"),
        (lambda c: c.clear(), "is not the configuration of a saved model"),
    ],
)
def test_edited_configurations_are_one_clear_error(tmp_path: Path, edit: Any, message: str) -> None:
    path = saved(tmp_path / "model") / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        Model.load(tmp_path / "model")
    path.write_text(json.dumps(config)[:-9] if config else "{")
    with pytest.raises(ValueError, match=r"config\.json is damaged: it is not valid JSON"):
        Model.load(tmp_path / "model")


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Model.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"holds no saved model: it has no config\.json"):
        Model.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file, expected the folder of a saved model"):
        Model.load(tmp_path / "file")
    with pytest.raises(FileExistsError, match="is a file; a folder cannot take its place"):
        saved(tmp_path / "file")
    (saved(tmp_path / "model") / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        Model.load(tmp_path / "model")


def test_what_cannot_be_saved_is_said(tmp_path: Path) -> None:
    x = Input((3,))
    model = Model(x, Dense(2, kernel_initializer=lambda shape: np.ones(shape))(x))
    with pytest.raises(ValueError, match=r"only the initializers of recurlm\.initializers can be saved"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    named = Model(x, Dense(2)(x))
    named.compile("sgd", "mse", metrics=[lambda y_true, y_pred: 0])
    with pytest.raises(ValueError, match="only with metrics given by name"):
        named.save(tmp_path / "model")


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    x = Input((None, 3))
    model = Model(x, Dense(2)(LSTM(4, stateful=True, name="memory")(x)))
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(normal(RNG, 4, 5, 3), normal(RNG, 4, 2), verbose=0)
    good = model.get_state()
    arrays = {name: array + 1 for name, array in good.arrays.items()}
    before = copy.deepcopy(good)
    wrong: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({}, {"metrics": {"sums": [1.0], "metrics": []}}, "metrics are not those"),
        ({}, {"metrics": {"sums": good.values["metrics"]["sums"], "metrics": [[1.0]]}}, "metrics are not those"),
        ({}, {"metrics": None}, "saved metrics are damaged"),
        ({}, {"step": "3"}, "step must be an integer from 0 on, got '3'"),
        ({}, {"seed": -1}, "seed must be an integer"),
        ({}, {"learning_rate": float("nan")}, "learning_rate must be a finite number or None, got nan"),
        ({"states/memory.0": np.zeros((4, 5), np.float32)}, {}, r"memory carries \(batch, 4\), got \(4, 5\)"),
    ]
    for extra, values, message in wrong:
        with pytest.raises(ValueError, match=message):
            model.set_state(ModelState(arrays | extra, good.values | values))
        now = model.get_state()
        assert now.values == before.values
        for name, array in before.arrays.items():
            np.testing.assert_array_equal(now.arrays[name], array)


def test_a_language_model_is_not_saved_while_another_thread_trains_it(tmp_path: Path) -> None:
    lm, errors = language_model(), []

    def save() -> None:
        try:
            lm.save(tmp_path / "lm")
        except RuntimeError as error:
            errors.append(str(error))

    with lm.model.usage.training():
        lm.save(tmp_path / "own")  # as from a callback
        thread = threading.Thread(target=save)
        thread.start()
        thread.join()
    assert errors == ["the model is being trained by another thread; wait until fit returns"]
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def language_model() -> LanguageModel:
    tokenizer = CharTokenizer()
    tokenizer.train(["abc"])
    return LanguageModel(units=2, tokenizer=tokenizer)


def test_a_tokenizer_nested_too_deep_is_one_clear_error(tmp_path: Path) -> None:
    language_model().save(tmp_path / "lm")
    (tmp_path / "lm" / "tokenizer.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged"):
        LanguageModel.load(tmp_path / "lm")
