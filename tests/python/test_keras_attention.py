"""Attention layers beside Keras 3 on the same random weights: outputs and first gradients; skipped without Keras."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras", minversion="3")

import recurlm  # noqa: E402
from recurlm import optimizers  # noqa: E402
from tests.python.models import ids, normal  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(23)
V, T, S, B = 9, 6, 8, 4
Apply = Callable[[Any, Any, Any, Any], Any]

CALLS: dict[str, Apply] = {
    "dot": lambda l, q, v, k: l.Attention()([q, v]),
    "dot of three": lambda l, q, v, k: l.Attention(use_scale=True)([q, v, k]),
    "causal dot": lambda l, q, v, k: l.Attention()([q, v], use_causal_mask=True),
    "concat": lambda l, q, v, k: l.Attention(score_mode="concat", use_scale=True)([q, v, k]),
    "concat of two": lambda l, q, v, k: l.Attention(score_mode="concat")([q, v], use_causal_mask=True),
    "additive": lambda l, q, v, k: l.AdditiveAttention()([q, v, k]),
    "additive of two": lambda l, q, v, k: l.AdditiveAttention(use_scale=False)([q, v], use_causal_mask=True),
    "self": lambda l, q, v, k: l.MultiHeadAttention(2, 3)(q, q),
    "causal self": lambda l, q, v, k: l.MultiHeadAttention(2, 3)(q, q, use_causal_mask=True),
    "cross": lambda l, q, v, k: l.MultiHeadAttention(3, 2, value_dim=4, output_shape=7)(q, v, k),
    "causal cross": lambda l, q, v, k: l.MultiHeadAttention(2, 3, use_bias=False)(q, v, use_causal_mask=True),
    "gelu": lambda l, q, v, k: l.Dense(6, activation="gelu")(q),
    "normalised": lambda l, q, v, k: l.LayerNormalization()(q),
    "normalised without weights": lambda l, q, v, k: l.LayerNormalization(epsilon=1e-5, center=False, scale=False)(q),
}


ONE_INPUT = {"self", "causal self", "gelu", "normalised", "normalised without weights"}
# Where a query of these sees no key, what Keras's gradient is depends on its backend.
NO_BLIND_QUERIES = {"causal dot", "causal cross", "concat of two", "additive of two"}


def build(library: Any, name: str, mask: bool) -> Any:
    made = library.layers
    first, second = (library.Input(shape=(None,), dtype="int32") for _ in range(2))
    query, value, key = (made.Embedding(V, 5, mask_zero=mask)(tokens) for tokens in (first, second, second))
    y = made.Dense(V, activation="softmax")(CALLS[name](made, query, value, key))
    return library.Model([first] if name in ONE_INPUT else [first, second], y)


def batch(name: str, mask: bool) -> tuple[Any, Any]:
    """With padding, where there are masks: behind, in front and everywhere."""
    first, second = ids(RNG, V, B, T), ids(RNG, V, B, S)
    if mask:
        first[0, 4:], second[1, 5:] = 0, 0
        if name in NO_BLIND_QUERIES:
            second[:, 0] = 1
        else:
            second[2, :2], second[3] = 0, 0
    return [first] if name in ONE_INPUT else [first, second], ids(RNG, V, B, T)


@pytest.mark.parametrize("mask", [False, True], ids=["dense", "masked"])
@pytest.mark.parametrize("name", CALLS)
def test_outputs_and_first_gradients(name: str, mask: bool) -> None:
    theirs, ours = build(keras, name, mask), build(recurlm, name, mask)
    # Weights of an attention layer have the same shapes, in the same order.
    assert [w.shape for w in theirs.get_weights()] == [w.shape for w in ours.get_weights()]
    weights = [0.5 * normal(RNG, *w.shape) for w in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    x, y = batch(name, mask)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=1e-5)
    # With plain descent at rate 1 the change of the weights is the gradient.
    theirs.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    ours.compile(optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    before = ours.get_weights()
    their_loss, our_loss = theirs.train_on_batch(x, y), ours.train_on_batch(x, y)
    assert our_loss == pytest.approx(float(their_loss), abs=1e-5)
    for start, a, b in zip(before, ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a - start, b - start, atol=1e-5)


@pytest.mark.parametrize("name", ["Attention", "AdditiveAttention", "MultiHeadAttention", "LayerNormalization"])
def test_initial_weights_have_the_same_names_and_spread(name: str) -> None:
    arguments = {"MultiHeadAttention": (4, 16), "Attention": (True, "concat")}.get(name, ())
    x = normal(RNG, 2, 5, 64)
    pair = [getattr(library.layers, name)(*arguments) for library in (keras, recurlm)]
    for layer in pair:
        layer(x, x) if name == "MultiHeadAttention" else layer(x if name.startswith("Layer") else [x, x])
    theirs, ours = pair
    for variable, parameter in zip(theirs.weights, ours.weights, strict=True):
        assert variable.path.endswith(parameter.name.replace(".", "/"))
        assert tuple(variable.shape) == parameter.shape
        # Uniform numbers: their standard deviation is known to some percent.
        assert float(np.std(variable)) == pytest.approx(float(np.std(parameter.value)), rel=0.3, abs=1e-9)
