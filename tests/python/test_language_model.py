import math
import tracemalloc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurlm import LanguageModel, files
from recurlm.callbacks import Callback
from recurlm.language_model import storage
from recurlm.language_model.generation import StoppedText
from recurlm.language_model.schedule import Schedule
from recurlm.text.tokenizers import ByteTokenizer, WordTokenizer

from . import samples

TEXTS = ["the cat", "a dog ran after the hat and the mat was on the cat", "é", "the mat was flat", ""]


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return samples.trained(samples.text_file(tmp_path_factory.mktemp("text")), epochs=6)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "held_out.txt"
    path.write_text(samples.text(30, seed=9), encoding="utf-8")
    return path


# Training ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", ["char", "byte", "word"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_cell_and_tokenizer_learns(tmp_path: Path, cell: str, tokenizer: str) -> None:
    lm = LanguageModel(cell, units=16, tokenizer=tokenizer, seed=1)
    history = lm.fit(samples.text_file(tmp_path), epochs=3, batch_size=4, window=8, learning_rate=1e-2, verbose=False)
    assert len(history["loss"]) == len(history["val_loss"]) == 3
    assert history["val_loss"][-1] < 0.7 * math.log(lm.tokenizer.vocabulary_size)
    assert history["val_loss"][-1] < history["val_loss"][0]


@pytest.mark.parametrize("options", [{"dropout": 0.2}, {"tie_weights": True}, {"embedding_dim": 7}, {"layers": 3}])
def test_options_of_the_network_train_and_decode(tmp_path: Path, options: dict[str, object]) -> None:
    lm = samples.trained(samples.text_file(tmp_path, 60), epochs=1, **options)
    assert lm.generate("the ", max_tokens=5, temperature=0, seed=0)
    loaded = _saved_and_loaded(lm, tmp_path)
    np.testing.assert_array_equal(loaded.score(TEXTS), lm.score(TEXTS))


def test_the_best_weights_are_kept(tmp_path: Path, held_out: Path) -> None:
    lm = LanguageModel(units=32, seed=1)
    history = lm.fit(
        samples.text_file(tmp_path, 6),
        held_out,
        epochs=60,
        batch_size=2,
        window=16,
        learning_rate=0.03,
        schedule="constant",
        verbose=False,
    )
    best = min(history["val_loss"])
    assert best < history["val_loss"][-1]
    assert lm.evaluate(held_out, streams=18).loss == pytest.approx(best, rel=0.05)
    assert lm.evaluate(held_out).loss < history["val_loss"][-1]


def test_early_stopping_ends_a_run_that_no_longer_gains(tmp_path: Path, held_out: Path) -> None:
    lm = LanguageModel(units=32, seed=1)
    recipe = {"batch_size": 2, "window": 16, "learning_rate": 0.03, "schedule": "constant", "verbose": False}
    history = lm.fit(samples.text_file(tmp_path, 6), held_out, epochs=60, early_stopping=2, **recipe)  # type: ignore[arg-type]
    losses = history["val_loss"]
    assert len(losses) < 60
    assert len(losses) - 1 - losses.index(min(losses)) == 2


def test_limits_end_training_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    source = samples.text_file(tmp_path, 400)
    lm = LanguageModel(units=8)
    history = lm.fit(source, max_tokens=640, **samples.RECIPE)  # type: ignore[arg-type]
    assert lm.model.optimizer.iterations == 10
    assert len(history["val_loss"]) == 1
    timed = LanguageModel(units=8)
    timed.fit(source, max_minutes=0.2 / 60, **samples.RECIPE)  # type: ignore[arg-type]
    assert timed.model.optimizer.iterations > 0


def test_lists_of_texts_teach_where_a_text_ends() -> None:
    names = ["anna", "otto", "bob"] * 60
    lm = LanguageModel(units=24, seed=2)
    lm.fit(names, epochs=30, batch_size=4, window=8, learning_rate=1e-2, validation_split=0, verbose=False)
    assert set(lm.generate(samples=20, max_tokens=30, temperature=0.3, seed=1)) <= {"anna", "otto", "bob"}
    with_end, without = lm.score(["anna"], eos=True), lm.score(["anna"])
    assert -0.2 < with_end[0] - without[0] < 0


def test_a_second_fit_goes_on_with_the_same_vocabulary(tmp_path: Path) -> None:
    source = samples.text_file(tmp_path)
    lm = samples.trained(source, epochs=1)
    before = lm.evaluate(source).loss
    tokens = list(lm.tokenizer.tokens)
    lm.fit(source, epochs=2, **samples.RECIPE)  # type: ignore[arg-type]
    assert list(lm.tokenizer.tokens) == tokens
    assert lm.evaluate(source).loss < before


