"""Where a run of training stands: what it reads, and what a resume needs beside the model's own state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..text.batching import Streams
from ..text.tokenizer import field as typed
from ..typing import Float, Ids
from .history import Curve


class Batches:
    """The windows of ``streams``, an epoch after the other, as ``Model.fit`` takes them.

    The first time from window ``start`` of ``epoch`` on, then all of the next epoch.
    """

    def __init__(self, streams: Streams, epoch: int = 0, start: int = 0):
        self._streams, self._epoch, self._start = streams.at_epoch(epoch), epoch, start
        self._window = 0

    def __len__(self) -> int:
        return self._streams.steps

    def __iter__(self) -> Iterator[tuple[Ids, Ids] | tuple[Ids, Ids, Float]]:
        streams, start = self._streams.at_epoch(self._epoch), self._start
        self._streams, self._epoch, self._start = streams, self._epoch + 1, 0
        for window, (inputs, targets, weights) in enumerate(streams.windows(start), start):
            self._window = window
            yield (inputs, targets) if weights is None else (inputs, targets, weights)

    def place(self) -> str:
        """Where in the text the last window is."""
        return self._streams.place(self._window)


@dataclass
class Position:
    """Where a run stands; with the model's own state, all that a resume needs."""

    epoch: int = 0
    window: int = 0  # windows of this epoch that are done
    steps: int = 0  # optimiser steps of all epochs
    seconds: float = 0.0
    best_step: int | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    curve: Curve = field(default_factory=Curve)

    @classmethod
    def restore(cls, values: dict[str, Any], streams: Streams) -> Position:
        """The inverse of ``dataclasses.asdict``, from a file that may hold anything; ``streams`` are what is read."""
        epoch, window, steps = (typed(values, name, int) for name in ("epoch", "window", "steps"))
        possible = min(epoch, window, steps) >= 0 and epoch < 2**64
        if not possible or window > streams.at_epoch(epoch).steps:
            raise ValueError(f"epoch {epoch}, window {window}, steps {steps} is no position of this run")
        seconds, best_step = typed(values, "seconds", float), typed(values, "best_step", int, None)
        history = typed(values, "history", dict)
        if not all(isinstance(values, list) for values in history.values()):
            raise ValueError("field 'history' must hold lists")
        curve = typed(values, "curve", dict) if "curve" in values else {}  # earlier versions wrote none
        return cls(
            epoch, window, steps, seconds, best_step, history, Curve.restore(curve) if curve else Curve(start=steps)
        )
