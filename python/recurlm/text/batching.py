"""Contiguous streams: a corpus cut into B equal parts that are read side by side, a window of T tokens at a time.

Window n + 1 of a stream begins where window n ended, so a recurrent state can be carried from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..typing import Float, Ids
from .augmentation import Augmentation
from .corpus import StoredIds, release

_MAPPED_BYTES = 1 << 25  # of ids that were read, at most, before their pages are let go

# A stream is read without a break for at least so many windows.
_RESTART_WINDOWS = 32


@dataclass(frozen=True)
class Streams:
    """Inputs and targets from a corpus of N tokens: each target is a token, its input the token before.

    Every stream opens with ``<bos>``. Tokens that do not fill a window of every stream are left out; with ``whole``
    every token is a target exactly once, and what pads the last windows has weight 0. With ``restarts`` streams take
    turns to begin anew: where the corpus is one text, ``<bos>`` would else be met too rarely to be learned.

    With ``augmentation``, windows are functions of the ``epoch``; without, all epochs are the same.

    Raises:
        ValueError: the corpus is shorter than one window of every stream (``whole``: it is empty).
    """

    ids: StoredIds  # (N,)
    bos_id: int
    batch_size: int
    window: int
    whole: bool = False
    restarts: bool = False
    augmentation: Augmentation | None = None
    epoch: int = 0

    def __post_init__(self) -> None:
        if self.length < (1 if self.whole else self.window):
            needed = 1 if self.whole else self.batch_size * self.window + self._most_shifted
            raise ValueError(
                f"the text is too short: {len(self.ids):,} tokens, expected at least {needed:,} for "
                f"batch_size={self.batch_size} and window={self.window}; give more text, or lower these"
            )

    @property
    def length(self) -> int:
        """Tokens of the longest stream."""
        tokens = len(self.ids) - self._most_shifted
        return -(-tokens // self.batch_size) if self.whole else tokens // self.batch_size

    @property
    def steps(self) -> int:
        """Windows of every stream: the steps of an epoch."""
        if self._starts is not None:
            return len(self._starts) - 1
        return -(-self.length // self.window) if self.whole else self.length // self.window

    @property
    def tokens(self) -> int:
        """Tokens of all windows of all streams, the same in every epoch."""
        return self.tokens_before(self.steps)

    def tokens_before(self, step: int) -> int:
        """Tokens of all streams in the windows before window ``step``."""
        return self.batch_size * self._start(step)

    def relative_length(self, step: int) -> float:
        """Of window ``step``, to ``window``."""
        return (self._start(step + 1) - self._start(step)) / self.window

    def at_epoch(self, epoch: int) -> Streams:
        """The same streams, as they are read in ``epoch``."""
        return self if self.augmentation is None else replace(self, epoch=epoch)

    @property
    def _most_shifted(self) -> int:
        return 0 if self.augmentation is None else self.augmentation.most_shifted(self.window)

    @cached_property
    def _offset(self) -> int:
        return 0 if self.augmentation is None else self.augmentation.offset(self.epoch, self.window)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64] | None:
        """Where windows start in every stream, if they are of random lengths."""
        if self.augmentation is None or not self.augmentation.random_windows:
            return None
        return self.augmentation.starts(self.epoch, self.length, self.window)

    def _start(self, step: int) -> int:
        return min(step * self.window, self.length) if self._starts is None else int(self._starts[step])

    def restarted(self, step: int) -> int | None:
        """The stream that begins anew, with ``<bos>`` and from the zero state, at window ``step``."""
        stream = step % max(self.batch_size, _RESTART_WINDOWS)
        return stream if self.restarts and stream < self.batch_size else None

    def opening(self, step: int) -> npt.NDArray[np.bool_]:
        """Which streams, (batch_size,), read ``<bos>`` first in window ``step``: these start from the zero state."""
        return np.equal(self._before(step), self.bos_id)

    def windows(self, start: int = 0) -> Iterator[tuple[Ids, Ids, Float | None]]:
        """Inputs, targets and weights of windows ``start`` to the last.

        Inputs and targets are int32 of shape (batch_size, window), the last window of ``whole`` streams and random
        ones shorter or longer; weights are float32 or, without ``whole``, None.
        """
        every = max(1, _MAPPED_BYTES // (self.batch_size * self.window * self.ids.itemsize))
        for step in range(start, self.steps):
            yield self._window(step)
            if (step + 1) % every == 0:
                release(self.ids)

    def place(self, step: int) -> str:
        """Where in the text window ``step`` is."""
        first, behind = (self._offset + self._start(s) for s in (step, step + 1))
        apart = f" of each of {self.batch_size} streams, {self.length:,} apart" if self.batch_size > 1 else ""
        return f"the batch is tokens {first:,} to {behind - 1:,}{apart}"

    def _window(self, step: int) -> tuple[Ids, Ids, Float | None]:
        targets = self._targets(step)
        inputs = np.concatenate([self._before(step)[:, None], targets[:, :-1]], axis=1)
        if self.augmentation is not None:
            inputs = self.augmentation.noised(inputs, self.bos_id, self.epoch, step)
        weights = (self._positions(step) < len(self.ids)).astype(np.float32) if self.whole else None
        return inputs, targets, weights

    def _before(self, step: int) -> Ids:
        """What the streams, (B,), read before the targets of window ``step``."""
        if step == 0:
            return np.full(self.batch_size, self.bos_id, np.int32)
        before = self._targets(step - 1, slice(-1, None))[:, -1]
        if (restarted := self.restarted(step)) is not None:
            before[restarted] = self.bos_id
        return before

    def _targets(self, step: int, part: slice = slice(None)) -> Ids:
        """A part of those of window ``step``, (B, at most T)."""
        drops = self.augmentation is not None and self.augmentation.token_drop > 0
        positions = self._positions(step) if drops else self._positions(step)[:, part]
        targets = self.ids[np.minimum(positions, len(self.ids) - 1)].astype(np.int32)
        if self.augmentation is not None and drops:
            return self.augmentation.dropped(targets, self.bos_id, self.epoch, step)[:, part]
        return targets

    def _positions(self, step: int) -> npt.NDArray[np.int64]:
        """Where the targets of window ``step`` are in the corpus, (B, T)."""
        within = np.arange(self._start(step), self._start(step + 1))  # (T,)
        return self._offset + np.arange(self.batch_size)[:, None] * self.length + within


def evaluation_streams(ids: StoredIds, bos_id: int, window: int, most: int = 64) -> Streams:
    """The whole corpus in up to ``most`` streams of at least four windows: every stream starts from nothing."""
    return Streams(ids, bos_id, max(1, min(most, len(ids) // (4 * window))), window, whole=True)