# Measuring -----------------------------------------------------------------------------------------------------------


def test_evaluation_agrees_with_the_score_of_the_whole_text(lm: LanguageModel, held_out: Path) -> None:
    text = held_out.read_text(encoding="utf-8")
    result = lm.evaluate(held_out)
    nats = -lm.score([text])[0]
    assert result.tokens == len(text)
    assert result.loss == pytest.approx(nats / len(text), rel=1e-9)
    assert result.perplexity == pytest.approx(math.exp(result.loss))
    assert result.bits_per_character == pytest.approx(nats / math.log(2) / len(text))
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) / len(text.encode()))
    assert 0 < result.accuracy < 1
    assert lm.perplexity(held_out) == result.perplexity
    assert lm.evaluate(held_out, streams=4).loss == pytest.approx(result.loss, rel=0.05)
    assert result.oov_rate == 0


def test_a_list_is_evaluated_as_separate_texts(lm: LanguageModel) -> None:
    result = lm.evaluate(TEXTS)
    assert result.tokens == sum(map(len, TEXTS))
    assert result.loss == pytest.approx(-lm.score(TEXTS).sum() / result.tokens, rel=1e-9)


def test_score_is_the_same_alone_and_in_a_batch(lm: LanguageModel) -> None:
    texts = [*TEXTS, samples.text(12), *(samples.text(2, seed) for seed in range(70))]
    together = lm.score(texts)
    assert together.dtype == np.float64
    np.testing.assert_array_equal(together, [lm.score([text])[0] for text in texts])


def test_score_multiplies_what_the_network_predicts(lm: LanguageModel) -> None:
    ids = lm.tokenizer.encode("the cat")
    probabilities = lm.model.predict(np.append(np.int32(lm.tokenizer.bos_id), ids[:-1])[None], verbose=0, states={})[0]
    expected = np.log(probabilities[np.arange(len(ids)), ids]).sum()
    assert lm.score(["the cat"])[0] == pytest.approx(expected, rel=1e-5)


def test_details_flag_unknown_words(tmp_path: Path) -> None:
    lm = samples.trained(samples.text_file(tmp_path), epochs=1, tokenizer="word")
    (text,) = lm.score(["the zebra sat"], details=True)
    assert [(token.token, token.unknown) for token in text.tokens] == [
        ("the", False),
        ("<unk>", True),
        ("sat", False),
    ]
    assert text.log_prob == pytest.approx(sum(token.log_prob for token in text.tokens))
    (ended,) = lm.score(["the zebra sat"], details=True, eos=True)
    assert ended.tokens[-1].token == "<eos>"


def test_the_loss_is_known_where_the_perplexity_is_beyond_numbers(tmp_path: Path) -> None:
    lm = samples.trained(samples.text_file(tmp_path, 60), epochs=1)
    *rest, bias = lm.model.get_weights()
    bias[:] = 0
    bias[lm.tokenizer.bos_id] = 2000
    lm.model.set_weights([*rest, bias])
    result = lm.evaluate(tmp_path / "text.txt")
    assert result.perplexity == math.inf
    assert result.loss == pytest.approx(2000, rel=0.01)
    recipe: dict[str, Any] = samples.RECIPE | {"max_tokens": 64, "learning_rate": 1e-9}
    with pytest.warns(UserWarning, match="worse than even guesses: training has diverged"):
        history = lm.fit(tmp_path / "text.txt", **recipe)
    assert history["val_loss"][0] == pytest.approx(2000, rel=0.01)


def test_texts_of_a_list_start_from_the_zero_state_where_a_window_opens_with_one() -> None:
    seen = []

    class Watch(Callback):
        def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            layer = next(layer for layer in self.model.layers if layer.name == "lstm_0")
            seen.append([not state.any() for state in layer.states.get("lstm_0", [])])

    lm = LanguageModel(units=8)
    lm.fit(["aba"] * 8, batch_size=1, window=4, epochs=1, validation_split=0, callbacks=[Watch()], verbose=False)
    assert seen == [[], *[[True, True]] * 7]


# Generation ----------------------------------------------------------------------------------------------------------


def test_generation_continues_and_does_not_repeat_the_prompt(lm: LanguageModel) -> None:
    assert lm.generate("the cat sat on the m", max_tokens=2, temperature=0) == "at"


def test_the_same_seed_gives_the_same_text_streamed_or_not(lm: LanguageModel) -> None:
    whole = lm.generate("the ", max_tokens=90, seed=5)
    assert whole == lm.generate("the ", max_tokens=90, seed=5)
    assert whole == "".join(lm.generate("the ", max_tokens=90, seed=5, stream=True))
    assert whole == lm.generate("the ", max_tokens=90, seed=5, samples=3)[0]
    assert whole != lm.generate("the ", max_tokens=90, seed=6)
    assert len(whole) == 90


