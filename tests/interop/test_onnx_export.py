"""ONNX Runtime gives what our models give, and what we write comes back; skipped where it is not installed."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

import recurlm  # noqa: E402
from recurlm import Input, LanguageModel, Model  # noqa: E402
from recurlm.interop import load_onnx, save_onnx  # noqa: E402
from recurlm.layers import (  # noqa: E402
    GRU,
    LSTM,
    Activation,
    Bidirectional,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    LayerNormalization,
    Lengths,
    Masking,
    Reverse,
    SimpleRNN,
    TimeDistributed,
)

CLOSE = 1e-5  # of outputs near 1 in size: two orders of float32 sums
RNG = np.random.default_rng(3)
V, D, T, B = 11, 5, 6, 3
LENGTHS = np.array([[6], [2], [4]], np.float32)


def embedded(*layers: Any) -> Model:
    x = source = Input((None,), dtype="int32", name="ids")
    for layer in (Embedding(V, D), *layers):
        x = layer(x)
    return Model(source, x)


def _tied() -> Model:
    ids = Input((None,), dtype="int32")
    table = Embedding(V, D)
    return Model(ids, Dense(V, "softmax", tied_to=table)(LSTM(D, return_sequences=True)(table(ids))))


def _with_states() -> Model:
    x, h, c = Input((None, D)), Input((4,)), Input((4,))
    y, *states = LSTM(4, return_sequences=True, return_state=True)(x, initial_state=[h, c])
    return Model([x, h, c], [y, *states])


def _padded(cell: Any, **options: Any) -> Model:
    x, lengths = Input((None, D)), Input((1,))
    y = Bidirectional(cell(4, return_sequences=True))(Lengths()([x, lengths]))
    return Model([x, lengths], [y, cell(3, **options)(y)])


def _merging() -> Model:
    ids = Input((None,), dtype="int32")
    x = Embedding(V, D)(ids)
    y = Concatenate()([Reverse()(x), GRU(3, return_sequences=True)(x)])
    return Model(ids, [GlobalAveragePooling1D()(y), GlobalMaxPooling1D(keepdims=True)(y)])


def _bidirectional_with_states() -> Model:
    x = Input((None, D))
    starts = [Input((4,)) for _ in range(4)]
    layer = Bidirectional(LSTM(4, return_sequences=True, return_state=True))
    return Model([x, *starts], layer(x, initial_state=starts))


CASES: dict[str, Callable[[], Model]] = {
    **{f"{cell.__name__} last": lambda cell=cell: embedded(cell(4)) for cell in (SimpleRNN, GRU, LSTM)},
    **{
        f"{cell.__name__} backwards {sequences}": lambda cell=cell, sequences=sequences: embedded(
            cell(4, return_sequences=sequences, go_backwards=True)
        )
        for cell in (SimpleRNN, GRU, LSTM)
        for sequences in (False, True)
    },
    **{
        f"both directions {mode} {sequences}": lambda mode=mode, sequences=sequences: embedded(
            Bidirectional(GRU(4, return_sequences=sequences), mode)
        )
        for mode in ("concat", "sum", "mul", "ave", None)
        for sequences in (False, True)
    },
    "reset before": lambda: embedded(GRU(4, reset_after=False, return_sequences=True), Dense(V, "softmax")),
    "without biases": lambda: embedded(LSTM(4, use_bias=False, return_sequences=True), Dense(V, use_bias=False)),
    "relu": lambda: embedded(SimpleRNN(4, "relu", return_sequences=True)),
    "stack": lambda: embedded(
        LSTM(4, return_sequences=True), Dropout(0.5), GRU(3, return_sequences=True), Dense(V, "softmax")
    ),
    "activations": lambda: embedded(
        LSTM(4, return_sequences=True), Dense(6, "gelu"), TimeDistributed(Dense(4, "relu")), Activation("sigmoid")
    ),
    "normalised": lambda: embedded(
        GRU(4, return_sequences=True), LayerNormalization(), LayerNormalization(scale=False)
    ),
    "tied": _tied,
    "states": _with_states,
    "states of both": _bidirectional_with_states,
    "padded": lambda: _padded(LSTM),
    "padded GRU": lambda: _padded(GRU, return_sequences=True, zero_output_for_mask=True),
    "padded backwards": lambda: _padded(SimpleRNN, go_backwards=True),
    "merging": _merging,
}


def arrays(model: Model) -> list[Any]:
    model.set_weights([0.5 * RNG.standard_normal(w.shape, np.float32) for w in model.weights])
    made = []
    for tensor in model.inputs:
        shape = [B, *(T if extent is None else extent for extent in tensor.shape[1:])]
        numbers = LENGTHS if shape == [B, 1] else RNG.standard_normal(shape, np.float32)
        made.append(RNG.integers(0, V, shape) if "int" in tensor.dtype else numbers)
    return made


def session(path: Path) -> Any:
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


def predict(model: Model, x: list[Any]) -> list[Any]:
    outputs = model.predict(x if len(x) > 1 else x[0], verbose=0)
    return outputs if isinstance(outputs, list) else [outputs]


@pytest.mark.parametrize("case", CASES)
def test_onnx_runtime_gives_the_same(case: str, tmp_path: Path) -> None:
    model = CASES[case]()
    x = arrays(model)
    save_onnx(model, tmp_path / "model.onnx")
    feed = {tensor.name: array for tensor, array in zip(model.inputs, x, strict=True)}
    theirs = session(tmp_path / "model.onnx").run(None, feed)
    for ours, other in zip(predict(model, x), theirs, strict=True):
        np.testing.assert_allclose(other, ours, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize(
    "case", ["GRU last", "reset before", "without biases", "relu", "stack", "tied", "states", "padded"]
)
def test_what_is_written_comes_back(case: str, tmp_path: Path) -> None:
    model = CASES[case]()
    x = arrays(model)
    save_onnx(model, tmp_path / "model.onnx")
    back = load_onnx(tmp_path / "model.onnx")
    for ours, other in zip(predict(model, x), predict(back, x), strict=True):
        np.testing.assert_allclose(other, ours, rtol=CLOSE, atol=CLOSE)
    if case == "tied":
        assert len(back.weights) == len(model.weights)


def test_a_language_model_runs_token_by_token(tmp_path: Path) -> None:
    lm = LanguageModel(units=8, layers=2, dropout=0.2)
    lm.fit(["to be or not to be", "that is the question"] * 20, epochs=1, batch_size=2, window=8, verbose=False)
    save_onnx(lm.model, tmp_path / "lm.onnx")
    onnx_model = session(tmp_path / "lm.onnx")
    ids = np.concatenate([[lm.tokenizer.bos_id], lm.tokenizer.encode("to be")])
    names = [given.name for given in onnx_model.get_inputs()]
    states = {name: np.zeros((1, 8), np.float32) for name in names[1:]}
    total = 0.0
    for before, token in pairwise(ids.tolist()):
        output, *following = onnx_model.run(None, {names[0]: np.array([[before]]), **states})
        total += float(np.log(output[0, 0, token]))
        states = dict(zip(states, following, strict=True))
    assert total == pytest.approx(lm.score(["to be"])[0], abs=5 * CLOSE)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: embedded(recurlm.layers.Permute((2, 1))), "of class Permute has no operators in ONNX"),
        (lambda: _masked(Embedding(V, D, mask_zero=True), Input((None,), dtype="int32")), "has mask_zero"),
        (lambda: _masked(Masking(), Input((None, D))), "of class Masking has no operators"),
        (lambda: embedded(SimpleRNN(3, "linear")), "an RNN with the activation linear has no operator"),
        (lambda: embedded(TimeDistributed(LayerNormalization())), "a LayerNormalization at every step"),
        (lambda: _padded(LSTM, return_sequences=True), "as with zero_output_for_mask=True"),
        (lambda: embedded(Bidirectional(GRU(3, stateful=True))), "is stateful"),
        (
            lambda: embedded(Bidirectional(LSTM(3, go_backwards=True), backward_layer=LSTM(3))),
            "must not have go_backwards",
        ),
        (lambda: _lengths_twice(), "reads what is padded already"),
        (lambda: _half_padded(), "reads sequences of different lengths"),
    ],
)
def test_what_onnx_has_not_is_named(build: Callable[[], Model], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        save_onnx(build(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def _masked(layer: Any, source: Any) -> Model:
    return Model(source, LSTM(3)(layer(source)))


def _lengths_twice() -> Model:
    x, one, other = Input((None, D)), Input((1,)), Input((1,))
    return Model([x, one, other], GRU(3)(Lengths()([Lengths()([x, one]), other])))


def _half_padded() -> Model:
    x, lengths = Input((None, D)), Input((1,))
    return Model([x, lengths], GRU(3)(Concatenate()([Lengths()([x, lengths]), x])))
