from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, Sequential
from recurlm.layers import GRU, LSTM, Add, Average, Concatenate, Dense, Embedding, Masking, Multiply, Subtract
from tests.python.models import check_gradients, ids, normal

RNG = np.random.default_rng(22)
EQUATIONS = {
    Add: lambda a, b: a + b,
    Subtract: lambda a, b: a - b,
    Multiply: lambda a, b: a * b,
    Average: lambda a, b: (a + b) / 2,
}


@pytest.mark.parametrize("kind", EQUATIONS)
@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 4), (3, 4)),
        ((3, 5, 4), (3, 5, 4)),
        ((3, 5, 4), (3, 1, 4)),
        ((3, 5, 1), (3, 1, 4)),
        ((3, 4), (3, 5, 4)),
        ((3, 2, 5, 4), (3, 5, 4)),
        ((3, 2, 1, 4), (3, 4)),
    ],
)
def test_elementwise_layers_spread_as_keras_does(kind: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    a, b = (normal(RNG, *shape) for shape in shapes)
    rank = max(a.ndim, b.ndim)
    full = [x.reshape(x.shape[:1] + (1,) * (rank - x.ndim) + x.shape[1:]) for x in (a, b)]
    np.testing.assert_allclose(kind()([a, b]), EQUATIONS[kind](*full), rtol=1e-6)


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2])
def test_concatenate_along_any_axis_but_the_first(axis: int) -> None:
    shape = [2, 3, 4, 5]
    first, second = (normal(RNG, *shape) for _ in range(2))
    second = np.take(second, [0, 1], axis)
    y = Concatenate(axis)([first, second, first])
    np.testing.assert_array_equal(y, np.concatenate([first, second, first], axis))


@pytest.mark.parametrize("kind", [Add, Subtract, Multiply, Average, Concatenate, lambda: Concatenate(1)])
@pytest.mark.parametrize("masks", [(True, True), (True, False), (False, False)])
def test_gradients_with_and_without_masks(kind: Any, masks: tuple[bool, bool]) -> None:
    inputs = [Input((None,)), Input((None,))]
    x = [Embedding(6, 3, mask_zero=mask)(tokens) for tokens, mask in zip(inputs, masks, strict=True)]
    model = Model(inputs, Dense(2)(GRU(3, return_sequences=True)(kind()(x))))
    model.compile("sgd", "mse")
    tokens = [ids(RNG, 6, 4, 5), ids(RNG, 6, 4, 5)]
    y = normal(RNG, *model.predict(tokens, verbose=0).shape)
    for _ in range(2):
        check_gradients(model, tokens, y, probes=2)


@pytest.mark.parametrize("kind", [Add, Multiply, Average, Subtract, Concatenate])
def test_gradients_of_spread_and_of_repeated_inputs(kind: Any) -> None:
    sequence, row = Input((5, 2)), Input((3,))
    x = LSTM(4, return_sequences=True)(sequence)
    other = x if kind is Concatenate else Dense(4)(row)
    narrow = x if kind is Concatenate else Dense(1)(x)
    merged = kind()([kind()([x, other]), kind()([narrow, x])])
    model = Model([sequence, row], Dense(1)(kind()([merged, merged])))
    model.compile("sgd", "mse")
    check_gradients(model, [normal(RNG, 4, 5, 2), normal(RNG, 4, 3)], normal(RNG, 4, 5, 1), probes=2)


def test_gradients_for_several_inputs_are_memory_of_their_own() -> None:
    """Layers below write their gradients over the one that they are given."""
    x = Input((4,))
    branches = [Dense(4, "tanh")(Dense(4, "sigmoid")(x)) for _ in range(3)]
    model = Model(x, Dense(1)(Add()(branches)))
    model.compile("sgd", "mse")
    check_gradients(model, normal(RNG, 6, 4), normal(RNG, 6, 1), probes=3)