def test_greedy_text_follows_the_most_probable_token(lm: LanguageModel) -> None:
    text = lm.generate("the cat", max_tokens=10, temperature=0)
    ids = lm.tokenizer.encode("the cat" + text)
    probabilities = lm.model.predict(np.append(np.int32(lm.tokenizer.bos_id), ids[:-1])[None], verbose=0, states={})[0]
    np.testing.assert_array_equal(probabilities[7:, 1:].argmax(-1) + 1, ids[7:])


def test_stop_strings_end_a_text_before_them(lm: LanguageModel) -> None:
    free = lm.generate("the ", max_tokens=120, seed=2)
    line = free.partition("\n")[0]
    assert line != free
    assert lm.generate("the ", max_tokens=120, seed=2, stop="\n") == line
    assert "".join(lm.generate("the ", max_tokens=120, seed=2, stop=["\n", "@"], stream=True)) == line


@given(st.text("ab\n", max_size=30), st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=2), st.integers(1, 4))
def test_stopping_does_not_depend_on_the_pieces(text: str, stops: list[str], size: int) -> None:
    stopped = StoppedText(ByteTokenizer().decoder(), stops)
    data = list(text.encode())
    pieces = [stopped.push(data[i : i + size]) for i in range(0, len(data), size)]
    cuts = (
        n - len(stop) for n in range(len(text) + 1) for stop in sorted(stops, key=len)[::-1] if text[:n].endswith(stop)
    )
    assert "".join(pieces) + stopped.push([], final=True) == text[: next(cuts, len(text))]


def test_special_tokens_are_never_drawn(tmp_path: Path) -> None:
    tokenizer = WordTokenizer(size=8)
    lm = samples.trained(samples.text_file(tmp_path), epochs=1, tokenizer=tokenizer)
    for temperature in (0, 1e-3, 3.0, 1e3):
        for text in lm.generate("the", samples=8, max_tokens=50, temperature=temperature, seed=0):
            assert "<" not in text
            assert len(text.split()) + text.count("\n") == 50


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**63 - 1), st.just(0.0) | st.floats(1e-3, 1e3))
def test_bytes_always_decode(lm_bytes: LanguageModel, seed: int, temperature: float) -> None:
    lm_bytes.generate("é", max_tokens=20, seed=seed, temperature=temperature).encode()


@pytest.fixture(scope="module")
def lm_bytes() -> LanguageModel:
    return LanguageModel(units=4, tokenizer="byte")


def test_models_may_be_used_from_many_threads(lm: LanguageModel) -> None:
    expected = lm.generate("the ", max_tokens=40, seed=1), lm.score(TEXTS).tolist()

    def work(_: int) -> tuple[str, list[float]]:
        return lm.generate("the ", max_tokens=40, seed=1), lm.score(TEXTS).tolist()

    with ThreadPoolExecutor(4) as pool:
        assert all(result == expected for result in pool.map(work, range(16)))


def test_other_threads_are_refused_while_the_model_trains(tmp_path: Path) -> None:
    lm = samples.trained(samples.text_file(tmp_path, 60), epochs=1)
    errors: list[type[BaseException] | None] = []

    class Peek(Callback):
        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            with ThreadPoolExecutor(1) as pool:
                works = (lambda: lm.generate("the "), lambda: lm.score(["the"]))
                errors.extend(type(pool.submit(work).exception()) for work in works)
            lm.generate("the ", max_tokens=3)  # whereas a callback may

    lm.fit(tmp_path / "text.txt", max_tokens=64, callbacks=[Peek()], **samples.RECIPE)  # type: ignore[arg-type]
    assert errors == [RuntimeError, RuntimeError]


def test_generation_follows_weights_that_were_changed(lm: LanguageModel, tmp_path: Path) -> None:
    other = _saved_and_loaded(lm, tmp_path)
    before = other.generate("the ", max_tokens=20, temperature=0)
    other.model.set_weights([-weight for weight in other.model.get_weights()])
    assert other.generate("the ", max_tokens=20, temperature=0) != before


# Files ---------------------------------------------------------------------------------------------------------------


def _saved_and_loaded(lm: LanguageModel, folder: Path) -> LanguageModel:
    lm.save(folder / "model")
    return LanguageModel.load(folder / "model")


