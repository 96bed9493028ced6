"""PackedModel.score and score_next: against the float64 reference; the same bits alone and among others, in any order,
in pieces, on any number of threads; scoring and generating in turn."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recurlm import _core
from tests.ops import calls, packed
from tests.ops.packed import MIXED, PRECISIONS, Shape
from tests.ops.test_decoder import from_logits
from tests.reference.cases import CellSpec, Float32, Int32

LSTM, GRU, RNN = CellSpec("lstm"), CellSpec("gru"), CellSpec("rnn")
ALL_PRECISIONS = {name: (name,) for name in PRECISIONS} | {"mixed": MIXED}
GREEDY = _core.Sampling(temperature=0.0)
# Depends on what was seen, on the seed and on how many tokens were drawn.
WARM = _core.Sampling(temperature=1.5, top_p=0.98, repetition_penalty=1.3)

SMALL = Shape((LSTM, GRU, CellSpec("gru", reset_after=False), RNN), 6, 11, 23)
# 12 rows of its states are worth a second thread, 41 are worth 7 (half a million operations each); of its projection,
# 18 and 61. Where there are four texts to a thread and more, each thread has texts of its own.
LARGE = Shape((LSTM,), 16, 96, 300)

Scores = list[tuple[Float32, Int32]]


@contextmanager
def running_on(threads: int) -> Iterator[None]:
    """The fixture `threads` within one example of Hypothesis."""
    before = _core.get_num_threads()
    _core.set_num_threads(threads)
    try:
        yield
    finally:
        _core.set_num_threads(before)


def ids(*values: int) -> Int32:
    return np.array(values, np.int32)


# Against the reference -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PRECISIONS)
def test_texts_and_streams(kind: str, isa: str, threads: int) -> None:
    """Log-probabilities were measured to be off by 3e-7 of the largest; no activation of int8 is close to a half."""
    built, texts, expected = packed.clear(
        Shape((LSTM, GRU), 6, 13, 300, form="transposed", precisions=(kind,)), (8, 0, 1, 3, 8)
    )
    model = _core.PackedModel(**built.arguments)
    packed.assert_scores(packed.score(model, texts), texts, expected, 3e-6)
    state = model.begin([ids(0)] * 2, 1)
    streams = model.score_next(state, np.stack([texts[0], texts[4]]))
    assert [array.dtype.name for array in streams] == ["float32", "int32"]
    pairs = list(zip(*streams, strict=True))
    packed.assert_scores(pairs, [texts[0], texts[4]], [expected[0], expected[4]], 3e-6)


def test_the_first_id_is_read_and_not_scored(isa: str) -> None:
    built = packed.made(SMALL)
    text = ids(4, 4, 1)
    for first in (0, 9, 22):
        packed.assert_scores(packed.score(built.model, [text], first), [text], built.expected([text], first), 3e-6)


@pytest.mark.parametrize(
    "best",
    [[0], [22], [3, 17], [6, 9, 14], [255, 256], [31, 32, 299], [299], [260, 7, 23], [256, 297], list(range(300))],
    ids=str,
)
def test_the_first_of_equals_is_predicted(best: list[int], isa: str) -> None:
    """Equal logits within a vector, in different lanes, in the rest behind the last vector, in two blocks of 256."""
    bias = np.full(300, -1.5, np.float32)
    bias[best] = 2.0
    cell, zero = _core.Cell("rnn", 1, 1), np.zeros((1, 1), np.float32)
    kernel = np.zeros((1, 300), np.float32)
    model = _core.PackedModel(np.zeros((300, 1), np.float32), [(cell, zero, zero, None)], kernel, bias)
    ((_, predictions),) = packed.score(model, [ids(5, 299)])
    assert predictions.tolist() == [min(best)] * 2
    state = model.begin([ids(0)] * 3, 1)
    assert model.score_next(state, np.zeros((3, 2), np.int32))[1].tolist() == [[min(best)] * 2] * 3
    assert model.generate(state, 1, GREEDY)[0].tolist() == [[min(best)]] * 3


# Texts among others --------------------------------------------------------------------------------------------------


def some_texts(count: int, longest: int, alphabet: int, seed: int) -> list[Int32]:
    """Texts that go on from one another's beginnings: some end there, some are the same, some are empty."""
    rng = np.random.default_rng(seed)
    texts: list[Int32] = []
    for _ in range(count):
        length = int(rng.integers(0, longest + 1))
        own = rng.integers(0, alphabet, length, dtype=np.int32)
        if texts and rng.random() < 0.6:
            other = texts[int(rng.integers(len(texts)))]
            shared = int(rng.integers(0, len(other) + 1))
            own = np.concatenate([other[:shared], own[: int(rng.integers(0, 4)) if rng.random() < 0.5 else length]])
        texts.append(own[:longest])
    return texts


