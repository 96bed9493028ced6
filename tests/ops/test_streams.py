"""Streams that come and go: whatever joins a stream and whatever leaves, it draws what it would have drawn alone."""

from typing import Any

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.ops.test_decoder import GREEDY, PROMPTS, VOCABULARY, WARM, from_logits, stacked
from tests.reference.cases import Int32, double

SAMPLINGS = [
    WARM,
    GREEDY,
    _core.Sampling(temperature=0.7, top_k=5),
    _core.Sampling(presence_penalty=0.8, frequency_penalty=-0.3, min_p=0.01),
]


def rows(*places: int) -> Int32:
    return np.array(places, np.int32)


def begin(s: int, **arguments: Any) -> _core.DecodingState:
    return stacked().decoder.begin([PROMPTS[s]], 10 + s, **arguments)


def alone(s: int, count: int, **arguments: Any) -> tuple[Any, ...]:
    return stacked().decoder.generate(begin(s, **arguments), count, SAMPLINGS[s], alternatives=3)


def test_joined_streams_draw_what_each_draws_alone(isa: str, threads: int) -> None:
    state = _core.DecodingState.join([begin(s) for s in range(4)])
    assert state.streams == 4
    together = stacked().decoder.generate(state, 9, SAMPLINGS, alternatives=3)
    for s in range(4):
        for found, expected in zip(together, alone(s, 9), strict=True):
            np.testing.assert_array_equal(found[s], expected[0])


def test_streams_join_and_leave_amid_their_texts(threads: int) -> None:
    decoder = stacked().decoder
    expected = [alone(s, 12)[0][0].tolist() for s in range(4)]
    first = begin(0)
    texts: dict[int, list[int]] = {s: [] for s in range(4)}

    def draw(state: _core.DecodingState, streams: list[int], count: int) -> None:
        ids, _ = decoder.generate(state, count, [SAMPLINGS[s] for s in streams])
        for s, row in zip(streams, ids.tolist(), strict=True):
            texts[s] += row

    draw(first, [0], 4)
    state = _core.DecodingState.join([first, begin(3), begin(1)])
    draw(state, [0, 3, 1], 5)
    state = _core.DecodingState.join([state.select(rows(2, 0)), begin(2)])  # 3 leaves
    draw(state, [1, 0, 2], 3)
    draw(state.select(rows(2, 0)), [2, 1], 4)
    for s, text in texts.items():
        assert text == expected[s][: len(text)]
    assert {s: len(text) for s, text in texts.items()} == {0: 12, 1: 12, 2: 7, 3: 5}


def test_a_stream_that_is_chosen_twice_goes_on_twice() -> None:
    state = begin(0).select(rows(0, 0, 0))
    ids, _ = stacked().decoder.generate(state, 8, WARM)
    assert (ids == ids[0]).all()
    assert begin(0).select(rows()).streams == 0


def test_copies_share_nothing() -> None:
    state = begin(0)
    chosen, joined = state.select(rows(0)), _core.DecodingState.join([state])
    expected = stacked().decoder.generate(state, 6, WARM)[0]
    for other in (chosen, joined):
        np.testing.assert_array_equal(stacked().decoder.generate(other, 6, WARM)[0], expected)


# What is drawn from --------------------------------------------------------------------------------------------------


def test_alternatives_are_the_most_probable(isa: str) -> None:
    """In the place of every token drawn: the reference's, banned ones left out, whatever the sampling is."""
    weights, banned = stacked(), [4, 9]
    state = weights.decoder.begin(PROMPTS, 5, rows(*banned), (rows(1), np.array([3.0], np.float32)))
    ids, log_probs, top_ids, top_log_probs = weights.decoder.generate(state, 7, SAMPLINGS[3], alternatives=VOCABULARY)
    assert log_probs is not None
    assert top_ids.shape == top_log_probs.shape == (4, 7, VOCABULARY)
    for s, prompt in enumerate(PROMPTS):
        expected = weights.reference.log_probs(prompt.tolist() + ids[s].tolist())[len(prompt) - 1 : -1]
        for t, row in enumerate(expected):
            assert sorted(top_ids[s, t].tolist()) == [-1, -1, *(v for v in range(VOCABULARY) if v not in banned)]
            calls.assert_close(top_log_probs[s, t, :-2], row[top_ids[s, t, :-2]], 1e-5)
            assert (np.diff(top_log_probs[s, t, :-2]) <= 0).all()
            assert (top_log_probs[s, t, -2:] == -np.inf).all()
            np.testing.assert_array_equal(top_log_probs[s, t][top_ids[s, t] == ids[s, t]], log_probs[s, t : t + 1])


