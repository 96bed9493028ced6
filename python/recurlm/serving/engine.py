"""Continuous batching: one thread steps all texts in flight together; they join and leave between its rounds."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .._core import DecodingState, PackedModel, PrefixCache, Sampling
from ..language_model import LanguageModel
from ..language_model.generation import undrawn_ids
from ..typing import Float, Ids
from .limits import Limits
from .metrics import Metrics
from .text import Drawn, GrowingText

# A round is as many steps as take about this long: short enough to join and to stream, long enough to hide the call.
_ROUND_SECONDS = 0.02
_MOST_STEPS = 64
# Of prompts, what is read between two rounds: longer ones are read alone.
_ROUND_PROMPTS = 2048


class BusyError(Exception):
    """So many requests wait already that this one is refused."""


@dataclass(eq=False)
class Job:
    """Texts that continue one prompt.

    Args:
        prompt: ids, at least one.
        texts: what is drawn goes to these, one for each sample.
        alternatives: how many they want to know in the place of each token.
        notify: called by the engine's thread when texts have grown, if ``streams``, and when all have ended.
        deadline: when texts end as they are, on the clock of ``time.monotonic``.
    """

    prompt: Ids
    seed: int
    sampling: Sampling
    logit_bias: tuple[Ids, Float] | None
    texts: list[GrowingText]
    alternatives: int
    streams: bool
    notify: Callable[[], None]
    deadline: float
    error: Exception | None = None
    cancelled: bool = False  # set by whoever waits no longer

    @property
    def done(self) -> bool:
        return self.error is not None or all(text.finished for text in self.texts)


@dataclass(eq=False)
class _Row:
    """A stream of the state: one text of a job."""

    job: Job
    text: GrowingText


@dataclass
class _Pace:
    """How long a step takes, by the last rounds."""

    seconds: float = 1e-3

    def steps(self) -> int:
        return max(1, min(_MOST_STEPS, int(_ROUND_SECONDS / self.seconds)))

    def record(self, seconds: float, steps: int) -> None:
        self.seconds += 0.3 * (seconds / steps - self.seconds)


@dataclass(eq=False)
class Engine:
    """Draws for any number of callers.

    What a text gets is a function of its job alone, not of the others that are drawn with it.
    """

    lm: LanguageModel
    limits: Limits
    metrics: Metrics
    _waiting: deque[Job] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closing: bool = False
    _last_moment: float = math.inf
    _rows: list[_Row] = field(default_factory=list)
    _state: DecodingState | None = None
    _pace: _Pace = field(default_factory=_Pace)

    def __post_init__(self) -> None:
        self._model: PackedModel = self.lm.weights.packed()
        self._cache = PrefixCache(self.limits.cache)
        # Ids that are never drawn; ids that end a text and are no part of it.
        self.banned, self._ends = undrawn_ids(self.lm.tokenizer, self.lm.separate_texts)
        self._thread = threading.Thread(target=self._run, name="recurlm engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, *jobs: Job) -> None:
        """Begin to draw as soon as there is room: all of these jobs, or none.

        Raises:
            BusyError: too many wait already, or the engine is closing.
        """
        with self._changed:
            if self._closing:
                raise BusyError("the server is shutting down")
            if self._waiting and len(self._waiting) + len(jobs) > self.limits.waiting:
                raise BusyError("too many requests are waiting: try again later")
            self._waiting.extend(jobs)
            self.metrics.waiting.set(len(self._waiting))
            self._changed.notify()

    def end(self, seconds: float) -> None:
        """Take no more jobs; those that are not done after so many seconds end as they are."""
        with self._changed:
            self._closing, self._last_moment = True, time.monotonic() + seconds
            self._changed.notify()

    def close(self) -> None:
        """End all jobs, and the thread."""
        self.end(0.0)
        self._thread.join()

    # The engine's thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (jobs := self._next_jobs()) is not None:
            self._round(jobs)

    def _round(self, jobs: list[Job]) -> None:
        try:
            self._admit(jobs)
            self._draw()
        except Exception as error:  # whatever it is, those who wait must learn of it
            self._fail(jobs, error)

    def _next_jobs(self) -> list[Job] | None:
        """Those that there is room for, as soon as there is something to do; None at the end."""
        with self._changed:
            while not self._waiting and not self._rows:
                if self._closing:
                    return None
                self._changed.wait()
            for job in [job for job in self._waiting if self._is_over(job)]:
                self._waiting.remove(job)
                _cut(job)
            jobs, room, tokens = [], self.limits.streams - len(self._rows), 0
            while self._waiting and len(self._waiting[0].texts) <= room and tokens < _ROUND_PROMPTS:
                jobs.append(self._waiting.popleft())
                room, tokens = room - len(jobs[-1].texts), tokens + len(jobs[-1].prompt)
            self.metrics.waiting.set(len(self._waiting))
            return jobs

    def _is_over(self, job: Job) -> bool:
        """Whether there is nothing more to draw."""
        return job.cancelled or job.done or time.monotonic() >= min(job.deadline, self._last_moment)

    def _admit(self, jobs: list[Job]) -> None:
        states, found_before = [] if self._state is None else [self._state], self._cache.tokens_found
        for job in jobs:
            if (state := self._begin(job)) is not None:
                states.append(state)
                self._rows += [_Row(job, text) for text in job.texts]
        if len(states) > (self._state is not None):
            self._state = states[0] if len(states) == 1 else DecodingState.join(states)
        self.metrics.cached_tokens.inc(self._cache.tokens_found - found_before)

    def _begin(self, job: Job) -> DecodingState | None:
        """All its texts go on from the prompt, which is read once; None where that failed."""
        prompts = [job.prompt] * len(job.texts)
        try:
            return self._model.begin(prompts, job.seed, self.banned, job.logit_bias, self._cache)
        except Exception as error:  # no affair of the others
            job.error = error
            job.notify()
            return None

    def _draw(self) -> None:
        if self._state is None:
            return
        rows, start = self._rows, time.perf_counter()
        steps = min(self._pace.steps(), max(row.text.left for row in rows))
        sampling, alternatives = [row.job.sampling for row in rows], max(row.job.alternatives for row in rows)
        drawn = self._model.generate(self._state, steps, sampling, self._ends, alternatives=alternatives)
        seconds = time.perf_counter() - start
        self._pace.record(seconds, steps)
        before = sum(row.text.count for row in rows)
        counts = np.count_nonzero(drawn[0] >= 0, axis=1).tolist()  # -1 is behind an end
        for row, ended, n, ids, log_probs, other_ids, other_log_probs in zip(
            rows, self._state.finished.tolist(), counts, *drawn, strict=True
        ):
            wanted = row.job.alternatives
            own = ids[:n], log_probs[:n], other_ids[:n, :wanted], other_log_probs[:n, :wanted]
            row.text.push(Drawn(*(each.copy() for each in own)), ended)  # a part would keep the whole alive
        self.metrics.round(len(rows), steps, seconds, sum(row.text.count for row in rows) - before)
        self._release()

    def _release(self) -> None:
        """Let those go that are done, and tell whoever waits."""
        for job in {id(row.job): row.job for row in self._rows}.values():
            if self._is_over(job):
                _cut(job)
            elif job.streams:
                job.notify()
        kept = [place for place, row in enumerate(self._rows) if not row.text.finished]
        if len(kept) == len(self._rows):
            return
        self._rows = [self._rows[place] for place in kept]
        self._state = self._state.select(np.array(kept, np.int32)) if kept and self._state is not None else None
        self.metrics.active.set(len(self._rows))

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        failed = {id(job): job for job in [*jobs, *(row.job for row in self._rows)]}
        self._rows, self._state = [], None
        self.metrics.active.set(0)
        for job in failed.values():
            job.error = error
            job.notify()


def _cut(job: Job) -> None:
    """Its texts end as they are, and whoever waits is told."""
    for text in job.texts:
        text.cut()
    job.notify()
