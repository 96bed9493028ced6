"""Bidirectional and TimeDistributed: what they make of the layers inside; Keras's figures are in test_keras_layers."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, Sequential, _core, utils
from recurlm.layers import (
    GRU,
    LSTM,
    Add,
    Average,
    Bidirectional,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    Multiply,
    Reshape,
    SimpleRNN,
    Subtract,
    TimeDistributed,
)
from tests.python.models import check_gradients, gradients, ids, normal

RNG = np.random.default_rng(21)


def compiled(inputs: Any, outputs: Any, loss: str = "mse", **options: Any) -> Model:
    model = Model(inputs, outputs, **options)
    model.compile("sgd", loss)
    return model


@pytest.mark.parametrize("cell", [SimpleRNN, GRU, LSTM])
@pytest.mark.parametrize("sequences", [False, True])
def test_bidirectional_is_two_layers_one_of_them_from_the_end(cell: type, sequences: bool) -> None:
    x = normal(RNG, 3, 5, 2)
    layer = Bidirectional(cell(4, return_sequences=sequences))
    output = layer(x)
    half = len(layer.get_weights()) // 2
    one, other = cell(4, return_sequences=sequences), cell(4, return_sequences=sequences)
    for twin, weights, given in ((one, layer.get_weights()[:half], x), (other, layer.get_weights()[half:], x[:, ::-1])):
        twin(given)
        twin.set_weights(weights)
    backward = other(x[:, ::-1])
    expected = np.concatenate([one(x), backward[:, ::-1] if sequences else backward], axis=-1)
    np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [False, True])
def test_gradients_of_bidirectional(mode: str | None, sequences: bool) -> None:
    tokens, start = Input((None,)), Input((3,))
    embedded = Embedding(6, 3, mask_zero=True)(tokens)
    layer = Bidirectional(GRU(3, return_sequences=sequences, return_state=True), merge_mode=mode)
    states = [Dense(3, "tanh")(start), Dense(3, "tanh")(start)]
    outputs = layer(embedded, initial_state=states)
    heads = [Dense(2)(y) for y in outputs]
    model = compiled([tokens, start], heads)
    x = ids(RNG, 6, 4, 5)
    y = [normal(RNG, *p.shape) for p in model.predict([x, normal(RNG, 4, 3)], verbose=0)]
    for _ in range(2):  # the second on memory that the first has used
        check_gradients(model, [x, normal(RNG, 4, 3)], y, probes=2)


def test_an_output_nobody_reads_takes_no_gradient() -> None:
    x = Input((None, 2))
    one, _ = Bidirectional(LSTM(3), merge_mode=None)(x)
    model = compiled(x, Dense(1)(one))
    _, named = gradients(model, normal(RNG, 3, 4, 2), normal(RNG, 3, 1))
    assert sorted({name.split(".")[1] for name in named}) == ["bias", "forward_layer", "kernel"]


@pytest.mark.parametrize(
    "inside",
    [
        lambda: Dense(3, "tanh"),
        lambda: LSTM(3),
        lambda: GRU(2, return_sequences=True),
        lambda: Bidirectional(GRU(2)),
        GlobalAveragePooling1D,
        Flatten,
    ],
)
def test_time_distributed_is_the_layer_at_each_step(inside: Any) -> None:
    x = normal(RNG, 3, 4, 5, 2)  # (B, S, T, D)
    wrapper = TimeDistributed(inside())
    y = wrapper(x)
    for step in range(4):
        np.testing.assert_array_equal(y[:, step], wrapper.layer(x[:, step]))
    assert wrapper.output_specs([x.shape]) == [(y.shape, "float32")]


def test_gradients_of_sequences_of_sequences() -> None:
    words = Input((None, None))
    x = TimeDistributed(Embedding(6, 3, mask_zero=True))(words)
    x = TimeDistributed(LSTM(3, return_sequences=True))(x)
    x = TimeDistributed(Bidirectional(GRU(2)))(x)
    model = compiled(words, TimeDistributed(Dense(2))(SimpleRNN(3, return_sequences=True)(x)))
    x = ids(RNG, 6, 3, 4, 5)
    x[1, 2:] = 0
    check_gradients(model, x, normal(RNG, 3, 4, 2), probes=3)


def test_a_step_of_padding_alone_is_masked_and_changes_nothing() -> None:
    words = Input((None, None))
    x = TimeDistributed(LSTM(3))(Embedding(6, 3, mask_zero=True)(words))
    model = compiled(words, Dense(2)(GRU(2, return_sequences=True)(x)))
    short = ids(RNG, 5, 2, 2, 4) + 1
    padded = np.zeros((2, 3, 6), np.int32)
    padded[:, :2, :4] = short
    np.testing.assert_array_equal(model.predict(padded, verbose=0)[:, :2], model.predict(short, verbose=0))
    y = normal(RNG, 2, 3, 2)
    a, b = (model.evaluate(x, target, verbose=0) for x, target in ((padded, y), (short, y[:, :2])))
    assert a == b


def test_labels_and_weights_of_sequences_of_sequences() -> None:
    words = Input((None, None))
    x = TimeDistributed(GRU(3, return_sequences=True))(Embedding(6, 3)(words))
    model = compiled(words, Dense(5, "softmax")(x), "sparse_categorical_crossentropy")
    x, y, weight = ids(RNG, 6, 2, 3, 4), ids(RNG, 5, 2, 3, 4), RNG.random((2, 3, 4)).astype(np.float32)
    picked = np.take_along_axis(model.predict(x, verbose=0), y[..., None], -1)[..., 0]
    expected = float(np.mean(-np.log(picked) * weight))
    assert model.evaluate(x, y, sample_weight=weight, verbose=0) == pytest.approx(expected, abs=1e-6)
    check_gradients(model, x, y, weight, probes=2)
    model.compile("sgd", "categorical_crossentropy")
    soft = np.eye(5, dtype=np.float32)[y]
    assert model.evaluate(x, soft, sample_weight=weight, verbose=0) == pytest.approx(expected, abs=1e-6)


def test_weights_are_named_by_their_place_and_counted_once() -> None:
    x = Input((None, 2))
    dense = Dense(2, name="both")
    y = TimeDistributed(dense)(Bidirectional(GRU(2, return_sequences=True), merge_mode="sum")(dense(x)))
    model = compiled(x, y)
    names = list(model.named_weights())
    assert names == [
        "both.kernel",
        "both.bias",
        *(
            f"bidirectional.{d}_layer.{w}"
            for d in ("forward", "backward")
            for w in ("kernel", "recurrent_kernel", "bias")
        ),
    ]
    assert len(model.weights) == len(model.trainable_weights) == 8
    check_gradients(model, normal(RNG, 3, 4, 2), normal(RNG, 3, 4, 2), probes=2)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_dense_at_every_step_is_a_dense(depth: int) -> None:
    """Also as the projection that is fused with the loss, with steps that are masked."""
    words, targets = ids(RNG, 6, 3, 4, 5)[..., : None if depth == 2 else 1], ids(RNG, 7, 3, 4, 5)
    figures = []
    for wraps in (0, depth):
        utils.set_random_seed(4)
        x = Input((None,) * depth)
        embedded = Embedding(6, 3, mask_zero=True)(x)
        hidden = Dense(5, "tanh")(embedded) if depth == 2 else LSTM(5, return_sequences=True)(embedded)
        top: Any = Dense(7, "softmax", name="top")
        for _ in range(wraps):
            top = TimeDistributed(top)
        model = compiled(x, top(hidden), "sparse_categorical_crossentropy")
        assert model.compiled.heads[0].projection is not None
        given = (words, targets) if depth == 2 else (words[..., 0], targets[..., 0])
        figures.append([model.train_on_batch(*given), *(weight.tobytes() for weight in model.get_weights())])
        np.testing.assert_allclose(model.predict(given[0], verbose=0).sum(axis=-1), 1, rtol=1e-5)
    assert figures[0] == figures[1]


def test_penalties_on_what_a_wrapped_projection_says_need_it() -> None:
    x = Input((None, 3))
    top = TimeDistributed(Dense(7, "softmax"), activity_regularizer="l2")
    assert compiled(x, top(x), "sparse_categorical_crossentropy").compiled.heads[0].projection is None


def test_freezing_a_wrapper_freezes_what_is_inside() -> None:
    frozen = Bidirectional(LSTM(2, trainable=False))
    x = Input((None, 2))
    model = compiled(x, Dense(1)(frozen(x)))
    assert not frozen.trainable
    assert [p.name for p in model.trainable_weights] == ["kernel", "bias"]
    frozen.trainable = True
    assert len(model.trainable_weights) == 8
    assert not Bidirectional.from_config(Bidirectional(GRU(2), trainable=False).get_config()).forward_layer.trainable


def everything(seed: int = 3) -> Model:
    """Wrappers in wrappers, a layer both alone and wrapped, a tied layer inside one, stateful and merging layers."""
    words = Input(batch_shape=(None, None, None), name="words")
    table = Embedding(6, 4, mask_zero=True, name="table")
    x = TimeDistributed(table)(words)
    x = TimeDistributed(Bidirectional(GRU(2)))(x)
    x = Bidirectional(LSTM(4, return_sequences=True, stateful=True), merge_mode="ave")(x)
    x = Average()([Add()([x, x]), Multiply()([x, x]), Subtract()([x, Dense(1)(x)])])
    x = Dense(4)(Concatenate()([x, Dense(2)(x)]))
    shared = Dense(4, "tanh", name="shared")
    x = TimeDistributed(Dropout(0.3))(shared(TimeDistributed(shared)(x)))
    return compiled(words, TimeDistributed(Dense(6, tied_to=table))(x), seed=seed)


def test_saved_and_loaded_models_go_on_alike(tmp_path: Path) -> None:
    model = everything()
    x, y = ids(RNG, 6, 3, 4, 5), normal(RNG, 3, 4, 6)
    model.train_on_batch(x, y)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert list(loaded.named_weights()) == list(model.named_weights())
    assert len(loaded.weights) == len(model.weights)
    for _ in range(2):
        assert loaded.train_on_batch(x, y) == model.train_on_batch(x, y)
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    again = Model.from_config(model.get_config())
    assert again.get_config() == model.get_config()


def trained_bits() -> list[bytes]:
    rng = np.random.default_rng(3)
    model = everything()
    model.set_weights([normal(rng, *w.shape) for w in model.get_weights()])
    model.train_on_batch(ids(rng, 6, 13, 4, 5), normal(rng, 13, 4, 6))
    return [weight.tobytes() for weight in model.get_weights()]


def test_the_same_bits_for_any_number_of_threads(threads: int) -> None:
    found = trained_bits()
    _core.set_num_threads(1)  # the fixture puts it back
    assert found == trained_bits()


def test_a_row_alone_and_in_a_batch_are_the_same() -> None:
    words = Input((None, None))
    x = TimeDistributed(Bidirectional(GRU(3)))(Embedding(6, 3, mask_zero=True)(words))
    model = Model(words, GlobalAveragePooling1D()(Bidirectional(LSTM(4, return_sequences=True))(x)))
    x = ids(RNG, 6, 5, 4, 6)
    whole = model.predict(x, verbose=0)
    for row in range(5):
        np.testing.assert_array_equal(model.predict(x[row : row + 1], verbose=0), whole[row : row + 1])


def test_dropout_inside_differs_between_layers_and_steps_but_not_between_runs() -> None:
    def draws(seed: int) -> list[np.ndarray]:
        x = Input((None, 200))
        nested = TimeDistributed(TimeDistributed(Dropout(0.5)))(Reshape((-1, 1, 200))(x))
        model = Model(x, [Dropout(0.5)(x), TimeDistributed(Dropout(0.5))(x), nested], seed=seed)
        ones = np.ones((1, 1, 200), np.float32)
        first = model(ones, training=True)
        model.step += 1
        return [y.reshape(-1) for y in (*first, *model(ones, training=True))]

    drawn = draws(5)
    for i, mask in enumerate(drawn):
        assert 0.3 < np.mean(mask == 0) < 0.7
        assert not any(np.array_equal(mask, other) for other in drawn[:i])
    np.testing.assert_array_equal(drawn, draws(5))
    assert not np.array_equal(drawn, draws(6))


def test_the_directions_drop_different_inputs() -> None:
    layer = Bidirectional(SimpleRNN(1, dropout=0.5, kernel_initializer="ones"), merge_mode=None)
    one, other = layer(np.full((20, 1, 7), 0.1, np.float32), training=True)  # as many levels as inputs are kept
    assert not np.array_equal(one, other)


def test_stateful_layers_inside_carry_reset_and_are_saved() -> None:
    x = Input(batch_shape=(None, None, 2))
    layer = Bidirectional(LSTM(3, stateful=True, name="a"))
    model = compiled(x, Dense(1)(layer(x)))
    values, y = normal(RNG, 4, 5, 2), normal(RNG, 4, 1)
    fresh, carried = (model.predict(values, verbose=0) for _ in range(2))
    assert not np.array_equal(fresh, carried)
    state = model.get_state()
    assert sorted(name for name in state.arrays if name.startswith("states/")) == [
        f"states/bidirectional.{d}_layer.{i}" for d in ("backward", "forward") for i in (0, 1)
    ]
    kept = type(state)({name: array.copy() for name, array in state.arrays.items()}, state.values)
    third = model.predict(values, verbose=0)
    model.set_state(kept)
    np.testing.assert_array_equal(model.predict(values, verbose=0), third)
    model.reset_states()
    np.testing.assert_array_equal(model.predict(values, verbose=0), fresh)
    model.reset_states([1, 3])
    mixed = model.predict(values, verbose=0)
    np.testing.assert_array_equal(mixed[[1, 3]], fresh[[1, 3]])
    np.testing.assert_array_equal(mixed[[0, 2]], carried[[0, 2]])
    model.train_on_batch(values, y)


def test_a_layer_of_a_wrapper_that_stands_elsewhere_too_comes_back(tmp_path: Path) -> None:
    x = Input((None, 3))
    both = Bidirectional(LSTM(2, return_sequences=True))
    y = both(x)
    model = compiled(x, Dense(1)(Concatenate()([y, both.forward_layer(x)])))
    model.save(tmp_path / "m")
    values = normal(RNG, 2, 4, 3)
    expected = model.predict(values, verbose=0)
    for again in (Model.load(tmp_path / "m"), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(values, verbose=0), expected)
        assert again.count_params() == model.count_params()


def test_sequential_takes_wrappers_and_is_built_by_its_data() -> None:
    model = Sequential([TimeDistributed(Embedding(6, 3)), TimeDistributed(Bidirectional(GRU(2))), LSTM(2), Dense(1)])
    model.compile("adam", "mse")
    x = ids(RNG, 6, 4, 3, 5)
    model.fit(x, normal(RNG, 4, 1), verbose=0)
    assert model.inputs[0].shape == (None, None, None)
    assert model.predict(x[:, :2, :4], verbose=0).shape == (4, 1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Bidirectional(Dense(3)), TypeError, "takes an LSTM, GRU or SimpleRNN, got <Dense"),
        (
            lambda: Bidirectional(GRU(2), "max"),
            ValueError,
            "merge_mode must be concat, sum, mul, ave or None, got 'max'",
        ),
        (lambda: Bidirectional(GRU(2), backward_layer=GRU(2)), ValueError, "must differ in go_backwards"),
        (lambda: Bidirectional(GRU(2, go_backwards=True)), ValueError, "must differ in go_backwards"),
        (
            lambda: Bidirectional(GRU(2, stateful=True), backward_layer=GRU(2, go_backwards=True)),
            ValueError,
            "must have the same stateful",
        ),
        (
            lambda: Bidirectional(GRU(2), "sum", backward_layer=GRU(3, go_backwards=True)),
            ValueError,
            "needs layers of as many units, got 2 and 3",
        ),
        (
            lambda: Bidirectional(LSTM(2))(Input((None, 3)), initial_state=[Input((2,))] * 2),
            ValueError,
            "has 4 initial states, got 2",
        ),
        (lambda: Bidirectional(LSTM(2))(Input((3,))), ValueError, r"forward_lstm.* takes a sequence"),
        (lambda: TimeDistributed(3), TypeError, "takes a layer, got 3"),
        (lambda: TimeDistributed(LSTM(2, stateful=True)), ValueError, "must not be stateful"),
        (
            lambda: TimeDistributed(LSTM(2, return_state=True))(Input((None, None, 3))),
            ValueError,
            "has 3 outputs, it must have one",
        ),
        (lambda: TimeDistributed(LSTM(2))(Input((None, 3))), ValueError, "takes a sequence"),
        (
            lambda: Bidirectional(GRU(2))(np.zeros((2, 3, 4)), mask=np.ones((2, 4))),
            ValueError,
            r"mask must have shape \(2, 3\)",
        ),
    ],
)
def test_bad_input_is_named(make: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_layers_inside_need_names_of_their_own() -> None:
    x = Input((None, 2))
    outputs = [Bidirectional(GRU(2, name="same"), name=name)(x) for name in ("one", "two")]
    with pytest.raises(ValueError, match="names of layers must be unique in a model, 'forward_same' occurs 2 times"):
        Model(x, outputs)


def test_initial_weights_are_those_given() -> None:
    layer = Bidirectional(GRU(2))
    layer(np.zeros((1, 2, 3), np.float32))
    weights = [normal(RNG, *w.shape) for w in layer.get_weights()]
    again = Bidirectional(GRU(2), weights=weights)
    again(np.zeros((1, 2, 3), np.float32))
    for a, b in zip(again.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_steps_take_their_gradients_from_the_pool() -> None:
    model = everything()
    x, y = ids(RNG, 6, 3, 4, 5), normal(RNG, 3, 4, 6)
    for _ in range(2):
        model.train_on_batch(x, y)
    pool = {id(flat) for flat in model.tape._free}
    for _ in range(3):
        model.train_on_batch(x, y)
    assert {id(flat) for flat in model.tape._free} == pool
