"""Generation: greedy decoding against the float64 reference; sampling by its properties; draws depend on nothing but
seed, stream, position and the stream's own ids."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import Array, decoding, softmax
from tests.reference.cases import CellSpec, Float32, Int32, double, normal, recurrent_case

VOCABULARY, WIDTH = 23, 6
GREEDY = _core.Sampling(temperature=0.0)
PROMPTS = [np.array(p, np.int32) for p in ([3], [1, 2, 3, 4, 5], [22, 0], [7] * 11)]


@dataclass(frozen=True)
class Weights:
    """What a packed model is made of, and the reference model of the same weights."""

    decoder: _core.PackedModel
    reference: decoding.LanguageModel


def make(specs: list[CellSpec], units: int, *, transposed: bool = False, biased: bool = True) -> Weights:
    rng = np.random.default_rng(1)
    embedding = normal(rng, VOCABULARY, WIDTH)
    width, cells, layers = WIDTH, [], []
    for i, spec in enumerate(specs):
        case = recurrent_case(spec, (1, 1, width, units), seed=i, biased=biased)
        cells.append((calls.core_cell(spec, width, units), case.kernel, case.recurrent_kernel, case.bias))
        zero = tuple(np.zeros((1, units)) for _ in range(spec.states))
        layers.append((spec.reference(), case.reference_parameters(), zero))
        width = units
    # A wide spread of logits, so that the most probable token leads by more than float32 rounding.
    kernel, bias = normal(rng, units, VOCABULARY, scale=2.0), normal(rng, VOCABULARY)
    decoder = _core.PackedModel(
        embedding,
        cells,
        np.ascontiguousarray(kernel.T) if transposed else kernel,
        bias if biased else None,
        transposed=transposed,
    )
    bias64 = double(bias) if biased else np.zeros(VOCABULARY)
    return Weights(decoder, decoding.LanguageModel(double(embedding), layers, double(kernel), bias64))


MODELS = {
    "lstm": ([CellSpec("lstm")], 16),
    "gru": ([CellSpec("gru")], 33),
    "gru-reset-before": ([CellSpec("gru", reset_after=False)], 5),
    "rnn": ([CellSpec("rnn", activation="relu")], 17),
    "stacked": ([CellSpec("lstm"), CellSpec("gru"), CellSpec("rnn"), CellSpec("lstm")], 11),
}


@functools.cache
def stacked() -> Weights:
    return make(*MODELS["stacked"])


def from_logits(logits: list[float] | Array) -> _core.PackedModel:
    """A model whose logits are these after any text."""
    bias = np.asarray(logits, np.float32)
    size = len(bias)
    cell = _core.Cell("rnn", 1, 1)
    zero = np.zeros((1, 1), np.float32)
    return _core.PackedModel(
        np.zeros((size, 1), np.float32), [(cell, zero, zero, None)], np.zeros((1, size), np.float32), bias
    )


def draw(decoder: _core.PackedModel, streams: int, count: int, seed: int = 1, **sampling: Any) -> Int32:
    state = decoder.begin([np.zeros(1, np.int32)] * streams, seed)
    return decoder.generate(state, count, _core.Sampling(**sampling))[0]


# Greedy --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("transposed", "biased"), [(False, True), (True, False)], ids=["kernel", "transposed-no-bias"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_greedy(model: tuple[list[CellSpec], int], transposed: bool, biased: bool, isa: str, threads: int) -> None:
    weights = make(*model, transposed=transposed, biased=biased)
    banned = [0, 9, 10]
    state = weights.decoder.begin(PROMPTS, 1, np.array(banned, np.int32))
    ids, log_probs = weights.decoder.generate(state, 8, GREEDY)
    assert ids.shape == log_probs.shape == (4, 8)
    assert (ids.dtype.name, log_probs.dtype.name) == ("int32", "float32")
    for s, prompt in enumerate(PROMPTS):
        expected, expected_log_probs = weights.reference.greedy(prompt.tolist(), 8, banned)
        assert ids[s].tolist() == expected
        calls.assert_close(log_probs[s], np.array(expected_log_probs), 1e-5)


def test_log_probs_are_those_of_the_unmodified_model(isa: str) -> None:
    """Whatever the sampling does to the logits, the model's own log-probability of what was drawn is reported."""
    weights = stacked()
    state = weights.decoder.begin(PROMPTS, 5, np.array([2], np.int32))
    sampling = _core.Sampling(temperature=1.7, top_k=9, top_p=0.9, min_p=0.01, repetition_penalty=1.3)
    ids, log_probs = weights.decoder.generate(state, 12, sampling)
    for s, prompt in enumerate(PROMPTS):
        rows = weights.reference.log_probs(prompt.tolist() + ids[s].tolist())[len(prompt) - 1 : -1]
        calls.assert_close(log_probs[s], rows[np.arange(12), ids[s]], 1e-5)