def check_any_company(shape: Shape, texts: list[Int32], order: Sequence[int], threads: Sequence[int]) -> None:
    """Together, shuffled and in halves, each text has the bits that it has alone on one thread."""
    model = packed.made(shape).model
    with running_on(1):
        found: dict[bytes, Any] = {text.tobytes(): packed.score(model, [text], 1)[0] for text in texts}
    alone = [found[text.tobytes()] for text in texts]
    for number in threads:
        with running_on(number):
            packed.assert_equal(packed.score(model, texts, 1), alone)
            packed.assert_equal(packed.score(model, [texts[i] for i in order], 1), [alone[i] for i in order])
            half = len(texts) // 2
            packed.assert_equal(packed.score(model, texts[half:], 1), alone[half:])


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 200),
    longest=st.integers(0, 150),
    alphabet=st.sampled_from([1, 2, 3, 23]),
    precisions=st.sampled_from(list(ALL_PRECISIONS.values())),
    seed=st.integers(0, 2**32 - 1),
)
@example(count=200, longest=150, alphabet=1, precisions=("float32",), seed=0)  # every text begins as the longest does
@example(count=200, longest=150, alphabet=23, precisions=("int8",), seed=0)
@example(count=200, longest=1, alphabet=23, precisions=("float32",), seed=0)
@example(count=3, longest=0, alphabet=1, precisions=("float32",), seed=0)
def test_a_text_alone_and_among_others(
    count: int, longest: int, alphabet: int, precisions: tuple[str, ...], seed: int
) -> None:
    texts = some_texts(count, longest, alphabet, seed)
    shape = Shape(SMALL.specs, SMALL.width, SMALL.units, SMALL.vocabulary, precisions=precisions)
    order = np.random.default_rng(seed).permutation(count).tolist()
    check_any_company(shape, texts, order, (1, 2))


@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize(("count", "longest", "alphabet"), [(3, 150, 2), (20, 30, 300), (27, 12, 3), (90, 20, 2)])
def test_any_number_of_threads(count: int, longest: int, alphabet: int, kind: str, isa: str) -> None:
    """Few texts, on which all threads work; and as many that each has its own, with 2 threads or with 7."""
    shape = Shape(LARGE.specs, LARGE.width, LARGE.units, LARGE.vocabulary, precisions=(kind,))
    order = np.random.default_rng(1).permutation(count).tolist()
    check_any_company(shape, some_texts(count, longest, alphabet, count), order, (1, 2, 7))


def test_texts_that_part_late_or_end_within_one_another(isa: str, threads: int) -> None:
    """Beginnings of one text, each once and all of them twice; siblings behind a shared beginning of any length."""
    text = np.random.default_rng(1).integers(0, 23, 150, dtype=np.int32)
    prefixes = [text[:n] for n in range(151)]
    siblings = [np.append(text[:n], np.int32(v)) for n in (0, 1, 64, 149) for v in range(23)]
    model = packed.made(SMALL).model
    ((log_probs, predictions),) = packed.score(model, [text])
    for found in (packed.score(model, prefixes), packed.score(model, [*prefixes[::-1], *prefixes, *siblings])[151:302]):
        packed.assert_equal(found, [(log_probs[:n], predictions[:n]) for n in range(151)])
    for sibling, score in zip(siblings, packed.score(model, [*siblings, *prefixes])[:92], strict=True):
        packed.assert_equal([score], packed.score(model, [sibling]))
        np.testing.assert_array_equal(score[0][:-1], log_probs[: len(sibling) - 1])


