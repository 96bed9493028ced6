"""fit, evaluate, predict: the loop, its data, its promises."""

import pydoc_data.topics
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, _core, callbacks, losses, optimizers, utils
from recurlm.layers import GRU, LSTM, Dense, Dropout, Embedding
from tests.python.models import gradients, ids, normal

RNG = np.random.default_rng(13)
V, T, N = 11, 5, 37


def language_model(seed: int = 1, top: str = "softmax", **compiled: Any) -> Model:
    utils.set_random_seed(seed)
    tokens = Input(shape=(None,))
    h = LSTM(8, return_sequences=True)(Dropout(0.2)(Embedding(V, 6)(tokens)))
    model = Model(tokens, Dense(V, top)(h))
    options = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(**{**options, **compiled})
    return model


def sequences(seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    x = ids(np.random.default_rng(seed), V, N, T + 1)
    return x[:, :-1], x[:, 1:]


def same_weights(a: Model, b: Model) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(a.get_weights(), b.get_weights(), strict=True))


def test_the_functional_example_learns_real_text() -> None:
    text = "".join(pydoc_data.topics.topics.values())[:40_000].lower()
    vocabulary = sorted(set(text))
    vocab_size, embedding_dim, lstm_units, epochs, batch_size, window = len(vocabulary), 24, 64, 8, 64, 12
    codes = np.array([vocabulary.index(character) for character in text])
    starts = range(0, len(codes) - window - 1, 5)
    train_data = np.stack([codes[i : i + window] for i in starts])
    train_labels = utils.to_categorical(np.array([codes[i + window] for i in starts]), vocab_size)
    utils.set_random_seed(1)

    inputs = Input(shape=(None,))
    x = Embedding(input_dim=vocab_size, output_dim=embedding_dim)(inputs)
    x = LSTM(units=lstm_units)(x)
    outputs = Dense(units=vocab_size, activation="softmax")(x)
    model = Model(inputs=inputs, outputs=outputs)
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(train_data, train_labels, epochs=epochs, batch_size=batch_size)

    most_frequent = train_labels.mean(axis=0).max()
    assert len(history.history["loss"]) == epochs
    assert history.history["accuracy"][-1] > most_frequent + 0.1
    assert model.compiled.heads[0].projection is not None


@pytest.mark.parametrize("labels", ["ids", "one-hot", "smoothed", "soft"])
@pytest.mark.parametrize("top", ["softmax", "linear"])
def test_the_fused_loss_equals_the_plain_one(labels: str, top: str) -> None:
    x, y = sequences()
    name = "sparse_categorical_crossentropy" if labels == "ids" else "categorical_crossentropy"
    loss = losses.get(name)
    loss.from_logits = top == "linear"
    loss.label_smoothing = 0.1 if labels == "smoothed" else 0.0
    target: np.ndarray = y
    if labels != "ids":
        target = utils.to_categorical(y, V)
    if labels == "soft":
        target = target * np.float32(0.9) + np.float32(0.1 / V)
    weight = RNG.random((N, T)).astype(np.float32)
    weight[:4] = 0
    figures = ["accuracy", "perplexity"]
    fused = language_model(top=top, loss=loss, metrics=figures, weighted_metrics=["accuracy"])
    # A metric of the outputs forces the plain path.
    plain = language_model(top=top, loss=loss, metrics=[*figures, _mean_output], weighted_metrics=["accuracy"])
    assert fused.compiled.heads[0].projection is not None
    assert plain.compiled.heads[0].projection is None
    for model in (fused, plain):
        model.seed = 3
    a, b = gradients(fused, x, target, weight), gradients(plain, x, target, weight)
    assert a[0] == pytest.approx(b[0], rel=1e-5)
    for key, gradient in a[1].items():
        np.testing.assert_allclose(gradient, b[1][key], atol=2e-6)
    first, second = (m.evaluate(x, target, 10, 0, weight, return_dict=True) for m in (fused, plain))
    for key, value in first.items():
        assert value == pytest.approx(second[key], rel=1e-4), key


def _mean_output(y_true: np.ndarray, y_pred: np.ndarray) -> Any:
    return y_pred.mean(axis=-1)


def test_the_same_bits_for_any_number_of_threads(threads: int) -> None:
    x, y = sequences()
    model = language_model()
    model.fit(x, y, epochs=3, batch_size=8, verbose=0)
    before = _core.get_num_threads()
    _core.set_num_threads(1)
    serial = language_model()
    serial.fit(x, y, epochs=3, batch_size=8, verbose=0)
    _core.set_num_threads(before)
    assert same_weights(model, serial)
    other = language_model(seed=2)
    other.fit(x, y, epochs=3, batch_size=8, verbose=0)
    assert not same_weights(model, other)


