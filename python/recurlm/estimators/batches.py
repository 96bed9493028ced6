"""Batches of what a sequence classifier reads, shuffled to learn or in order of length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..seeding import permutation
from ..typing import Ids
from .inputs import Reader, Rows
from .targets import Targets

Renewal = Callable[[int], tuple[Rows, Sequence[Ids] | None]]


class TrainingBatches:
    """Shuffled batches of an epoch, a function of (seed, epoch), in which a share of the ids is unknown.

    Args:
        renewed: gives the rows of an epoch and their tags, as many in the same order; None: they stay as they are.
    """

    def __init__(
        self,
        reader: Reader,
        rows: Rows,
        targets: Targets,
        batch_size: int,
        *,
        seed: int,
        word_dropout: float,
        extra: int,
        renewed: Renewal | None = None,
    ):
        self._reader, self._rows, self._targets = reader, rows, targets
        self._batch_size, self._seed, self._word_dropout, self._extra = batch_size, seed, word_dropout, extra
        self._renewed, self._epoch = renewed, 0

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        order = permutation(self._seed, self._epoch, len(self._rows))
        if self._renewed is not None:
            self._rows, tags = self._renewed(self._epoch)
            self._targets = replace(self._targets, tags=tags)
        rows = self._dropped() if self._word_dropout and self._reader.unknown_id is not None else self._rows
        self._epoch += 1
        for start in range(0, len(order), self._batch_size):
            chosen = order[start : start + self._batch_size]
            x = self._reader.stack([rows[i] for i in chosen], self._extra)
            yield (x, *self._targets.batch(chosen, x.shape[1]))

    def _dropped(self) -> Rows:
        flat = np.concatenate(self._rows)
        draws = np.random.default_rng([self._seed, self._epoch]).random(len(flat))
        flat[(draws < self._word_dropout) & (flat != 0)] = self._reader.unknown_id
        return np.split(flat, np.cumsum([len(row) for row in self._rows])[:-1])


class Batches:
    """Batches in order of length, so that little is padded; ``order`` holds the places of their samples."""

    def __init__(self, reader: Reader, rows: Rows, targets: Targets | None, batch_size: int, extra: int):
        self._reader, self._rows, self._targets = reader, rows, targets
        self._batch_size, self._extra = batch_size, extra
        self.order = np.argsort([len(row) for row in rows], kind="stable")

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(self.order), self._batch_size):
            chosen = self.order[start : start + self._batch_size]
            x = self._reader.stack([self._rows[i] for i in chosen], self._extra)
            yield (x,) if self._targets is None else (x, *self._targets.batch(chosen, x.shape[1]))