def test_a_loaded_model_is_the_saved_one(lm: LanguageModel, tmp_path: Path) -> None:
    loaded = _saved_and_loaded(lm, tmp_path)
    files = "config.json model.safetensors tokenizer.json generation_config.json selftest.json history.json"
    assert {path.name for path in (tmp_path / "model").iterdir()} == set(files.split())
    assert loaded.architecture == lm.architecture
    assert samples.weight_bytes(loaded) == samples.weight_bytes(lm)
    assert loaded.generate("the ", max_tokens=30, seed=1) == lm.generate("the ", max_tokens=30, seed=1)
    loaded.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_saving_and_loading_hold_no_second_copy_of_the_weights(tmp_path: Path) -> None:
    lm = LanguageModel(units=400, layers=4, tokenizer=ByteTokenizer())
    size = 4 * lm.model.count_params()
    for work, most in (
        (lambda: lm.save(tmp_path / "model"), 1.0),
        (lambda: LanguageModel.load(tmp_path / "model"), 1.5),
    ):
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most * size


def test_a_save_that_wrote_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = LanguageModel(units=8, tokenizer=ByteTokenizer())
    lm.save(tmp_path / "model")
    before = samples.weight_bytes(LanguageModel.load(tmp_path / "model"))
    write = files.write_safetensors

    def change(path: Path, arrays: Mapping[str, Any]) -> None:
        write(path, arrays | {"lstm_0.bias": np.nextafter(arrays["lstm_0.bias"], np.float32(2))})

    monkeypatch.setattr(storage, "write_safetensors", change)
    with pytest.raises(OSError, match="does not hold what was written to it"):
        lm.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    assert samples.weight_bytes(LanguageModel.load(tmp_path / "model")) == before


# Schedules -----------------------------------------------------------------------------------------------------------


def test_the_schedule_warms_up_and_decays_to_zero_at_the_first_limit() -> None:
    schedule = Schedule("cosine", 0.1, warmup_steps=10, steps=100, tokens=1e9, seconds=50)
    assert schedule.learning_rate(0, 0) == pytest.approx(0.01)
    assert schedule.learning_rate(9, 0) == pytest.approx(0.1)
    assert schedule.learning_rate(50, schedule.progress(50, 0, 0)) == pytest.approx(0.05)
    assert schedule.progress(50, 0, 40) == 0.8
    assert schedule.progress(50, 0, 60) == 1
    assert schedule.learning_rate(100, 1) == pytest.approx(0)
    assert Schedule("linear", 0.1, 0, 100).learning_rate(25, 0.25) == pytest.approx(0.075)
    assert Schedule("constant", 0.1, 0, 100).learning_rate(99, 0.99) == 0.1


def test_warm_up_takes_no_more_than_a_tenth_of_a_run() -> None:
    short = Schedule("constant", 0.1, warmup_steps=100, steps=1e9, tokens=50 * 2048)
    rates = [short.learning_rate(step, short.progress(step, step * 2048, 0)) for step in range(50)]
    assert rates[0] == pytest.approx(0.001)
    assert rates[:6] == sorted(rates[:6])
    assert rates[4] < 0.1
    assert rates[5:] == pytest.approx([0.1] * 45)


def test_warm_up_of_a_long_run_takes_its_steps() -> None:
    long = Schedule("constant", 0.1, warmup_steps=100, steps=1e9, seconds=180)
    rates = [long.learning_rate(step, long.progress(step, 0, step * 0.062)) for step in range(101)]
    assert rates == [0.1 * min(1, (step + 1) / 100) for step in range(101)]


def test_an_untrained_model_says_that_fit_is_missing() -> None:
    for call in (lambda m: m.score(["a"]), lambda m: m.perplexity(["a"]), lambda m: m.generate("a")):
        with pytest.raises(ValueError, match="no vocabulary yet: call fit first"):
            call(LanguageModel(units=4))


def test_repr_tells_what_it_is() -> None:
    assert repr(LanguageModel("gru", 8)) == "<LanguageModel gru, units=8, layers=1, tokenizer=char (no vocabulary yet)>"


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("epochs", "3", "an integer"),
        ("epochs", 1.5, "an integer"),
        ("batch_size", None, "an integer"),
        ("learning_rate", "high", "a number"),
        ("max_minutes", True, "a number"),
        ("schedule", 3, "a str"),
    ],
)
def test_options_of_the_wrong_type_are_named(option: str, value: object, what: str) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(TypeError, match=f"^{option} must be {what}, got {value!r}$"):
        LanguageModel(units=4).fit(["to be"], verbose=False, **options)


def test_a_negative_time_limit_is_named() -> None:
    with pytest.raises(ValueError, match=r"^max_minutes must be positive, got -1$"):
        LanguageModel(units=4).fit(["to be"], verbose=False, max_minutes=-1)
