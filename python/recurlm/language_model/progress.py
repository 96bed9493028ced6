"""What a user sees while a model trains: a bar, a line for each epoch, samples. All of it goes to stderr.

Lines fit in 80 columns, and the bar has some of them to itself.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

_PACE = 0.2  # seconds between refreshes of the bar


def perplexity(loss: float) -> float:
    """``exp(loss)``, infinite where that overflows."""
    return math.inf if loss >= 700 else math.exp(loss)


def show_perplexity(loss: float) -> str:
    """The perplexity in at most eight characters."""
    value = perplexity(loss)
    return f"{value:,.2f}" if value < 1e3 else f"{value:,.0f}" if value < 1e6 else f"{value:.3g}"


class Progress:
    """A progress bar with loss, perplexity, tokens a second and time left.

    Args:
        verbose: show it at all.
        sample_every: seconds between samples of text; None for no samples.
        sample: makes one.
    """

    def __init__(self, verbose: bool, sample_every: float | None, sample: Callable[[], str]):
        if sample_every is not None and not sample_every > 0:
            raise ValueError(f"sample_every must be a positive number of seconds, got {sample_every}")
        self._verbose = verbose
        self._bar: Any = None
        self._sample_every, self._sample = sample_every, sample
        self._start = self._mark = self._sampled = time.perf_counter()
        self._start_done = 0.0
        self._shown = -math.inf
        self._tokens = 0
        self._training_seconds = 0.0  # without validation and samples

    def begin(self, done: float) -> None:
        """Training starts, or goes on from the fraction ``done``."""
        self._start = self._mark = self._sampled = time.perf_counter()
        self._start_done = done
        if self._verbose:
            self._bar = _open_bar()

    @property
    def tokens_per_second(self) -> float:
        return self._tokens / self._training_seconds if self._training_seconds else 0.0

    def step(self, tokens: int, loss: float, done: float) -> None:
        """A step of ``tokens`` has brought the run to the fraction ``done``."""
        now = time.perf_counter()
        self._tokens += tokens
        self._training_seconds += now - self._mark
        self._mark = now
        if self._bar is not None and now - self._shown >= _PACE:
            self._shown = now
            left = (now - self._start) * (1 - done) / max(done - self._start_done, 1e-9)
            self._bar.n = done
            figures = f"loss {loss:.4f}, perplexity {show_perplexity(loss)}, {self.tokens_per_second:,.0f} tokens/s"
            self._bar.set_description_str(f"{figures}, {_clock(left)} left")
        if self._bar is not None and self._sample_every is not None and now - self._sampled >= self._sample_every:
            self.say(self._sample())
            self._mark = self._sampled = time.perf_counter()

    def validate(self) -> None:
        """The steps of an epoch are done, its validation begins."""
        if self._bar is not None:
            self._bar.set_description_str("validating")

    def epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """An epoch has ended, and been validated if ``logs`` has a val_loss."""
        line = f"epoch {epoch + 1}: loss {logs['loss']:.4f}"
        if "val_loss" in logs:
            line += f", validation {logs['val_loss']:.4f}, perplexity {show_perplexity(logs['val_loss'])}"
        self.say(f"{line}, {self.tokens_per_second:,.0f} tokens/s")
        self._mark = time.perf_counter()

    def say(self, text: str) -> None:
        """Print above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _open_bar() -> Any:
    from tqdm import tqdm  # here, because importing recurlm must stay fast

    class Bar(tqdm):  # type: ignore[misc, type-arg, unused-ignore]
        monitor_interval = 0  # no thread of its own: refreshes come from steps

    return Bar(
        total=1.0,
        file=sys.stderr,
        miniters=math.inf,
        leave=False,  # the line of the last epoch says more
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}%|{bar}| {desc}",
        disable=not sys.stderr.isatty(),  # in a file each refresh is a line; what is said is enough there
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(min(seconds, 359_999)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