def mask_of(layer: Any, masks: list[np.ndarray | None]) -> np.ndarray | None:
    """The mask of the output, batch-first, for inputs (2, 3, 4)."""
    from recurlm.tape import Tape

    call = Tape().call(0)
    call.masks = [None if mask is None else np.ascontiguousarray(mask.T) for mask in masks]
    inputs = [np.ones((3, 2, 4), np.float32)] * len(masks)
    layer.forward(call, inputs)
    mask = layer.masks(call, inputs)[0]
    return None if mask is None else mask.T


def test_masks_are_combined() -> None:
    a = np.array([[True, True, False], [True, False, False]])
    b = np.array([[True, False, False], [True, False, True]])
    for layer in (Add(), Multiply(), Average(), Subtract(), Concatenate()):
        np.testing.assert_array_equal(mask_of(layer, [a, b]), a | b)
        assert mask_of(layer, [a, None]) is None
        assert mask_of(layer, [None, None]) is None
    along_time = Concatenate(1)
    np.testing.assert_array_equal(mask_of(along_time, [a, b]), np.concatenate([a, b], 1))
    np.testing.assert_array_equal(mask_of(along_time, [a, None]), np.concatenate([a, np.ones_like(a)], 1))
    assert mask_of(along_time, [None, None]) is None


def test_the_loss_counts_what_the_combined_mask_leaves() -> None:
    inputs = [Input((None, 2)), Input((None, 2))]
    model = Model(inputs, Add()([Masking()(x) for x in inputs]))
    model.compile("sgd", "mse")
    x = [normal(RNG, 2, 3, 2), normal(RNG, 2, 3, 2)]
    x[0][0, 1:] = 0
    x[1][0, 2:] = 0
    expected = float(np.mean([np.square(x[0] + x[1])[i, t].mean() for i in (0, 1) for t in range(3) if i or t < 2]))
    assert model.evaluate(x, np.zeros((2, 3, 2)), verbose=0) == pytest.approx(expected, abs=1e-6)


def test_masks_of_calls_on_arrays() -> None:
    x, mask = normal(RNG, 2, 3, 4), np.array([[True, True, False], [True, False, False]])
    y = Multiply()([x, x], mask=[mask, None])
    np.testing.assert_allclose(y, np.where(mask[..., None], x * x, x), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Add()(Input((3,))), ValueError, "takes a list of inputs"),
        (lambda: Sequential([Input((3,)), Add()]), ValueError, "takes a list of inputs"),
        (lambda: Add()([Input((3,)), Input((4,))]), ValueError, r"spread to one, got \(None, 3\), \(None, 4\)"),
        (lambda: Add()([np.ones((2, 3)), np.ones((1, 3))]), ValueError, "spread to one"),
        (lambda: Subtract()([Input((3,))] * 3), ValueError, "takes two inputs, got 3"),
        (lambda: Concatenate(0), ValueError, "axis must be an integer other than 0"),
        (lambda: Concatenate("1"), ValueError, "axis must be an integer other than 0, the batch's, got '1'"),
        (lambda: Concatenate(2)([Input((3,)), Input((3,))]), ValueError, "axis 2 does not fit"),
        (lambda: Concatenate()([Input((2, 3)), Input((4, 3))]), ValueError, "differ only along axis 2"),
        (lambda: Concatenate()([Input((2, 3)), Input((3,))]), ValueError, "differ only along axis 2"),
    ],
)
def test_bad_input_is_named(make: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_sequences_of_different_lengths_are_told() -> None:
    inputs = [Input((None, 2)), Input((None, 2))]
    x = [np.ones((2, 3, 2), np.float32), np.ones((2, 4, 2), np.float32)]
    for layer in (Add(), Concatenate()):
        with pytest.raises(ValueError, match=r"got \(2, 3, 2\), \(2, 4, 2\)"):
            Model(inputs, layer(inputs)).predict(x, verbose=0)
