"""A continuation as it grows: the text, and what was known of each of its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from ..language_model.generation import StoppedText
from ..text.tokenizer import Tokenizer
from ..typing import Float, Ids

FinishReason = Literal["stop", "length"]


class TokenScore(NamedTuple):
    """A token in its place.

    Attributes:
        text: what it adds to the text; nothing where it only begins a character.
        log_prob: by the model itself.
        alternatives: ids and log-probabilities of the most probable in its place.
        offset: where its text begins, in characters.
    """

    text: str
    log_prob: float
    alternatives: list[tuple[int, float]]
    offset: int


class Drawn(NamedTuple):
    """Tokens as the core gives them: ids and log-probabilities (tokens,), of the alternatives (tokens, A)."""

    ids: Ids
    log_probs: Float
    alternative_ids: Ids
    alternative_log_probs: Float

    def first(self, count: int) -> Drawn:
        ids, log_probs, other_ids, other_log_probs = self
        return Drawn(ids[:count], log_probs[:count], other_ids[:count], other_log_probs[:count])

    def alternatives(self) -> Iterator[list[tuple[int, float]]]:
        for ids, log_probs in zip(self.alternative_ids.tolist(), self.alternative_log_probs.tolist(), strict=True):
            yield [(token, log_prob) for token, log_prob in zip(ids, log_probs, strict=True) if token >= 0]


class TokenScores:
    """The tokens of a text that goes on from ``prefix``."""

    def __init__(self, tokenizer: Tokenizer, prefix: str):
        self._decoder = tokenizer.decoder(prefix)
        self._offset = 0
        self.tokens: list[TokenScore] = []

    def push(self, drawn: Drawn) -> None:
        rows = zip(drawn.ids.tolist(), drawn.log_probs.tolist(), drawn.alternatives(), strict=True)
        for token, log_prob, alternatives in rows:
            text = self._decoder.decode([token])
            self.tokens.append(TokenScore(text, log_prob, alternatives, self._offset))
            self._offset += len(text)


class GrowingText:
    """One continuation of a prompt, pushed to by the engine and read by whoever waits for it.

    Args:
        prompt: its text.
        stop: ends before any of these.
        ends: ids that end the text and are no part of it.
        scored: whether ``scores`` are kept.

    Attributes:
        text: what is certain of it so far.
        count: tokens drawn, with that of the end.
        log_prob: of all of them.
        finish_reason: None as long as it grows.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt: str, stop: Sequence[str], ends: Ids, max_tokens: int, scored: bool
    ):
        self._stopped = StoppedText(tokenizer.decoder(prompt), stop)
        self._stop, self._ends = stop, ends
        self._max_tokens = max_tokens
        self.scores = TokenScores(tokenizer, prompt) if scored else None
        self.text = ""
        self.count = 0
        self.log_prob = 0.0
        self.finish_reason: FinishReason | None = "length" if max_tokens == 0 else None

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def left(self) -> int:
        return self._max_tokens - self.count

    def push(self, drawn: Drawn) -> None:
        """What was drawn: more than is wanted, perhaps, and -1 behind an end."""
        drawn = drawn.first(min(self.left, int(np.count_nonzero(drawn.ids >= 0))))
        ended = len(drawn.ids) > 0 and bool(drawn.ids[-1] in self._ends)
        kept = drawn.first(len(drawn.ids) - ended)
        text, read = self._read(kept.ids)
        if self._stopped.stopped:
            drawn = kept = kept.first(read)
        self.count += len(drawn.ids)
        self.log_prob += float(drawn.log_probs.sum(dtype=np.float64))
        if self.scores is not None:  # before the text: who reads that finds its tokens
            self.scores.push(kept)
        self.text += text + self._stopped.push([], final=ended or self.left == 0)
        if ended or self._stopped.stopped:
            self.finish_reason = "stop"
        elif self.left == 0:
            self.finish_reason = "length"

    def _read(self, ids: Ids) -> tuple[str, int]:
        """The text of ``ids`` and how many there are, up to the one that completes a stop."""
        if not self._stop:
            return self._stopped.push(ids), len(ids)
        text = ""
        for place, token in enumerate(ids.tolist()):
            text += self._stopped.push([token])
            if self._stopped.stopped:
                return text, place + 1
        return text, len(ids)

    def cut(self) -> None:
        """End as it is."""
        if not self.finished:
            self.text += self._stopped.push([], final=True)
            self.finish_reason = "length"


class TokenNames:
    """How a token is told in JSON, where it stands alone: the text that it adds behind another."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._names: dict[int, str] = {}

    @cached_property
    def _prefix(self) -> str:
        first = next(i for i in range(self._tokenizer.vocabulary_size) if i not in self._tokenizer.end_ids)
        return self._tokenizer.decode([first])

    def __getitem__(self, token: int) -> str:
        if token not in self._names:
            text = self._tokenizer.decoder(self._prefix).decode([token])
            self._names[token] = text or self._tokenizer.tokens[token]
        return self._names[token]
