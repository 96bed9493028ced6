"""Outputs, gradients and updates beside Keras 3 on the same random weights; skipped where it is not installed."""

import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras", minversion="3")

import recurlm  # noqa: E402
from recurlm import layers, optimizers  # noqa: E402
from recurlm.tape import Parameter  # noqa: E402
from tests.python.models import ids, normal  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(11)
V, T, B = 9, 6, 4
CELLS: list[tuple[str, dict[str, Any]]] = [
    ("SimpleRNN", {}),
    ("SimpleRNN", {"activation": "relu", "use_bias": False}),
    ("GRU", {}),
    ("GRU", {"reset_after": False}),
    ("LSTM", {}),
    ("LSTM", {"go_backwards": True}),
]


def build(library: Any, top: str, cell: str, options: dict[str, Any], sequences: bool, mask: bool) -> Any:
    made = library.layers
    tokens = library.Input(shape=(None,), dtype="int32")
    x = made.Embedding(V, 5, mask_zero=mask)(tokens)
    x = getattr(made, cell)(7, return_sequences=sequences, **options)(x)
    return library.Model(tokens, made.Dense(V, activation=top)(x))


def pair(*arguments: Any) -> tuple[Any, Any]:
    """The same model twice, with the same random weights."""
    theirs, ours = build(keras, *arguments), build(recurlm, *arguments)
    weights = [0.5 * normal(RNG, *w.shape) for w in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    return theirs, ours


def batch(sequences: bool) -> tuple[Any, Any]:
    x = ids(RNG, V, B, T)
    x[0, 4:] = 0
    return x, ids(RNG, V, B, T) if sequences else ids(RNG, V, B)


@pytest.mark.parametrize(("cell", "options"), CELLS)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_outputs_and_first_gradients(cell: str, options: dict[str, Any], sequences: bool, mask: bool) -> None:
    if mask and sequences and options.get("go_backwards"):
        pytest.skip("Keras leaves the mask of reversed outputs unreversed")
    theirs, ours = pair("softmax", cell, options, sequences, mask)
    x, y = batch(sequences)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=1e-5)
    # With plain descent at rate 1 the change of the weights is the gradient.
    theirs.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    ours.compile(optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    before = ours.get_weights()
    their_loss, our_loss = theirs.train_on_batch(x, y), ours.train_on_batch(x, y)
    assert our_loss == pytest.approx(float(their_loss), abs=1e-5)
    for start, a, b in zip(before, ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a - start, b - start, atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "top"),
    [
        ("mean_squared_error", "linear"),
        ("mean_absolute_error", "tanh"),
        ("binary_crossentropy", "sigmoid"),
        ("categorical_crossentropy", "softmax"),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_masks_and_weights(loss: str, top: str, weighted: bool) -> None:
    theirs, ours = pair(top, "LSTM", {}, True, True)
    x, _ = batch(True)
    y = RNG.random((B, T, V)).astype(np.float32)
    y /= y.sum(-1, keepdims=True)
    weight = RNG.random((B, T)).astype(np.float32) if weighted else None
    theirs.compile(keras.optimizers.SGD(1.0), loss)
    ours.compile(optimizers.SGD(1.0), loss)
    before = ours.get_weights()
    theirs_loss, ours_loss = (m.train_on_batch(x, y, sample_weight=weight) for m in (theirs, ours))
    assert ours_loss == pytest.approx(float(theirs_loss), abs=1e-5)
    for start, a, b in zip(before, ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a - start, b - start, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"learning_rate": 0.1}),
        ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
        ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        ("RMSprop", {}),
        ("RMSprop", {"momentum": 0.5, "centered": True, "clipnorm": 0.05}),
        ("Adagrad", {"learning_rate": 0.1}),
        ("Adam", {}),
        ("Adam", {"amsgrad": True, "clipvalue": 0.001}),
        ("AdamW", {"global_clipnorm": 0.1}),
    ],
)
def test_optimizers_take_the_same_steps(name: str, options: dict[str, Any]) -> None:
    shapes = [(5, 4), (4,)]
    values = [normal(RNG, *shape) for shape in shapes]
    theirs, ours = getattr(keras.optimizers, name)(**options), getattr(optimizers, name)(**options)
    variables = [keras.Variable(value) for value in values]
    parameters = [Parameter(f"p{i}", value.copy()) for i, value in enumerate(values)]
    for _ in range(5):
        gradients = [normal(RNG, *shape) for shape in shapes]
        theirs.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], variables)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad[...] = gradient
        ours.apply(parameters)
    for parameter, variable in zip(parameters, variables, strict=True):
        np.testing.assert_allclose(parameter.value, np.asarray(variable), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ExponentialDecay", {"decay_steps": 3, "decay_rate": 0.5, "staircase": True}),
        ("CosineDecay", {"decay_steps": 5, "alpha": 0.1, "warmup_target": 0.3, "warmup_steps": 2}),
        ("CosineDecay", {"decay_steps": 5}),
    ],
)
def test_schedules(name: str, options: dict[str, Any]) -> None:
    theirs = getattr(keras.optimizers.schedules, name)(0.1, **options)
    ours = getattr(optimizers.schedules, name)(0.1, **options)
    for step in range(9):
        assert ours(step) == pytest.approx(float(theirs(step)), abs=1e-6)