@pytest.mark.parametrize("stop", [(1, 0), (1, 3)])
def test_a_resumed_run_ends_with_the_same_bits(stop: tuple[int, int]) -> None:
    x, y = sequences()
    whole = language_model()
    expected = whole.fit(x, y, epochs=3, batch_size=8, verbose=0).history

    class Interrupt(callbacks.Callback):
        epoch, states = 0, None

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch
            self.stop(0)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.stop(batch + 1)

        def stop(self, step: int) -> None:
            if (self.epoch, step) == stop:
                state = self.model.get_state()
                self.states = type(state)({k: v.copy() for k, v in state.arrays.items()}, state.values)
                raise KeyboardInterrupt

    interrupt = Interrupt()
    with pytest.raises(KeyboardInterrupt):
        language_model().fit(x, y, epochs=3, batch_size=8, verbose=0, callbacks=[interrupt])
    resumed = language_model(seed=99)
    assert interrupt.states is not None
    resumed.set_state(interrupt.states)
    history = resumed.fit(x, y, epochs=3, batch_size=8, verbose=0, initial_epoch=stop[0], initial_step=stop[1])
    assert same_weights(resumed, whole)
    for name, values in expected.items():
        assert history.history[name] == values[stop[0] :]


def test_carried_states_are_part_of_the_state() -> None:
    def stateful() -> Model:
        tokens = Input((None,))
        model = Model(
            tokens, Dense(V, "softmax")(GRU(4, stateful=True, return_sequences=True)(Embedding(V, 3)(tokens)))
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    x, y = sequences()
    first, second = stateful(), stateful()
    first.layers[2].name = second.layers[2].name = "memory"
    first.train_on_batch(x, y)
    second.set_state(first.get_state())
    assert first.train_on_batch(x, y) == second.train_on_batch(x, y)
    assert same_weights(first, second)
    broken = first.get_state()
    broken.arrays.pop("weights/gru.kernel")
    with pytest.raises(ValueError, match=r"it lacks 'weights/gru\.kernel'"):
        second.set_state(broken)


def test_generators_sequences_of_batches_and_arrays_train_alike() -> None:
    x, y = sequences()

    class Loader:
        def __iter__(self) -> Iterator[Any]:
            return ((x[i : i + 8], y[i : i + 8]) for i in range(0, N, 8))

        def __len__(self) -> int:
            return 5

    def forever() -> Iterator[Any]:
        while True:
            yield from Loader()

    by_array, by_loader, by_generator = language_model(), language_model(), language_model()
    a = by_array.fit(x, y, batch_size=8, epochs=2, verbose=0, shuffle=False)
    b = by_loader.fit(Loader(), epochs=2, verbose=0)
    c = by_generator.fit(forever(), epochs=2, steps_per_epoch=5, verbose=0)
    assert a.history == b.history == c.history
    assert same_weights(by_array, by_loader)
    assert same_weights(by_array, by_generator)
    with pytest.warns(RuntimeWarning, match="the data ended after 5 of 9 steps"):
        by_array.fit(iter(Loader()), steps_per_epoch=9, verbose=0)


def test_data_that_has_ended_is_an_error() -> None:
    x, y = sequences()
    model = language_model()
    with pytest.raises(ValueError, match=r"the data has no batch for epoch 2: .* an iterator that has ended"):
        model.fit(iter([(x, y)]), epochs=2, verbose=0)
    assert model.step == 1
    for run in (model.fit, model.evaluate, model.predict):
        with pytest.raises(ValueError, match="the data has no batch for epoch 1"):
            run(iter([]), verbose=0)
    with pytest.raises(ValueError, match="the data has no batch for epoch 1"):
        model.fit(iter([(x, y)] * 2), validation_data=iter([]), verbose=0)


def test_validation_data_may_be_a_list() -> None:
    x, y = sequences()
    histories = [language_model().fit(x, y, validation_data=held_out, verbose=0) for held_out in ((x, y), [x, y])]
    assert histories[0].history == histories[1].history
    with pytest.raises(ValueError, match="validation_freq must be a positive integer or a list of epochs, got 0"):
        language_model().fit(x, y, validation_data=(x, y), validation_freq=0, verbose=0)


def test_shuffling_is_a_function_of_seed_and_epoch() -> None:
    x, y = sequences()
    shuffled, again, ordered = language_model(), language_model(), language_model()
    shuffled.fit(x, y, verbose=0, batch_size=8)
    again.fit(x, y, verbose=0, batch_size=8)
    ordered.fit(x, y, verbose=0, batch_size=8, shuffle=False)
    assert same_weights(shuffled, again)
    assert not same_weights(shuffled, ordered)


def test_validation_split_data_and_frequency() -> None:
    x, y = sequences()
    model = language_model()
    history = model.fit(x, y, epochs=4, verbose=0, validation_split=0.25, validation_freq=2).history
    assert (len(history["loss"]), len(history["val_loss"])) == (4, 2)
    held_out = x[27:], y[27:]
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(*held_out, verbose=0)[0])
    given = language_model()
    again = given.fit(x[:27], y[:27], epochs=4, verbose=0, validation_data=held_out, validation_freq=[2, 4]).history
    assert again == history
    with pytest.raises(ValueError, match=r"validation_split must be from 0 to below 1, got 1.5"):
        model.fit(x, y, validation_split=1.5, verbose=0)
    with pytest.raises(ValueError, match="leaves nothing for training"):
        model.fit(x[:1], y[:1], validation_split=0.5, verbose=0)


