from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, layers
from recurlm.layers import LSTM, Dense, Dropout, Embedding, Layer, Masking
from tests.python.models import check_gradients, gradients, ids, normal
from tests.reference import activations, softmax

RNG = np.random.default_rng(7)
NO_LAYERS = ("Layer", "SymbolicTensor", "Input", "serialize", "deserialize")


def test_embedding_picks_rows_and_names_bad_ids() -> None:
    layer = Embedding(5, 3)
    table = layer.get_weights()[0]
    tokens = ids(RNG, 5, 2, 4)
    np.testing.assert_array_equal(layer(tokens), table[tokens])
    np.testing.assert_array_equal(layer(tokens[:, 0]), table[tokens[:, 0]])
    for wrong in (-1, 5, 2**31, 2**40):
        bad = tokens.astype(np.int64)
        bad[1, 2] = wrong
        with pytest.raises(IndexError, match=rf"\[1, 2\] is {wrong}, outside 0 <= id < 5"):
            layer(bad)
    with pytest.raises(TypeError, match="must be integers, got dtype float64"):
        layer(tokens.astype(np.float64))


@pytest.mark.parametrize("activation", ["linear", "tanh", "sigmoid", "relu", "gelu", "softmax"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3)])
def test_dense_is_the_equation(activation: str, shape: tuple[int, ...]) -> None:
    layer = Dense(6, activation=activation)
    x = normal(RNG, *shape)
    layer(x)
    layer.set_weights([normal(RNG, 3, 6), normal(RNG, 6)])
    kernel, bias = (w.astype(np.float64) for w in layer.get_weights())
    z = x.astype(np.float64) @ kernel + bias
    expected = softmax.forward(z) if activation == "softmax" else activations.forward(activation, z)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("activation", ["linear", "tanh", "sigmoid", "gelu", "softmax"])
def test_gradients_of_a_two_layer_graph(activation: str) -> None:
    x = Input((4,))
    model = Model(x, Dense(3, activation)(Dense(5, "tanh")(x)))
    model.compile("sgd", "mse")
    check_gradients(model, normal(RNG, 6, 4), normal(RNG, 6, 3))


def test_dropout_scales_what_it_keeps_and_gives_the_same_in_the_backward_pass() -> None:
    ones = np.ones((40, 50), np.float32)
    dropped = Dropout(0.25, seed=3)(ones, training=True)
    values, counts = np.unique(dropped, return_counts=True)
    np.testing.assert_allclose(values, [0, 4 / 3])
    assert abs(counts[0] / 2000 - 0.25) < 0.04
    np.testing.assert_array_equal(Dropout(0.25)(ones), ones)
    x = Input((50,))
    model = Model(x, Dense(1)(Dropout(0.5)(x)), seed=1)
    model.compile("sgd", "mse")
    check_gradients(model, normal(RNG, 5, 50), normal(RNG, 5, 1))


def test_dropout_differs_between_steps_and_layers_but_not_between_runs() -> None:
    def masks(seed: int) -> list[np.ndarray]:
        x = Input((200,))
        model = Model(x, [Dropout(0.5)(x), Dropout(0.5)(x)], seed=seed)
        ones = np.ones((1, 200), np.float32)
        first = model(ones, training=True)
        model.step += 1
        return [*first, *model(ones, training=True)]

    drawn = masks(5)
    for i, mask in enumerate(drawn):
        assert not any(np.array_equal(mask, other) for other in drawn[:i])
    np.testing.assert_array_equal(drawn, masks(5))
    assert not np.array_equal(drawn, masks(6))


def test_variational_dropout_shares_its_draw_over_time() -> None:
    dropped = Dropout(0.5, noise_shape=(None, 1, None), seed=1)(np.ones((3, 7, 20), np.float32), training=True)
    assert (dropped == dropped[:, :1]).all()
    assert len(np.unique(dropped)) == 2
    with pytest.raises(ValueError, match="does not fit an input of rank 2"):
        Dropout(0.5, noise_shape=(None, 1, None))(np.ones((3, 7), np.float32), training=True)


def test_masking_blanks_steps() -> None:
    x = normal(RNG, 2, 4, 3)
    x[0, 2] = -1
    blanked = x.copy()
    blanked[0, 2] = 0
    np.testing.assert_array_equal(Masking(-1.0)(x), blanked)


def test_calls_in_a_graph_take_neither_training_nor_masks() -> None:
    with pytest.raises(ValueError, match="training and mask are for calls on arrays"):
        Dropout(0.5)(Input((3,)), training=True)
    with pytest.raises(TypeError, match="symbolic tensors and arrays cannot be mixed"):
        layers.LSTM(2)(Input((None, 3)), initial_state=[np.zeros((1, 2)), np.zeros((1, 2))])


