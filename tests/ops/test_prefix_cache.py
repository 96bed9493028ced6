"""States of prompts that are kept: the same bits as without, read from where a kept text leaves a prompt."""

import itertools

import numpy as np
import pytest

from recurlm import _core
from tests.ops.test_decoder import WARM, from_logits, stacked
from tests.reference.cases import Int32

TEXTS = [[3], [3, 1], [3, 1, 4, 1, 5], [3, 1, 4, 1, 5, 9, 2], [3, 1, 4, 2], [2, 7], [3, 1, 4, 1, 5]]


def ids(tokens: list[int]) -> Int32:
    return np.array(tokens, np.int32)


def drawn(texts: list[list[int]], cache: _core.PrefixCache | None) -> Int32:
    decoder = stacked().decoder
    state = decoder.begin([ids(text) for text in texts], 4, cache=cache)
    return decoder.generate(state, 6, WARM)[0]


def test_the_same_bits_with_a_cache_and_without(isa: str, threads: int) -> None:
    expected = [drawn([text], None)[0] for text in TEXTS]
    for order in itertools.islice(itertools.permutations(range(len(TEXTS))), 0, 5040, 311):
        cache = _core.PrefixCache(1 << 20)
        for i in order:
            np.testing.assert_array_equal(drawn([TEXTS[i]], cache)[0], expected[i])
        together = drawn(TEXTS, cache)  # all of them are kept by now
        np.testing.assert_array_equal(together, drawn(TEXTS, None))


def test_a_text_that_goes_on_is_not_read_again() -> None:
    """The last token of a prompt is read when the next one is drawn; all before it may be found."""
    cache = _core.PrefixCache(1 << 20)
    found = []
    for text in ([3, 1, 4, 1], [3, 1, 4, 1], [3, 1, 4, 1, 5, 9], [3, 1, 4, 2, 2], [3, 1], [2, 1, 4, 1]):
        before = cache.tokens_found
        drawn([text], cache)
        found.append(cache.tokens_found - before)
    assert found == [0, 3, 3, 3, 0, 0]


def test_what_was_not_used_for_longest_is_dropped() -> None:
    one = 4 * 11 * (2 + 1 + 1 + 2) + 4 * 5 + 512  # the states of a stream, five ids, and what is around them
    cache = _core.PrefixCache(3 * one)
    texts = [[i, 1, 2, 3, 4, 5] for i in range(6)]
    sizes = []
    for text in texts:
        expected = drawn([text], None)
        np.testing.assert_array_equal(drawn([text], cache), expected)
        sizes.append(cache.nbytes)
    assert sizes == [one, 2 * one, 3 * one, 3 * one, 3 * one, 3 * one]
    nothing = _core.PrefixCache(one - 1)
    drawn(texts, nothing)
    assert nothing.nbytes == 0


def test_a_cache_is_of_one_model() -> None:
    cache = _core.PrefixCache(1000)
    drawn([[1, 2]], cache)
    other = from_logits([1.0, 2.0])
    with pytest.raises(ValueError, match="cache holds states of another model"):
        other.begin([ids([0])], 1, cache=cache)
