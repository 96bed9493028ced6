"""How far a training run has come, and the learning rate that belongs there."""

from __future__ import annotations

import math
from dataclasses import dataclass

SCHEDULES = ("cosine", "linear", "constant")


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then decay to zero at the end of the run, whichever limit ends it.

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

    def progress(self, steps: int, tokens: int, seconds: float) -> float:
        """From 0 at the start to 1 where the first limit is reached."""
        return min(1.0, max(steps / self.steps, tokens / self.tokens, seconds / self.seconds))

    def learning_rate(self, steps: int, progress: float) -> float:
        """The rate of the step that follows ``steps`` others."""
        warm = min(1.0, (steps + 1) / self.warmup_steps) if self.warmup_steps > 0 else 1.0
        if self.kind == "cosine":
            warm *= (1 + math.cos(math.pi * progress)) / 2
        elif self.kind == "linear":
            warm *= 1 - progress
        return self.peak * warm
