"""Dropout of states, of recurrent weights and of whole ids: what is drawn, when, and that gradients know of it."""

from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, optimizers
from recurlm.layers import GRU, LSTM, Dense, Embedding, SimpleRNN
from recurlm.tape import Tape
from tests.python.models import check_gradients, gradients, ids, normal
from tests.reference import gru, lstm, recurrent, rnn

RNG = np.random.default_rng(6)
CELLS: list[tuple[type, dict[str, Any]]] = [(SimpleRNN, {}), (GRU, {}), (GRU, {"reset_after": False}), (LSTM, {})]
DROPS: list[dict[str, Any]] = [
    {"recurrent_dropout": 0.4},
    {"weight_drop": 0.4},
    {"dropout": 0.3, "recurrent_dropout": 0.4, "weight_drop": 0.2},
]


def model_of(layer: Any, **embedding: Any) -> Model:
    x = Input((None,))
    y = layer(Embedding(8, 5, mask_zero=True, **embedding)(x))
    model = Model(x, Dense(8, "softmax")(y), seed=2)
    model.compile(optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("backwards", [False, True], ids=["forward", "backwards"])
@pytest.mark.parametrize("drops", DROPS, ids=str)
@pytest.mark.parametrize(("cls", "options"), CELLS)
def test_gradients(cls: Any, options: dict[str, Any], drops: dict[str, Any], backwards: bool) -> None:
    model = model_of(cls(6, return_sequences=True, go_backwards=backwards, **options, **drops))
    # What is kept is scaled up, which bends a simple cell's loss.
    check_gradients(model, ids(RNG, 8, 4, 5), ids(RNG, 8, 4, 5), step=4e-3)


def test_gradients_of_a_layer_that_is_used_twice() -> None:
    a, b = Input((4, 3)), Input((4, 3))
    shared = LSTM(5, weight_drop=0.4, recurrent_dropout=0.3)
    model = Model([a, b], [Dense(2)(shared(a)), Dense(2)(shared(b))], seed=1)
    model.compile("sgd", "mse")
    check_gradients(model, [normal(RNG, 3, 4, 3), normal(RNG, 3, 4, 3)], [normal(RNG, 3, 2), normal(RNG, 3, 2)])


@pytest.mark.parametrize(("cls", "options"), CELLS)
def test_outputs_follow_the_equations(cls: Any, options: dict[str, Any]) -> None:
    layer = cls(6, return_sequences=True, recurrent_dropout=0.5, seed=3, **options)
    x = normal(RNG, 7, 4, 5)
    layer(x)
    output = layer(x, training=True)
    call = Tape().call(0)
    call.tape.training = True
    layer.forward(call, [np.ascontiguousarray(x.swapaxes(0, 1))])
    factors = call.saved["how"]["state_factors"].astype(np.float64)
    assert set(np.unique(factors)) == {0.0, 2.0}
    cell: Any = lstm.LSTM(factors) if cls is LSTM else rnn.SimpleRNN(state_factors=factors)
    if cls is GRU:
        cell = gru.GRU(layer.reset_after, factors)
    parameters = recurrent.Parameters(*(w.astype(np.float64) for w in layer.get_weights()))
    zero = tuple(np.zeros((7, 6)) for _ in range(layer.state_count))
    run = recurrent.forward(cell, parameters, x.swapaxes(0, 1).astype(np.float64), zero)
    np.testing.assert_allclose(output, run.states[0][1:].swapaxes(0, 1), atol=1e-5)


@pytest.mark.parametrize("drops", DROPS, ids=str)
def test_only_training_drops(drops: dict[str, Any]) -> None:
    dropped, plain = LSTM(6, **drops), LSTM(6)
    x = normal(RNG, 3, 4, 5)
    plain(x)
    dropped(x)
    dropped.set_weights(plain.get_weights())
    np.testing.assert_array_equal(dropped(x), plain(x))
    assert not np.array_equal(dropped(x, training=True), plain(x))


def test_masks_differ_by_step_and_purpose_and_come_back() -> None:
    layer = LSTM(50, dropout=0.5, recurrent_dropout=0.5)
    layer(normal(RNG, 40, 1, 50))
    ones = np.ones((1, 40, 50), np.float32)
    call = Tape().call(0)
    call.tape.training = True

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        call.tape.step = step
        layer.forward(call, [ones])
        return call.saved["x"][0].copy(), call.saved["how"]["state_factors"].copy()

    (inputs, states), (other_inputs, other_states), again = draw(1), draw(2), draw(1)
    np.testing.assert_array_equal(inputs, again[0])
    np.testing.assert_array_equal(states, again[1])
    for a, b in ((inputs, states), (inputs, other_inputs), (states, other_states)):
        # Of 2,000 independent pairs half agree: five standard deviations.
        assert abs(np.mean((a > 0) == (b > 0)) - 0.5) < 5 * 0.5 / 2000**0.5


def test_weight_drop_draws_once_a_batch_and_keeps_the_kernel() -> None:
    model = model_of(LSTM(6, return_sequences=True, weight_drop=0.5))
    kernel = model.layers[2].recurrent_kernel
    before = kernel.value.copy()
    named = gradients(model, ids(RNG, 8, 4, 5), ids(RNG, 8, 4, 5))[1]
    np.testing.assert_array_equal(kernel.value, before)
    dropped = named["lstm.recurrent_kernel"] == 0
    assert 0.35 < dropped.mean() < 0.65  # of 144 elements: 3.6 standard deviations


def test_embedding_dropout_drops_ids_everywhere() -> None:
    layer = Embedding(40, 3, dropout=0.5, seed=1)
    x = ids(RNG, 40, 30, 20)
    kept, dropped = layer(x), layer(x, training=True)
    np.testing.assert_array_equal(kept, layer.get_weights()[0][x])
    zero = (dropped == 0).all(axis=-1)
    for token in range(40):
        assert len(set(zero[x == token])) == 1
    assert 0.1 < zero.mean() < 0.9
    np.testing.assert_allclose(dropped[~zero], 2 * kept[~zero], rtol=1e-6)


@pytest.mark.parametrize("distinct", [False, True], ids=["dense layer", "recurrent layer"])
def test_gradients_of_embedding_dropout(distinct: bool) -> None:
    """A recurrent layer takes the distinct rows, a Dense one all."""
    layer = LSTM(6, return_sequences=True) if distinct else Dense(6, "tanh")
    model = model_of(layer, dropout=0.4)
    check_gradients(model, ids(RNG, 8, 4, 5), ids(RNG, 8, 4, 5))


def test_all_of_it_trains_and_is_saved(tmp_path: Any) -> None:
    layer = LSTM(6, return_sequences=True, stateful=True, **DROPS[2])
    model = model_of(layer, dropout=0.2)
    x = ids(RNG, 8, 4, 5)
    model.fit(x, x, epochs=2, batch_size=4, verbose=0)
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    for each in (model, again):
        each.fit(x, x, epochs=2, batch_size=4, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTM(4, recurrent_dropout=1.0), "recurrent_dropout must be at least 0 and below 1, got 1.0"),
        (lambda: GRU(4, weight_drop=-0.1), "weight_drop must be at least 0 and below 1, got -0.1"),
        (lambda: Embedding(4, 3, dropout="half"), "dropout must be at least 0 and below 1, got 'half'"),
    ],
)
def test_bad_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
