from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, utils
from recurlm.layers import GRU, LSTM, Dense, Embedding, SimpleRNN
from recurlm.layers.recurrent import Recurrent
from recurlm.tape import Tape
from tests.python.models import check_gradients, gradients, ids, normal
from tests.reference import Array, gru, lstm, recurrent, rnn

CELLS: list[tuple[type, dict[str, Any]]] = [
    (SimpleRNN, {}),
    (SimpleRNN, {"activation": "sigmoid"}),
    (GRU, {}),
    (GRU, {"reset_after": False}),
    (LSTM, {}),
    (LSTM, {"use_bias": False}),
]
RNG = np.random.default_rng(3)


def reference_cell(layer: Any) -> recurrent.Cell:
    if isinstance(layer, LSTM):
        return lstm.LSTM()
    if isinstance(layer, GRU):
        return gru.GRU(layer.reset_after)
    return rnn.SimpleRNN(layer.activation)


def reference_states(layer: Any, x: Array, mask: Array | None = None) -> tuple[Array, ...]:
    """Every state, (T + 1, B, H), by the float64 equations, from the zero state."""
    kernel, recurrent_kernel, *bias = (w.astype(np.float64) for w in layer.get_weights())
    parameters = recurrent.Parameters(kernel, recurrent_kernel, bias[0] if bias else np.zeros(layer.bias_shape()))
    zero = tuple(np.zeros((len(x), layer.units)) for _ in range(layer.state_count))
    major = x.swapaxes(0, 1).astype(np.float64)
    mask = None if mask is None else mask.T
    return recurrent.forward(reference_cell(layer), parameters, major, zero, mask, layer.go_backwards).states


def randomized(layer: Any, width: int) -> Any:
    layer.ensure_built([(None, None, width)])
    layer.set_weights([0.5 * normal(RNG, *p.shape) for p in layer.weights])
    return layer


@pytest.mark.parametrize(("cls", "options"), CELLS)
@pytest.mark.parametrize("backwards", [False, True])
def test_outputs_and_states_follow_the_equations(cls: Any, options: dict[str, Any], backwards: bool) -> None:
    layer = randomized(cls(5, return_sequences=True, return_state=True, go_backwards=backwards, **options), width=3)
    x = normal(RNG, 2, 7, 3)
    output, *finals = layer(x)
    expected = reference_states(layer, x)
    sequence = expected[0][-2::-1] if backwards else expected[0][1:]
    np.testing.assert_allclose(output, sequence.swapaxes(0, 1), atol=1e-5)
    for final, states in zip(finals, expected, strict=True):
        np.testing.assert_allclose(final, states[0 if backwards else -1], atol=1e-5)
    last = randomized(cls(5, go_backwards=backwards, **options), width=3)
    last.set_weights(layer.get_weights())
    np.testing.assert_array_equal(last(x), finals[0])


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_masked_steps_pass_the_state_on(zero: bool, backwards: bool) -> None:
    layer = randomized(LSTM(4, return_sequences=True, zero_output_for_mask=zero, go_backwards=backwards), width=3)
    x = normal(RNG, 3, 5, 3)
    mask = np.array([[1, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]], bool)
    states = reference_states(layer, x, mask)[0]
    expected = (states[-2::-1] if backwards else states[1:]).swapaxes(0, 1)
    if zero:
        expected = np.where((mask[:, ::-1] if backwards else mask)[..., None], expected, 0)
    np.testing.assert_allclose(layer(x, mask=mask), expected, atol=1e-5)


@pytest.mark.parametrize(("cls", "options"), CELLS)
@pytest.mark.parametrize("backwards", [False, True])
def test_gradients_of_masked_stacks(cls: Any, options: dict[str, Any], backwards: bool) -> None:
    tokens = Input(shape=(None,))
    x = Embedding(6, 3, mask_zero=True)(tokens)
    x = randomized(
        cls(4, return_sequences=True, go_backwards=backwards, zero_output_for_mask=True, **options), width=3
    )(x)
    x, *states = randomized(cls(4, return_state=True, **options), width=4)(x)
    y = Dense(2)(x)
    model = Model(tokens, [y, *states])
    model.compile("sgd", "mse")
    batch = ids(RNG, 6, 3, 5)
    batch[0, 2:] = 0
    targets = [normal(RNG, 3, 2)] + [normal(RNG, 3, 4) for _ in states]
    check_gradients(model, batch, targets)


