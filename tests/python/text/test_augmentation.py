import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurlm.text.augmentation import Augmentation, BlankNoise, UnigramNoise
from recurlm.text.batching import Streams

BOS, BLANK = 0, 1
SHAPE = (40, 250)


def corpus(tokens: int) -> np.ndarray:
    return np.arange(2, tokens + 2, dtype=np.uint16)


def test_blank_noise_has_its_rate() -> None:
    inputs = np.full(SHAPE, 7, np.int32)
    noised = BlankNoise(0.2, BLANK)(inputs, seed=3, epoch=0, step=0)
    assert noised.dtype == np.int32
    assert set(noised.ravel().tolist()) == {BLANK, 7}
    assert np.mean(noised == BLANK) == pytest.approx(0.2, abs=0.02)  # 5 standard deviations of 10,000 draws


def test_unigram_noise_draws_as_often_as_tokens_occur() -> None:
    ids = np.repeat(np.array([BOS, 2, 3, 5], np.uint16), [50, 10, 30, 60])
    noise = UnigramNoise.of(0.5, ids, vocabulary_size=8, bos_id=BOS)
    noised = noise(np.full(SHAPE, 7, np.int32), seed=3, epoch=0, step=0)
    shares = np.bincount(noised.ravel(), minlength=8) / noised.size
    # 5 standard deviations of 10,000 draws
    np.testing.assert_allclose(shares, [0, 0, 0.05, 0.15, 0, 0.3, 0, 0.5], atol=0.025)
    assert shares[[0, 1, 4, 6]].tolist() == [0, 0, 0, 0]


def test_a_corpus_is_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.random.default_rng(0).integers(1, 9, 5000).astype(np.uint16)
    expected = np.cumsum(np.bincount(ids, minlength=9))
    monkeypatch.setattr("recurlm.text.augmentation._BLOCK", 3)
    np.testing.assert_array_equal(UnigramNoise.of(0.1, ids, 9, BOS).totals, expected)
    with pytest.raises(ValueError, match="unigram_noise needs a text with tokens"):
        UnigramNoise.of(0.1, np.zeros(9, np.uint16), 9, BOS)


@pytest.mark.parametrize("noise", [BlankNoise(0.5, BLANK), UnigramNoise.of(0.5, corpus(500), 600, BOS)])
def test_noise_is_a_function_of_seed_epoch_and_step(noise: BlankNoise | UnigramNoise) -> None:
    inputs = np.full((4, 16), 599, np.int32)
    places = [(3, 0, 0), (4, 0, 0), (3, 1, 0), (3, 0, 1)]
    drawn = [noise(inputs, *place).tobytes() for place in places]
    assert len(set(drawn)) == len(places)
    assert drawn == [noise(inputs, *place).tobytes() for place in places]


def test_the_two_noises_choose_independently() -> None:
    inputs = np.full(SHAPE, 7, np.int32)
    blank = BlankNoise(0.5, BLANK)(inputs, 3, 0, 0) == BLANK
    other = UnigramNoise.of(0.5, np.array([2], np.uint16), 8, BOS)(inputs, 3, 0, 0) == 2
    assert np.mean(blank & other) == pytest.approx(0.25, abs=0.025)


@settings(deadline=None)
@given(seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 9), length=st.integers(1, 3000), window=st.integers(1, 40))
def test_random_windows_cover_a_stream(seed: int, epoch: int, length: int, window: int) -> None:
    starts = Augmentation(seed, random_windows=True).starts(epoch, length, window)
    lengths = np.diff(starts)
    assert (starts[0], starts[-1]) == (0, length)
    assert np.all(lengths[:-1] >= min(5, window))
    assert 1 <= lengths[-1] <= lengths.max() <= window + 20


def test_random_windows_have_the_lengths_of_the_paper() -> None:
    lengths = np.diff(Augmentation(1, random_windows=True).starts(0, 2_000_000, 70))[:-1]
    short = lengths < 52
    assert np.mean(short) == pytest.approx(0.05, abs=0.01)
    # Truncation to whole numbers takes half a token.
    assert lengths[~short].mean() == pytest.approx(69.5, abs=0.2)
    assert lengths[~short].std() == pytest.approx(5, abs=0.2)
    assert lengths[short].mean() == pytest.approx(34.5, abs=0.7)


def test_dropped_tokens_leave_the_others_in_order() -> None:
    targets = np.arange(2, 2 + 4 * 30, dtype=np.int32).reshape(4, 30)
    targets[1, ::10] = BOS
    augmentation = Augmentation(5, token_drop=0.25)
    widths = []
    for step in range(200):
        kept = augmentation.dropped(targets, BOS, 0, step)
        widths.append(kept.shape[1])
        assert np.all(np.diff(kept[[0, 2, 3]]) > 0)
        assert np.all(np.isin(kept, targets))
        assert np.count_nonzero(kept[1] == BOS) == 3
    assert set(widths) == {22, 23}  # of 7.5 on average
    assert np.mean(widths) == pytest.approx(22.5, abs=0.15)
    assert augmentation.dropped(targets[:, :1], BOS, 0, 0).shape == (4, 1)


