"""Augmentation of text as a stream: each epoch reads other windows of it, and other tokens in them.

Every draw is a function of (seed, epoch, window, position), so that any window can be made again, alone and anywhere.
``<bos>``, with which a state begins anew, is neither noised nor dropped, nor put in another token's place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..seeding import Draw, step_generator
from ..typing import Ids
from .corpus import StoredIds, count_ids

# Merity et al. (2018), section 5: the base is halved in a twentieth of the windows, lengths are normal around it.
_FULL, _DEVIATION, _LEAST = 0.95, 5, 5  # the deviation of a window shorter than 40 is an eighth of it
_MOST_DEVIATIONS = 4  # so that memory for the longest window is soon had
_BLOCK = 4096  # of lengths drawn at a time


class Noise(Protocol):
    """Something else in the place of some inputs (B, T)."""

    def __call__(self, inputs: Ids, seed: int, epoch: int, step: int) -> Ids: ...


@dataclass(frozen=True)
class BlankNoise:
    """Each input becomes ``blank_id`` with probability ``rate`` (Xie et al., 2017): interpolates context lengths."""

    rate: float
    blank_id: int

    def __call__(self, inputs: Ids, seed: int, epoch: int, step: int) -> Ids:
        chosen = step_generator(seed, Draw.BLANK_NOISE, epoch, step).random(inputs.shape) < self.rate
        return np.where(chosen, np.int32(self.blank_id), inputs)


@dataclass(frozen=True, eq=False)
class UnigramNoise:
    """Each input becomes, with probability ``rate``, a token drawn as often as it occurs (Xie et al., 2017).

    Targets stay: the paper noises these only in its bigram Kneser-Ney scheme.
    """

    rate: float
    totals: npt.NDArray[np.int64]  # (V,): occurrences of the ids up to each

    @classmethod
    def of(cls, rate: float, ids: StoredIds, vocabulary_size: int, bos_id: int) -> UnigramNoise:
        """With the counts of ``ids``."""
        counts = count_ids(ids, vocabulary_size)
        counts[bos_id] = 0
        if not counts.any():
            raise ValueError("unigram_noise needs a text with tokens to draw")
        return cls(rate, np.cumsum(counts))

    def __call__(self, inputs: Ids, seed: int, epoch: int, step: int) -> Ids:
        generator = step_generator(seed, Draw.UNIGRAM_NOISE, epoch, step)
        chosen = generator.random(inputs.shape) < self.rate
        drawn = np.searchsorted(self.totals, generator.integers(self.totals[-1], size=inputs.shape), side="right")
        return np.where(chosen, drawn.astype(np.int32), inputs)


@dataclass(frozen=True)
class Augmentation:
    """What streams do to their windows while a model trains.

    Attributes:
        seed: what is drawn is a function of it.
        noises: change inputs, one after the other; targets stay.
        token_drop: share of the tokens that are left out, as input and as target: what follows one then follows what
            stood before it. In a window all streams lose equally many, and so stay in step.
        random_windows: windows are of random lengths (Merity et al., 2018).
        shift_windows: each epoch begins at another of the first ``window`` tokens of the text.
    """

    seed: int
    noises: tuple[Noise, ...] = ()
    token_drop: float = 0.0
    random_windows: bool = False
    shift_windows: bool = False

    def most_shifted(self, window: int) -> int:
        """The largest ``offset``."""
        return window - 1 if self.shift_windows else 0

    def offset(self, epoch: int, window: int) -> int:
        """Tokens of the text that ``epoch`` passes over."""
        return int(step_generator(self.seed, Draw.WINDOW_OFFSET, epoch, 0).integers(self.most_shifted(window) + 1))

    def starts(self, epoch: int, length: int, window: int) -> npt.NDArray[np.int64]:
        """Where the random windows of a stream of ``length`` tokens start, (steps + 1,), its end last."""
        generator = step_generator(self.seed, Draw.WINDOW_LENGTHS, epoch, 0)
        deviation = min(_DEVIATION, window / 8)
        least, most = min(_LEAST, window), window + int(_MOST_DEVIATIONS * deviation)
        starts = [np.zeros(1, np.int64)]
        while starts[-1][-1] < length:
            base = np.where(generator.random(_BLOCK) < _FULL, window, window / 2)
            lengths = np.clip(generator.normal(base, deviation).astype(np.int64), least, most)
            starts.append(starts[-1][-1] + np.cumsum(lengths))
        found = np.concatenate(starts)
        return np.append(found[found < length], length)

    def dropped(self, targets: Ids, bos_id: int, epoch: int, step: int) -> Ids:
        """``targets`` (B, T) without those that are left out, (B, at most T and at least 1)."""
        generator = step_generator(self.seed, Draw.TOKEN_DROP, epoch, step)
        window = targets.shape[1]
        count = min(window - 1, int(self.token_drop * window + generator.random()))
        keys = np.where(targets == bos_id, 1.0, generator.random(targets.shape))
        kept = np.sort(np.argsort(keys, axis=1, kind="stable")[:, count:], axis=1)
        return np.take_along_axis(targets, kept, axis=1)

    def noised(self, inputs: Ids, bos_id: int, epoch: int, step: int) -> Ids:
        """``inputs`` (B, T) after all noises."""
        noised = inputs
        for noise in self.noises:
            noised = noise(noised, self.seed, epoch, step)
        return np.where(inputs == bos_id, inputs, noised)