def test_gradients_pass_input_dropout() -> None:
    tokens = Input((None,))
    model = Model(tokens, Dense(2)(LSTM(4, dropout=0.4)(Embedding(6, 8)(tokens))), seed=2)
    model.compile("sgd", "mse")
    check_gradients(model, ids(RNG, 6, 3, 5), normal(RNG, 3, 2))


def test_no_gradient_comes_from_outputs_that_are_zero_for_a_mask() -> None:
    layer = randomized(SimpleRNN(4, return_sequences=True, zero_output_for_mask=True), 3)
    call = Tape().call(0)
    mask = call.masks = [np.array([[True], [False], [True]])]
    layer.forward(call, [normal(RNG, 3, 1, 3)])
    call.wanted = [True]
    dy = np.where(mask[0][..., None], 0, normal(RNG, 3, 1, 4)).astype(np.float32)
    (dx,) = layer.backward(call, [dy])
    assert not dx.any()


def test_initial_state_takes_part_in_the_graph() -> None:
    first, second = Input((None, 3), name="first"), Input((None, 2), name="second")
    _, h, c = LSTM(4, return_state=True)(first)
    y = Dense(1)(LSTM(4, return_sequences=True)(second, initial_state=[h, c]))
    model = Model([first, second], y)
    model.compile("sgd", "mse")
    data = [normal(RNG, 2, 3, 3), normal(RNG, 2, 4, 2)]
    check_gradients(model, data, normal(RNG, 2, 4, 1))
    h0 = normal(RNG, 2, 4)
    layer = randomized(GRU(4), 3)
    assert not np.array_equal(layer(data[0], initial_state=h0), layer(data[0]))


def test_a_long_sequence_equals_its_pieces_with_the_state_carried() -> None:
    whole = randomized(LSTM(6, return_sequences=True), 3)
    carrying = randomized(LSTM(6, return_sequences=True, stateful=True), 3)
    carrying.set_weights(whole.get_weights())
    x = normal(RNG, 2, 9, 3)
    pieces = np.concatenate([carrying(x[:, a:b]) for a, b in ((0, 4), (4, 5), (5, 9))], axis=1)
    np.testing.assert_array_equal(pieces, whole(x))
    with pytest.raises(ValueError, match=r"carries the state of 2 rows, got a batch of 3.*reset_states"):
        carrying(normal(RNG, 3, 1, 3))
    carrying.reset_states()
    np.testing.assert_array_equal(carrying(x), whole(x))


def test_states_given_to_a_call_leave_the_layers_own_alone() -> None:
    sequence = Input((None, 3))
    model = Model(sequence, LSTM(4, stateful=True, name="memory")(sequence))
    x = normal(RNG, 2, 5, 3)
    first = model.predict(x, verbose=0)
    own: dict[str, Any] = {}
    np.testing.assert_array_equal(model.predict(x, verbose=0, states=own), first)
    assert set(own) == {"memory"}
    second = model.predict(x, verbose=0)
    assert not np.array_equal(second, first)
    np.testing.assert_array_equal(model.predict(x, verbose=0, states=own), second)
    model.reset_states()
    np.testing.assert_array_equal(model.predict(x, verbose=0), first)


def test_input_dropout_draws_one_mask_a_sequence() -> None:
    layer = SimpleRNN(
        1, activation="linear", dropout=0.5, return_sequences=True, kernel_initializer="ones", use_bias=False,
        recurrent_initializer="zeros", seed=4,
    )  # fmt: skip
    outputs = layer(np.ones((8, 6, 1), np.float32), training=True)
    assert set(np.unique(outputs)) == {0.0, 2.0}
    assert (outputs == outputs[:, :1]).all()
    np.testing.assert_array_equal(layer(np.ones((8, 6, 1), np.float32)), np.ones((8, 6, 1)))


