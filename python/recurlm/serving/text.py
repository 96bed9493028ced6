"""A continuation as it grows: the text, and what was known of each of its tokens."""

from __future__ import annotations

from collections import deque
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

    def part(self, begin: int, end: int) -> Drawn:
        ids, log_probs, other_ids, other_log_probs = self
        return Drawn(ids[begin:end], log_probs[begin:end], other_ids[begin:end], other_log_probs[begin:end])

    def first(self, count: int) -> Drawn:
        return self if count == len(self.ids) else self.part(0, count)

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
    """One continuation of a prompt, pushed to by the engine and read by the one who waits for it.

    Ids become text when they are read, so that the engine goes on at once; what was pushed is all that the two have in
    common. Where a stop string may end the text, the engine turns ids into text as they come and the reader only looks.

    Args:
        prompt: its text.
        stop: ends before any of these.
        scored: whether ``scores`` are kept.

    Attributes:
        count: tokens drawn, with that of the end.
        log_prob: of all of them, by the model itself.
        scores: the tokens of what ``read`` gave, and perhaps more; None where they are not kept.
        finish_reason: None as long as it grows.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: str, stop: Sequence[str], max_tokens: int, scored: bool):
        self._stopped = StoppedText(tokenizer.decoder(prompt), stop)
        self._stop = stop
        self._max_tokens = max_tokens
        self._scores = TokenScores(tokenizer, prompt) if scored else None
        self._unread: deque[Drawn] = deque()
        self._text = ""
        self.count = 0
        self.log_prob = 0.0
        self.finish_reason: FinishReason | None = "length" if max_tokens == 0 else None

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def left(self) -> int:
        return self._max_tokens - self.count

    @property
    def scores(self) -> list[TokenScore] | None:
        return None if self._scores is None else self._scores.tokens

    # The engine's side -------------------------------------------------------------------------------------------

    def push(self, drawn: Drawn, ended: bool) -> None:
        """What was drawn, more than is wanted, perhaps; ``ended``: the last of it is an end, which has no text."""
        if len(drawn.ids) > self.left:
            drawn, ended = drawn.first(self.left), False
        kept = drawn.first(len(drawn.ids) - ended)
        stopped = False
        if self._stop:
            final = ended or len(drawn.ids) == self.left
            if (read := self._read_until_stop(kept, final)) is not None:
                drawn, stopped = kept.first(read), True
        else:
            self._unread.append(kept)
        self.log_prob += float(drawn.log_probs.sum(dtype=np.float64))
        self.count += len(drawn.ids)
        if ended or stopped:
            self.finish_reason = "stop"
        elif self.left == 0:
            self.finish_reason = "length"

    def _read_until_stop(self, drawn: Drawn, final: bool) -> int | None:
        """How many it takes to complete a stop, or None where none is complete; ``final``: nothing comes after them."""
        for place, token in enumerate(drawn.ids.tolist()):
            if self._scores is not None:  # before the text: who reads that finds its tokens
                self._scores.push(drawn.part(place, place + 1))
            self._text += self._stopped.push([token])
            if self._stopped.stopped:
                return place + 1
        if final:
            self._text += self._stopped.push([], final=True)
        return len(drawn.ids) if self._stopped.stopped else None

    def cut(self) -> None:
        """End as it is."""
        if not self.finished:
            self.finish_reason = "length"

    # The reader's side -------------------------------------------------------------------------------------------

    def read(self) -> str:
        """What is certain of the text so far."""
        finished = self.finished  # first: the engine may go on
        while self._unread:
            drawn = self._unread.popleft()
            if self._scores is not None:
                self._scores.push(drawn)
            self._text += self._stopped.push(drawn.ids)
        if finished:
            self._text += self._stopped.push([], final=True)
        return self._text


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