def test_few_alternatives_are_the_first_of_many() -> None:
    """Two blocks of classes and more; of equal ones the first."""
    logits = np.round(np.random.default_rng(3).normal(size=700), 1)
    decoder = from_logits(logits)
    order = np.argsort(-logits, kind="stable")
    for count in (1, 5, 700):
        state = decoder.begin([rows(0)], 1)
        found = decoder.generate(state, 2, GREEDY, alternatives=count)[2]
        assert found.tolist() == [[order[:count].tolist()] * 2]


def test_presence_and_frequency_penalties() -> None:
    """Greedy, by hand: each token drawn loses 1 once, and 0.5 for each time."""
    logits = np.array([5.0, 4.0, 3.0, -1.0])
    counts, expected = np.zeros(4), []
    for _ in range(12):
        expected.append(int(np.argmax(logits - (counts > 0) - 0.5 * counts)))
        counts[expected[-1]] += 1
    decoder = from_logits(logits)
    state = decoder.begin([rows(0, 0)], 1)  # what is in the prompt was not drawn
    sampling = _core.Sampling(temperature=0.0, presence_penalty=1.0, frequency_penalty=0.5)
    parts = [decoder.generate(state, n, sampling)[0][0].tolist() for n in (5, 7)]
    assert parts[0] + parts[1] == expected


def test_logit_bias(isa: str) -> None:
    """Draws are those of the model whose logits have the biases; what is reported is the model's own."""
    logits = np.random.default_rng(4).normal(size=300)
    bias_ids, biases = rows(299, 3, 17), np.array([2.5, -1.0, 4.0], np.float32)
    shifted = logits.astype(np.float32)
    shifted[bias_ids] += biases
    decoder, other = from_logits(logits), from_logits(shifted)
    state = decoder.begin([rows(0)] * 20, 8, rows(7), (bias_ids, biases))
    sampling = _core.Sampling(temperature=1.3, top_p=0.9)
    ids, log_probs = decoder.generate(state, 30, sampling)
    expected, _ = other.generate(other.begin([rows(0)] * 20, 8, rows(7)), 30, sampling)
    np.testing.assert_array_equal(ids, expected)
    own = double(logits.astype(np.float32))
    calls.assert_close(log_probs, (own - np.log(np.exp(own).sum()))[ids], 1e-5)


# Errors --------------------------------------------------------------------------------------------------------------


def test_what_is_not_possible() -> None:
    decoder = stacked().decoder
    state = decoder.begin(PROMPTS, 1)
    with pytest.raises(ValueError, match="one for each of 4 streams, got 3"):
        decoder.generate(state, 1, [WARM] * 3)
    for alternatives in (-1, VOCABULARY + 1):
        with pytest.raises(ValueError, match="alternatives must be from 0"):
            decoder.generate(state, 1, WARM, alternatives=alternatives)
    for bad in (-1, 4):
        with pytest.raises(IndexError, match="rows"):
            state.select(rows(bad))
    with pytest.raises(ValueError, match="at least one state"):
        _core.DecodingState.join([])
    with pytest.raises(RuntimeError, match="in use by another call"):
        _core.DecodingState.join([state, state])
    other = from_logits([1.0, 2.0])
    with pytest.raises(ValueError, match="begun by different models"):
        _core.DecodingState.join([state, other.begin([rows(0)], 1)])
    with pytest.raises(ValueError, match="logit_bias must be finite"):
        decoder.begin(PROMPTS, 1, None, (rows(0), np.array([np.inf], np.float32)))
    with pytest.raises(ValueError, match="logit_bias"):
        decoder.begin(PROMPTS, 1, None, (rows(0, 1), np.array([1.0], np.float32)))
    for name in ("presence_penalty", "frequency_penalty"):
        with pytest.raises(ValueError, match=f"{name} must be"):
            _core.Sampling(**{name: float("nan")})
