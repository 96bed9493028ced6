"""Files of Keras 3 give the same outputs, and ours are read by it; skipped where it or h5py is not installed."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras", minversion="3")
pytest.importorskip("h5py")

import recurlm  # noqa: E402
from recurlm.interop import load_keras, load_keras_weights, save_keras_weights  # noqa: E402
from tests.python import test_keras_attention as attention  # noqa: E402
from tests.python.test_keras_layers import CASES, arrays_for  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
CLOSE = 1e-5  # of outputs near 1 in size: two orders of float32 sums
SHAPES = 200


def predict(model: Any, x: list[Any]) -> list[Any]:
    outputs = model.predict(x if len(x) > 1 else x[0], verbose=0)
    return outputs if isinstance(outputs, list) else [outputs]


def assert_close(outputs: list[Any], expected: list[Any]) -> None:
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=CLOSE, atol=CLOSE)


def assert_exchanged(theirs: Any, x: list[Any], folder: Path) -> None:
    """Outputs of the model that was saved, and of Keras's after it has read weights that we changed."""
    theirs.save(folder / "model.keras")
    ours = load_keras(folder / "model.keras")
    expected = predict(theirs, x)
    assert_close(predict(ours, x), expected)
    ours.set_weights([0.5 * weight for weight in ours.get_weights()])
    save_keras_weights(ours, folder / "ours.weights.h5")
    theirs.load_weights(folder / "ours.weights.h5")
    assert_close(predict(ours, x), predict(theirs, x))
    theirs.save_weights(folder / "theirs.weights.h5")
    ours.set_weights([np.zeros_like(weight) for weight in ours.get_weights()])
    load_keras_weights(ours, folder / "theirs.weights.h5")
    assert_close(predict(ours, x), predict(theirs, x))


