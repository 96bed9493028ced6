"""Dropout has no reference values, but properties: how much stays, how it is scaled, on what the draw depends."""

from typing import Any

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import Mask
from tests.reference.cases import Float32, normal


def dropout(
    x: Float32,
    rate: float = 0.5,
    seed: int = 1,
    stream: int = 2,
    step: int = 3,
    noise_shape: tuple[int, ...] | None = None,
) -> Float32:
    y = calls.unwritten(*x.shape)
    _core.dropout(x, y, rate, seed, stream, step, noise_shape)
    return y


def kept(shape: tuple[int, ...], **arguments: Any) -> Mask:
    return np.asarray(dropout(np.ones(shape, np.float32), **arguments) != 0.0)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("shape", [(0,), (1,), (33,), (5, 0), (3, 17), (5, 3, 33)], ids=str)
def test_what_stays_is_scaled(shape: tuple[int, ...], rate: float, isa: str, threads: int) -> None:
    x = normal(np.random.default_rng(1), *shape)
    y = dropout(x, rate)
    np.testing.assert_allclose(y[y != 0.0], x[y != 0.0] / (1.0 - rate), rtol=1e-6)
    if rate == 0.0:
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_how_much_stays(rate: float) -> None:
    """The count of n independent draws is within five standard deviations √(n p (1 − p)) of n p."""
    n = 100_000
    spread = (n * rate * (1.0 - rate)) ** 0.5
    for seed in range(5):
        assert abs(kept((n,), rate=rate, seed=seed).sum() - n * (1.0 - rate)) <= 5.0 * spread


def test_draws_are_independent_of_neighbours() -> None:
    """Of pairs at any small distance in a row or between steps, a quarter has both kept: five standard deviations."""
    n = 100_000
    bits = kept((n,))
    bound = 5.0 * (n * 0.25 * 0.75) ** 0.5
    for distance in [1, 2, 3, 4, 8, 16, 32]:
        assert abs((bits[distance:] & bits[:-distance]).sum() - 0.25 * (n - distance)) <= bound
    for other in [kept((n,), step=4), kept((n,), stream=3), kept((n,), seed=2)]:
        assert abs((bits & other).sum() - 0.25 * n) <= bound


def test_same_arguments_same_draw_whatever_computes_it(isa: str, threads: int) -> None:
    """Also against a draw made with another instruction set: there is no arithmetic in it that could round."""
    shape = (40, 17, 33)
    bits = kept(shape)
    _core.set_isa(_core.supported_isas()[0])
    _core.set_num_threads(1)
    np.testing.assert_array_equal(bits, kept(shape))


def test_backward_is_the_same_call(isa: str) -> None:
    rng = np.random.default_rng(2)
    x, dy = normal(rng, 5, 33), normal(rng, 5, 33)
    np.testing.assert_array_equal(dropout(dy) != 0.0, dropout(x) != 0.0)


def test_in_place(isa: str) -> None:
    x = normal(np.random.default_rng(3), 5, 33)
    y = x.copy()
    _core.dropout(y, y, 0.5, 1, 2, 3)
    np.testing.assert_array_equal(y, dropout(x))


@pytest.mark.parametrize("noise_shape", [(1, 4, 33), (5, 1, 33), (5, 4, 1), (1, 1, 33), (1, 1, 1), (5, 4, 33)], ids=str)
def test_noise_shape_shares_the_draw(noise_shape: tuple[int, ...], isa: str, threads: int) -> None:
    bits = kept((5, 4, 33), noise_shape=noise_shape)
    # The draw is a function of the position in noise_shape, so it is the draw of an array of that shape.
    np.testing.assert_array_equal(bits, np.broadcast_to(kept(noise_shape), (5, 4, 33)))
    np.testing.assert_array_equal(bits, np.broadcast_to(kept((*noise_shape,), noise_shape=noise_shape), (5, 4, 33)))


def test_large_counters_are_all_used() -> None:
    """Bits above 2^32 of a seed, and 10^6 steps, are not cut off."""
    n = 256
    draws = [kept((n,), seed=seed, step=step) for seed in (1, 1 + 2**32, 2**63 - 1) for step in (0, 1, 10**6)]
    assert len({d.tobytes() for d in draws}) == len(draws)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_bad_rate(rate: float) -> None:
    y = np.full((2, 3), 7.0, np.float32)
    with pytest.raises(ValueError, match="rate"):
        _core.dropout(np.ones((2, 3), np.float32), y, rate, 1, 2, 3)
    assert (y == 7.0).all()


@pytest.mark.parametrize("noise_shape", [(2,), (2, 2), (3, 3), (2, 3, 1), (0, 3), (-1, 3)], ids=str)
def test_bad_noise_shape(noise_shape: tuple[int, ...]) -> None:
    y = np.full((2, 3), 7.0, np.float32)
    with pytest.raises(ValueError, match="noise_shape"):
        _core.dropout(np.ones((2, 3), np.float32), y, 0.5, 1, 2, 3, noise_shape)
    assert (y == 7.0).all()