def test_the_probabilities_of_siblings_sum_to_one(isa: str) -> None:
    """300 texts of one beginning: all that the two blocks of classes hold. Each is off by 1e-6 at most."""
    texts = [ids(7, 2, v) for v in range(300)]
    total = sum(np.exp(double[0][2].astype(np.float64)) for double in packed.score(packed.made(LARGE).model, texts))
    assert abs(total - 1) < 1e-6


def test_texts_longer_than_a_segment(isa: str, threads: int) -> None:
    """At most 1,024 positions are read at a time, and 256 outputs are projected."""
    rng = np.random.default_rng(2)
    long = rng.integers(0, 23, 2600, dtype=np.int32)
    others = [np.append(long[:n], np.int32(3)) for n in (0, 255, 256, 1023, 1024, 1025, 2048)]
    model = packed.made(SMALL).model
    ((log_probs, predictions),) = packed.score(model, [long])
    together = packed.score(model, [*others, long])
    packed.assert_equal(together[-1:], [(log_probs, predictions)])
    for text, score in zip(others, together, strict=False):
        packed.assert_equal([score], packed.score(model, [text]))
    state = model.begin([ids(0)], 1)
    streamed = model.score_next(state, long[None])
    packed.assert_equal(list(zip(*streamed, strict=True)), [(log_probs, predictions)])


def test_nothing_to_score() -> None:
    model = packed.made(SMALL).model
    for offsets in ([0], [0, 0], [0, 0, 0]):
        log_probs, predictions = model.score(ids(), np.array(offsets), 0)
        assert log_probs.shape == predictions.shape == (0,)
    assert [len(s[0]) for s in packed.score(model, [ids(), ids(3), ids(), ids(4, 5), ids()])] == [0, 1, 0, 2, 0]
    state = model.begin([], 1)
    assert model.score_next(state, np.zeros((0, 3), np.int32))[0].shape == (0, 3)
    state = model.begin([ids(2)] * 2, 1)
    assert model.score_next(state, np.zeros((2, 0), np.int32))[1].shape == (2, 0)
    first = model.score_next(state, np.full((2, 1), 5, np.int32))[0]
    np.testing.assert_array_equal(first, [packed.score(model, [ids(5)], 2)[0][0]] * 2)


# Streams -------------------------------------------------------------------------------------------------------------

PROMPTS = [ids(3), ids(1, 2, 3, 4, 5), ids(22, 0), ids(*[7] * 11)]


def scored_next(model: _core.PackedModel, state: _core.DecodingState, text: Int32, pieces: Sequence[int]) -> Scores:
    """`text` (streams, steps) by so many steps at a time."""
    assert sum(pieces) == text.shape[1]
    ends = np.cumsum([0, *pieces]).tolist()
    parts = [model.score_next(state, np.ascontiguousarray(text[:, a:b])) for a, b in pairwise(ends)]
    log_probs, predictions = (np.concatenate([part[k] for part in parts], axis=1) for k in (0, 1))
    return list(zip(log_probs, predictions, strict=True))


@pytest.mark.parametrize("precisions", ALL_PRECISIONS.values(), ids=ALL_PRECISIONS.keys())
def test_pieces_of_any_size_equal_a_text(precisions: tuple[str, ...], isa: str, threads: int) -> None:
    shape = Shape(SMALL.specs, SMALL.width, SMALL.units, SMALL.vocabulary, precisions=precisions)
    model = packed.made(shape).model
    text = np.random.default_rng(3).integers(0, 23, (4, 12), dtype=np.int32)
    whole = []
    for prompt, row in zip(PROMPTS, text, strict=True):
        ((log_probs, predictions),) = packed.score(model, [np.append(prompt[1:], row)], prompt[0])
        whole.append((log_probs[-12:], predictions[-12:]))
    for pieces in ([12], [1] * 12, [0, 5, 0, 7], [11, 1]):
        packed.assert_equal(scored_next(model, model.begin(PROMPTS, 1), text, pieces), whole)


