"""From a request to ``/v1/completions`` to jobs of the engine, and from what these drew to the answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..language_model import LanguageModel
from ..language_model.generation import check_stops, make_sampling
from ..text.tokenizer import encode_named
from ..typing import Float, Ids
from .engine import Engine, Job
from .protocol import LONG, CompletionRequest, RequestError
from .text import Drawn, GrowingText, TokenNames, TokenScore, TokenScores

_LEAST_LOG_PROB = -9999.0  # JSON has no infinity


class Prompt(NamedTuple):
    ids: Ids  # without <bos>
    text: str


def list_prompts(request: CompletionRequest) -> list[Any]:
    """Each a text or ids; RequestError where there is none."""
    if request.prompt is None:
        return [""]
    if isinstance(request.prompt, str) or (request.prompt and isinstance(request.prompt[0], int)):
        return [request.prompt]
    if not request.prompt:
        raise RequestError("prompt must not be an empty list", param="prompt")
    return list(request.prompt)


def read_prompts(lm: LanguageModel, given: list[Any]) -> list[Prompt]:
    """RequestError where one has what the vocabulary lacks."""
    try:
        return [_read_prompt(lm, each) for each in given]
    except ValueError as error:
        raise RequestError(str(error), param="prompt") from None


def _read_prompt(lm: LanguageModel, given: str | list[int]) -> Prompt:
    tokenizer = lm.tokenizer
    if isinstance(given, str):
        return Prompt(encode_named(tokenizer, given, "prompt"), given)
    if any(token >= tokenizer.vocabulary_size for token in given):
        raise ValueError(f"prompt has an id that is not below the size of the vocabulary, {tokenizer.vocabulary_size}")
    ids = np.array(given[1:] if given[:1] == [tokenizer.bos_id] else given, np.int32)
    return Prompt(ids, tokenizer.decode(ids))


def read_bias(lm: LanguageModel, bias: dict[str, float] | None, banned: Ids) -> tuple[Ids, Float] | None:
    """Ids and what is added to their logits; RequestError where one is none."""
    if not bias:
        return None
    size = lm.tokenizer.vocabulary_size
    if not all(key.isascii() and key.isdigit() and len(key) < 11 and int(key) < size for key in bias):
        raise RequestError(f"logit_bias must have ids below {size} as its keys", param="logit_bias")
    never = frozenset(banned.tolist())
    chosen = {int(key): value for key, value in bias.items() if int(key) not in never}
    return np.array(list(chosen), np.int32), np.array(list(chosen.values()), np.float32)


class Completion:
    """A request on its way.

    Args:
        notify: called by the engine's thread when there is something new.

    Raises:
        RequestError: the request is not possible.
    """

    def __init__(self, request: CompletionRequest, engine: Engine, name: str, notify: Callable[[], None]):
        self.request, self._engine, self._lm, self._name = request, engine, engine.lm, name
        self._id, self._created = f"cmpl-{secrets.token_hex(12)}", int(time.time())
        self._names = TokenNames(self._lm.tokenizer)
        self._wanted = request.n or 1
        self._drawn = request.best_of or self._wanted
        self._prompts = self._read_prompts()
        self._bias = read_bias(self._lm, request.logit_bias, self._engine.banned)
        self._prompt_scores: dict[int, list[TokenScore]] = {}
        self.jobs = [self._job(prompt, notify) for prompt in self._prompts]
        self._sent = {choice: _Sent() for choice in range(len(self._prompts) * self._wanted)}

    def _read_prompts(self) -> list[Prompt]:
        """Once nothing else is wrong: reading takes time."""
        request, limits = self.request, self._engine.limits
        given = list_prompts(request)
        if request.suffix:
            raise RequestError("suffix is not supported: these models read from left to right", param="suffix")
        if self._drawn < self._wanted:
            raise RequestError("best_of must be at least n", param="best_of")
        if request.stream and self._drawn > self._wanted:
            raise RequestError("best_of needs whole texts to choose from: leave stream out", param="best_of")
        if request.stream_options is not None and not request.stream:
            raise RequestError("stream_options are for a stream", param="stream_options")
        texts = len(given) * self._drawn
        if texts > limits.streams:
            raise RequestError(f"prompts times n must be at most {limits.streams}", param="n")
        if texts * self.max_tokens > limits.tokens:
            each = f" for each of {texts} texts" if texts > 1 else ""
            raise RequestError(f"max_tokens must be at most {limits.tokens // texts}{each}", param="max_tokens")
        prompts = read_prompts(self._lm, given)
        if sum(len(prompt.ids) for prompt in prompts) > limits.tokens:
            raise RequestError(f"prompt must have at most {limits.tokens} tokens", param="prompt")
        return prompts

    @property
    def max_tokens(self) -> int:
        return 16 if self.request.max_tokens is None else self.request.max_tokens

    def _job(self, prompt: Prompt, notify: Callable[[], None]) -> Job:
        request, tokenizer = self.request, self._lm.tokenizer
        try:
            sampling = make_sampling(
                tokenizer.vocabulary_size,
                temperature=_given(request.temperature, 1.0),
                top_k=request.top_k or 0,
                top_p=_given(request.top_p, 1.0),
                min_p=_given(request.min_p, 0.0),
                repetition_penalty=_given(request.repetition_penalty, 1.0),
                presence_penalty=_given(request.presence_penalty, 0.0),
                frequency_penalty=_given(request.frequency_penalty, 0.0),
            )
        except ValueError as error:
            raise RequestError(str(error)) from None
        try:
            stops = check_stops(() if request.stop is None else request.stop)
        except ValueError as error:
            raise RequestError(str(error), param="stop") from None
        scored = request.logprobs is not None
        return Job(
            prompt=np.append(np.int32(tokenizer.bos_id), prompt.ids),
            seed=secrets.randbits(63) if request.seed is None else request.seed % 2**63,
            sampling=sampling,
            logit_bias=self._bias,
            texts=[GrowingText(tokenizer, prompt.text, stops, self.max_tokens, scored) for _ in range(self._drawn)],
            alternatives=min(request.logprobs or 0, tokenizer.vocabulary_size),
            streams=bool(request.stream),
            notify=notify,
            deadline=time.monotonic() + self._engine.limits.seconds,
        )

    def score_prompts(self) -> None:
        """What is known of the tokens of prompts, for an answer that echoes them; takes as long as reading them."""
        tokenizer, model = self._lm.tokenizer, self._lm.weights.packed()
        for place, prompt in enumerate(self._prompts):
            scores, whole = TokenScores(tokenizer, ""), np.array([0, len(prompt.ids)])
            log_probs, _, other_ids, other_log_probs = model.score(
                prompt.ids, whole, tokenizer.bos_id, self.jobs[place].alternatives
            )
            scores.push(Drawn(prompt.ids, log_probs, other_ids, other_log_probs))
            self._prompt_scores[place] = scores.tokens

    @property
    def done(self) -> bool:
        return all(job.done for job in self.jobs)

    @property
    def error(self) -> Exception | None:
        return next((job.error for job in self.jobs if job.error), None)

    def cancel(self) -> None:
        for job in self.jobs:
            job.cancelled = True

    # Answers -----------------------------------------------------------------------------------------------------

    @property
    def is_long(self) -> bool:
        """Whether the answer takes time to write."""
        # As much as a character: what is told of a token, each of its alternatives.
        told_of_each = 1 if self.request.logprobs is None else 20 * (1 + self.request.logprobs)
        return told_of_each * self.usage()["total_tokens"] > LONG

    def response(self) -> dict[str, Any]:
        """The whole answer."""
        choices = [self._choice(choice, text, _Sent()) for choice, text in self._texts()]
        return {**self._head(), "choices": choices, "usage": self.usage()}

    def events(self) -> Iterator[dict[str, Any]]:
        """What is new since this was asked for last."""
        usage = {"usage": None} if self._includes_usage else {}
        for choice, text in self._texts():
            finished, sent = text.finished, self._sent[choice]
            if not sent.finished and (finished or not sent.begun or len(text.read()) > sent.length):
                yield {**self._head(), "choices": [self._choice(choice, text, sent)], **usage}

    def last_event(self) -> dict[str, Any] | None:
        """What tells how many tokens there were, if that was asked for."""
        return {**self._head(), "choices": [], "usage": self.usage()} if self._includes_usage else None

    @property
    def _includes_usage(self) -> bool:
        return self.request.stream_options is not None and self.request.stream_options.include_usage

    def usage(self) -> dict[str, int]:
        prompt = sum(len(each.ids) for each in self._prompts)
        drawn = sum(text.count for job in self.jobs for text in job.texts)
        return {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}

    def _head(self) -> dict[str, Any]:
        return {"id": self._id, "object": "text_completion", "created": self._created, "model": self._name}

    def _texts(self) -> Iterator[tuple[int, GrowingText]]:
        """The texts of the answer, those of a prompt together: of more than are wanted the most probable."""
        for place, job in enumerate(self.jobs):
            texts = job.texts
            if len(texts) > self._wanted:
                texts = sorted(texts, key=lambda text: -text.log_prob / max(text.count, 1))[: self._wanted]
            yield from enumerate(texts, place * self._wanted)

    def _choice(self, choice: int, text: GrowingText, sent: _Sent) -> dict[str, Any]:
        """What of a text was not sent yet."""
        prompt = self._prompts[choice // self._wanted]
        reason, whole = text.finish_reason, text.read()  # in this order: the engine may go on
        echoed = prompt.text if self.request.echo else ""
        tokens = [] if sent.begun or not echoed else self._prompt_scores.get(choice // self._wanted, [])
        logprobs = None
        if text.scores is not None:
            new = text.scores[sent.tokens :]
            known = [t for t in new if (t.offset < len(whole) if reason else t.offset + len(t.text) <= len(whole))]
            sent.tokens += len(known)
            logprobs = self._logprobs(tokens, known, len(prompt.text))
        piece = whole[sent.length :] if sent.begun else echoed + whole
        sent.begun, sent.length, sent.finished = True, len(whole), reason is not None
        return {"text": piece, "index": choice, "logprobs": logprobs, "finish_reason": reason}

    def _logprobs(self, echoed: list[TokenScore], tokens: list[TokenScore], shift: int) -> dict[str, Any]:
        both = [*echoed, *tokens]
        return {
            "tokens": [token.text for token in both],
            "token_logprobs": [_finite(token.log_prob) for token in both],
            "top_logprobs": [self._top(token) for token in both] if self.request.logprobs else None,
            "text_offset": [token.offset for token in echoed] + [token.offset + shift for token in tokens],
        }

    def _top(self, token: TokenScore) -> dict[str, float]:
        """The most probable tokens in the place of one, and it; of tokens that look alike the more probable."""
        top: dict[str, float] = {}
        for other, log_prob in token.alternatives:
            top.setdefault(self._names[other], _finite(log_prob))
        top.setdefault(token.text, _finite(token.log_prob))
        return top


class _Sent:
    """How much of a choice is on its way already."""

    def __init__(self) -> None:
        self.begun = self.finished = False
        self.length = self.tokens = 0


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _finite(log_prob: float) -> float:
    return max(log_prob, _LEAST_LOG_PROB)
