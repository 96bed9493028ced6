"""Contiguous streams: a corpus cut into B equal parts that are read side by side, a window of T tokens at a time.

Window n + 1 of a stream begins where window n ended, so a recurrent state can be carried from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..typing import Float, Ids
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

    Raises:
        ValueError: the corpus is shorter than one window of every stream (``whole``: it is empty).
    """

    ids: StoredIds  # (N,)
    bos_id: int
    batch_size: int
    window: int
    whole: bool = False
    restarts: bool = False

    def __post_init__(self) -> None:
        if self.steps == 0:
            needed = 1 if self.whole else self.batch_size * self.window
            raise ValueError(
                f"the text is too short: {len(self.ids):,} tokens, expected at least {needed:,} for "
                f"batch_size={self.batch_size} and window={self.window}; give more text, or lower these"
            )

    @property
    def length(self) -> int:
        """Tokens of the longest stream."""
        return -(-len(self.ids) // self.batch_size) if self.whole else len(self.ids) // self.batch_size

    @property
    def steps(self) -> int:
        """Windows of every stream: the steps of an epoch."""
        return -(-self.length // self.window) if self.whole else self.length // self.window

    def restarted(self, step: int) -> int | None:
        """The stream that begins anew, with ``<bos>`` and from the zero state, at window ``step``."""
        stream = step % max(self.batch_size, _RESTART_WINDOWS)
        return stream if self.restarts and stream < self.batch_size else None

    def opening(self, step: int) -> npt.NDArray[np.bool_]:
        """Which streams, (batch_size,), read ``<bos>`` first in window ``step``: these start from the zero state."""
        first: Ids = self._window(step)[0][:, 0]
        return np.equal(first, self.bos_id)

    def windows(self, start: int = 0) -> Iterator[tuple[Ids, Ids, Float | None]]:
        """Inputs, targets and weights of windows ``start`` to the last.

        Inputs and targets are int32 of shape (batch_size, window), weights float32 or, without ``whole``, None.
        """
        every = max(1, _MAPPED_BYTES // (self.batch_size * self.window * self.ids.itemsize))
        for step in range(start, self.steps):
            yield self._window(step)
            if (step + 1) % every == 0:
                release(self.ids)

    def _window(self, step: int) -> tuple[Ids, Ids, Float | None]:
        offsets = np.arange(step * self.window, min((step + 1) * self.window, self.length))  # (T,)
        positions = np.arange(self.batch_size)[:, None] * self.length + offsets  # (B, T)
        weights = (positions < len(self.ids)).astype(np.float32) if self.whole else None
        positions = np.minimum(positions, len(self.ids) - 1)
        targets = self.ids[positions].astype(np.int32)
        inputs = self.ids[positions - 1].astype(np.int32)
        if step == 0:
            inputs[:, 0] = self.bos_id
        elif (restarted := self.restarted(step)) is not None:
            inputs[restarted, 0] = self.bos_id
        return inputs, targets, weights


def evaluation_streams(ids: StoredIds, bos_id: int, window: int, most: int = 64) -> Streams:
    """The whole corpus in up to ``most`` streams of at least four windows: every stream starts from nothing."""
    return Streams(ids, bos_id, max(1, min(most, len(ids) // (4 * window))), window, whole=True)
