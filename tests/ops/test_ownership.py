"""What callers may do with memory: sequences that make their arrays as asked, arrays named twice, odd addresses."""

import threading

import numpy as np
import numpy.typing as npt
import pytest

from recurlm import _core

Float = npt.NDArray[np.float32]


class MadeWhenAsked:
    """A sequence that keeps nothing: its items live only as long as whoever asked for them."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Float:
        return np.full(self.size, i + 1, np.float32)


def test_items_of_a_sequence_are_held_while_they_are_used() -> None:
    count, size = 8, 1 << 18
    norms = _core.squared_norms(MadeWhenAsked(count, size))  # type: ignore[arg-type]
    np.testing.assert_array_equal(norms, [size * (i + 1) ** 2 for i in range(count)])


def test_a_parameter_is_updated_once() -> None:
    p, g = np.ones(3, np.float32), np.ones(3, np.float32)
    with pytest.raises(ValueError, match="twice"):
        _core.apply_update(_core.UpdateRule("sgd"), 1, 0.1, [p, p], [g, g], [[], []], np.ones(2), np.zeros(2))
    np.testing.assert_array_equal(p, 1)


def test_odd_addresses_are_refused() -> None:
    odd = np.frombuffer(bytearray(17), np.uint8)[1:].view(np.float32)
    assert not odd.flags.aligned
    with pytest.raises(TypeError, match="values must be aligned"):
        _core.weighted_sum(odd, None)


@pytest.mark.parametrize(("seconds", "threads"), [(0.01, 0), (0.01, -1), (0.01, 10**6), (0.0, 1), (float("nan"), 1)])
def test_peak_of_nothing(seconds: float, threads: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        _core.measure_peak(seconds, threads)


def test_ids_are_those_that_were_checked() -> None:
    """Another thread that spoils the ids after the check must not make the op read or write elsewhere."""
    rows, table = 20_000, np.ones((4, 256), np.float32)
    ids, y = np.zeros(rows, np.int32), np.zeros((rows, 256), np.float32)
    stop = threading.Event()

    def spoil() -> None:
        while not stop.is_set():
            ids[-1] = 2**31 - 1
            ids[-1] = 0

    thread = threading.Thread(target=spoil)
    thread.start()
    try:
        for _ in range(50):
            y[-1] = 0
            try:
                _core.embedding_forward(ids, table, y)
            except IndexError:
                continue
            assert (y[-1] == 1).all()
    finally:
        stop.set()
        thread.join()


def decoder_of(bias: Float) -> _core.PackedModel:
    zero = np.zeros((1, 1), np.float32)
    cell = _core.Cell("rnn", 1, 1)
    return _core.PackedModel(np.zeros((len(bias), 1), np.float32), [(cell, zero, zero, None)], bias[None] * 0, bias)


def test_the_smallest_temperature_draws_what_is_allowed() -> None:
    decoder = decoder_of(np.array([3.0, 1.0, 2.0], np.float32))
    state = decoder.begin([np.zeros(1, np.int32)], 1, np.array([0], np.int32))
    ids, _ = decoder.generate(state, 20, _core.Sampling(temperature=1e-40))
    np.testing.assert_array_equal(ids, 2)


def test_a_model_gone_wrong_draws_nothing() -> None:
    decoder = decoder_of(np.array([0.0, np.nan], np.float32))
    with pytest.raises(ValueError, match="not finite"):
        decoder.generate(decoder.begin([np.zeros(1, np.int32)], 1), 1, _core.Sampling())