def test_masked_positions_do_not_count_in_the_loss() -> None:
    sequence = Input((None, 3))
    model = Model(sequence, Dense(2)(Masking()(sequence)))
    model.compile("sgd", "mse")
    x, y = normal(RNG, 2, 4, 3), normal(RNG, 2, 4, 2)
    x[0, 1:] = 0
    keep = (x != 0).any(-1)
    loss, _ = gradients(model, x, y)
    kernel, bias = (w.astype(np.float64) for w in model.get_weights())
    expected = ((x @ kernel + bias - y) ** 2).mean(-1)[keep].mean()
    assert loss == pytest.approx(expected, rel=1e-5)
    check_gradients(model, x, y)


def test_weights_are_checked_before_any_is_changed() -> None:
    layer = Dense(2)
    layer(np.zeros((1, 3), np.float32))
    before = layer.get_weights()
    with pytest.raises(ValueError, match=r"weight 1 \(bias\) has shape \(2,\), got \(3,\)"):
        layer.set_weights([np.ones((3, 2)), np.ones(3)])
    with pytest.raises(ValueError, match="has 2 weights, got 1"):
        layer.set_weights([np.ones((3, 2))])
    np.testing.assert_array_equal(layer.get_weights()[0], before[0])
    with pytest.raises(ValueError, match=r"takes inputs of width 3, got shape \(1, 4\)"):
        layer(np.zeros((1, 4), np.float32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Dense(3, "swish"),
            "activation must be one of linear, tanh, sigmoid, relu, gelu, softmax, got 'swish'",
        ),
        (lambda: Dense(0), "units must be an integer from 1 on, got 0"),
        (lambda: Embedding(2.5, 3), "input_dim must be an integer from 1 on, got 2.5"),
        (lambda: Dropout(1.5), "rate must be a number from 0 to 1, got 1.5"),
        (lambda: Dense(3, kernel_initializer="glorot"), "unknown initializer 'glorot'; known are"),
        (lambda: Dense(3, tied_to=Embedding(4, 2)), "tied_to must be an Embedding with input_dim 3"),
        (lambda: Dense(3, dtype="float16"), "dtype must be float32, got 'float16'"),
        (lambda: Input(), "Input needs either shape"),
        (lambda: Dense(4, tied_to=Embedding(4, 2), kernel_regularizer="l2"), "belongs to embedding"),
        (lambda: Dropout(0.1)([Input((3,)), Input((3,))]), "takes one input, got 2"),
        (lambda: layers.Add()([]), r"takes a list of inputs, got \[\]"),
        (lambda: layers.Permute(2), "dims must hold each of 1, 2, ... once, got 2"),
        (lambda: Input((-3,)), "extents of shape must be positive integers or None"),
        (lambda: Dense(2)(Input((None,))), "takes one input of known width"),
    ],
)
def test_bad_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", [n for n in layers.__all__ if n not in NO_LAYERS])
def test_configurations_make_the_same_layer(name: str) -> None:
    arguments: dict[str, Any] = {
        "InputLayer": {"shape": (3,), "batch_size": 2},
        "Embedding": {"input_dim": 4, "output_dim": 3, "mask_zero": True, "embeddings_initializer": "he_normal"},
        "Dense": {"units": 3, "activation": "relu", "use_bias": False, "name": "given"},
        "Dropout": {"rate": 0.3, "noise_shape": (None, 1, None), "seed": 4},
        "Masking": {"mask_value": 2.0, "trainable": False},
        "Activation": {"activation": "tanh"},
        "Concatenate": {"axis": 1},
        "SpatialDropout1D": {"rate": 0.3, "seed": 4},
        "Reshape": {"target_shape": (2, -1)},
        "Permute": {"dims": (2, 1)},
        "RepeatVector": {"n": 3},
        "Bidirectional": {"layer": LSTM(3, return_state=True), "merge_mode": "sum", "trainable": False},
        "TimeDistributed": {"layer": Dense(3, "relu")},
        **{key: {"keepdims": True} for key in ("GlobalAveragePooling1D", "GlobalMaxPooling1D")},
        "Attention": {"use_scale": True, "score_mode": "concat", "dropout": 0.1, "seed": 4},
        "AdditiveAttention": {"use_scale": False, "dropout": 0.1, "seed": 4},
        "MultiHeadAttention": {"num_heads": 2, "key_dim": 3, "value_dim": 4, "output_shape": (5,), "use_bias": False},
        "LayerNormalization": {"epsilon": 1e-5, "center": False, "gamma_initializer": "he_normal"},
        "PositionEmbedding": {"sequence_length": 5, "initializer": "he_normal"},
        **{key: {"units": 3, "return_state": True, "go_backwards": True} for key in ("GRU", "LSTM", "SimpleRNN")},
    }
    layer: Layer = getattr(layers, name)(**arguments.get(name, {"name": "given"}))
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config


def test_a_dropout_of_everything_trains() -> None:
    x = Input((None, 3))
    model = Model(x, Dense(1)(Dropout(1.0)(LSTM(2)(x))))
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(np.ones((4, 2, 3)), np.ones((4, 1)), verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [False, False, False, False, True]