def test_figures_do_not_depend_on_the_batch_size() -> None:
    x, y = sequences()
    model = language_model()
    assert model.evaluate(x, y, batch_size=8, verbose=0) == pytest.approx(model.evaluate(x, y, batch_size=N, verbose=0))


def test_validation_starts_stateful_layers_from_zero_and_leaves_their_states() -> None:
    tokens = Input((None,))
    memory = GRU(4, stateful=True, return_sequences=True)
    model = Model(tokens, Dense(V, "softmax")(memory(Embedding(V, 3)(tokens))))
    model.compile(optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    x, y = sequences()
    history = model.fit(x, y, batch_size=N, epochs=2, shuffle=False, verbose=0, validation_data=(x[:5], y[:5])).history
    assert history["val_loss"][0] == history["val_loss"][1] == model.evaluate(x[:5], y[:5], verbose=0, states={})
    assert memory.states[memory.name][0].shape == (N, 4)


def test_sample_weights_masks_and_class_weights() -> None:
    x, y = sequences()
    model = language_model()
    log_probs = model.token_log_probs(x, y)
    weight = RNG.random((N, T)).astype(np.float32)
    for given, expected in ((weight, weight), (weight[:, 0], weight[:, :1])):
        loss = model.evaluate(x, y, batch_size=N, sample_weight=given, verbose=0)[0]
        assert loss == pytest.approx(-(log_probs * expected).sum() / (N * T), rel=1e-5)
    by_class = {3: 2.0, 4: 0.0}
    factors = np.select([y == 3, y == 4], [2.0, 0.0], 1.0)
    loss = language_model(metrics=None).test_on_batch(x, y, sample_weight=factors.astype(np.float32))
    probe = language_model(metrics=None, optimizer=optimizers.SGD(0.0))
    probe.layers[2].rate = 0.0
    assert probe.train_on_batch(x, y, class_weight=by_class) == pytest.approx(loss, rel=1e-5)


def test_positions_of_weight_zero_are_not_looked_at() -> None:
    x, y = sequences()
    model = language_model()
    weight = np.ones((N, T), np.float32)
    weight[:, 3:] = 0
    padded = np.where(weight == 0, -1, y)
    a = model.evaluate(x, padded, batch_size=N, sample_weight=weight, verbose=0)
    short = model.evaluate(x[:, :3], y[:, :3], batch_size=N, verbose=0)
    assert a[0] == pytest.approx(short[0] * 3 / T)
    assert a[1] == pytest.approx(short[1])
    np.testing.assert_array_equal(model.token_log_probs(x, padded, weight)[:, 3:], 0)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_labels_of_any_kind_are_not_looked_at_where_the_weight_is_zero(fill: float) -> None:
    x, y = sequences()
    weight = np.ones((N, T), np.float32)
    weight[:, 3:] = 0
    expected = language_model().evaluate(x, y, sample_weight=weight, verbose=0)
    for loss, share in (("categorical_crossentropy", 1.0), ("categorical_crossentropy", 0.5), ("mse", 1.0)):
        labels = utils.to_categorical(y, V) * np.float32(share)
        model = language_model(loss=loss)
        clean = model.evaluate(x, labels, sample_weight=weight, verbose=0)
        labels[:, 3:] = fill
        assert model.evaluate(x, labels, sample_weight=weight, verbose=0) == clean
        if loss != "mse" and share == 1:
            assert clean == expected


def test_token_log_probs_are_those_of_the_outputs() -> None:
    x, y = sequences()
    model = language_model()
    probabilities = model.predict(x, verbose=0)
    expected = np.log(np.take_along_axis(probabilities, y[..., None], -1)[..., 0])
    np.testing.assert_allclose(model.token_log_probs(x, y), expected, atol=1e-5)
    with pytest.raises(IndexError, match=r"targets\[1, 2\] is 11, outside 0 <= id < 11"):
        model.token_log_probs(x[:2], np.array([[0] * 5, [0, 0, V, 0, 0]]))


def test_a_nonfinite_loss_leaves_the_last_good_weights() -> None:
    x, _ = sequences()
    good = normal(RNG, 4, T, V)
    bad = good.copy()
    bad[2] = np.nan
    batches = [(x[:4], good), (x[:4], good), (x[:4], bad), (x[:4], good)]
    expected = language_model(loss="mse", top="linear", metrics=None)
    expected.fit(iter(batches[:2]), verbose=0)
    for listed in ([], [callbacks.TerminateOnNaN(raise_error=True)]):
        model = language_model(loss="mse", top="linear", metrics=None)
        with pytest.raises(
            FloatingPointError, match="epoch 1, step 3: the loss is nan: y is not finite in sample 2 of the batch; no"
        ):
            model.fit(iter(batches), verbose=0, callbacks=listed)
        assert same_weights(model, expected)
    stopped = language_model(loss="mse", top="linear", metrics=None)
    history = stopped.fit(iter(batches), epochs=5, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    assert np.isnan(history.history["loss"]).tolist() == [True]
    assert same_weights(stopped, expected)


def test_a_nonfinite_gradient_is_found_too() -> None:
    x = Input((1,))
    model = Model(x, Dense(1, use_bias=False)(x))
    model.compile("sgd", losses.MeanAbsoluteError(reduction="sum"))
    model.set_weights([np.array([[1e-38]], np.float32)])
    # The predictions are 2; the gradient is the sum of the inputs, which overflows.
    with pytest.raises(FloatingPointError, match=r"step 1: the gradient of kernel \(1, 1\) is not finite"):
        model.fit(np.full((2, 1), 2e38, np.float32), np.zeros((2, 1)), verbose=0)
    assert model.get_weights()[0][0, 0] == np.float32(1e-38)


def test_an_update_that_overflows_is_told_from_a_bad_batch() -> None:
    x = Input((1,))
    model = Model(x, Dense(1, use_bias=False, name="dense")(x))
    model.compile(optimizers.SGD(1e38), "mse")
    with pytest.raises(FloatingPointError, match=r"epoch 2, step 1: .*: dense\.kernel is not finite since an earlier"):
        model.fit(np.full((2, 1), 100.0), np.zeros((2, 1)), epochs=3, verbose=0)


def test_train_on_batch_returns_this_batch_alone() -> None:
    x, y = sequences()
    model, by_fit = language_model(), language_model()
    losses = [model.train_on_batch(x[i : i + 8], y[i : i + 8], return_dict=True)["loss"] for i in (0, 8)]
    history = by_fit.fit(x[:16], y[:16], batch_size=8, shuffle=False, verbose=0).history
    assert history["loss"][0] == pytest.approx(np.mean(losses))
    assert same_weights(model, by_fit)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"y": np.zeros((N - 1, T), int)}, ValueError, r"same number of samples, got \[36, 37\]"),
        ({"y": np.full((N, T), V)}, IndexError, r"y of output 'dense.*'\[0, 0\] is 11, outside 0 <= id < 11"),
        ({"y": np.zeros((N, T + 1), int)}, ValueError, r"one id for each prediction, shape \(32, 5\), got \(32, 6\)"),
        ({"y": None}, ValueError, "y is needed to compute a loss"),
        ({"x": np.full((N, T), -1)}, IndexError, r"input '.*'\[0, 0\] is -1, outside 0 <= id < 11"),
        ({"x": np.zeros((0, T), int), "y": np.zeros((0, T), int)}, ValueError, "at least one sample, got none"),
        ({"x": 3}, TypeError, "x must be an array, a list or dict of arrays, or an iterable of batches, got int"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer from 1 on, got 0"),
        ({"sample_weight": np.ones((N, T - 1))}, ValueError, r"must have shape \(32,\) or \(32, 5\), got \(32, 4\)"),
        ({"verbose": 3}, ValueError, "verbose must be 'auto', 0, 1 or 2, got 3"),
        ({"callbacks": [print]}, TypeError, "callbacks must be objects of recurlm.callbacks.Callback"),
    ],
)
def test_bad_data_is_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    x, y = sequences()
    with pytest.raises(error, match=message):
        language_model().fit(**{"x": x, "y": y, "verbose": 0, "shuffle": False, **arguments})
