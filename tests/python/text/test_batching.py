import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurlm.text.batching import Streams, evaluation_streams

BOS = 0


def corpus(tokens: int) -> np.ndarray:
    return np.arange(1, tokens + 1, dtype=np.uint16)


@given(batch=st.integers(1, 5), window=st.integers(1, 6), extra=st.integers(0, 40), restarts=st.booleans())
def test_streams_are_contiguous_windows(batch: int, window: int, extra: int, restarts: bool) -> None:
    ids = corpus(batch * window + extra)
    streams = Streams(ids, BOS, batch, window, restarts=restarts)
    windows = list(streams.windows())
    assert len(windows) == streams.steps == len(ids) // batch // window
    inputs = np.concatenate([x for x, _, _ in windows], axis=1)
    targets = np.concatenate([y for _, y, _ in windows], axis=1)
    assert inputs.dtype == targets.dtype == np.int32
    for b in range(batch):
        start = b * streams.length
        np.testing.assert_array_equal(targets[b], ids[start : start + targets.shape[1]])
        expected = np.array([BOS, *targets[b, :-1]])
        expected[[n * window for n in range(streams.steps) if streams.restarted(n) == b]] = BOS
        np.testing.assert_array_equal(inputs[b], expected)


@pytest.mark.parametrize(("batch", "most"), [(1, 4), (8, 28), (40, 100)])
def test_streams_begin_anew_in_turn(batch: int, most: int) -> None:
    restarts = [Streams(corpus(10_000), BOS, batch, 5, restarts=True).restarted(step) for step in range(100)]
    assert set(restarts) - {None} == set(range(batch))
    assert len([stream for stream in restarts if stream is not None]) == most


def test_windows_that_open_with_a_text_are_known() -> None:
    ids = np.array([1, 2, BOS, 3, 4, BOS, 5, 6], np.uint16)
    streams = Streams(ids, BOS, 2, 1)
    assert [streams.opening(step).tolist() for step in range(4)] == [
        [True, True],
        [False, False],
        [False, True],
        [True, False],
    ]
    restarting = Streams(corpus(40), BOS, 2, 1, restarts=True)
    assert [restarting.opening(step).tolist() for step in (0, 1, 2)] == [[True, True], [False, True], [False, False]]


@given(batch=st.integers(1, 5), window=st.integers(1, 6), tokens=st.integers(1, 60))
def test_whole_streams_score_every_token_once(batch: int, window: int, tokens: int) -> None:
    ids = corpus(tokens)
    windows = list(Streams(ids, BOS, batch, window, whole=True).windows())
    scored = np.concatenate([y[w == 1] for _, y, w in windows if w is not None])
    np.testing.assert_array_equal(np.sort(scored), ids)
    for x, _, _ in windows:
        assert x.shape[1] <= window


@given(start=st.integers(0, 9))
def test_reading_resumes_at_any_window(start: int) -> None:
    streams = Streams(corpus(100), BOS, 2, 5)
    for (x, y, _), (x_again, y_again, _) in zip(list(streams.windows())[start:], streams.windows(start), strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)


def test_streams_without_augmentation_are_the_same_in_every_epoch() -> None:
    streams = Streams(corpus(103), BOS, 2, 5)
    assert streams.at_epoch(7) is streams
    assert (streams.tokens, streams.tokens_before(3)) == (100, 30)
    assert {streams.relative_length(step) for step in range(streams.steps)} == {1.0}
    assert Streams(corpus(12), BOS, 1, 5, whole=True).relative_length(2) == 2 / 5


def test_one_stream_sees_the_opening_once_and_then_the_text() -> None:
    (x, y, w), (x2, y2, w2) = Streams(corpus(5), BOS, 1, 3, whole=True).windows()
    assert (x.tolist(), y.tolist()) == ([[0, 1, 2]], [[1, 2, 3]])
    assert (x2.tolist(), y2.tolist()) == ([[3, 4]], [[4, 5]])
    assert w is not None
    assert w2 is not None
    assert w.all()
    assert w2.all()


def test_text_shorter_than_a_window_of_every_stream_raises() -> None:
    with pytest.raises(ValueError, match="11 tokens, expected at least 12 for batch_size=3 and window=4"):
        Streams(corpus(11), BOS, 3, 4)
    assert Streams(corpus(12), BOS, 3, 4).steps == 1


def test_evaluation_uses_fewer_streams_for_short_texts() -> None:
    assert evaluation_streams(corpus(7), BOS, 8).batch_size == 1
    assert evaluation_streams(corpus(64), BOS, 8).batch_size == 2
    assert evaluation_streams(corpus(10_000), BOS, 8).batch_size == 64
    assert evaluation_streams(corpus(10_000), BOS, 8, most=1).batch_size == 1