def read(streams: Streams) -> tuple[np.ndarray, np.ndarray]:
    windows = list(streams.windows())
    return tuple(np.concatenate([window[k] for window in windows], axis=1) for k in (0, 1))  # type: ignore[return-value]


def every_option() -> Augmentation:
    noises = (UnigramNoise.of(0.1, corpus(900), 1000, BOS), BlankNoise(0.1, BLANK))
    return Augmentation(7, noises, token_drop=0.1, random_windows=True, shift_windows=True)


@settings(deadline=None)
@given(epoch=st.integers(0, 5), batch=st.integers(1, 4), window=st.integers(1, 20), tokens=st.integers(150, 800))
def test_dropped_streams_predict_the_next_token_that_stayed(epoch: int, batch: int, window: int, tokens: int) -> None:
    augmentation = Augmentation(7, token_drop=0.3, random_windows=True, shift_windows=True)
    streams = Streams(corpus(tokens), BOS, batch, window, augmentation=augmentation).at_epoch(epoch)
    inputs, targets = read(streams)
    assert np.all(inputs[:, 0] == BOS)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    assert np.all(np.diff(targets) > 0)
    assert np.all(targets[:-1, -1] < targets[1:, 0])  # no stream reads what the next one does


def test_without_dropping_every_token_is_read_once_in_any_cut() -> None:
    augmentation = Augmentation(7, random_windows=True)
    streams = Streams(corpus(1000), BOS, 3, 16, augmentation=augmentation)
    cuts = set()
    for epoch in range(5):
        now = streams.at_epoch(epoch)
        np.testing.assert_array_equal(read(now)[1], corpus(999).reshape(3, 333))
        assert now.tokens == 999
        lengths = [round(now.relative_length(step) * 16) for step in range(now.steps)]
        assert [y.shape[1] for _, y, _ in now.windows()] == lengths
        assert [now.tokens_before(step) for step in range(now.steps + 1)] == [0, *(3 * np.cumsum(lengths))]
        cuts.add(tuple(lengths))
    assert len(cuts) == 5


def test_shifted_epochs_start_anywhere_in_the_first_window() -> None:
    streams = Streams(corpus(100), BOS, 2, 8, augmentation=Augmentation(7, shift_windows=True))
    assert streams.length == (100 - 7) // 2
    first = {int(read(streams.at_epoch(epoch))[1][0, 0]) - 2 for epoch in range(100)}
    assert first == set(range(8))
    assert {streams.at_epoch(epoch).steps for epoch in range(9)} == {5}
    with pytest.raises(ValueError, match="22 tokens, expected at least 23 for batch_size=2 and window=8"):
        Streams(corpus(22), BOS, 2, 8, augmentation=Augmentation(7, shift_windows=True))


def test_noise_changes_inputs_only_and_spares_the_openings() -> None:
    plain = Streams(corpus(900), BOS, 3, 10, restarts=True)
    noises = (UnigramNoise.of(0.3, corpus(900), 1000, BOS), BlankNoise(0.3, BLANK))
    noised = Streams(corpus(900), BOS, 3, 10, restarts=True, augmentation=Augmentation(7, noises))
    changed = 0
    for step, ((x, y, _), (x_noised, y_noised, _)) in enumerate(zip(plain.windows(), noised.windows(), strict=True)):
        np.testing.assert_array_equal(y, y_noised)
        np.testing.assert_array_equal(x == BOS, x_noised == BOS)
        np.testing.assert_array_equal(plain.opening(step), noised.opening(step))
        changed += np.count_nonzero(x != x_noised)
    assert changed / 900 == pytest.approx(0.51, abs=0.08)


@settings(deadline=None)
@given(epoch=st.integers(0, 3), start=st.integers(0, 9))
def test_an_epoch_goes_on_at_any_window(epoch: int, start: int) -> None:
    streams = Streams(corpus(900), BOS, 3, 16, restarts=True, augmentation=every_option())
    whole = list(streams.at_epoch(epoch).windows())
    rest = list(streams.at_epoch(epoch).windows(start))
    assert len(rest) == len(whole) - start
    for (x, y, _), (x_again, y_again, _) in zip(whole[start:], rest, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)
    opening = [streams.at_epoch(epoch).opening(step).tolist() for step in range(len(whole))]
    assert opening == [(x[:, 0] == BOS).tolist() for x, _, _ in whole]