@pytest.mark.parametrize("streams", [1, 13, 60, 1100])
def test_other_streams_do_not_matter(streams: int, isa: str) -> None:
    """As many that more than one step is too large a piece; as many that seven threads share a step."""
    model = packed.made(LARGE).model
    text = np.random.default_rng(4).integers(0, 300, (streams, 3), dtype=np.int32)
    with running_on(1):
        expected = packed.score(model, [*text], 2)
    for number in (1, 2, 7):
        with running_on(number):
            packed.assert_equal(scored_next(model, model.begin([ids(2)] * streams, 1), text, [3]), expected)
            packed.assert_equal(scored_next(model, model.begin([ids(2)] * streams, 1), text, [1, 2]), expected)


def drawn(model: _core.PackedModel, state: _core.DecodingState, count: int, sampling: _core.Sampling) -> Scores:
    found, log_probs = model.generate(state, count, sampling)
    assert log_probs is not None
    return list(zip(log_probs, found, strict=True))


def test_generating_goes_on_from_what_was_scored(isa: str, threads: int) -> None:
    """As if it had been the prompt: states, last token, what counts as seen, and nothing counts as drawn."""
    model = packed.made(SMALL).model
    text = np.random.default_rng(5).integers(0, 12, (4, 9), dtype=np.int32)
    state = model.begin(PROMPTS, 7)
    scored_next(model, state, text, [4, 5])
    longer = model.begin([np.append(*pair) for pair in zip(PROMPTS, text, strict=True)], 7)
    packed.assert_equal(drawn(model, state, 12, WARM), drawn(model, longer, 12, WARM))


def test_scoring_goes_on_from_what_was_generated(isa: str, threads: int) -> None:
    """And the other way round, twice; draws go on as those of one call."""
    model = packed.made(SMALL).model
    text = np.random.default_rng(6).integers(0, 23, (4, 5), dtype=np.int32)
    state = model.begin(PROMPTS, 7)
    texts = list(PROMPTS)
    for _ in range(2):
        copy = state.copy()
        generated = drawn(model, state, 6, WARM)
        new = [row for _, row in generated]
        texts = [np.concatenate(parts) for parts in zip(texts, new, text, strict=True)]
        scores = scored_next(model, state, text, [2, 3])
        for row, score in zip(texts, scores, strict=True):
            ((log_probs, predictions),) = packed.score(model, [row[1:]], row[0])
            packed.assert_equal([score], [(log_probs[-5:], predictions[-5:])])
        # A copy that was made before is where it was.
        packed.assert_equal(drawn(model, copy, 6, WARM), generated)
    packed.assert_equal(drawn(model, state, 6, GREEDY), drawn(model, model.begin(texts, 1), 6, GREEDY))


def test_a_finished_stream_is_scored_where_its_text_ended(isa: str) -> None:
    """However many tokens were asked for: what follows a stop id is not part of the text."""
    model = packed.made(SMALL).model
    stops = np.arange(0, 23, 3, dtype=np.int32)
    text = np.random.default_rng(8).integers(0, 23, (4, 3), dtype=np.int32)
    for count in (1, 6, 40):
        state = model.begin(PROMPTS, 3)
        found, _ = model.generate(state, count, WARM, stops)
        scores = scored_next(model, state, text, [3])
        for prompt, row, added, score in zip(PROMPTS, found, text, scores, strict=True):
            whole = np.concatenate([prompt, row[row >= 0], added])
            ((log_probs, _),) = packed.score(model, [whole[1:]], whole[0])
            np.testing.assert_array_equal(score[0], log_probs[-3:], err_msg=f"{count} tokens, of which {row}")


