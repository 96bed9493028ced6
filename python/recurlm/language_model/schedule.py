"""How far a training run has come, and the learning rate that belongs there."""

from __future__ import annotations

import math
from dataclasses import dataclass

SCHEDULES = ("cosine", "linear", "constant")

# Warm-up ends with this part of the run, though its steps are not done: of a short run too little would be left.
_WARMUP_PART = 0.1


@dataclass(frozen=True)
class Schedule:
    """Warm-up, at most for a tenth of the run, then decay to zero at its end, whichever limit ends it.

    A run limited by time decays with time: its learning rates depend on the machine's speed, and only runs limited by
    steps or tokens can be repeated bit for bit.
    """

    kind: str
    peak: float
    warmup_steps: int
    steps: float
    tokens: float = math.inf
    seconds: float = math.inf

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.kind!r}")
        if not self.peak > 0:
            raise ValueError(f"learning_rate must be positive, got {self.peak}")
        for name in ("steps", "tokens", "seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"the limits of training must be positive, got {getattr(self, name)} {name}")

    def progress(self, steps: float, tokens: int, seconds: float) -> float:
        """From 0 at the start to 1 where the first limit is reached."""
        return min(1.0, max(steps / self.steps, tokens / self.tokens, seconds / self.seconds))

    def learning_rate(self, steps: int, progress: float) -> float:
        """The rate of the step that follows ``steps`` others."""
        warm = 1.0
        if self.warmup_steps > 0:
            warm = min(1.0, max((steps + 1) / self.warmup_steps, progress / _WARMUP_PART))
        if self.kind == "cosine":
            warm *= (1 + math.cos(math.pi * progress)) / 2
        elif self.kind == "linear":
            warm *= 1 - progress
        return self.peak * warm
