"""Softmax over a sample of the classes: what is drawn, the loss and gradients over it, and what it converges to."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurlm import Input, LanguageModel, Model, _core, losses
from recurlm.layers import GRU, LSTM, Activation, Dense, Embedding, TimeDistributed
from recurlm.sampled_softmax import SampledSoftmax
from recurlm.text.corpus import count_ids
from tests.reference import softmax

from . import samples
from .models import check_gradients, gradients, ids
from .test_checkpoint import StopAt

RNG = np.random.default_rng(23)
V, B, T = 23, 3, 4
COUNTS = np.sort(RNG.integers(0, 400, V))[::-1]


def model(tied: bool = True, use_bias: bool = True, from_logits: bool = False, size: int = 6) -> Model:
    inputs = Input((None,), dtype="int32")
    table = Embedding(V, 5)
    x = LSTM(5, return_sequences=True)(table(inputs))
    activation = None if from_logits else "softmax"
    network = Model(inputs, Dense(V, activation, use_bias, tied_to=table if tied else None, name="out")(x))
    sampling = SampledSoftmax(COUNTS, size)
    loss = losses.SparseCategoricalCrossentropy(from_logits, ignore_class=-1, sampled_softmax=sampling)
    network.compile("sgd", loss, metrics=["accuracy"])
    return network


def batch() -> tuple[np.ndarray, np.ndarray]:
    y = ids(RNG, V, B, T)
    y[0, 1] = -1
    return ids(RNG, V, B, T), y


# What is drawn -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=40).filter(any), st.data())
def test_so_many_are_expected(counts: list[int], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(counts) - 1))
    sampling = SampledSoftmax(counts, size)
    drawn = np.exp(sampling.draw(np.zeros(0, np.int32), 0, 0, 0).log_inclusion)
    assert ((drawn > 0) & (drawn <= 1)).all()
    chances = sampling._drawn
    assert chances.sum() == pytest.approx(size)
    order = np.argsort(counts, kind="stable")
    assert (np.diff(chances[order]) >= -1e-12).all()


@pytest.mark.parametrize(("rows", "power"), [(1, 0.75), (2, 0.75), (1, 0.0), (3, 1.0)])
def test_the_expected_loss_is_least_at_the_logits_of_the_whole(rows: int, power: float) -> None:
    """Over all draws and all targets, each with its probability, the gradient is zero there.

    Of one row, to rounding in float32; what several bring in is not quite independent. Without the targets of other
    rows in the correction, or with a row's own, it is 20 times the tolerance or more.
    """
    counts = np.array([100, 10, 1])
    p = counts / counts.sum()
    sampling = SampledSoftmax(counts, 1, power)
    gradient = np.zeros(3)
    for drawn in itertools.product([False, True], repeat=3):
        for targets in itertools.product(range(3), repeat=rows):
            sample = sampling._sample(np.array(drawn), np.array(targets, np.int32))
            chance = np.prod(np.where(drawn, sampling._drawn, 1 - sampling._drawn)) * np.prod(p[list(targets)])
            logits = np.log(p)[sample.classes] - sample.log_inclusion
            gradient[sample.classes] += chance * rows * softmax.forward(logits)
            np.subtract.at(gradient, list(targets), chance)
    np.testing.assert_allclose(gradient, 0, atol=1e-6 if rows == 1 else 1e-3)


def test_classes_are_drawn_as_often_as_is_said() -> None:
    """20,000 samples: a share of them has a standard deviation of at most 0.0036, here times 4.5."""
    sampling, times = SampledSoftmax(COUNTS, 6), 20_000
    found = np.zeros(V)
    for step in range(times):
        found[sampling.draw(np.array([V - 1], np.int32), 7, 2, step).classes[:-1]] += 1
    np.testing.assert_allclose(found[:-1] / times, sampling._drawn[:-1], atol=0.016)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e17])
def test_counts_may_be_frequencies(scale: float) -> None:
    sample = SampledSoftmax(scale * np.array([50, 3, 2, 0, 2]), 3)
    assert sample._drawn[3] == sample._drawn[2]
    np.testing.assert_allclose(sample._drawn, SampledSoftmax([50, 3, 2, 2, 2], 3)._drawn, rtol=1e-12)
    targets = np.arange(5, dtype=np.int32)
    assert np.isfinite(SampledSoftmax([1e300, 1, 1, 1, 1], 3).draw(targets, 0, 0, 0).log_inclusion).all()


def test_a_sample_has_the_targets_and_is_a_function_of_its_place() -> None:
    sampling, targets = SampledSoftmax(COUNTS, 3), np.array([22, 21, 22], np.int32)
    sample = sampling.draw(targets, 1, 2, 3)
    assert set(targets) <= set(sample.classes)
    np.testing.assert_array_equal(sample.classes[sample.places[targets]], targets)
    again = [sampling.draw(targets, *place).classes.tolist() for place in ((1, 2, 3), (9, 2, 3), (1, 9, 3), (1, 2, 9))]
    assert again[0] == sample.classes.tolist()
    assert all(other != again[0] for other in again[1:])


# Loss and gradients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_loss_and_gradients_are_those_of_the_sample(tied: bool, use_bias: bool) -> None:
    network, (x, y) = model(tied, use_bias), batch()
    loss, named = gradients(network, x, y)
    kernel = network.layers[1 if tied else -1].get_weights()[0].astype(np.float64)
    out = network.get_layer("out")
    hidden = Model(network.inputs, network.compiled.heads[0].node.inputs[0]).predict(x, verbose=0).astype(np.float64)
    index = network.compiled.heads[0].node_index
    kept = y >= 0
    sample = SampledSoftmax(COUNTS, 6).draw(y[kept], network.seed, index, network.step)
    rows = hidden[kept] @ (kernel.T if tied else kernel)
    bias = out.get_weights()[-1] if use_bias else np.zeros(V)
    logits = (rows + bias)[:, sample.classes] - sample.log_inclusion
    expected = -softmax.log_softmax(logits)[np.arange(len(rows)), sample.places[y[kept]]].mean()
    assert loss == pytest.approx(expected, rel=1e-5)
    if use_bias:
        dbias = softmax.forward(logits).mean(axis=0)
        np.subtract.at(dbias, sample.places[y[kept]], 1 / len(rows))
        full = np.zeros(V)
        full[sample.classes] = dbias
        (name,) = [name for name in named if name.endswith("out.bias")]
        np.testing.assert_allclose(named[name], full, atol=1e-6)
    check_gradients(network, x, y)


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_do_not_linger(tied: bool) -> None:
    """Rows and columns that only an earlier sample wrote are zero again."""
    network, (x, y) = model(tied), batch()
    _, first = gradients(network, x, y)
    network.step += 1
    gradients(network, x, y)
    network.step -= 1
    for name, gradient in gradients(network, x, y)[1].items():
        np.testing.assert_array_equal(gradient, first[name], name)


def test_frozen_projections_train_what_is_below() -> None:
    network, (x, y) = model(tied=False), batch()
    network.get_layer("out").trainable = False
    check_gradients(network, x, y)
    assert not any("out" in name for name in gradients(network, x, y)[1])


def test_a_tied_table_that_is_frozen_learns_nothing() -> None:
    network, (x, y) = model(), batch()
    network.layers[1].trainable = False
    named = gradients(network, x, y)[1]
    assert not any("embedding" in name for name in named)
    assert any("out" in name for name in named)


@pytest.mark.parametrize("tied", [True, False])
def test_two_outputs_by_one_projection(tied: bool) -> None:
    """Each has its sample; their gradients add up, also where a Dense is wrapped."""
    inputs = Input((None,), dtype="int32")
    table = Embedding(V, 5)
    x = table(inputs)
    top = Dense(V, "softmax", tied_to=table if tied else None)
    outputs = [top(LSTM(5, return_sequences=True)(x)), TimeDistributed(top)(GRU(5, return_sequences=True)(x))]
    network = Model(inputs, outputs)
    loss = losses.SparseCategoricalCrossentropy(sampled_softmax=SampledSoftmax(COUNTS, 6))
    network.compile("sgd", [loss, loss])
    words = ids(RNG, V, B, T)
    check_gradients(network, words, [ids(RNG, V, B, T), ids(RNG, V, B, T)])


def test_logits_and_a_batch_without_weight() -> None:
    network, (x, y) = model(from_logits=True), batch()
    check_gradients(network, x, y)
    loss, named = gradients(network, x, np.full_like(y, -1))
    assert loss == 0
    assert all(not gradient.any() for gradient in named.values())


def test_no_class_is_needed_where_nothing_has_weight() -> None:
    network, (x, y) = model(size=1), batch()
    for _ in range(20):  # of which a third draw nothing
        assert network.train_on_batch(x, np.full_like(y, -1))[0] == 0


def test_accuracy_counts_classes_by_their_own_numbers() -> None:
    network, x = model(tied=False), np.zeros((B, T), np.int32)
    kernel, bias = np.zeros((5, V), np.float32), np.zeros(V, np.float32)
    bias[V - 1] = 50  # what it says whenever it may: that is the target
    network.get_layer("out").set_weights([kernel, bias])
    network.optimizer.learning_rate = 0
    assert network.train_on_batch(x, np.full((B, T), V - 1))[1] == 1


def test_evaluation_is_over_all_classes() -> None:
    network, (x, y) = model(), batch()
    plain = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    expected = plain(y[y >= 0], network.predict(x, verbose=0)[y >= 0])
    assert network.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)


def test_training_ends_at_the_distribution_of_the_whole() -> None:
    """A bias alone learns frequencies. Uncorrected for inclusion, it misses those of rare classes by factors."""
    frequencies = 1 / np.arange(1, V + 1)
    frequencies /= frequencies.sum()
    inputs = Input((1,))
    network = Model(inputs, Dense(V, "softmax", kernel_initializer="zeros")(inputs))
    sampling = SampledSoftmax(frequencies * 1e6, 4)
    loss = losses.SparseCategoricalCrossentropy(sampled_softmax=sampling)
    network.compile("adam", loss)
    network.optimizer.learning_rate = 0.02
    x = np.zeros((32, 1), np.float32)
    mean = np.zeros(V)
    for step in range(3000):
        network.train_on_batch(x, RNG.choice(V, 32, p=frequencies))
        if step >= 1000:
            mean += network.get_weights()[1] / 2000
    found = np.exp(mean) / np.exp(mean).sum()
    np.testing.assert_allclose(found, frequencies, rtol=0.25)


# In a language model -------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return samples.text_file(tmp_path, 60)


def fit(source: Path, folder: Path | None = None, stop_at: int | None = None, **options: Any) -> LanguageModel:
    lm = LanguageModel(units=12, tokenizer="word", tie_weights=True, dropout=0.2, seed=4)
    callbacks = [] if stop_at is None else [StopAt(stop_at)]
    recipe = samples.RECIPE | {"epochs": 3, "callbacks": callbacks, "checkpoint_every": 7, "sampled_softmax": 9}
    lm.fit(source, checkpoint_dir=folder, **recipe | options)
    return lm


def test_a_sampled_run_ends_with_the_same_bits(tmp_path: Path, source: Path, threads: int) -> None:
    _core.set_num_threads(1)
    straight = fit(source)
    _core.set_num_threads(threads)
    folder = tmp_path / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        fit(source, folder, 9)
    with pytest.raises(ValueError, match="made with sampled_softmax=9, got None"):
        fit(source, folder, resume=True, sampled_softmax=None)
    resumed = fit(source, folder, resume=True)
    assert samples.weight_bytes(resumed) == samples.weight_bytes(straight)
    assert samples.weight_bytes(resumed) != samples.weight_bytes(fit(source, sampled_softmax=None))


@pytest.mark.filterwarnings("ignore:training in float32")
@pytest.mark.parametrize("options", [{"accumulate": 2}, {"ema": 0.9}, {"dtype": "bfloat16"}])
def test_it_goes_with_what_else_there_is(tmp_path: Path, source: Path, options: dict[str, Any]) -> None:
    straight = fit(source, **options)
    with pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "checkpoints", 9, **options)
    resumed = fit(source, tmp_path / "checkpoints", resume=True, **options)
    assert samples.weight_bytes(resumed) == samples.weight_bytes(straight)
    assert straight.history is not None
    losses = straight.history.epochs["val_loss"]
    assert losses[-1] < losses[0]


def test_it_is_drawn_by_the_counts_of_the_text(source: Path) -> None:
    lm = fit(source, epochs=1, validation_split=0)
    sampling = lm.model.compiled.heads[0].loss.sampled_softmax
    assert sampling is not None
    text = lm.tokenizer.encode(source.read_text())
    np.testing.assert_array_equal(sampling.counts, np.bincount(text, minlength=lm.tokenizer.vocabulary_size))


def test_it_learns(source: Path) -> None:
    sampled, whole = (fit(source, epochs=20, learning_rate=0.02, sampled_softmax=size) for size in (9, None))
    assert sampled.history is not None
    assert whole.history is not None
    first = np.log(whole.tokenizer.vocabulary_size)
    gained, wanted = (first - each.history.epochs["val_loss"][-1] for each in (sampled, whole))  # type: ignore[union-attr]
    assert gained > 0.8 * wanted > 0


def test_ids_are_counted_in_parts() -> None:
    stored = RNG.integers(0, 7, (1 << 20) + 5).astype(np.uint16)
    np.testing.assert_array_equal(count_ids(stored, 9), np.bincount(stored, minlength=9))


def test_it_travels_with_the_model(tmp_path: Path) -> None:
    network, (x, y) = model(), batch()
    network.save(tmp_path / "m")
    json.loads((tmp_path / "m" / "config.json").read_text())
    loaded = Model.load(tmp_path / "m")
    sampling = loaded.compiled.heads[0].loss.sampled_softmax
    assert sampling is not None
    assert sampling.get_config() == SampledSoftmax(COUNTS, 6).get_config()
    for each in (network, loaded):
        each.seed = 5
    assert gradients(loaded, x, y)[0] == gradients(network, x, y)[0]


def compiled(output: Any, classes: int = V, **arguments: Any) -> None:
    inputs = Input((None, 3))
    loss = losses.SparseCategoricalCrossentropy(sampled_softmax=SampledSoftmax(np.ones(classes), 2), **arguments)
    Model(inputs, output(inputs)).compile("sgd", loss)


def test_a_number_is_no_sampled_softmax() -> None:
    with pytest.raises(TypeError, match="sampled_softmax must be a SampledSoftmax or None, got 1000"):
        losses.SparseCategoricalCrossentropy(sampled_softmax=1000)  # type: ignore[arg-type]


_BAD_COUNTS: Any = ([[1, 1]], [], [3], [0, 0], ["a", "b"], [[1], [1, 2]], None, [1, np.inf])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: SampledSoftmax([1, -1], 1), "counts must be a list of two or more numbers that are at least 0"),
        *((lambda s, bad=bad: SampledSoftmax(bad, 1), "counts must be a list") for bad in _BAD_COUNTS),
        (lambda s: SampledSoftmax([1, 2], 2), "size must be an integer from 1 to 1, one class less than all, got 2"),
        (lambda s: SampledSoftmax([1, 2], 1, power=2), "power must be a number from 0 to 1, got 2"),
        (lambda s: compiled(Activation("softmax")), "needs a Dense with softmax"),
        (lambda s: compiled(Dense(V, "relu")), "needs a Dense with softmax"),
        (lambda s: compiled(Dense(V, "softmax"), 5), "counts 5 classes, expected 23"),
        (lambda s: compiled(Dense(V, "softmax"), label_smoothing=0.1), "does not go with sampled_softmax"),
        (lambda s: fit(s, sampled_softmax=10**6), "must be below the .* tokens of the vocabulary, got 1,000,000"),
        (lambda s: fit(s, sampled_softmax=0), "sampled_softmax must be at least 1, got 0"),
        (lambda s: fit(s, label_smoothing=0.1), "label_smoothing gives a share to all tokens"),
    ],
)
def test_bad_arguments_are_named(source: Path, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(source)
