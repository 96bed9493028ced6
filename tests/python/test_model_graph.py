"""Graphs: several inputs and outputs, shared, frozen and tied layers, and what is refused."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, Sequential, callbacks, losses, utils
from recurlm.layers import GRU, LSTM, Dense, Dropout, Embedding
from tests.python.models import check_gradients, gradients, ids, normal

RNG = np.random.default_rng(9)


def two_headed() -> Model:
    tokens, features = Input((None,), name="tokens"), Input((3,), name="features")
    shared = Dense(4, "tanh", name="shared")
    embedded = Embedding(6, 4, name="table")(tokens)
    h = GRU(4)(shared(embedded))
    return Model([tokens, features], [Dense(2, name="value")(h), Dense(5, "softmax", name="kind")(shared(h))])


def data(n: int = 7) -> tuple[list[Any], list[Any]]:
    return [ids(RNG, 6, n, 4), normal(RNG, n, 3)], [normal(RNG, n, 2), ids(RNG, 5, n)]


def test_several_inputs_and_outputs_and_a_shared_layer() -> None:
    model = two_headed()
    model.compile(
        "sgd",
        {"value": "mse", "kind": "sparse_categorical_crossentropy"},
        loss_weights=[0.5, 2.0],
        metrics={"kind": ["accuracy"]},
    )
    x, y = data()
    check_gradients(model, x, y)
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    assert list(logs) == ["loss", "value_loss", "kind_loss", "kind_accuracy"]
    for name, output, target in zip(
        ("mse", "sparse_categorical_crossentropy"), model.predict(x, verbose=0), y, strict=True
    ):
        assert losses.get(name)(target, output) == pytest.approx(logs["value_loss" if name == "mse" else "kind_loss"])
    assert logs["loss"] == pytest.approx(0.5 * logs["value_loss"] + 2 * logs["kind_loss"])
    by_name = model.predict({"features": x[1], "tokens": x[0]}, verbose=0)
    for a, b in zip(by_name, model.predict(x, verbose=0, batch_size=3), strict=True):
        np.testing.assert_array_equal(a, b)
    history = model.fit(x, y, epochs=2, verbose=0).history
    assert list(history) == list(logs)


def test_an_output_may_feed_other_layers() -> None:
    x = Input((3,))
    first = Dense(4, "softmax")(x)
    model = Model(x, [first, Dense(2)(first)])
    model.compile("sgd", ["categorical_crossentropy", "mse"])
    assert model.compiled.heads[0].projection is None
    check_gradients(model, normal(RNG, 5, 3), [np.eye(4, dtype=np.float32)[ids(RNG, 4, 5)], normal(RNG, 5, 2)])


def test_frozen_layers_stay_and_cost_no_gradient() -> None:
    tokens = Input((None,))
    table, below, top = Embedding(6, 3), LSTM(4), Dense(2)
    model = Model(tokens, top(below(table(tokens))))
    model.compile("adam", "mse")
    table.trainable = below.trainable = False
    x, y = ids(RNG, 6, 5, 3), normal(RNG, 5, 2)
    before = model.get_weights()
    _, named = gradients(model, x, y)
    assert set(named) == {"dense.kernel", "dense.bias"}
    assert not model.graph.wanted()[model.outputs[0].node.inputs[0]]
    model.fit(x, y, verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [False] * 4 + [True] * 2
    table.trainable = True
    _, named = gradients(model, x, y)
    assert set(named) == {"embedding.embeddings", "dense.kernel", "dense.bias"}


@pytest.mark.parametrize("softmax", [True, False])
def test_tied_weights_get_both_gradients(softmax: bool) -> None:
    tokens = Input((None,))
    table = Embedding(7, 4)
    h = LSTM(4, return_sequences=True)(table(tokens))
    model = Model(tokens, Dense(7, "softmax" if softmax else "tanh", tied_to=table)(h))
    assert [w.shape for w in model.get_weights()] == [(7, 4), (4, 16), (4, 16), (16,), (7,)]
    model.compile("sgd", "sparse_categorical_crossentropy" if softmax else "mse")
    x = ids(RNG, 7, 3, 5)
    y = ids(RNG, 7, 3, 5) if softmax else normal(RNG, 3, 5, 7)
    for _ in range(2):
        check_gradients(model, x, y)
        model.train_on_batch(x, y)


def test_embedding_gradients_are_zero_again_after_each_step() -> None:
    tokens = Input((None,))
    table = Embedding(50, 3)
    model = Model(tokens, Dense(1)(LSTM(2)(table(tokens))))
    model.compile("sgd", "mse")
    for _ in range(3):
        model.train_on_batch(ids(RNG, 50, 4, 3), normal(RNG, 4, 1))
        assert not table.embeddings.grad.any()


def test_nested_models_share_their_layers() -> None:
    x = Input((3,))
    inner = Model(x, Dense(2, "tanh")(x))
    a, b = Input((3,)), Input((3,))
    outer = Model([a, b], [inner(a), inner(b)])
    assert outer.count_params() == inner.count_params() == 8
    values = normal(RNG, 4, 3)
    first, second = outer.predict([values, values], verbose=0)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, inner(values))


def test_sequential_is_built_by_its_data() -> None:
    x, y = ids(RNG, 6, 9, 4), normal(RNG, 9, 1)
    model = Sequential([Embedding(6, 3), LSTM(4), Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="not built yet"):
        model.summary()
    model.fit(x, y, verbose=0)
    assert model.predict(x, verbose=0).shape == (9, 1)
    given = Sequential([Input((None,)), *model.layers[1:]])
    np.testing.assert_array_equal(given.predict(x, verbose=0), model.predict(x, verbose=0))
    given.pop()
    assert given.outputs[0].shape == (None, 4)


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_sequential_is_built_by_batches_and_loses_none(embedded: bool, again: bool) -> None:
    x, y = (ids(RNG, 6, 8, 4) if embedded else normal(RNG, 8, 4, 3)), normal(RNG, 8, 1)
    batches = [(x[:4], y[:4]), (x[4:], y[4:])]

    class Again:
        def __iter__(self) -> Iterator[Any]:
            return iter(batches)

    made = []
    for data in (Again() if again else iter(batches), None):
        utils.set_random_seed(1)
        model = Sequential([*([Embedding(6, 3)] if embedded else []), LSTM(4), Dense(1)])
        model.compile("sgd", "mse")
        if data is None:
            model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
        else:
            model.fit(data, verbose=0)
        made.append(model)
    assert made[0].step == made[1].step == 2
    for a, b in zip(made[0].get_weights(), made[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    empty = Sequential([LSTM(2)])
    with pytest.raises(ValueError, match="x has no batch from which to take its shape"):
        empty.predict(iter([]), verbose=0)


def test_a_table_that_a_layer_is_tied_to_must_be_in_the_model() -> None:
    x = Input((4,))
    table = Embedding(9, 4, name="table")
    y = Dense(9, tied_to=table, name="top")(x)
    with pytest.raises(ValueError, match="'top' is tied to 'table', which no output of the model depends on"):
        Model(x, y)
    tokens = Input(())
    assert len(Model([x, tokens], [y, table(tokens)]).trainable_weights) == 2


def test_what_is_refused() -> None:
    x, other = Input((3,), name="x"), Input((3,), name="other")
    y = Dense(2, name="y")(x)
    with pytest.raises(ValueError, match="depend on Input 'x', which is not among inputs"):
        Model(other, y)
    with pytest.raises(ValueError, match="names of layers must be unique in a model, 'y' occurs 2 times"):
        Model(x, [y, Dense(2, name="y")(x)])
    with pytest.raises(TypeError, match="outputs must be symbolic tensors, got 3"):
        Model(x, 3)
    with pytest.raises(ValueError, match="feeds an Embedding, which takes ids, and a layer that takes numbers"):
        Model(x, [Embedding(4, 2)(x), y])
    model = Model(x, y)
    with pytest.raises(ValueError, match=r"input 'x' must have shape \(batch, 3\), got \(2, 4\)"):
        model.predict(np.zeros((2, 4)), verbose=0)
    with pytest.raises(TypeError, match="input 'x' must be an array of numbers, got dtype <U1"):
        model.predict(np.array([["a", "b", "c"]]), verbose=0)
    with pytest.raises(RuntimeError, match="must be compiled first"):
        model.fit(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"no layer with name 'z'; there are x, y"):
        model.get_layer("z")
    two = two_headed()
    with pytest.raises(ValueError, match=r"x must be a list of 2 arrays \(tokens, features\), got 3"):
        two.predict([np.zeros((1, 2), int)] * 3, verbose=0)
    with pytest.raises(ValueError, match="loss is needed for output 'kind', got None"):
        two.compile("sgd", {"value": "mse"})


def test_summary_and_counts() -> None:
    model = two_headed()
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert any("table (Embedding)" in line and "(None, None, 4)" in line and line.endswith("24") for line in lines)
    assert model.count_params() == sum(w.size for w in model.get_weights())
    assert any(f"{model.count_params():,}" in line for line in lines)


def test_many_threads_may_predict_but_not_while_another_trains(tmp_path: Path) -> None:
    tokens = Input((None,))
    model = Model(tokens, Dense(3)(LSTM(16)(Embedding(9, 8)(tokens))))
    model.compile("sgd", "mse")
    batches = [ids(RNG, 9, 4, 3 + i) for i in range(6)]
    expected = [model.predict(x, verbose=0) for x in batches]
    results: dict[int, list[np.ndarray]] = {}

    def work(i: int) -> None:
        results[i] = [model.predict(x, verbose=0) for x in batches for _ in range(5)]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for got in results.values():
        for i, outputs in enumerate(got):
            np.testing.assert_array_equal(outputs, expected[i // 5])

    errors: list[BaseException] = []

    def attempt(read: Callable[[], Any]) -> None:
        try:
            read()
        except RuntimeError as error:
            errors.append(error)

    class Meddle(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            for read in reads:
                thread = threading.Thread(target=attempt, args=(read,))
                thread.start()
                thread.join()
                read()  # the training thread itself may

    reads: list[Callable[[], Any]] = [
        lambda: model.predict(batches[0], verbose=0),
        model.get_weights,
        model.get_state,
        lambda: model.save_weights(tmp_path / "weights.safetensors"),
        lambda: model.save(tmp_path / "model"),
    ]
    model.fit(batches[0], normal(RNG, 4, 3), verbose=0, callbacks=[Meddle()])
    assert len(errors) == len(reads)
    assert all("being trained by another thread" in str(error) for error in errors)


def test_every_way_to_write_weights_raises_their_version(tmp_path: Path) -> None:
    x = Input((2,))
    layer = Dense(2)
    model, other = Model(x, layer(x)), Model(x, layer(x))
    model.compile("sgd", "mse")
    model.save_weights(tmp_path / "weights.safetensors")
    seen = [other.weights_version]
    for write in (
        lambda: layer.set_weights(layer.get_weights()),
        lambda: model.set_weights(model.get_weights()),
        lambda: model.load_weights(tmp_path / "weights.safetensors"),
        lambda: model.set_state(model.get_state()),
        lambda: model.train_on_batch(np.ones((3, 2)), np.ones((3, 2))),
    ):
        write()
        seen.append(other.weights_version)
    assert seen == sorted(set(seen))


def bidirectional(dropout: float = 0.0) -> Model:
    """One embedding, read by two layers, with a Dropout between."""
    tokens = Input((None,), dtype="int32")
    x = Dropout(dropout)(Embedding(9, 4, mask_zero=True)(tokens))
    forward, backward = LSTM(4, return_sequences=True)(x), GRU(4, return_sequences=True, go_backwards=True)(x)
    return Model(tokens, [Dense(9, "softmax")(forward), Dense(9, "softmax")(backward)])


def test_tokens_that_repeat_are_multiplied_once_and_nothing_else_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = ids(RNG, 9, 6, 5), ids(RNG, 9, 6, 5)
    widths: list[int] = []
    forward = LSTM.forward
    monkeypatch.setattr(
        LSTM, "forward", lambda layer, call, given: widths.append(given[0].ndim) or forward(layer, call, given)
    )

    def trained(model: Model) -> tuple[list[Any], list[Any]]:
        model.set_weights(weights)
        model.compile("sgd", ["sparse_categorical_crossentropy"] * 2)
        before = model.predict(x, verbose=0)
        for _ in range(3):
            model.train_on_batch(x, [y, y])
        return before, model.get_weights()

    model = bidirectional()
    weights = model.get_weights()
    outputs, updated = trained(model)
    assert set(widths) == {2}
    widths.clear()
    monkeypatch.setattr("recurlm.layers.recurrent.Recurrent.takes_rows", lambda layer, tape: False)
    plain_outputs, plain_updated = trained(bidirectional())
    assert set(widths) == {3}
    for a, b in zip(outputs, plain_outputs, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(updated, plain_updated, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)  # gradients are summed in another order
    check_gradients(model, x, [y, y])


def test_dropout_between_keeps_every_position_in_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = ids(RNG, 9, 6, 5), ids(RNG, 9, 6, 5)
    model = bidirectional(0.5)
    model.compile("sgd", ["sparse_categorical_crossentropy"] * 2)
    model.train_on_batch(x, [y, y])
    outputs = model.predict(x, verbose=0)
    model.train_on_batch(x, [y, y])
    again = bidirectional(0.0)
    again.set_weights(model.get_weights())
    assert not np.array_equal(model.predict(x, verbose=0)[0], outputs[0])
    np.testing.assert_array_equal(again.predict(x, verbose=0)[0], model.predict(x, verbose=0)[0])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_nothing_large_is_allocated_after_the_first_step(dropout: float) -> None:
    import tracemalloc

    tokens = Input((None,))
    h = LSTM(64, return_sequences=True)(Dropout(dropout)(Embedding(500, 64)(tokens)))
    model = Model(tokens, Dense(500, "softmax")(h))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy", "perplexity"])
    few, x, y = ids(RNG, 5, 16, 20), ids(RNG, 500, 16, 20), ids(RNG, 500, 16, 20)
    model.train_on_batch(few, y)
    model.train_on_batch(few, y)
    growths = model.tape.workspace.growths
    tracemalloc.start()
    try:
        model.train_on_batch(x, y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert model.tape.workspace.growths == growths
    assert peak < 64 * 1024  # one (T, B, D) array would be 80 KB


def test_what_cannot_be_compiled_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = two_headed()
    model.compile("sgd", {"value": "mse", "kind": "sparse_categorical_crossentropy"})
    with pytest.raises(ValueError, match="f1"):
        model.compile("sgd", {"value": "mse", "kind": "sparse_categorical_crossentropy"}, metrics={"kind": ["f1"]})
    model.save(tmp_path / "model")
    assert np.isfinite(model.train_on_batch(*data())[0])


@pytest.mark.parametrize("epochs", [-1, 1.5, "3", True])
def test_epochs_is_a_whole_number(epochs: Any) -> None:
    model = two_headed()
    model.compile("sgd", {"value": "mse", "kind": "sparse_categorical_crossentropy"})
    with pytest.raises(ValueError, match="epochs"):
        model.fit(*data(), epochs=epochs, verbose=0)