@pytest.mark.parametrize("precisions", ALL_PRECISIONS.values(), ids=ALL_PRECISIONS.keys())
@pytest.mark.parametrize("sampling", [GREEDY, _core.Sampling(temperature=1.3, top_k=9)], ids=["greedy", "drawn"])
def test_what_is_generated_has_the_log_probabilities_of_its_score(
    sampling: _core.Sampling, precisions: tuple[str, ...], isa: str, threads: int
) -> None:
    """Bit for bit, and greedy draws are what scoring predicts."""
    shape = Shape((LSTM, GRU), 6, 33, 300, precisions=precisions)
    model = packed.made(shape).model
    for prompt, (log_probs, found) in zip(PROMPTS, drawn(model, model.begin(PROMPTS, 1), 9, sampling), strict=True):
        ((scores, predictions),) = packed.score(model, [np.append(prompt[1:], found)], prompt[0])
        np.testing.assert_array_equal(log_probs, scores[-9:])
        if sampling is GREEDY:
            np.testing.assert_array_equal(found, predictions[-9:])


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "offsets", [[], [1], [0], [0, 1], [1, 3], [0, 4], [0, 2, 1, 3], [0, -1, 3], [0, 3, 2], [0, 2**62, 3]], ids=str
)
def test_bad_offsets(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets must ascend from 0 to the number of ids, 3"):
        packed.made(SMALL).model.score(ids(1, 2, 3), np.array(offsets, np.int64), 0)


@pytest.mark.parametrize("bad", [-1, 23, 2**31 - 1, -(2**31)])
def test_ids_that_are_out_of_range(bad: int) -> None:
    model = packed.made(SMALL).model
    state = model.begin([ids(1)] * 2, 1)
    with pytest.raises(IndexError, match=rf"ids\[2\] is {bad}; ids must be from 0 to 22"):
        model.score(ids(0, 1, bad), np.array([0, 3]), 0)
    with pytest.raises(IndexError, match=rf"first_id is {bad}; ids must be from 0 to 22"):
        model.score(ids(0), np.array([0, 1]), bad)
    with pytest.raises(IndexError, match=rf"ids\[1, 0\] is {bad}; ids must be from 0 to 22"):
        model.score_next(state, np.array([[1, 2], [bad, 3]], np.int32))
    # Nothing was read.
    packed.assert_equal(
        scored_next(model, state, np.array([[4], [4]], np.int32), [1]), packed.score(model, [ids(4)] * 2, 1)
    )


def test_bad_calls() -> None:
    model: Any = packed.made(SMALL).model
    state = model.begin([ids(1)] * 2, 1)
    with pytest.raises(TypeError, match=r"ids .*int32.*int64"):
        model.score(np.array([1]), np.array([0, 1]), 0)
    with pytest.raises(TypeError, match=r"offsets .*int64.*int32"):
        model.score(ids(1), ids(0, 1), 0)
    with pytest.raises(ValueError, match=r"ids .*\(2, \*\).*\(3, 1\)"):
        model.score_next(state, np.zeros((3, 1), np.int32))
    with pytest.raises(TypeError, match="ids must be C-contiguous"):
        model.score_next(state, np.zeros((3, 2), np.int32).T)
    with pytest.raises(ValueError, match="state was begun by another model"):
        packed.make(SMALL).model.score_next(state, np.zeros((2, 1), np.int32))


# Alternatives --------------------------------------------------------------------------------------------------------


def test_alternatives_of_texts(isa: str, threads: int) -> None:
    """In the place of each token the most probable ones, over several blocks of classes; of equal ones the first."""
    logits = np.round(np.random.default_rng(6).normal(size=600), 1)
    model = from_logits(logits)
    tokens, offsets = np.arange(5, 12, dtype=np.int32), np.array([0, 3, 3, 7], np.int64)
    order = np.argsort(-logits, kind="stable")
    for count in (1, 7, 600):
        log_probs, predictions, top_ids, top_log_probs = model.score(tokens, offsets, 0, count)
        assert top_ids.tolist() == [order[:count].tolist()] * 7
        np.testing.assert_array_equal(predictions, top_ids[:, 0])
        expected = logits - np.log(np.exp(logits).sum())
        calls.assert_close(top_log_probs, np.tile(expected[order[:count]], (7, 1)), 1e-5)
        np.testing.assert_array_equal(log_probs, model.score(tokens, offsets, 0)[0])
    with pytest.raises(ValueError, match="alternatives must be from 0"):
        model.score(tokens, offsets, 0, 601)
