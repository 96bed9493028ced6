"""From drawn token ids to text: pieces as they come, cut at stop strings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .._core import PackedModel, Sampling
from ..checks import check_integer, is_number
from ..text.tokenizer import TextDecoder, Tokenizer
from ..typing import Float, Ids

# Tokens drawn in one call of the core: few at first, so that a stream starts at once, then enough to hide the call.
_FIRST_DRAW, _DRAW = 4, 32


# Outside of these, logits over the temperature are no longer numbers; the text is the greedy or the uniform one anyway.
_TEMPERATURES = (1e-3, 1e3)


def make_sampling(
    classes: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
) -> Sampling:
    """How to draw one of ``classes``.

    Raises:
        TypeError, ValueError: an argument is no number, or not possible.
    """
    numbers = {
        "temperature": temperature, "top_p": top_p, "min_p": min_p, "repetition_penalty": repetition_penalty,
        "presence_penalty": presence_penalty, "frequency_penalty": frequency_penalty,
    }  # fmt: skip
    for name, value in numbers.items():
        if not is_number(value):
            raise TypeError(f"{name} must be a number, got {value!r}")
    least, most = _TEMPERATURES
    if temperature != 0 and not least <= temperature <= most:
        raise ValueError(f"temperature must be 0, or from {least} to {most:.0f}, got {temperature}")
    return Sampling(top_k=min(check_integer("top_k", top_k, 0), classes), **numbers)


def check_stops(stop: str | Sequence[str]) -> list[str]:
    """The strings that end a sample; ValueError if one is empty."""
    stops = [stop] if isinstance(stop, str) else list(stop)
    if not all(stops):
        raise ValueError("stop must not hold an empty string")
    return stops


def undrawn_ids(tokenizer: Tokenizer, separate_texts: bool) -> tuple[Ids, Ids]:
    """Ids that no text holds: those that are never drawn, and those that end a sample, if texts have been learned."""
    unknown = [] if tokenizer.unknown_id is None else [tokenizer.unknown_id]
    banned, ends = (unknown, tokenizer.end_ids) if separate_texts else ([*tokenizer.end_ids, *unknown], ())
    return np.array(banned, np.int32), np.array(ends, np.int32)


@dataclass(frozen=True)
class Continuation:
    """A text that a beam search has found.

    Attributes:
        text: what follows the prompt.
        score: by which it was chosen.
        log_probs: of each token, (tokens,), with that of the end where it has ended.
        ended: whether the model ended it, or it was cut off.
    """

    text: str
    score: float
    log_probs: Float
    ended: bool

    @property
    def log_prob(self) -> float:
        """Of the whole, in nats."""
        return math.fsum(self.log_probs)

    @classmethod
    def of(cls, tokenizer: Tokenizer, prompt: str, ends: Ids, ids: Ids, log_probs: Float, score: float) -> Continuation:
        ended = len(ids) > 0 and bool(ids[-1] in ends)
        text = tokenizer.decoder(prompt).decode(ids[: len(ids) - ended], final=True)
        return cls(text, score, log_probs, ended)


class StoppedText:
    """The text of one sample: decodes ids, ends before a stop string, holds back what may become one."""

    def __init__(self, decoder: TextDecoder, stop: Sequence[str]):
        self._decoder = decoder
        self._stop = stop
        self._held = ""
        self.finished = self.stopped = False  # ``stopped``: by a stop string

    def push(self, ids: Sequence[int] | Ids, final: bool = False) -> str:
        """The text that ``ids`` make certain."""
        if self.finished:
            return ""
        text = self._held + self._decoder.decode(ids, final)
        # The stop string that is complete first counts: which one that is does not depend on the pieces.
        found = [(start + len(stop), start) for stop in self._stop if (start := text.find(stop)) >= 0]
        self.stopped = bool(found)
        self.finished = self.stopped or final
        if self.finished:
            return text[: min(found)[1]] if found else text
        kept = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


def generate_pieces(
    model: PackedModel,
    prompt: Ids,
    texts: Sequence[StoppedText],
    max_tokens: int,
    sampling: Sampling,
    seed: int,
    banned: Ids,
    stop_ids: Ids,
) -> Iterator[list[str]]:
    """New text of every sample, as often as some has been drawn.

    Args:
        prompt: (tokens,), read once for each of ``texts``.
        stop_ids: ids that end a sample and are no part of it.
    """
    state = model.begin([prompt] * len(texts), seed, banned)
    left, count = max_tokens, _FIRST_DRAW
    while left > 0 and not all(text.finished for text in texts):
        count = min(count, left)
        ids, _ = model.generate(state, count, sampling, stop_ids, log_probs=False)
        left -= count
        ended = state.finished
        yield [
            text.push(row[(row >= 0) & ~np.isin(row, stop_ids)], final=bool(end))
            for text, row, end in zip(texts, ids, ended, strict=True)
        ]
        count = _DRAW
    yield [text.push([], final=True) for text in texts]