def test_forget_bias_and_orthogonal_start() -> None:
    layer = LSTM(8)
    layer.ensure_built([(None, None, 3)])
    np.testing.assert_array_equal(layer.bias.value, np.repeat([0, 1, 0, 0], 8))
    product = layer.recurrent_kernel.value @ layer.recurrent_kernel.value.T
    np.testing.assert_allclose(product, np.eye(8), atol=1e-5)
    assert not LSTM(8, unit_forget_bias=False).initial_bias((32,)).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTM(4, activation="relu"), r"activation must be one of tanh, got 'relu'"),
        (lambda: GRU(4, recurrent_activation="hard_sigmoid"), r"recurrent_activation must be one of sigmoid"),
        (lambda: SimpleRNN(4, activation="softmax"), r"must be one of tanh, relu, sigmoid, linear"),
        (lambda: LSTM(0), r"units must be an integer from 1 on, got 0"),
        (lambda: LSTM(4)(np.zeros((2, 3), np.float32)), r"takes a sequence \(batch, time, width\).*\(2, 3\)"),
        (lambda: LSTM(4)(np.zeros((2, 3, 5)), initial_state=np.zeros((2, 4))), r"has 2 initial states, got 1"),
        (lambda: GRU(4)(np.zeros((2, 3, 5)), initial_state=np.zeros((2, 3))), r"shape \(batch, 4\), got \(2, 3\)"),
    ],
)
def test_bad_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_arguments_are_type_errors() -> None:
    with pytest.raises(TypeError, match="LSTM has no argument 'unit'"):
        LSTM(4, unit=3)
    LSTM(4, unroll=True, kernel_constraint=None)


def stacked(cell: type, dropout: float, go_backwards: bool) -> Model:
    """Gradients of all widths, of a branch, and of a mask's padding pass through recurrent layers here."""
    utils.set_random_seed(1)
    tokens = Input(shape=(None,))
    x = Dense(6, "tanh")(Embedding(11, 8, mask_zero=True)(tokens))
    h = cell(8, return_sequences=True, dropout=dropout, go_backwards=go_backwards)(x)
    h = cell(5, return_sequences=True, zero_output_for_mask=True)(h)
    wide = cell(9, return_sequences=True)(h)
    model = Model(tokens, [Dense(11, "softmax")(wide), Dense(3, "softmax")(cell(5, return_sequences=True)(h))])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("cell", [SimpleRNN, GRU, LSTM])
def test_a_gradient_in_place_of_another_changes_nothing(
    cell: type, dropout: float, go_backwards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    x = ids(rng, 11, 4, 7)
    y = [ids(rng, 11, 4, 7), ids(rng, 3, 4, 7)]
    _, expected = gradients(stacked(cell, dropout, go_backwards), x, y)
    monkeypatch.setattr(Recurrent, "_input_gradient", lambda self, call, x, given: call.gradient(x.shape))
    _, actual = gradients(stacked(cell, dropout, go_backwards), x, y)
    assert actual.keys() == expected.keys()
    for name, gradient in actual.items():
        np.testing.assert_array_equal(expected[name], gradient, err_msg=name)


def test_steps_of_any_number_of_distinct_ids_take_the_same_memory() -> None:
    tokens = Input(shape=(None,))
    model = Model(tokens, Dense(60, "softmax")(LSTM(5, return_sequences=True)(Embedding(60, 16)(tokens))))
    model.compile("sgd", "sparse_categorical_crossentropy")
    pools = []
    for distinct in (3, 60, 20):
        x = ids(np.random.default_rng(6), distinct, 6, 20)
        model.train_on_batch(x, x)
        pools.append(sorted(flat.size for flat in model.tape._free))
    assert pools[0] == pools[1] == pools[2]


def test_some_rows_of_carried_states_are_reset() -> None:
    layer = LSTM(3, stateful=True)
    x = normal(RNG, 4, 2, 5)
    layer.reset_states([7])  # nothing is carried yet
    fresh, carried = layer(x), layer(x)
    for rows in ([2, 0], np.array([True, False, True, False]), (np.int32(0), np.int32(2))):
        layer.reset_states()
        layer(x)
        layer.reset_states(rows)
        mixed = layer(x)
        np.testing.assert_array_equal(mixed[[0, 2]], fresh[[0, 2]])
        np.testing.assert_array_equal(mixed[[1, 3]], carried[[1, 3]])
    before = [state.copy() for state in layer.states[layer.name]]
    layer.reset_states([])
    for rows, got in (
        ([0, 4], "got 4"),
        ([-1], "got -1"),
        ([True, False], r"got bool of shape \(2,\)"),
        (1.5, r"got float64 of shape \(\)"),
        ([[0, 1]], r"got int64 of shape \(1, 2\)"),
    ):
        with pytest.raises(ValueError, match=f"rows must be indices from 0 to 3 or a mask of 4 booleans, {got}"):
            layer.reset_states(rows)
    np.testing.assert_array_equal(layer.states[layer.name], before)
