"""Evaluation: how much of a text is unknown, and by a copy that goes on learning from it, window by window."""

from pathlib import Path

import numpy as np
import pytest

from recurlm import LanguageModel
from recurlm.optimizers import SGD

from . import samples

WINDOW = 32


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    source = samples.text_file(tmp_path_factory.mktemp("text"))
    return samples.trained(source, epochs=2, dropout=0.3, weight_drop=0.2, embedding_dropout=0.1, temporal_penalty=1.0)


def _write(folder: Path, text: str) -> Path:
    path = folder / "held_out.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("streams", [1, 3])
def test_a_rate_of_zero_changes_nothing(lm: LanguageModel, tmp_path: Path, streams: int) -> None:
    path = _write(tmp_path, samples.text(11, seed=5))
    plain, adapted = lm.evaluate(path, streams), lm.evaluate(path, streams, adapt=0)
    assert adapted.tokens == plain.tokens
    assert adapted.loss == pytest.approx(plain.loss, rel=1e-5)  # float32 kernels of training and of running
    assert adapted.accuracy == pytest.approx(plain.accuracy, abs=1 / plain.tokens)
    assert adapted.bits_per_byte == pytest.approx(plain.bits_per_byte, rel=1e-5)


def test_a_window_is_predicted_before_it_is_learned(lm: LanguageModel, tmp_path: Path) -> None:
    path = _write(tmp_path, samples.text(20, seed=5)[:WINDOW])
    assert lm.evaluate(path, adapt=5.0).loss == pytest.approx(lm.evaluate(path).loss, rel=1e-5)


def test_the_second_window_is_predicted_after_one_step_of_sgd(lm: LanguageModel, tmp_path: Path) -> None:
    text, rate = samples.text(20, seed=5)[: 2 * WINDOW], 0.5
    ids = np.concatenate([[lm.tokenizer.bos_id], lm.tokenizer.encode(text)]).astype(np.int32)
    by_hand = LanguageModel(**{**lm.architecture.plain().config(), "tokenizer": lm.tokenizer})
    by_hand.model.set_weights(lm.model.get_weights())
    by_hand.model.compile(SGD(rate, global_clipnorm=1.0), loss="sparse_categorical_crossentropy")
    losses = []
    for start in (0, WINDOW):
        inputs, targets = ids[None, start : start + WINDOW], ids[None, start + 1 : start + 1 + WINDOW]
        losses.append(by_hand.model.train_on_batch(inputs, targets))
    assert losses[1] != pytest.approx(lm.evaluate(_write(tmp_path, text)).loss * 2 - losses[0], rel=1e-3)
    assert lm.evaluate(_write(tmp_path, text), adapt=rate).loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_what_a_text_repeats_becomes_probable_and_the_model_stays_as_it_is(lm: LanguageModel, tmp_path: Path) -> None:
    path = _write(tmp_path, "mat hat cat " * 60)
    before = lm.model.get_weights()
    plain = lm.evaluate(path)
    assert lm.evaluate(path, adapt=0.5).loss < 0.8 * plain.loss
    assert lm.evaluate(path) == plain
    for now, then in zip(lm.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_quantized_model_learns_from_its_weights_in_float32(lm: LanguageModel, tmp_path: Path) -> None:
    path = _write(tmp_path, "mat hat cat " * 30)
    narrow = lm.quantize("int8")
    assert narrow.evaluate(path, adapt=0.5).loss == pytest.approx(lm.evaluate(path, adapt=0.5).loss, rel=0.02)
    assert narrow.precision == "int8"


def test_what_cannot_be_adapted_to_is_refused(lm: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="adapt goes on learning along one text: give files, not a list of texts"):
        lm.evaluate(["the cat"], adapt=0.1)
    with pytest.raises(ValueError, match="adapt must be a finite number from 0 on, got -1"):
        lm.evaluate(_write(tmp_path, "the cat"), adapt=-1)
    with pytest.raises(ValueError, match="no vocabulary yet: call fit first"):
        LanguageModel().evaluate(_write(tmp_path, "the cat"), adapt=0.1)


def test_evaluation_tells_the_oov_rate(tmp_path: Path) -> None:
    lm = LanguageModel(units=4, tokenizer="word")
    lm.tokenizer.train(["one two three two one"])
    path = tmp_path / "text.txt"
    path.write_text("one four two five", encoding="utf-8")
    assert lm.evaluate(["one four two five", "two two"]).oov_rate == pytest.approx(2 / 6)
    assert lm.evaluate(path).oov_rate == pytest.approx(2 / 4)