# What a draw depends on ----------------------------------------------------------------------------------------------

WARM = _core.Sampling(temperature=1.5, top_p=0.98, repetition_penalty=1.1)


def generated(prompts: list[Int32], pieces: list[int], seed: int = 7) -> tuple[Int32, Float32]:
    decoder = stacked().decoder
    state = decoder.begin(prompts, seed)
    parts = [decoder.generate(state, n, WARM) for n in pieces]
    return np.concatenate([p[0] for p in parts], axis=1), np.concatenate([p[1] for p in parts], axis=1)


def test_pieces_of_any_size(isa: str, threads: int) -> None:
    whole = generated(PROMPTS, [12])
    for pieces in ([3, 9], [1] * 12, [0, 5, 0, 7]):
        for actual, expected in zip(generated(PROMPTS, pieces), whole, strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_other_streams_do_not_matter(isa: str, threads: int) -> None:
    ids, log_probs = generated(PROMPTS, [12])
    for prompts in (PROMPTS[:2], [*PROMPTS[:2], PROMPTS[0], PROMPTS[3], PROMPTS[1]] * 5):
        others, other_log_probs = generated(prompts, [12])
        np.testing.assert_array_equal(others[:2], ids[:2])
        np.testing.assert_array_equal(other_log_probs[:2], log_probs[:2])


def test_any_number_of_threads(isa: str) -> None:
    """A model large enough for its work to be divided."""
    rng = np.random.default_rng(2)
    case = recurrent_case(CellSpec("lstm"), (1, 1, 64, 260), seed=3)
    cell = (calls.core_cell(case.spec, 64, 260), case.kernel, case.recurrent_kernel, case.bias)
    decoder = _core.PackedModel(normal(rng, 500, 64), [cell], normal(rng, 260, 500), normal(rng, 500))
    prompts = [rng.integers(0, 500, 1 + s % 5, dtype=np.int32) for s in range(40)]
    before, results = _core.get_num_threads(), []
    for threads in (1, 2, 7):
        _core.set_num_threads(threads)
        results.append(decoder.generate(decoder.begin(prompts, 1), 5, WARM))
    _core.set_num_threads(before)
    for ids, log_probs in results[1:]:
        np.testing.assert_array_equal(ids, results[0][0])
        np.testing.assert_array_equal(log_probs, results[0][1])


def test_seed_and_stream_do_matter() -> None:
    """Six streams of one prompt and two seeds: twelve different texts of 12 tokens."""
    texts = [row.tobytes() for seed in (1, 2, 2**40 + 1) for row in generated([PROMPTS[0]] * 6, [12], seed)[0]]
    assert len(set(texts)) == len(texts)


def test_a_copy_goes_on_alike_and_alone() -> None:
    decoder = stacked().decoder
    state = decoder.begin(PROMPTS, 3)
    decoder.generate(state, 4, WARM)
    copy = state.copy()
    first = decoder.generate(state, 6, WARM)[0]
    np.testing.assert_array_equal(decoder.generate(copy, 6, WARM)[0], first)


def test_a_decoder_keeps_its_own_weights() -> None:
    embedding, zero = np.zeros((3, 1), np.float32), np.zeros((1, 1), np.float32)
    kernel, bias = np.zeros((1, 3), np.float32), np.array([0.0, 1.0, 0.0], np.float32)
    decoder = _core.PackedModel(embedding, [(_core.Cell("rnn", 1, 1), zero, zero, None)], kernel, bias)
    assert decoder.vocabulary_size == 3
    assert decoder.nbytes > 0
    bias[:] = [0.0, 0.0, 9.0]
    assert draw(decoder, 1, 3, temperature=0.0).tolist() == [[1, 1, 1]]


# Stopping ------------------------------------------------------------------------------------------------------------


def test_a_stream_ends_with_its_stop_id(isa: str) -> None:
    decoder = stacked().decoder
    free = decoder.generate(decoder.begin(PROMPTS, 11), 40, WARM)
    stops = np.array([4, 8], np.int32)
    state = decoder.begin(PROMPTS, 11)
    parts = [decoder.generate(state, n, WARM, stops) for n in (15, 25)]
    ids, log_probs = (np.concatenate([p[k] for p in parts], axis=1) for k in (0, 1))
    ends = [next((n for n, v in enumerate(row) if v in stops), None) for row in free[0]]
    assert any(n is not None for n in ends)
    assert state.finished.tolist() == [n is not None for n in ends]
    for s, end in enumerate(ends):
        drawn = 40 if end is None else end + 1
        np.testing.assert_array_equal(ids[s, :drawn], free[0][s, :drawn])
        np.testing.assert_array_equal(log_probs[s, :drawn], free[1][s, :drawn])
        assert (ids[s, drawn:] == -1).all()
        assert (log_probs[s, drawn:] == 0.0).all()


def test_nothing_to_do() -> None:
    decoder = stacked().decoder
    state = decoder.begin([], 1)
    assert state.streams == 0
    assert decoder.generate(state, 5, GREEDY)[0].shape == (0, 5)
    state = decoder.begin(PROMPTS, 1)
    assert decoder.generate(state, 0, GREEDY)[0].shape == (4, 0)
    assert state.streams == 4
    assert state.finished.tolist() == [False] * 4


# Sampling ------------------------------------------------------------------------------------------------------------

LOGITS = np.array([2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5, 0.25, 1.25])


def probabilities(temperature: float = 1.0) -> Array:
    return softmax.forward(LOGITS / temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_those_of_softmax(temperature: float) -> None:
    """Pearson's χ² with 9 degrees of freedom exceeds 42 by chance once in 300,000 times; the seed is fixed."""
    p = probabilities(temperature)
    ids = draw(from_logits(LOGITS), 200, 100, temperature=temperature)
    expected = p * ids.size
    assert expected.min() > 5.0  # or the statistic is not χ²
    assert ((np.bincount(ids.ravel(), minlength=10) - expected) ** 2 / expected).sum() < 42.0


def test_successive_draws_are_independent() -> None:
    """χ² of pairs, within a stream and between neighbours, against products of probabilities: 8 degrees of freedom."""
    ids = draw(from_logits([0.0, 0.5, 1.0]), 200, 200)
    p = softmax.forward(np.array([0.0, 0.5, 1.0]))
    for a, b in [(ids[:, :-1], ids[:, 1:]), (ids[:-1], ids[1:])]:
        expected = np.outer(p, p).ravel() * a.size
        counts = np.bincount((a * 3 + b).ravel(), minlength=9)
        assert ((counts - expected) ** 2 / expected).sum() < 42.0


def allowed_and_drawn(allowed: list[int], **sampling: Any) -> None:
    """All of them are drawn, nothing else is, and their frequencies are the model's, renormalised."""
    ids = draw(from_logits(LOGITS), 100, 100, **sampling)
    assert sorted(set(ids.ravel().tolist())) == sorted(allowed)
    p = probabilities(sampling.get("temperature", 1.0))[allowed]
    expected = p / p.sum() * ids.size
    counts = np.bincount(ids.ravel(), minlength=10)[allowed]
    assert ((counts - expected) ** 2 / expected).sum() < 42.0


@pytest.mark.parametrize("k", [1, 3, 9, 10, 1000])
def test_top_k(k: int) -> None:
    allowed_and_drawn(np.argsort(-LOGITS)[:k].tolist(), top_k=k)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.7, 0.97])
