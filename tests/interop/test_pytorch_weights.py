"""State dicts in and out, without PyTorch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, files
from recurlm.interop import from_pytorch, load, save, to_pytorch
from recurlm.layers import (
    GRU,
    LSTM,
    Add,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    LayerNormalization,
    SimpleRNN,
)
from recurlm.precision import to_bfloat16

RNG = np.random.default_rng(7)
V, D, H = 11, 5, 4


def model_of(*layers: Any, features: int | None = None) -> Model:
    x = source = Input((None,), dtype="int32") if features is None else Input((None, features))
    for layer in layers:
        x = layer(x)
    model = Model(source, x)
    model.set_weights([RNG.standard_normal(w.shape, np.float32) for w in model.weights])
    return model


def lstm(units: int = H, **options: Any) -> LSTM:
    return LSTM(units, return_sequences=True, **options)


def state(**changes: Any) -> dict[str, Any]:
    """An embedding of 11 x 5, a GRU of 4 units, and a linear layer; a change of None takes an array away."""
    arrays = to_pytorch(model_of(Embedding(V, D), GRU(H, return_sequences=True), Dense(V)))
    merged = arrays | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in merged.items() if value is not None}


@pytest.mark.parametrize(
    "build",
    [
        lambda: model_of(Embedding(V, D), lstm(), lstm(), Dense(V)),
        lambda: model_of(Embedding(V, D), lstm(6), Dropout(0.5), GRU(3, return_sequences=True), Dense(2)),
        lambda: model_of(Embedding(V, D), Bidirectional(lstm()), Bidirectional(SimpleRNN(3, return_sequences=True))),
        lambda: model_of(lstm(use_bias=False), Dense(V, use_bias=False), features=3),
        lambda: model_of(SimpleRNN(H, return_sequences=True), features=2),
    ],
    ids=["two layers", "of two kinds", "both directions", "without biases", "recurrent alone"],
)
def test_a_chain_comes_back(build: Callable[[], Model]) -> None:
    model = build()
    back = from_pytorch(to_pytorch(model))
    for one, other in zip(back.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    x = RNG.integers(0, V, (3, 6)) if len(model.inputs[0].shape) == 2 else None
    x = RNG.standard_normal((3, 6, model.inputs[0].shape[2]), np.float32) if x is None else x
    np.testing.assert_array_equal(back.predict(x, verbose=0), model.predict(x, verbose=0))


def test_layers_of_one_width_are_one_module_and_others_are_not() -> None:
    assert "rnn.weight_hh_l1" in to_pytorch(model_of(Embedding(V, D), lstm(), lstm()))
    assert "rnns.1.weight_hh_l0" in to_pytorch(model_of(Embedding(V, D), lstm(), lstm(3)))


def test_tied_weights_stay_tied() -> None:
    table = Embedding(V, H)
    model = model_of(table, lstm(), Dense(V, "softmax", tied_to=table))
    arrays = to_pytorch(model)
    np.testing.assert_array_equal(arrays["linear.weight"], arrays["embedding.weight"])
    back = from_pytorch(arrays, activation="softmax")
    assert len(back.weights) == len(model.weights)
    ids = RNG.integers(0, V, (2, 7))
    np.testing.assert_array_equal(back.predict(ids, verbose=0), model.predict(ids, verbose=0))


def test_names_tell_what_shapes_do_not() -> None:
    arrays = to_pytorch(model_of(Embedding(V, H), lstm(), Dense(V, use_bias=False)))
    with pytest.raises(ValueError, match=r"shapes do not tell .*embedding.weight \(11, 4\), linear.weight"):
        from_pytorch(arrays)
    model = from_pytorch(arrays, embedding="embedding")
    np.testing.assert_array_equal(model.weights[0].value, arrays["embedding.weight"])
    swapped = from_pytorch(arrays, embedding="linear.weight")
    np.testing.assert_array_equal(swapped.weights[0].value, arrays["linear.weight"])


def test_many_modules_come_back_in_their_order_through_a_file(tmp_path: Path) -> None:
    model = model_of(*(lstm(3 + place % 2) for place in range(12)), features=2)
    path = tmp_path / "weights.safetensors"
    save(model, path)
    back = load(path)
    x = RNG.standard_normal((2, 4, 2), np.float32)
    np.testing.assert_array_equal(back.predict(x, verbose=0), model.predict(x, verbose=0))


def test_modules_of_other_names_need_an_order() -> None:
    one, two = (to_pytorch(model_of(lstm(), features=H)) for _ in range(2))
    state = {name.replace("rnn", "context"): array for name, array in two.items()}
    state |= {name.replace("rnn", "body"): array for name, array in one.items()}
    with pytest.raises(ValueError, match=r"several recurrent modules \(context., body.\): give their order"):
        from_pytorch(state)
    model = from_pytorch(state, recurrent=["body", "context"])
    np.testing.assert_array_equal(model.layers[1].get_weights()[0], one["rnn.weight_ih_l0"].T)
    with pytest.raises(ValueError, match=r"recurrent must name context., body., each once, got body"):
        from_pytorch(state, recurrent=["body"])


def test_layers_and_directions_that_are_missing_are_named() -> None:
    two = to_pytorch(model_of(lstm(), lstm(), lstm(), features=H))
    without = {name: array for name, array in two.items() if "_l1" not in name}
    with pytest.raises(ValueError, match=r"rnn.\*_l1: the layer, or its forward direction, is missing"):
        from_pytorch(without)
    only_back = {f"{name}_reverse": array for name, array in to_pytorch(model_of(lstm(), features=H)).items()}
    with pytest.raises(ValueError, match=r"rnn.\*_l0: the layer, or its forward direction, is missing"):
        from_pytorch(only_back)


@pytest.mark.parametrize(("kind", "close"), [("F64", 0.0), ("F16", 2**-11), ("BF16", 2**-8)])
def test_files_of_other_floats(tmp_path: Path, kind: str, close: float) -> None:
    arrays = state()
    narrow: dict[str, Callable[[Any], Any]] = {
        "F64": lambda a: a.astype(np.float64),
        "F16": lambda a: a.astype(np.float16),
        "BF16": to_bfloat16,
    }
    header: dict[str, Any] = {}
    data = b""
    for name, array in arrays.items():
        part = np.ascontiguousarray(narrow[kind](array)).tobytes()
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    encoded = json.dumps(header).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)
    for one, other in zip(load(path).get_weights(), from_pytorch(arrays).get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=close, atol=1e-7)


def test_files_of_integers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    files.write_safetensors(path, {"a": np.zeros(3, np.int64)})
    with pytest.raises(ValueError, match="a must be of floats, got I64"):
        load(path)


def test_any_floats_are_taken_as_float32() -> None:
    arrays = state()
    model = from_pytorch({name: array.astype(np.float64) for name, array in arrays.items()})
    assert all(weight.value.dtype == np.float32 for weight in model.weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"embedding__weight": np.zeros((V, 3), np.float32)},
            "expected .* Embedding of width 5 and a Linear that reads 4",
        ),
        ({"norm__weight": np.zeros(4, np.float32)}, r"norm.weight \(4,\) belongs to no Embedding"),
        ({"other__weight": np.zeros((4, 4), np.float32)}, "expected beside the recurrent weights at most"),
        ({"rnn__weight_hh_l0": None}, r"rnn.\*_l0: weight_hh is missing"),
        ({"rnn__bias_hh_l0": None}, r"rnn.\*_l0: bias_hh is missing"),
        ({"rnn__bias_hh_l0": np.zeros(5, np.float32)}, "are not those of an RNN, GRU or LSTM"),
        ({"rnn__weight_ih_l0": np.zeros((8, D), np.float32)}, "are not those of an RNN, GRU or LSTM"),
        ({"rnn__weight_ih_l0": np.zeros(8, np.float32)}, "are not those of an RNN, GRU or LSTM"),
        ({"rnn__weight_hr_l0": np.zeros((2, H), np.float32)}, "proj_size is not supported"),
        ({"embedding__weight": np.zeros((V, D), np.int64)}, "embedding.weight must be an array of floats, got int64"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_pytorch(state(**changes))


def test_a_state_without_a_recurrent_module_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no weights of an nn.RNN, nn.GRU or nn.LSTM among these: a.weight"):
        from_pytorch({"a.weight": np.zeros((2, 2), np.float32)})


def _branching() -> Model:
    ids = Input((None,), dtype="int32")
    x = Embedding(V, H)(ids)
    return Model(ids, Add()([x, lstm()(x)]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_branching, "must be one chain of layers"),
        (lambda: model_of(Embedding(V, D), lstm(), LayerNormalization(), Dense(V)), "got a LayerNormalization"),
        (lambda: model_of(Embedding(V, D), Dense(V)), "got no recurrent layer"),
        (lambda: model_of(Embedding(V, D, mask_zero=True), lstm()), "has mask_zero"),
        (lambda: model_of(Embedding(V, D), lstm(go_backwards=True)), "go_backwards goes only with its twin"),
        (lambda: model_of(Embedding(V, D), Bidirectional(lstm(), "sum")), "merge_mode must be concat, got 'sum'"),
        (lambda: model_of(Embedding(V, D), GRU(H, reset_after=False)), "no GRU with reset_after=False"),
        (lambda: model_of(Embedding(V, D), SimpleRNN(H, "sigmoid")), "not with sigmoid"),
        (
            lambda: model_of(
                Embedding(V, D), Bidirectional(lstm(), backward_layer=lstm(use_bias=False, go_backwards=True))
            ),
            "both directions must have the same cell, units and bias",
        ),
    ],
)
def test_what_pytorch_has_not_is_refused(build: Callable[[], Model], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_pytorch(build())