def test_metrics_of_an_evaluation() -> None:
    theirs, ours = pair("softmax", "LSTM", {}, True, False)
    x, y = batch(True)
    figures = ["accuracy", "sparse_top_k_categorical_accuracy"]
    for model in (theirs, ours):
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=figures)
    a, b = (m.evaluate(x, y, batch_size=3, verbose=0, return_dict=True) for m in (ours, theirs))
    assert a == pytest.approx(b, abs=1e-5)


def test_weights_come_in_the_same_order_in_branching_graphs() -> None:
    shapes = []
    for library in (keras, recurlm):
        made = library.layers
        a, b = library.Input((None, 3), name=f"a_{library.__name__}"), library.Input((None, 2))
        _, h, c = made.LSTM(4, return_state=True)(a)
        deep = made.Dense(6)(made.GRU(5)(b))
        wide = made.LSTM(4)(b, initial_state=[h, c])
        model = library.Model([a, b], [made.Dense(2)(wide), deep])
        shapes.append([w.shape for w in model.get_weights()])
    assert shapes[0] == shapes[1]


def test_layers_called_alone_agree() -> None:
    x = normal(RNG, B, T, 3)
    dense, lstm = keras.layers.Dense(4, activation="tanh"), keras.layers.LSTM(4, return_state=True)
    ours_dense, ours_lstm = layers.Dense(4, activation="tanh"), layers.LSTM(4, return_state=True)
    for theirs, ours in ((dense, ours_dense), (lstm, ours_lstm)):
        expected, _ = theirs(x), ours(x)
        ours.set_weights(theirs.get_weights())
        got = ours(x)
        several = isinstance(got, list)
        for a, b in zip(got if several else [got], expected if several else [expected], strict=True):
            np.testing.assert_allclose(a, keras.ops.convert_to_numpy(b), atol=1e-5)


@pytest.mark.parametrize("cell", ["SimpleRNN", "GRU", "LSTM"])
def test_regularizers_and_constraints(cell: str) -> None:
    models = []
    for library in (keras, recurlm):
        made, penal, hold = library.layers, library.regularizers, library.constraints
        x = library.Input((None,), dtype="int32")
        y = made.Embedding(V, 5, embeddings_regularizer=penal.L1(0.02), embeddings_constraint=hold.UnitNorm(axis=1))(x)
        y = getattr(made, cell)(
            7,
            kernel_regularizer=penal.L1L2(0.01, 0.03),
            recurrent_regularizer="l2",
            bias_regularizer=penal.L2(0.1),
            activity_regularizer=None if cell == "SimpleRNN" else penal.L2(0.05),  # Keras 3.15's SimpleRNN forgets it
            recurrent_constraint=hold.MaxNorm(0.8),
            bias_constraint="non_neg",
            return_sequences=True,
        )(y)
        y = made.Dropout(0.0, activity_regularizer="l1")(y)
        top = made.Dense(V, activation="softmax", kernel_constraint=hold.MinMaxNorm(0.5, 0.9, rate=0.5))(y)
        models.append(library.Model(x, top))
    theirs, ours = models
    weights = [0.5 * normal(RNG, *w.shape) for w in theirs.get_weights()]
    x, y = batch(True)
    for model, optimizer in ((theirs, keras.optimizers.SGD(0.1)), (ours, optimizers.SGD(0.1))):
        model.set_weights(weights)
        model.compile(optimizer, "sparse_categorical_crossentropy")
    for _ in range(3):
        assert ours.train_on_batch(x, y) == pytest.approx(float(theirs.train_on_batch(x, y)), abs=1e-5)
    assert ours.evaluate(x, y, verbose=0) == pytest.approx(theirs.evaluate(x, y, verbose=0), abs=1e-5)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