def test_top_p(p: float) -> None:
    """The fewest most probable tokens whose mass reaches p, and always one."""
    order = np.argsort(-LOGITS)
    needed = int(np.searchsorted(np.cumsum(probabilities()[order]), p)) + 1
    allowed_and_drawn(order[:needed].tolist(), top_p=p)


@pytest.mark.parametrize("fraction", [0.05, 0.5, 1.0])
def test_min_p(fraction: float) -> None:
    p = probabilities()
    allowed_and_drawn(np.flatnonzero(p >= fraction * p.max()).tolist(), min_p=fraction)


def test_temperature_comes_before_top_p() -> None:
    order = np.argsort(-LOGITS)
    needed = int(np.searchsorted(np.cumsum(probabilities(3.0)[order]), 0.6)) + 1
    assert needed != int(np.searchsorted(np.cumsum(probabilities()[order]), 0.6)) + 1
    allowed_and_drawn(order[:needed].tolist(), top_p=0.6, temperature=3.0)


def test_banned_ids_are_never_drawn() -> None:
    decoder = from_logits(LOGITS)
    banned = np.array([0, 1, 9], np.int32)
    for sampling in (_core.Sampling(temperature=2.0), _core.Sampling(top_k=2), GREEDY):
        state = decoder.begin([np.zeros(1, np.int32)] * 50, 1, banned)
        ids = decoder.generate(state, 50, sampling)[0]
        assert not np.isin(ids, banned).any()


