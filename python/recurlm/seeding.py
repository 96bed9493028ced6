"""Where random numbers come from: every draw is a function of a seed and a counter, never of what ran before it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum

import numpy as np

from .checks import is_integer

_LIMIT = 2**63


class Draw(IntEnum):
    """What a training step draws; each has random numbers of its own."""

    BLANK_NOISE = 0
    UNIGRAM_NOISE = 1
    TOKEN_DROP = 2
    WINDOW_LENGTHS = 3
    WINDOW_OFFSET = 4
    CLASSES = 5


class _Seeding:
    """The process-wide seed, and how many generators were drawn from it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.draws = 0


_global = _Seeding(int.from_bytes(os.urandom(7), "little"))
_current: ContextVar[_Seeding] = ContextVar("seeding", default=_global)


def check_seed(seed: int, name: str = "seed") -> int:
    """``seed`` as an int; ValueError unless ``0 <= seed < 2**63``."""
    if not is_integer(seed) or not 0 <= seed < _LIMIT:
        raise ValueError(f"{name} must be an integer from 0 to 2**63 - 1, got {seed!r}")
    return int(seed)


def set_random_seed(seed: int) -> None:
    """Make everything random that follows (initial weights, shuffling, dropout) a function of ``seed``."""
    seeding = _current.get()
    seeding.seed, seeding.draws = check_seed(seed), 0


@contextmanager
def temporary_seed(seed: int) -> Iterator[None]:
    """Layers and models made inside depend on ``seed`` alone, and what follows does not notice."""
    token = _current.set(_Seeding(check_seed(seed)))
    try:
        yield
    finally:
        _current.reset(token)


def global_seed() -> int:
    """The seed in force: the one that was set, or one drawn from the system at import."""
    return _current.get().seed


def next_generator(seed: int | None = None) -> np.random.Generator:
    """A generator of its own for one array: keyed by ``seed`` alone, or by the global seed and a running number."""
    if seed is not None:
        return _generator(check_seed(seed), 0)
    seeding = _current.get()
    seeding.draws += 1
    return _generator(seeding.seed, seeding.draws)


def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order in which an epoch visits ``size`` samples."""
    # The high half of the key keeps these streams apart from those of the initializers.
    return _generator(seed, 2**63 + epoch).permutation(size)


def step_generator(seed: int, draw: Draw, group: int, step: int) -> np.random.Generator:
    """A generator for one draw of a step of a ``group``: an epoch, or a node of a graph."""
    # Keys between those of initializers and of permutations; the first word of the counter counts the draws.
    key, counter = np.array([seed, 2**62 + draw], np.uint64), np.array([0, step, group, 0], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def _generator(seed: int, stream: int) -> np.random.Generator:
    # As a plain list, a key beyond 2**63 would pass through float64 and lose its low bits.
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64)))
