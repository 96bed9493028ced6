"""Pooling, reshaping, Activation and SpatialDropout1D."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, Sequential
from recurlm.layers import (
    GRU,
    Activation,
    Dense,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Masking,
    Permute,
    RepeatVector,
    Reshape,
    SpatialDropout1D,
)
from tests.python.models import check_gradients, ids, normal
from tests.reference import activations, softmax

RNG = np.random.default_rng(23)


@pytest.mark.parametrize("keepdims", [False, True])
def test_pooling_is_the_equation(keepdims: bool) -> None:
    x = normal(RNG, 3, 5, 4)
    mask = RNG.random((3, 5)) < 0.5
    mask[:, 0] = True
    mean = GlobalAveragePooling1D(keepdims=keepdims)
    np.testing.assert_allclose(mean(x), x.mean(1, keepdims=keepdims), atol=1e-6)
    expected = (x * mask[..., None]).sum(1, keepdims=keepdims)
    counts = mask.sum(1).reshape((3, 1, 1) if keepdims else (3, 1))
    np.testing.assert_allclose(mean(x, mask=mask), expected / counts, atol=1e-6)
    largest = GlobalMaxPooling1D(keepdims=keepdims)
    np.testing.assert_array_equal(largest(x, mask=mask), x.max(1, keepdims=keepdims))


def test_what_is_masked_may_be_anything_and_a_row_of_padding_gives_zero() -> None:
    x = np.array([[[1.0], [np.nan]], [[np.inf], [2.0]], [[np.nan], [np.nan]]], np.float32)
    mask = np.array([[True, False], [False, True], [False, False]])
    np.testing.assert_array_equal(GlobalAveragePooling1D()(x, mask=mask), [[1], [2], [0]])


def test_a_mean_is_the_same_for_a_row_alone_and_in_a_batch() -> None:
    x = normal(RNG, 4, 1000, 1)
    whole = GlobalAveragePooling1D()(x)
    for row in range(4):
        np.testing.assert_array_equal(GlobalAveragePooling1D()(x[row : row + 1]), whole[row : row + 1])


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("keepdims", [False, True])
def test_gradients_of_the_mean(mask: bool, keepdims: bool) -> None:
    tokens = Input((None,))
    x = GRU(4, return_sequences=True)(Embedding(6, 3, mask_zero=mask)(tokens))
    model = Model(tokens, Dense(2)(GlobalAveragePooling1D(keepdims=keepdims)(x)))
    model.compile("sgd", "mse")
    y = normal(RNG, 5, 1, 2) if keepdims else normal(RNG, 5, 2)
    check_gradients(model, ids(RNG, 6, 5, 7), y, probes=2)


@pytest.mark.parametrize("keepdims", [False, True])
def test_gradients_of_the_maximum(keepdims: bool) -> None:
    source = Input((None, 4))
    below = Dense(4)
    model = Model(source, GlobalMaxPooling1D(keepdims=keepdims)(below(source)))
    below.set_weights([np.eye(4), np.zeros(4)])
    model.compile("sgd", "mse")
    # Far enough from each other that no difference changes which is the largest.
    x = RNG.permuted(np.arange(3 * 5 * 4, dtype=np.float32).reshape(3, 5, 4) % 5, axis=1)
    check_gradients(model, x, x.max(1, keepdims=keepdims) + normal(RNG, 3, *[1] * keepdims, 4))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Flatten(), lambda x: x.reshape(2, -1)),
        (Reshape((12, 5)), lambda x: x.reshape(2, 12, 5)),
        (Reshape((-1,)), lambda x: x.reshape(2, -1)),
        (Reshape([5, -1, 2, 2]), lambda x: x.reshape(2, 5, 3, 2, 2)),
        (Permute((2, 1, 3)), lambda x: x.transpose(0, 2, 1, 3)),
        (Permute((3, 1, 2)), lambda x: x.transpose(0, 3, 1, 2)),
    ],
)
def test_arrangements_are_numpys(layer: Any, expected: Any) -> None:
    x = normal(RNG, 2, 3, 4, 5)
    np.testing.assert_array_equal(layer(x), expected(x))
    source = Input((3, 4, 5))
    assert layer(source).shape == (None, *expected(x).shape[1:])
    kept = Model(source, layer(Dense(5)(source)))
    kept.compile("sgd", "mse")
    check_gradients(kept, x, normal(RNG, *expected(x).shape), probes=2)


def test_repeat_vector() -> None:
    x = normal(RNG, 3, 4)
    np.testing.assert_array_equal(RepeatVector(5)(x), np.repeat(x[:, None], 5, 1))
    source = Input((4,))
    model = Model(source, GRU(2, return_sequences=True)(RepeatVector(3)(Dense(4)(source))))
    model.compile("sgd", "mse")
    check_gradients(model, x, normal(RNG, 3, 3, 2), probes=2)


@pytest.mark.parametrize("layer", [Flatten(), Reshape((4, 3)), Permute((2, 1)), GlobalAveragePooling1D()])
def test_masks_end_where_steps_do(layer: Any) -> None:
    source = Input((3, 4))
    model = Model(source, layer(Masking()(source)))
    x = normal(RNG, 2, 3, 4)
    x[0, 1:] = 0
    tape = model.tape
    assert model.graph.forward(tape, [x]).masks[model.outputs[0]] is None


@pytest.mark.parametrize("name", ["linear", "tanh", "sigmoid", "relu", "softmax"])
def test_activation_is_the_function(name: str) -> None:
    x = normal(RNG, 2, 3, 4)
    z = x.astype(np.float64)
    expected = softmax.forward(z) if name == "softmax" else activations.forward(name, z)
    np.testing.assert_allclose(Activation(name)(x), expected, atol=1e-6)
    source = Input((4,))
    model = Model(source, Activation(name)(Dense(4)(source)))
    model.compile("sgd", "mse")
    if name != "relu":  # whose kinks differences step over
        check_gradients(model, normal(RNG, 5, 4), normal(RNG, 5, 4), probes=3)


def test_spatial_dropout_drops_the_same_features_at_all_steps() -> None:
    dropped = SpatialDropout1D(0.5, seed=1)(np.ones((3, 7, 20), np.float32), training=True)
    assert (dropped == dropped[:, :1]).all()
    np.testing.assert_array_equal(np.unique(dropped), [0, 2])
    assert not np.array_equal(dropped[0], dropped[1])
    source = Input((None, 4))
    model = Model(source, Dense(1)(SpatialDropout1D(0.5)(Dense(4)(source))))
    model.compile("sgd", "mse")
    check_gradients(model, normal(RNG, 5, 3, 4), normal(RNG, 5, 3, 1), probes=2)


def test_sequential_takes_all_of_them_and_is_saved(tmp_path: Path) -> None:
    model = Sequential(
        [
            Dense(4),
            Activation("tanh"),
            SpatialDropout1D(0.2),
            Permute((2, 1)),
            Reshape((6, 4)),
            GRU(3, return_sequences=True),
            Flatten(),
            RepeatVector(2),
            GlobalAveragePooling1D(keepdims=True),
            GlobalMaxPooling1D(),
        ]
    )
    model.compile("adam", "mse")
    x, y = normal(RNG, 5, 6, 2), normal(RNG, 5, 18)
    model.fit(x, y, verbose=0)  # built by its data, whose number of steps the widths depend on
    assert model.inputs[0].shape == (None, 6, 2)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.train_on_batch(x, y) == model.train_on_batch(x, y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Reshape((2, 0)), "target_shape must hold positive integers and at most one -1"),
        (lambda: Reshape((-1, -1)), "target_shape must hold positive integers and at most one -1"),
        (lambda: Reshape((5, -1))(Input((3, 4))), r"shape \(None, 3, 4\) cannot become \(batch, 5, -1\)"),
        (lambda: Reshape((5, 2))(np.ones((1, 3, 4))), r"shape \(1, 3, 4\) cannot become \(batch, 5, 2\)"),
        (lambda: Permute((0, 1)), "dims must hold each of 1, 2, ... once"),
        (lambda: Permute((2, 1))(Input((3,))), "do not fit an input of shape"),
        (lambda: RepeatVector(0), "n must be an integer from 1 on, got 0"),
        (lambda: RepeatVector(2)(Input((3, 4))), "takes one input"),
        (lambda: GlobalAveragePooling1D()(Input((4,))), "takes one input"),
        (lambda: GlobalMaxPooling1D()(np.ones((2, 0, 3))), "at least one step"),
        (lambda: GlobalMaxPooling1D("channels_first"), "data_format must be 'channels_last'"),
        (lambda: Flatten("channels_first"), "data_format must be 'channels_last'"),
        (lambda: SpatialDropout1D(0.5)(Input((3,))), "takes one input"),
        (lambda: Activation("mish"), "activation must be one of linear, "),
    ],
)
def test_bad_input_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
