"""Softmax over a sample of the classes: what makes training with a large vocabulary affordable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .checks import is_integer, is_number
from .seeding import Draw, step_generator
from .typing import Float, Ids


class Sample(NamedTuple):
    """The classes of one step."""

    classes: Ids  # (S,), ascending
    places: Ids  # (V,), where each of these stands in ``classes``
    log_inclusion: Float  # (S,), logarithm of the probability that a sample has it


class SampledSoftmax:
    """Trains on the targets of a batch and some other classes instead of all (Jean et al., 2015).

    Each class is drawn with a probability in proportion to ``counts**power``, up to 1, so that ``size`` are expected,
    and the targets of the batch are added: every row has those of the others as rivals. The logarithm of the
    probability that a class is in a sample is subtracted from its logit. Since a row's own target always is in it,
    the odds that the sample leaves to each class are those of the whole softmax times just that probability, so the
    logits that the sampled loss is least for are those of the whole. Only a backward pass samples: losses and metrics
    of ``evaluate`` and of validation are over all classes, those of a training step over its sample.

    Args:
        counts: how often each class is a target, (V,). A class that never is counts as one that once is.
        size: expected number of drawn classes.
        power: of the counts; at 1, rare classes are nearly never drawn (Mikolov et al., 2013, chose 0.75).

    Raises:
        ValueError: a count is negative or not finite, ``size`` is not from 1 to V - 1, or ``power`` not from 0 to 1.

    Example:
        >>> import numpy as np
        >>> sampling = SampledSoftmax(counts=[100, 50, 10, 5, 1], size=2)
        >>> sampling.draw(np.array([4], np.int32), seed=0, node=0, step=0).classes.tolist()
        [0, 4]
    """

    def __init__(self, counts: Sequence[float] | npt.NDArray[Any], size: int, power: float = 0.75) -> None:
        self.counts = np.array(counts, np.float64)
        if self.counts.ndim != 1 or not (np.isfinite(self.counts) & (self.counts >= 0)).all():
            raise ValueError("counts must be a list of numbers that are at least 0")
        most = len(self.counts) - 1
        if not is_integer(size) or not 1 <= size <= most:
            raise ValueError(f"size must be an integer from 1 to {most:,}, one class less than all, got {size!r}")
        if not is_number(power) or not 0 <= power <= 1:
            raise ValueError(f"power must be a number from 0 to 1, got {power!r}")
        self.size, self.power = int(size), float(power)
        counted = np.maximum(self.counts, 1)
        self._drawn = _capped(counted**self.power, self.size)  # (V,), the probability of each
        with np.errstate(divide="ignore"):  # some are certain
            self._log_not_drawn = np.log1p(-self._drawn)
        self._log_no_target = np.log1p(-counted / counted.sum())

    def draw(self, targets: Ids, seed: int, node: int, step: int) -> Sample:
        """Those of a step: a function of the targets (R,), which have weight, and of ``seed``, ``node``, ``step``."""
        generator = step_generator(seed, Draw.CLASSES, node, step)
        present = generator.random(len(self._drawn)) < self._drawn
        present[targets] = True
        classes = np.flatnonzero(present).astype(np.int32)
        places = np.zeros(len(present), np.int32)
        places[classes] = np.arange(len(classes), dtype=np.int32)
        log_absent = self._log_not_drawn[classes] + len(targets) * self._log_no_target[classes]
        return Sample(classes, places, np.log(-np.expm1(log_absent)).astype(np.float32))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"counts": self.counts.tolist(), "size": self.size, "power": self.power}


def _capped(weights: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.float64]:
    """``min(1, c * weights)`` with the ``c`` that makes the sum ``total``, which is below their number."""
    falling = np.sort(weights)[::-1]
    rest = np.cumsum(falling[::-1])[::-1]  # of each and all that are smaller
    # With the k largest at 1, the others share what is left; the first k at which none of these exceeds 1.
    shares = (total - np.arange(total)) / rest[:total]
    fits = shares * falling[:total] <= 1
    drawn: npt.NDArray[np.float64] = np.minimum(1.0, shares[np.argmax(fits)] * weights)
    return drawn
