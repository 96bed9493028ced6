"""Softmax over a sample of the classes: what makes training with a large vocabulary affordable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .checks import is_integer, is_number
from .seeding import Draw, step_generator
from .typing import Float, Ids, Mask


class Sample(NamedTuple):
    """The classes of one step."""

    classes: Ids  # (S,), ascending
    places: Ids  # (V,), where each of these stands in ``classes``
    log_inclusion: Float  # (S,), logarithm of the probability that the draw or the target of another row brings it in


class SampledSoftmax:
    """Trains on the targets of a batch and some other classes instead of all (Jean et al., 2015).

    Each class is drawn with a probability in proportion to ``counts**power``, up to 1, so that ``size`` are expected,
    and the targets of the batch are added: every row has those of the others as rivals. Given the sample, the chance
    that a class in it is a row's target is that of the whole softmax, divided by the probability that the draw or
    another row would bring the class in. So the logarithm of the latter is subtracted from its logit, and the logits
    for which the sampled loss is least are those of the whole; nearly, since that takes what the rows bring in as
    independent, and as frequent as ``counts`` says, while in running text words come in bursts.

    Only a backward pass samples. Losses and metrics of ``evaluate`` and of validation are over all classes; those of a
    training step are over its sample, with the corrected logits, and not comparable with these.

    Args:
        counts: how often each class is a target, or its frequency, (V,). A class that never is one counts as the
            rarest of the others.
        size: expected number of drawn classes.
        power: of the counts; at 1, rare classes are nearly never drawn (Mikolov et al., 2013, chose 0.75).

    Raises:
        ValueError: there are no two classes, a count is negative or not finite, or all are zero; ``size`` is not from
            1 to V - 1, or ``power`` not from 0 to 1.

    Example:
        >>> import numpy as np
        >>> sampling = SampledSoftmax(counts=[100, 50, 10, 5, 1], size=2)
        >>> sampling.draw(np.array([4], np.int32), seed=0, node=0, step=0).classes.tolist()
        [0, 4]
    """

    def __init__(self, counts: Sequence[float] | npt.NDArray[Any], size: int, power: float = 0.75) -> None:
        self.counts = _checked_counts(counts)
        most = len(self.counts) - 1
        if not is_integer(size) or not 1 <= size <= most:
            raise ValueError(f"size must be an integer from 1 to {most:,}, one class less than all, got {size!r}")
        if not is_number(power) or not 0 <= power <= 1:
            raise ValueError(f"power must be a number from 0 to 1, got {power!r}")
        self.size, self.power = int(size), float(power)
        counted = np.maximum(self.counts, self.counts[self.counts > 0].min())
        self._drawn = _capped(counted**self.power, self.size)  # (V,), the probability of each
        with np.errstate(divide="ignore"):  # some are certain
            self._log_not_drawn = np.log1p(-self._drawn)
        self._log_no_target = np.log1p(-np.minimum(counted / counted.sum(), 1 - 2.0**-53))

    def draw(self, targets: Ids, seed: int, node: int, step: int) -> Sample:
        """Those of a step: a function of the targets (R,), which have weight, and of ``seed``, ``node``, ``step``."""
        generator = step_generator(seed, Draw.CLASSES, node, step)
        return self._sample(generator.random(len(self._drawn)) < self._drawn, targets)

    def _sample(self, drawn: Mask, targets: Ids) -> Sample:
        """Of the classes that are ``drawn``, (V,), and the targets."""
        present = drawn.copy()
        present[targets] = True
        classes = np.flatnonzero(present).astype(np.int32)
        places = np.zeros(len(present), np.int32)
        places[classes] = np.arange(len(classes), dtype=np.int32)
        others = max(0, len(targets) - 1)  # a row's own target is in its sample for certain, whatever it is
        log_absent = self._log_not_drawn[classes] + others * self._log_no_target[classes]
        return Sample(classes, places, np.log(-np.expm1(log_absent)).astype(np.float32))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"counts": self.counts.tolist(), "size": self.size, "power": self.power}


def _checked_counts(counts: Any) -> npt.NDArray[np.float64]:
    try:
        checked = np.array(counts, np.float64)
    except (TypeError, ValueError):
        checked = np.empty(0)
    if checked.ndim != 1 or len(checked) < 2 or not (np.isfinite(checked) & (checked >= 0)).all() or not checked.any():
        raise ValueError("counts must be a list of two or more numbers that are at least 0, and not all 0")
    return checked


def _capped(weights: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.float64]:
    """``min(1, c * weights)`` with the ``c`` that makes the sum ``total``, which is below their number."""
    falling = np.sort(weights)[::-1]
    rest = np.cumsum(falling[::-1])[::-1]  # of each and all that are smaller
    # With the k largest at 1, the others share what is left; the first k at which none of these exceeds 1.
    shares = (total - np.arange(total)) / rest[:total]
    fits = shares * falling[:total] <= 1
    drawn: npt.NDArray[np.float64] = np.minimum(1.0, shares[np.argmax(fits)] * weights)
    return drawn
