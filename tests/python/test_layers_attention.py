"""Attention layers, LayerNormalization, PositionEmbedding: gradients through a Model, masks, files, refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, _core, get_num_threads, layers, set_num_threads
from recurlm.layers import (
    Add,
    AdditiveAttention,
    Attention,
    Dense,
    Embedding,
    LayerNormalization,
    MultiHeadAttention,
    PositionEmbedding,
)
from recurlm.utils import set_random_seed
from tests.python.models import check_gradients, gradients, ids, normal

RNG = np.random.default_rng(17)
Apply = Callable[[Any, Any, Any], Any]
V, T, B = 9, 6, 4

CALLS: dict[str, Apply] = {
    "dot": lambda q, v, k: Attention()([q, v]),
    "dot of three": lambda q, v, k: Attention()([q, v, k]),
    "scaled": lambda q, v, k: Attention(use_scale=True)([q, v], use_causal_mask=True),
    "concat": lambda q, v, k: Attention(score_mode="concat")([q, v]),
    "scaled concat": lambda q, v, k: Attention(use_scale=True, score_mode="concat")([q, v, k]),
    "additive": lambda q, v, k: AdditiveAttention()([q, v, k]),
    "additive without scale": lambda q, v, k: AdditiveAttention(use_scale=False)([q, v], use_causal_mask=True),
    "self": lambda q, v, k: MultiHeadAttention(2, 3)(q, q, use_causal_mask=True),
    "cross": lambda q, v, k: MultiHeadAttention(3, 2, value_dim=4, output_shape=7)(q, v, k),
    "cross without bias": lambda q, v, k: MultiHeadAttention(2, 4, use_bias=False)(q, v),
    "dropped": lambda q, v, k: MultiHeadAttention(2, 3, dropout=0.3)(q, v, k, use_causal_mask=True),
}


def pair_model(apply: Apply, mask_zero: bool) -> Model:
    """Ids of a sequence and of another, (B, T) and (B, S): probabilities for each step of the first."""
    first, second = Input((None,), name="first"), Input((None,), name="second")
    query = Embedding(V, 5, mask_zero=mask_zero)(first)
    value, key = (Embedding(V, 5, mask_zero=mask_zero)(second) for _ in range(2))
    return Model([first, second], Dense(V, activation="softmax")(apply(query, value, key)), seed=3)


def batch() -> tuple[Any, Any]:
    """With padding, also at the start, so that a causal query may see nothing."""
    first, second = ids(RNG, V, B, T), ids(RNG, V, B, T + 2)
    first[0, 4:], second[1, 5:], second[2, :2] = 0, 0, 0
    return [first, second], ids(RNG, V, B, T)


def shaken(model: Model) -> Model:
    model.set_weights([0.7 * normal(RNG, *w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("mask_zero", [False, True], ids=["dense", "masked"])
@pytest.mark.parametrize("apply", CALLS.values(), ids=CALLS)
def test_gradients_through_a_model(apply: Apply, mask_zero: bool) -> None:
    model = shaken(pair_model(apply, mask_zero))
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = batch()
    check_gradients(model, x, y)


@pytest.mark.parametrize("options", [{}, {"center": False}, {"scale": False}, {"scale": False, "center": False}])
def test_layer_normalization(options: dict[str, Any]) -> None:
    x = Input((None, 5))
    model = shaken(Model(x, Dense(3)(LayerNormalization(**options)(Dense(7, activation="gelu")(x)))))
    model.compile("sgd", "mse")
    check_gradients(model, normal(RNG, B, T, 5), normal(RNG, B, T, 3))
    rows = normal(RNG, 4, 6) + np.float32(3)
    plain = LayerNormalization(epsilon=0.0)(rows)
    np.testing.assert_allclose(plain.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(plain.std(axis=1), 1, atol=1e-5)


def test_a_shared_normalization_adds_its_gradients_up() -> None:
    x = Input((None, 5))
    shared = LayerNormalization()
    model = shaken(Model(x, Dense(3)(shared(Dense(5, activation="gelu")(shared(x))))))
    model.compile("sgd", "mse")
    values, targets = normal(RNG, B, T, 5), normal(RNG, B, T, 3)
    check_gradients(model, values, targets)
    check_gradients(model, values, targets)  # not added to those of the step before


def test_where_the_query_is_masked_no_gradient_passes() -> None:
    """The sum has no mask, so that the loss counts every step."""
    first, second = Input((None,)), Input((None,))
    query, free = Embedding(V, 5, mask_zero=True)(first), Embedding(V, 5)(second)
    model = shaken(Model([first, second], Dense(V, activation="softmax")(Add()([Attention()([query, free]), free]))))
    model.compile("sgd", "sparse_categorical_crossentropy")
    (x, _), y = batch()
    check_gradients(model, [x, ids(RNG, V, B, T)], y)


def test_position_embedding() -> None:
    tokens = Input((None,))
    embedded = Embedding(V, 4)(tokens)
    layer = PositionEmbedding(8)
    mixed = MultiHeadAttention(1, 4)(embedded, layer(embedded))
    model = Model(tokens, Dense(2)(MultiHeadAttention(1, 3)(mixed, layer(mixed))))
    model.compile("sgd", "mse")
    check_gradients(model, ids(RNG, V, B, T), normal(RNG, B, T, 2))
    _, named = gradients(model, ids(RNG, V, B, T), normal(RNG, B, T, 2))
    assert not named["position_embedding.embeddings"][T:].any()
    _, named = gradients(model, ids(RNG, V, B, 2), normal(RNG, B, 2, 2))
    assert not named["position_embedding.embeddings"][2:].any()
    np.testing.assert_array_equal(layer(normal(RNG, 2, 3, 4))[1], layer.get_weights()[0][:3])
    with pytest.raises(ValueError, match="has 8 positions, got a sequence of 9"):
        model.predict(ids(RNG, V, B, 9), verbose=0)
    with pytest.raises(ValueError, match="has 8 positions, got a sequence of 9"):
        layer(Input((9, 4)))


def test_two_calls_of_one_layer_keep_their_own_arguments(tmp_path: Path) -> None:
    x = Input((None, 4))
    layer = MultiHeadAttention(2, 3)
    model = shaken(Model(x, [layer(x, x, use_causal_mask=True), layer(x, x)]))
    model.save(tmp_path / "model")
    values = normal(RNG, B, T, 4)
    causal, free = model.predict(values, verbose=0)
    assert np.abs(causal[:, :-1] - free[:, :-1]).max() > 1e-3
    np.testing.assert_allclose(causal[:, -1], free[:, -1], atol=1e-6)
    for other in (Model.load(tmp_path / "model"), Model(x, model(x))):
        for ours, theirs in zip((causal, free), other.predict(values, verbose=0), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("apply", CALLS.values(), ids=CALLS)
def test_a_loaded_model_trains_on_with_the_same_bits(apply: Apply, tmp_path: Path) -> None:
    model = shaken(pair_model(apply, mask_zero=True))
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = batch()
    model.train_on_batch(x, y)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    for m in (model, loaded):
        m.train_on_batch(x, y)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_argument_is_named(tmp_path: Path) -> None:
    x = Input((None, 4))
    Model(x, MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)).save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    config["model"]["nodes"][-1]["arguments"] = {"use_crystal_ball": True}
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"damaged.*use_crystal_ball"):
        Model.load(tmp_path / "model")


def block_model() -> Model:
    set_random_seed(5)
    tokens = Input((None,))
    x = Embedding(V, 32, mask_zero=True)(tokens)
    x = MultiHeadAttention(4, 8, dropout=0.2)(LayerNormalization()(x), x, use_causal_mask=True)
    model = Model(tokens, Dense(V, activation="softmax")(Dense(64, activation="gelu")(x)))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x, y = ids(RNG, V, 16, 40), ids(RNG, V, 16, 40)
    results, before = [], get_num_threads()
    for threads in (1, 2, 7):
        set_num_threads(threads)
        model = block_model()
        losses = [model.train_on_batch(x, y) for _ in range(3)]
        results.append([np.array(losses), *model.get_weights(), model.predict(x[:3], verbose=0)])
    set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_row_alone_gives_the_bits_it_has_in_a_batch() -> None:
    x = ids(RNG, V, 5, 40)
    model = block_model()
    np.testing.assert_array_equal(model.predict(x, verbose=0)[3:4], model.predict(x[3:4], verbose=0))


def test_masks_of_calls_on_arrays() -> None:
    layer, q, v = MultiHeadAttention(2, 3), normal(RNG, B, T, 4), normal(RNG, B, T, 4)
    mask = np.ones((B, T), bool)
    mask[:, 4:] = False
    expected = layer(q, np.ascontiguousarray(v[:, :4]))
    np.testing.assert_allclose(layer(q, v, mask=[None, mask]), expected, atol=1e-6)
    keys = mask.copy()
    keys[:, 0] = False
    key = normal(RNG, B, T, 4)
    alone = layer(q, np.ascontiguousarray(v[:, 1:4]), np.ascontiguousarray(key[:, 1:4]))
    np.testing.assert_allclose(layer(q, v, key, mask=[None, mask, keys]), alone, atol=1e-6)
    mask[:, 0], keys[:, 0] = False, True
    np.testing.assert_allclose(layer(q, v, key, mask=[None, mask, keys]), alone, atol=1e-6)
    mask[:, 0] = True
    scores = Attention()
    masked = scores([q, v], mask=[mask, None])
    assert not masked[:, 4:].any()
    np.testing.assert_array_equal(masked[:, :4], scores([q, v])[:, :4])


def test_bfloat16_reaches_the_projections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "multiplies_bfloat16", lambda: True)  # it is emulated where the processor has none
    losses = []
    for dtype in ("float32", "bfloat16"):
        set_random_seed(2)
        x = Input((None, 16))
        model = Model(x, MultiHeadAttention(2, 8)(x, x))
        model.compile("sgd", "mse", dtype=dtype)
        values = np.random.default_rng(1).standard_normal((B, T, 16)).astype(np.float32)
        losses.append(model.train_on_batch(values, values))
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: MultiHeadAttention(0, 3), "num_heads must be an integer from 1 on"),
        (lambda x: MultiHeadAttention(2, 3, dropout=1.0), "dropout must be at least 0 and below 1"),
        (lambda x: MultiHeadAttention(2, 3, attention_axes=(2,)), "attention_axes is not supported"),
        (lambda x: MultiHeadAttention(2, 3, output_shape=(2, 3)), "output_shape must be one width"),
        (lambda x: MultiHeadAttention(2, 3)(x, x, return_attention_scores=True), "return_attention_scores is not"),
        (lambda x: MultiHeadAttention(2, 3)(x, x, attention_mask=x), "attention_mask is not supported"),
        (lambda x: MultiHeadAttention(2, 3)(x, Input((4,))), "takes query, value and perhaps key"),
        (lambda x: MultiHeadAttention(2, 3)(x, Input((5, 4)), Input((6, 4))), "value and key must be equally long"),
        (lambda x: Attention(score_mode="product"), "score_mode must be 'dot' or 'concat'"),
        (lambda x: Attention()(x), "takes a list"),
        (lambda x: Attention()([x, Input((None, 5))]), "query and key must be equally wide"),
        (lambda x: LayerNormalization(axis=1), "only axis=-1 is supported"),
        (lambda x: LayerNormalization(rms_scaling=True), "rms_scaling is not supported"),
        (lambda x: LayerNormalization(epsilon=-1), "epsilon must not be negative"),
        (lambda x: PositionEmbedding(0), "sequence_length must be an integer from 1 on"),
        (lambda x: layers.Attention(use_sale=True), "no argument 'use_sale'"),
    ],
)
def test_refusals(make: Callable[[Any], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make(Input((None, 4)))