def test_repetition_penalty_makes_seen_tokens_less_probable() -> None:
    """With logits of ±20 and a huge penalty, a seen logit of 20 becomes about 0: below every unseen one of 20, above
    every one of −20. So each stream draws all the good tokens that its prompt did not hold, and each once."""
    logits = [20.0] * 6 + [-20.0] * 4
    decoder = from_logits(logits)
    state = decoder.begin([np.array([2], np.int32), np.array([0, 7, 5], np.int32)] * 10, 1)
    ids = decoder.generate(state, 6, _core.Sampling(repetition_penalty=1e5))[0]
    for s, row in enumerate(ids.tolist()):
        fresh = {0, 1, 3, 4, 5} if s % 2 == 0 else {1, 2, 3, 4}
        assert set(row[: len(fresh)]) == fresh


def test_repetition_penalty_multiplies_negative_logits(isa: str) -> None:
    """Greedy: token 0 is seen (prompt), so −1 becomes −2 and falls behind −1.5; a division would have kept it ahead."""
    assert draw(from_logits([-1.0, -1.5, -9.0]), 1, 1, temperature=0.0, repetition_penalty=2.0).tolist() == [[1]]
    # 2.0 / 1.5 is still ahead of 1.0 and 2.0 / 2.5 is not.
    for penalty, expected in [(1.5, 0), (2.5, 1)]:
        assert draw(from_logits([2.0, 1.0, -9.0]), 1, 1, temperature=0.0, repetition_penalty=penalty) == expected


def test_extreme_logits() -> None:
    ids = draw(from_logits([1e4, -1e4, 1e4, 0.0]), 50, 50)
    assert set(ids.ravel().tolist()) == {0, 2}
    assert set(draw(from_logits(LOGITS), 50, 50, temperature=1e-4).ravel().tolist()) == {0}


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": float("nan")},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": float("nan")},
    ],
    ids=str,
)
def test_bad_sampling(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        _core.Sampling(**arguments)


def test_bad_prompts() -> None:
    decoder = stacked().decoder
    good = np.array([1], np.int32)
    with pytest.raises(ValueError, match=r"prompts\[1\].*at least one"):
        decoder.begin([good, np.zeros(0, np.int32)], 1)
    for bad in (-1, VOCABULARY, 2**31 - 1):
        with pytest.raises(IndexError, match=rf"prompts\[1\]\[2\] is {bad}\b"):
            decoder.begin([good, np.array([0, 1, bad], np.int32)], 1)
        with pytest.raises(IndexError, match=rf"banned\[0\] is {bad}\b"):
            decoder.begin([good], 1, np.array([bad], np.int32))
        with pytest.raises(IndexError, match=rf"stop_ids\[0\] is {bad}\b"):
            decoder.generate(decoder.begin([good], 1), 1, GREEDY, np.array([bad], np.int32))
    with pytest.raises(TypeError, match=r"prompts\[0\].*int32.*int64"):
        decoder.begin([np.array([1])], 1)


def test_bad_calls() -> None:
    decoder = stacked().decoder
    state = decoder.begin([np.array([1], np.int32)], 1)
    with pytest.raises(ValueError, match=r"count.*-1"):
        decoder.generate(state, -1, GREEDY)
    with pytest.raises(ValueError, match="another model"):
        from_logits(LOGITS).generate(state, 1, GREEDY)
    with pytest.raises(ValueError, match="banned"):
        decoder.begin([np.array([1], np.int32)], 1, np.arange(VOCABULARY, dtype=np.int32))


def test_bad_weights() -> None:
    embedding, kernel = np.zeros((5, 3), np.float32), np.zeros((4, 5), np.float32)
    weights = (np.zeros((3, 4), np.float32), np.zeros((4, 4), np.float32), None)
    cell = _core.Cell("rnn", 3, 4)
    _core.PackedModel(embedding, [(cell, *weights)], kernel, None)
    with pytest.raises(ValueError, match="input_dim"):
        _core.PackedModel(embedding, [(_core.Cell("rnn", 2, 4), *weights)], kernel, None)
    with pytest.raises(ValueError, match="kernel"):
        _core.PackedModel(embedding, [(cell, *weights)], kernel[:3], None)
    with pytest.raises(ValueError, match="recurrent_kernel"):
        _core.PackedModel(embedding, [(cell, weights[0], kernel, None)], kernel, None)
    with pytest.raises(ValueError, match="cells"):
        _core.PackedModel(embedding, [], kernel, None)


def test_a_state_whose_output_was_not_finite_cannot_go_on() -> None:
    """Its streams have drawn tokens that its recurrent states have not seen."""
    decoder = from_logits([0.0, np.nan, 0.0])
    state = decoder.begin([np.zeros(1, np.int32)], 1)
    with pytest.raises(ValueError, match="not finite"):
        decoder.generate(state, 1, GREEDY)
    for call in (
        lambda: decoder.generate(state, 1, GREEDY),
        lambda: decoder.score_next(state, np.zeros((1, 1), np.int32)),
    ):
        with pytest.raises(ValueError, match="begin another"):
            call()
