"""Narrow weights: the arithmetic of bfloat16 and int8, and language models that run with them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recurlm import LanguageModel
from recurlm.precision import Precision, Quantized, dequantize, from_bfloat16, quantize, to_bfloat16

from . import samples

NARROW: list[Precision] = ["bfloat16", "int8"]
TEXTS = ["the cat", "a dog ran after the hat and the mat was on the cat", "é", "", "the mat was flat", "the cat"]

# bfloat16 ------------------------------------------------------------------------------------------------------------


def value(bits: int) -> float:
    """Of a bfloat16. Infinity counts as the number that would be next, as where IEEE 754 rounds."""
    sign, exponent, fraction = -1 if bits >> 15 else 1, bits >> 7 & 0xFF, bits & 0x7F
    if exponent == 0:
        return sign * fraction * 2.0**-133
    return float(sign * (128 + fraction) * 2.0 ** (exponent - 134))


def nearest(x: float, bits: int) -> int:
    """One of the two bfloat16 beside x, whose bits as a float32 these are; of two equally near the even one."""
    towards_zero, away = bits >> 16, (bits >> 16) + 1
    near, far = abs(x - value(towards_zero)), abs(value(away) - x)
    return towards_zero if near < far or (near == far and towards_zero % 2 == 0) else away


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
@example([0x3F808000, 0x3F818000, 0xBF808000, 0xBF818000])  # halves, towards the even one
@example([0x3F808001, 0x3F807FFF, 0x3F817FFF, 0x3F818001])  # what is next to them
@example([0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0xFF7FFFFF])  # the largest, which round to infinity from a half on
@example([0x00000000, 0x80000000, 0x00008000, 0x00018000, 0x00000001, 0x007FFFFF])  # zeros and denormals
@example([0x7F800000, 0xFF800000, 0x7F800001, 0xFFFFFFFF, 0x7FC00000, 0x7FFFFFFF])  # infinities and NaN of all kinds
def test_the_nearest_bfloat16(patterns: list[int]) -> None:
    matrix = np.array(patterns, np.uint32).view(np.float32)
    for x, pattern, bits in zip(matrix.tolist(), patterns, to_bfloat16(matrix).tolist(), strict=True):
        if math.isfinite(x):
            assert bits == nearest(x, pattern), hex(pattern)
        elif math.isinf(x):
            assert bits == pattern >> 16
        else:  # of the same sign, and not an infinity
            assert (bits >> 15, bits & 0x7F80) == (pattern >> 31, 0x7F80)
            assert bits & 0x7F


@given(st.lists(st.floats(2.0**-126, 2.0**127, width=32), min_size=1))
def test_a_bfloat16_is_off_by_at_most_one_part_in_256(values: list[float]) -> None:
    matrix = np.array([values, [-x for x in values]], np.float32)
    error = np.abs(from_bfloat16(to_bfloat16(matrix)).astype(np.float64) - matrix)
    assert (error <= 2.0**-8 * np.abs(matrix.astype(np.float64))).all()


def test_every_bfloat16_survives_the_way_there_and_back() -> None:
    bits = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    values = from_bfloat16(bits)
    assert values.dtype == np.float32
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(to_bfloat16(values)[numbers], bits[numbers])
    assert np.isnan(from_bfloat16(to_bfloat16(values)[~numbers])).all()
    assert np.count_nonzero(~numbers) == 2 * 127
    finite = np.isfinite(values)
    np.testing.assert_array_equal(values[finite], [value(int(b)) for b in bits[finite]])


def test_any_layout_of_memory() -> None:
    matrix = np.random.default_rng(1).standard_normal((6, 10)).astype(np.float32)
    for view in (matrix.T, matrix[::2, 1::3], np.asfortranarray(matrix)):
        copy = np.ascontiguousarray(view)
        np.testing.assert_array_equal(to_bfloat16(view), to_bfloat16(copy))
        np.testing.assert_array_equal(from_bfloat16(to_bfloat16(matrix).T), from_bfloat16(to_bfloat16(matrix)).T)
        for axis in (0, 1):
            for part, wanted in zip(quantize(view, axis), quantize(copy, axis), strict=True):
                np.testing.assert_array_equal(part, wanted)


# int8 ----------------------------------------------------------------------------------------------------------------

# Magnitudes of which no scale, a 127th, is denormal: a denormal one is rounded to few digits.
NUMBERS = st.just(0.0) | st.floats(2.0**-100, 2.0**120, width=32).flatmap(lambda x: st.sampled_from([x, -x]))
MATRICES = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=NUMBERS)
AXES = st.sampled_from([0, 1])


@given(MATRICES, AXES)
def test_an_int8_is_off_by_at_most_half_its_scale(matrix: Any, axis: int) -> None:
    """And by what the quotients and scales are rounded by: 2⁻²³ of at most 127 of them."""
    quantized = quantize(matrix, axis)
    assert (quantized.values.dtype.name, quantized.scales.dtype.name) == ("int8", "float32")
    assert (quantized.values.shape, quantized.scales.shape) == (matrix.shape, (matrix.shape[axis],))
    scales = np.expand_dims(quantized.scales.astype(np.float64), 1 - axis)
    error = np.abs(dequantize(quantized, axis).astype(np.float64) - matrix)
    assert (error <= (0.5 + 127 * 2.0**-23) * scales).all()
    # A channel's largest magnitude is 127 of its scales.
    largest = np.abs(matrix).max(axis=1 - axis)
    np.testing.assert_array_equal(np.abs(quantized.values.astype(int)).max(axis=1 - axis), 127 * (largest > 0))
    np.testing.assert_allclose(127 * quantized.scales.astype(np.float64), largest, rtol=2.0**-23)


@given(MATRICES, AXES)
def test_int8_is_symmetric_and_the_same_for_rows_and_columns(matrix: Any, axis: int) -> None:
    values, scales = quantize(matrix, axis)
    for other, wanted in [(quantize(-matrix, axis), -values), (quantize(matrix.T, 1 - axis), values.T)]:
        np.testing.assert_array_equal(other.values, wanted)
        np.testing.assert_array_equal(other.scales, scales)
    doubled = quantize(2 * matrix, axis)
    np.testing.assert_array_equal(doubled.values, values)
    np.testing.assert_array_equal(doubled.scales, 2 * scales)


@given(MATRICES, AXES)
def test_what_was_quantized_survives_being_quantized_again(matrix: Any, axis: int) -> None:
    """Every integer; a scale, 127 of which are rounded, but for the last bit."""
    once = quantize(matrix, axis)
    again = quantize(dequantize(once, axis), axis)
    np.testing.assert_array_equal(again.values, once.values)
    np.testing.assert_allclose(again.scales, once.scales, rtol=2.0**-22)


def test_halves_become_even_integers() -> None:
    matrix = np.array([[127, 0.5, 1.5, 2.5, 126.5, -0.5, -1.5, -2.5]], np.float32)
    values, scales = quantize(matrix, 0)
    assert values.tolist() == [[127, 0, 2, 2, 126, 0, -2, -2]]
    assert scales.tolist() == [1.0]


def test_channels_of_zeros_and_matrices_without_elements() -> None:
    matrix = np.array([[0, 3, -0.0], [0, -4, 0]], np.float32)
    quantized = quantize(matrix, 1)
    assert quantized.values.tolist() == [[0, 95, 0], [0, -127, 0]]
    assert quantized.scales[[0, 2]].tolist() == [0, 0]
    assert dequantize(quantized, 1)[:, [0, 2]].tolist() == [[0, 0], [0, 0]]
    empty = quantize(np.zeros((0, 3), np.float32), 1)
    assert (empty.values.shape, empty.scales.tolist()) == ((0, 3), [0, 0, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_quantized(bad: float) -> None:
    for axis in (0, 1):
        matrix = np.ones((3, 4), np.float32)
        matrix[2, 1] = bad
        with pytest.raises(FloatingPointError, match="the weights are not finite and were not quantized"):
            quantize(matrix, axis)


# Language models -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return samples.trained(samples.text_file(tmp_path_factory.mktemp("text")), epochs=6)


@pytest.fixture(scope="module", params=NARROW)
def narrow(request: pytest.FixtureRequest, lm: LanguageModel) -> LanguageModel:
    return lm.quantize(request.param)


# Largest difference of a token's log-probability, and of the mean. Measured over cells, tied weights and words: 0.03
# and 1.6e-4 in bfloat16 (a weight is off by at most 1/256 of itself), 0.12 and 4e-4 in int8 (by 1/254 of the largest in
# its channel, an activation by as much of the largest of its layer). Signs are mixed: the mean hardly moves.
BOUNDS = {"bfloat16": (0.06, 5e-4), "int8": (0.25, 1.5e-3)}


@pytest.mark.parametrize(
    "options", [{}, {"tie_weights": True}, {"cell": "gru"}, {"cell": "rnn"}, {"tokenizer": "word"}], ids=str
)
def test_a_quantized_model_predicts_nearly_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    lm = samples.trained(samples.text_file(tmp_path), epochs=6, **options)
    texts = [samples.text(30, seed=9), *samples.LINES]
    expected = np.array([token.log_prob for text in lm.score(texts, details=True) for token in text.tokens])
    for precision in NARROW:
        narrow = lm.quantize(precision)
        actual = np.array([token.log_prob for text in narrow.score(texts, details=True) for token in text.tokens])
        most, mean = BOUNDS[precision]
        assert 0 < np.abs(actual - expected).max() <= most
        assert abs(actual.mean() - expected.mean()) <= mean


def test_bfloat16_predicts_what_float32_weights_of_the_same_values_do(lm: LanguageModel, tmp_path: Path) -> None:
    """Bit for bit: the upper halves of float32 are all that is left, and products and sums are the same."""
    lm.save(tmp_path / "m")
    rounded = LanguageModel.load(tmp_path / "m")
    for name, parameter in rounded.model.named_weights().items():
        if not name.endswith(".bias"):
            parameter.assign(from_bfloat16(to_bfloat16(parameter.value)))
    narrow = lm.quantize("bfloat16")
    np.testing.assert_array_equal(narrow.score(TEXTS), rounded.score(TEXTS))
    assert narrow.generate("the ", 60, seed=1) == rounded.generate("the ", 60, seed=1)
    assert narrow.evaluate(TEXTS) == rounded.evaluate(TEXTS)


def test_int8_has_a_scale_for_each_output_of_a_matrix(lm: LanguageModel) -> None:
    weights = lm.quantize().weights.running().named
    for name, parameter in lm.model.named_weights().items():
        value, stored = parameter.value, weights[name]
        if name.endswith(".bias"):
            np.testing.assert_array_equal(np.asarray(stored), value)
            continue
        axis = 0 if name == "embedding.embeddings" else 1
        assert isinstance(stored, Quantized)
        for part, wanted in zip(stored, quantize(value, axis), strict=True):
            np.testing.assert_array_equal(part, wanted)


def test_a_quantized_model_runs(narrow: LanguageModel, lm: LanguageModel, tmp_path: Path) -> None:
    assert lm.precision == "float32"
    assert narrow.precision in NARROW
    assert narrow.count_params() == lm.count_params()
    assert narrow.generate("the cat sat on the m", 2, temperature=0) == "at"
    whole = narrow.generate("the ", 50, seed=3)
    assert "".join(narrow.generate("the ", 50, seed=3, stream=True)) == whole
    assert narrow.generate("the ", 50, seed=3, samples=2)[0] == whole
    source = samples.text_file(tmp_path, 30)
    text = source.read_text(encoding="utf-8")
    evaluation = narrow.evaluate(source)
    assert (evaluation.tokens, evaluation.perplexity) == (len(text), math.exp(evaluation.loss))
    assert evaluation.loss == pytest.approx(-narrow.score([text])[0] / len(text), rel=1e-9)
    assert narrow.evaluate(source, streams=4).loss == pytest.approx(evaluation.loss, rel=0.05)
    assert 0.5 < evaluation.accuracy < 1


def test_scores_add_up_to_the_evaluation_of_a_list(narrow: LanguageModel) -> None:
    scores, evaluation = narrow.score(TEXTS), narrow.evaluate(TEXTS)
    assert evaluation.tokens == sum(map(len, TEXTS))
    assert evaluation.loss == pytest.approx(-scores.sum() / evaluation.tokens, rel=1e-9)  # one adds in another order
    np.testing.assert_array_equal(scores, [narrow.score([text])[0] for text in TEXTS])
    np.testing.assert_array_equal(narrow.score(TEXTS[::-1]), scores[::-1])


def test_a_quantized_model_is_not_quantized_again(narrow: LanguageModel) -> None:
    with pytest.raises(ValueError, match=f"^the model is quantized to {narrow.precision} already: quantize the"):
        narrow.quantize("bfloat16")


@pytest.mark.parametrize("call", [lambda m: m.fit(["the cat"]), lambda m: m.model])
def test_a_quantized_model_cannot_train(call: Callable[[LanguageModel], Any], narrow: LanguageModel) -> None:
    with pytest.raises(
        ValueError, match=f"^a model quantized to {narrow.precision} can run but has no network to train"
    ):
        call(narrow)


@pytest.mark.parametrize("precision", ["float32", "int4", "INT8", None])
def test_other_precisions_are_refused(precision: Any, lm: LanguageModel) -> None:
    with pytest.raises(ValueError, match=f"^precision must be one of bfloat16, int8, got {precision!r}$"):
        lm.quantize(precision)


def test_a_model_without_a_vocabulary_is_not_quantized() -> None:
    with pytest.raises(ValueError, match="no vocabulary yet: call fit first"):
        LanguageModel(units=4).quantize()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["embedding.embeddings", "lstm_0.recurrent_kernel", "lstm_0.bias", "projection.bias"])
@pytest.mark.parametrize("precision", NARROW)
def test_weights_that_are_not_finite_are_not_quantized(precision: Precision, name: str, bad: float) -> None:
    lm = LanguageModel(units=4, tokenizer="byte")
    parameter = lm.model.named_weights()[name]
    parameter.value.flat[-1] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        lm.quantize(precision)


def test_training_goes_on_without_the_quantized_copy(tmp_path: Path) -> None:
    lm = samples.trained(samples.text_file(tmp_path, 60), epochs=1)
    copies = [lm.quantize(precision) for precision in NARROW]  # not packed yet
    before = [copy.weights.running().arrays() for copy in copies]
    held = [{name: array.tobytes() for name, array in arrays.items()} for arrays in before]
    lm.fit(tmp_path / "text.txt", epochs=1, **samples.RECIPE)  # type: ignore[arg-type]
    for copy, arrays in zip(copies, held, strict=True):
        assert {name: array.tobytes() for name, array in copy.weights.running().arrays().items()} == arrays
    assert all((copy.score(TEXTS[:1]) != lm.score(TEXTS[:1])).all() for copy in copies)


def test_long_texts_and_many_score_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """However the texts are divided among calls of the core, so that Ctrl-C is heard between them."""
    lm = samples.trained(samples.text_file(tmp_path, 60), epochs=1)
    texts = ["the cat sat on the mat", "", "the cat", "a dog ran after the cat " * 3, "the hat"]
    together = lm.score(texts)
    for most in (1, 7, 25):
        monkeypatch.setattr("recurlm.language_model.scoring._CALL", most)
        np.testing.assert_array_equal(lm.score(texts), together)