def randomised(model: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    model.set_weights([0.5 * rng.standard_normal(w.shape).astype(np.float32) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("case", CASES)
def test_every_layer_is_exchanged(case: str, tmp_path: Path) -> None:
    x = arrays_for(CASES[case](recurlm), 5)
    assert_exchanged(randomised(CASES[case](keras), 1), x, tmp_path)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("name", attention.CALLS)
def test_attention_is_exchanged(name: str, mask: bool, tmp_path: Path) -> None:
    x, _ = attention.batch(name, mask)
    assert_exchanged(randomised(attention.build(keras, name, mask), 2), x if isinstance(x, list) else [x], tmp_path)


def random_model(rng: np.random.Generator) -> tuple[Any, Any]:
    """1 to 3 recurrent layers, one or both directions, with and without biases, and inputs for them."""
    made = keras.layers
    vocabulary, masked = int(rng.integers(2, 40)), bool(rng.random() < 0.5)
    source = keras.Input((None,), dtype="int32")
    x = made.Embedding(vocabulary, int(rng.integers(1, 20)), mask_zero=masked)(source)
    count = int(rng.integers(1, 4))
    for place in range(count):
        sequences = place < count - 1 or bool(rng.random() < 0.5)
        cell = getattr(made, ("SimpleRNN", "GRU", "LSTM")[rng.integers(3)])
        options: dict[str, Any] = {"use_bias": bool(rng.random() < 0.7), "return_sequences": sequences}
        if cell is made.GRU:
            options["reset_after"] = bool(rng.random() < 0.7)
        layer = cell(int(rng.integers(1, 20)), **options)
        x = (made.Bidirectional(layer) if rng.random() < 0.4 else layer)(x)
    outputs = made.Dense(int(rng.integers(1, 30)), "softmax", use_bias=bool(rng.random() < 0.7))(x)
    ids = rng.integers(0, vocabulary, (int(rng.integers(1, 6)), int(rng.integers(1, 12))))
    return keras.Model(source, outputs), ids.astype(np.int32)


@pytest.mark.parametrize("seed", range(SHAPES))
def test_random_models_give_the_same_outputs(seed: int, tmp_path: Path) -> None:
    model, ids = random_model(np.random.default_rng(seed))
    randomised(model, seed).save(tmp_path / "model.keras")
    assert_close(predict(load_keras(tmp_path / "model.keras"), [ids]), predict(model, [ids]))


def test_sequential_models_and_models_within_models(tmp_path: Path) -> None:
    made = keras.layers
    encoder = keras.Sequential([keras.Input((None,)), made.Embedding(9, 4), made.LSTM(3, return_sequences=True)])
    assert_exchanged(randomised(encoder, 3), [np.arange(8).reshape(2, 4)], tmp_path)
    source = keras.Input((None,), dtype="int32")
    whole = keras.Model(source, made.Dense(2)(made.Dropout(0.5)(made.LSTM(3)(encoder(source)))))
    randomised(whole, 4).save(tmp_path / "whole.keras")
    x = [np.arange(8).reshape(2, 4)]
    assert_close(predict(load_keras(tmp_path / "whole.keras"), x), predict(whole, x))


def test_a_compiled_and_trained_model(tmp_path: Path) -> None:
    model, ids = random_model(np.random.default_rng(1))
    y = np.zeros(model.predict(ids, verbose=0).shape, np.float32)
    model.compile("adam", "mse")
    model.fit(ids, y, verbose=0)
    model.save(tmp_path / "model.keras")
    assert_close(predict(load_keras(tmp_path / "model.keras"), [ids]), predict(model, [ids]))


def refused(outputs: Any, source: Any, folder: Path) -> str:
    keras.Model(source, outputs).save(folder / "model.keras")
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_keras(folder / "model.keras")
    return str(caught.value)


def test_what_recurlm_has_not_is_named(tmp_path: Path) -> None:
    made = keras.layers
    ids, numbers = keras.Input((5,), dtype="int32"), keras.Input((5, 3))
    assert "layer 'conv' of class Conv1D: unknown layer" in refused(
        made.Conv1D(2, 3, name="conv")(numbers), numbers, tmp_path
    )
    x = made.Embedding(9, 3)(ids)
    assert "of class LSTM: " in refused(made.LSTM(2, recurrent_activation="relu")(x), ids, tmp_path)
    reason = refused(made.Dense(2)(keras.ops.tanh(x)), ids, tmp_path)
    assert "reads what the operation Tanh gives" in reason
    assert "dtype float16" in refused(made.Dense(2, dtype="float16")(numbers), numbers, tmp_path)
    assert "an output is what the operation Tanh gives" in refused(keras.ops.tanh(x), ids, tmp_path)


def test_masks_that_no_layer_of_ours_makes_are_refused(tmp_path: Path) -> None:
    made = keras.layers
    ids, others = keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")
    plain, padded = made.Embedding(9, 3)(ids), made.Embedding(9, 3, mask_zero=True)(ids)
    heads = made.MultiHeadAttention(1, 2)
    for operation, outputs in (
        ("NotEqual", made.LSTM(2)(padded, mask=keras.ops.not_equal(ids, 3))),
        ("NotEqual", made.LSTM(2)(plain, mask=keras.ops.not_equal(ids, 0))),
        ("NotEqual", made.LSTM(2)(padded, mask=keras.ops.not_equal(others, 0))),
        ("Greater", made.LSTM(2)(padded, mask=keras.ops.greater(ids, 0))),
        ("ExpandDims", heads(plain, plain, attention_mask=keras.ops.expand_dims(keras.ops.not_equal(ids, 0), 1))),
    ):
        assert f"reads what the operation {operation} gives" in refused(outputs, [ids, others], tmp_path)


def test_classes_of_others_are_not_taken_for_ours(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable(package="theirs")
    class Reverse(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x * 2

    numbers = keras.Input((5, 3))
    assert "of class Reverse is none of Keras's own" in refused(Reverse(name="r")(numbers), numbers, tmp_path)


def test_an_initial_state_by_place_and_a_model_first(tmp_path: Path) -> None:
    made = keras.layers
    x, h = keras.Input((None, 3)), keras.Input((2,))
    model = randomised(keras.Model([x, h], made.GRU(2)(x, [h])), 6)
    model.save(tmp_path / "m.keras")
    values = [np.ones((2, 4, 3), np.float32), np.full((2, 2), 0.5, np.float32)]
    assert_close(predict(load_keras(tmp_path / "m.keras"), values), predict(model, values))
    encoder = keras.Sequential([keras.Input((None,)), made.Embedding(9, 4), made.LSTM(3, return_sequences=True)])
    whole = randomised(keras.Sequential([encoder, made.LSTM(2)]), 7)
    whole.save(tmp_path / "w.keras")
    ids = [np.arange(8).reshape(2, 4)]
    assert_close(predict(load_keras(tmp_path / "w.keras"), ids), predict(whole, ids))
