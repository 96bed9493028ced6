"""What a trained language model is for: to score texts, and to continue them."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from ..checks import check_integer, is_number
from ..seeding import check_seed
from ..text.tokenizer import Tokenizer, encode_named
from ..typing import Ids
from .generation import Continuation, StoppedText, check_stops, generate_pieces, undrawn_ids
from .generation_config import GenerationConfig
from .scoring import TextScore, log_probs
from .weights import ModelWeights

Doubles = npt.NDArray[np.float64]


class RunningModel:
    """See ``LanguageModel``, which can also be trained."""

    tokenizer: Tokenizer
    weights: ModelWeights
    separate_texts: bool

    @property
    def generation_config(self) -> GenerationConfig:
        """How texts are drawn where a call does not say."""
        return self._generation_config

    @generation_config.setter
    def generation_config(self, config: GenerationConfig) -> None:
        if not isinstance(config, GenerationConfig):
            raise TypeError(f"generation_config must be a GenerationConfig, got {type(config).__name__}")
        self._generation_config = config

    @overload
    def score(self, texts: Sequence[str], *, details: Literal[False] = False, eos: bool = False) -> Doubles: ...
    @overload
    def score(self, texts: Sequence[str], *, details: Literal[True], eos: bool = False) -> list[TextScore]: ...
    def score(self, texts: Sequence[str], *, details: bool = False, eos: bool = False) -> Doubles | list[TextScore]:
        """Log-probability of each text in nats, from its first token on; the same alone and in a batch.

        Args:
            texts: texts themselves, not files.
            details: return a ``TextScore`` for each text: the log-probability of each token, a flag for unknown words.
            eos: include the end: ``<eos>`` of words and BPE, else the ``<bos>`` after each text of a learned list.

        Returns:
            float64 of shape (texts,), or a list of ``TextScore``.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list of str, got one str")
        model = self.weights.packed()  # before texts are encoded: where there is none, fit is what is missing
        end = np.array([self.tokenizer.end_id] if eos else [], np.int32)
        ids = [np.append(encode_named(self.tokenizer, text, f"texts[{i}]"), end) for i, text in enumerate(texts)]
        values = log_probs(model, ids, self.tokenizer.bos_id)
        if not details:
            return np.array([math.fsum(row) for row in values], np.float64)
        return [TextScore.of(self.tokenizer, tokens, row) for tokens, row in zip(ids, values, strict=True)]

    @overload
    def generate(
        self, prompt: str = ..., max_tokens: int | None = ..., *, temperature: float | None = ...,
        top_k: int | None = ..., top_p: float | None = ..., min_p: float | None = ...,
        repetition_penalty: float | None = ..., presence_penalty: float | None = ...,
        frequency_penalty: float | None = ..., stop: str | Sequence[str] = ...,
        seed: int | None = ..., stream: Literal[False] = ..., samples: None = ...,
    ) -> str: ...  # fmt: skip
    @overload
    def generate(
        self, prompt: str = ..., max_tokens: int | None = ..., *, temperature: float | None = ...,
        top_k: int | None = ..., top_p: float | None = ..., min_p: float | None = ...,
        repetition_penalty: float | None = ..., presence_penalty: float | None = ...,
        frequency_penalty: float | None = ..., stop: str | Sequence[str] = ...,
        seed: int | None = ..., stream: Literal[False] = ..., samples: int,
    ) -> list[str]: ...  # fmt: skip
    @overload
    def generate(
        self, prompt: str = ..., max_tokens: int | None = ..., *, temperature: float | None = ...,
        top_k: int | None = ..., top_p: float | None = ..., min_p: float | None = ...,
        repetition_penalty: float | None = ..., presence_penalty: float | None = ...,
        frequency_penalty: float | None = ..., stop: str | Sequence[str] = ...,
        seed: int | None = ..., stream: Literal[True], samples: None = ...,
    ) -> Iterator[str]: ...  # fmt: skip
    def generate(
        self,
        prompt: str = "",
        max_tokens: int | None = None,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        stream: bool = False,
        samples: int | None = None,
    ) -> str | list[str] | Iterator[str]:
        """Continue ``prompt``; the result does not repeat it.

        What is None is as the model's ``generation_config`` has it: at first what follows in brackets.

        Args:
            max_tokens: the most tokens drawn for a sample (200).
            temperature: 0 always takes the most probable token, 1 draws from the model's distribution (1).
            top_k: draw among the k most probable only, 0 for all (0).
            top_p: draw among the most probable that together have this probability (1).
            min_p: draw among tokens at least this probable, relative to the most probable one (0).
            repetition_penalty: above 1, tokens seen before become less probable: divides logits that are positive (1).
            presence_penalty: taken from the logits of tokens that were drawn before (0).
            frequency_penalty: the same, as often as each was drawn (0).
            stop: a sample ends before any of these strings.
            seed: the same seed gives the same text; None draws one.
            stream: return an iterator of pieces, as they are drawn.
            samples: return a list of so many continuations.

        Raises:
            ValueError: an option is not possible, or ``prompt`` has a character that is not in the vocabulary.
        """
        if stream and samples is not None:
            raise ValueError("stream gives the pieces of one text: leave samples out")
        config = self.generation_config.override(
            max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
            repetition_penalty=repetition_penalty, presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
        )  # fmt: skip
        count = check_integer("samples", 1 if samples is None else samples, 1)
        seed = secrets.randbits(63) if seed is None else check_seed(seed)
        model = self.weights.packed()
        stops = check_stops(stop)
        tokenizer = self.tokenizer
        ids = self._prompt_ids(prompt)
        texts = [StoppedText(tokenizer.decoder(prompt), stops) for _ in range(count)]
        banned, ends = undrawn_ids(tokenizer, self.separate_texts)
        sampling = config.sampling(tokenizer.vocabulary_size)
        pieces = generate_pieces(model, ids, texts, config.max_tokens, sampling, seed, banned, ends)
        if stream:
            return (piece for (piece,) in pieces if piece)
        joined = ["".join(parts) for parts in zip(*pieces, strict=True)]
        return joined[0] if samples is None else joined

    def beam_search(
        self,
        prompt: str = "",
        max_tokens: int = 200,
        *,
        width: int = 4,
        best: int = 1,
        length_penalty: float = 0.0,
    ) -> list[Continuation]:
        """The most probable continuations of ``prompt`` that a beam search finds, the best first.

        A model of texts apart ends one where it has learned to; else each has ``max_tokens``. Probable texts are dull:
        for stories, ``generate``; for translations, corrections and names, this.

        Args:
            width: texts that are followed side by side.
            best: how many are wanted, at most ``width``.
            length_penalty: alpha of Wu et al. (2016): of n tokens, the score is log_prob / ((5 + n) / 6) ** alpha. 0
                prefers short texts, 1 is about the mean of a token.

        Raises:
            ValueError: an option is not possible, or ``prompt`` has a character that is not in the vocabulary.
        """
        width, max_tokens = check_integer("width", width, 1), check_integer("max_tokens", max_tokens, 0)
        best = check_integer("best", best, 1)
        if best > width:
            raise ValueError(f"best must be at most width, {width}, got {best}")
        if not is_number(length_penalty):
            raise TypeError(f"length_penalty must be a number, got {length_penalty!r}")
        model = self.weights.packed()
        banned, ends = undrawn_ids(self.tokenizer, self.separate_texts)
        state = model.begin([self._prompt_ids(prompt)], 0, banned)
        found = model.search_beams(
            state, width=width, max_tokens=max_tokens, length_penalty=length_penalty, best=best, stop_ids=ends
        )
        return [Continuation.of(self.tokenizer, prompt, ends, *each) for each in found]

    def _prompt_ids(self, prompt: str) -> Ids:
        return np.append(np.int32(self.tokenizer.bos_id), encode_named(self.tokenizer, prompt, "prompt"))
