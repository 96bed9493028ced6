"""How probable a packed model finds texts, each from the zero state after ``<bos>``; the loss it is trained with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .._core import PackedModel
from ..losses import SparseCategoricalCrossentropy
from ..model import Model
from ..optimizers import Optimizer
from ..precision import TrainingPrecision
from ..text.tokenizer import Tokenizer
from ..typing import Float, Ids
from .progress import perplexity

NATS = "sparse_categorical_crossentropy"
WINDOW = 1024  # steps of a stream in one call: bounds memory for a text of any length
_CALL = 1 << 17  # tokens of texts that are scored in one call, enough to share prefixes and threads


class TokenScore(NamedTuple):
    """One token of a scored text; ``unknown`` tells that it stands for a word outside the vocabulary."""

    token: str
    log_prob: float
    unknown: bool


class TextScore(NamedTuple):
    """A text's log-probability in nats, and how its tokens share it."""

    log_prob: float
    tokens: list[TokenScore]

    @classmethod
    def of(cls, tokenizer: Tokenizer, ids: Ids, log_probs: Float) -> TextScore:
        names, unknown = tokenizer.tokens, tokenizer.unknown_id
        tokens = [TokenScore(names[i], float(p), i == unknown) for i, p in zip(ids.tolist(), log_probs, strict=True)]
        return cls(math.fsum(log_probs), tokens)


def compile_model(
    model: Model,
    optimizer: Optimizer | str = "adamw",
    dtype: TrainingPrecision = "float32",
    loss: SparseCategoricalCrossentropy | None = None,
) -> None:
    """Give ``model`` the loss and metrics that this package relies on."""
    # The metric is a mean over tokens; the loss is one over batches, of which the last may hold fewer tokens, and
    # includes penalties and what smoothing costs.
    loss = loss or SparseCategoricalCrossentropy()
    model.compile(optimizer, loss=loss, metrics=["accuracy", NATS], dtype=dtype)


def per_token(logs: Mapping[str, float]) -> dict[str, float]:
    """``logs`` of a model so compiled, with loss and perplexity over tokens."""
    result = dict(logs)
    for prefix in ("", "val_"):
        if (nats := result.pop(prefix + NATS, None)) is not None:
            result |= {f"{prefix}loss": nats, f"{prefix}perplexity": perplexity(nats)}
    return result


def log_probs(model: PackedModel, texts: Sequence[Ids], bos_id: int) -> list[Float]:
    """Log-probability of every token of every text; the same bits alone and among others."""
    return [values for values, _, _ in scores(model, texts, bos_id)]


def scores(model: PackedModel, texts: Sequence[Ids], bos_id: int) -> Iterator[tuple[Float, Ids, Ids]]:
    """Log-probabilities, most probable ids and ids of each text, by calls short enough for Ctrl-C between them."""
    first = 0
    while first < len(texts):
        end, tokens = first + 1, len(texts[first])
        while end < len(texts) and tokens + len(texts[end]) <= _CALL:
            tokens += len(texts[end])
            end += 1
        yield from (
            _score_call(model, texts[first:end], bos_id)
            if tokens <= _CALL
            else [_score_long(model, texts[first], bos_id)]
        )
        first = end


def _score_call(model: PackedModel, texts: Sequence[Ids], bos_id: int) -> Iterator[tuple[Float, Ids, Ids]]:
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    ids = np.concatenate([np.empty(0, np.int32), *texts])
    log_probs, predictions = model.score(ids, offsets, bos_id)
    for start, stop in pairwise(offsets.tolist()):
        yield log_probs[start:stop], predictions[start:stop], ids[start:stop]


def _score_long(model: PackedModel, text: Ids, bos_id: int) -> tuple[Float, Ids, Ids]:
    """A stream, window by window."""
    state = model.begin([np.array([bos_id], np.int32)], 0)
    windows = [model.score_next(state, text[None, t : t + WINDOW]) for t in range(0, len(text), WINDOW)]
    log_probs, predictions = (np.concatenate([window[k][0] for window in windows]) for k in (0, 1))
    return log_probs, predictions, text
