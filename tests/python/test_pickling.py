"""Models through pickle and deepcopy: the same predictions, the same training, plain values inside."""

import copy
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recurlm import Input, LanguageModel, Model, Sequential
from recurlm.layers import GRU, LSTM, Dense, Dropout, Embedding
from recurlm.text.tokenizers import WordTokenizer

from . import samples
from .models import ids

WAYS: list[Callable[[Any], Any]] = [lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy]
ways = pytest.mark.parametrize("way", WAYS, ids=["pickle", "deepcopy"])


def functional() -> Model:
    tokens = Input((None,), dtype="int32")
    table = Embedding(11, 6, name="table")
    x = Dropout(0.3)(LSTM(6, return_sequences=True, stateful=True)(table(tokens)))
    return Model(tokens, Dense(11, "softmax", tied_to=table)(x), seed=3)


def sequential() -> Sequential:
    return Sequential([Embedding(11, 5, mask_zero=True), GRU(4, return_sequences=True), Dense(11, "softmax")], seed=3)


def trained(model: Model) -> Model:
    rng = np.random.default_rng(0)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(ids(rng, 11, 8, 5), ids(rng, 11, 8, 5), batch_size=4, epochs=2, verbose=0)
    return model


@ways
@pytest.mark.parametrize("make", [functional, sequential])
def test_a_trained_model_goes_on_with_the_same_bits(make: Callable[[], Model], way: Callable[[Any], Any]) -> None:
    model = trained(make())
    other = way(model)
    assert type(other) is type(model)
    x, y = ids(np.random.default_rng(1), 11, 4, 5), ids(np.random.default_rng(2), 11, 4, 5)
    assert other.optimizer.iterations == model.optimizer.iterations == 4
    for _ in range(2):  # carried states, moments, and what dropout draws
        assert other.train_on_batch(x, y) == model.train_on_batch(x, y)
    assert other.predict(x, verbose=0).tobytes() == model.predict(x, verbose=0).tobytes()


def test_a_copy_is_apart() -> None:
    model = trained(functional())
    before = [weight.tobytes() for weight in model.get_weights()]
    trained(copy.deepcopy(model))
    assert [weight.tobytes() for weight in model.get_weights()] == before


@ways
def test_a_model_that_is_not_compiled(way: Callable[[Any], Any]) -> None:
    model = functional()
    other = way(model)
    assert not other.is_compiled
    assert (
        other.predict(np.ones((2, 3), int), verbose=0).tobytes()
        == model.predict(np.ones((2, 3), int), verbose=0).tobytes()
    )


@ways
@pytest.mark.parametrize("compiled", [False, True])
def test_a_sequential_that_is_not_built(way: Callable[[Any], Any], compiled: bool) -> None:
    model = sequential()
    if compiled:
        model.compile("sgd", "sparse_categorical_crossentropy")
    other = way(model)
    assert not other.is_built
    assert other.is_compiled == compiled
    assert np.array_equal(other.stack[0].get_weights()[0], model.stack[0].get_weights()[0])
    assert np.isfinite(trained(other).get_weights()[0]).all()


def test_trained_layers_of_a_sequential_that_is_not_built_are_not_lost() -> None:
    dense = Dense(3)
    dense(np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="holds trained layers but is not built"):
        copy.deepcopy(Sequential([dense]))


def test_what_has_no_configuration_is_refused() -> None:
    class Mine(Model):
        pass

    tokens = Input((2,))
    with pytest.raises(TypeError, match="Mine must define __reduce__"):
        pickle.dumps(Mine(tokens, Dense(1)(tokens)))
    with pytest.raises(TypeError, match="a layer alone is not pickled"):
        copy.copy(Dense(1))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@ways
def test_a_language_model(way: Callable[[Any], Any], precision: Any) -> None:
    lm = samples.trained(samples.LINES * 20, epochs=1)
    if precision != "float32":
        lm = lm.quantize(precision)
    other = way(lm)
    assert other.precision == precision
    assert other.separate_texts
    assert np.array_equal(other.score(samples.LINES), lm.score(samples.LINES))
    assert other.generate("the ", seed=4) == lm.generate("the ", seed=4)
    if precision == "float32":
        recipe = samples.RECIPE | {"epochs": 1}
        assert other.fit(samples.LINES * 20, **recipe)["loss"] == lm.fit(samples.LINES * 20, **recipe)["loss"]


@ways
def test_a_language_model_without_a_vocabulary(way: Callable[[Any], Any]) -> None:
    lm = LanguageModel(units=8, tokenizer=WordTokenizer(minimum_count=2), seed=5)
    other = way(lm)
    data = samples.LINES * 10
    assert other.fit(data, epochs=1, **samples.RECIPE)["loss"] == lm.fit(data, epochs=1, **samples.RECIPE)["loss"]
    assert other.tokenizer.tokens == lm.tokenizer.tokens


@pytest.mark.parametrize("value", [trained(functional()), samples.trained(samples.LINES * 20, epochs=1)])
def test_a_pickle_names_one_function_of_ours(value: Any) -> None:
    names = [arg for opcode, arg, _ in pickletools.genops(pickle.dumps(value, 0)) if opcode.name == "GLOBAL"]
    assert [name for name in names if name.startswith("recurlm")] == [
        "recurlm.pickling restore_model"
        if isinstance(value, Model)
        else "recurlm.language_model.pickling restore_language_model"
    ]
