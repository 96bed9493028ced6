"""Log-probabilities of texts: in batches, each text from the zero state after ``<bos>``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..model import Model
from ..optimizers import Optimizer
from ..tape import States
from ..typing import Float, Ids
from .progress import perplexity

Batch = tuple[Ids, Ids] | tuple[Ids, Ids, Float]  # inputs, targets and weights: (B, T)

_BATCH = 64
NATS = "sparse_categorical_crossentropy"
WINDOW = 128  # steps in one call: bounds memory for texts of any length


class TokenScore(NamedTuple):
    """One token of a scored text; ``unknown`` tells that it stands for a word outside the vocabulary."""

    token: str
    log_prob: float
    unknown: bool


class TextScore(NamedTuple):
    """A text's log-probability in nats, and how its tokens share it."""

    log_prob: float
    tokens: list[TokenScore]


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a text.

    Attributes:
        loss: mean negative log-probability of a token, in nats.
        perplexity: ``exp(loss)``.
        bits_per_character: negative log-probability of the text in bits, over its Unicode characters.
        bits_per_byte: the same over its bytes in UTF-8.
        accuracy: share of tokens that were the most probable.
        tokens: how many were predicted.
    """

    loss: float
    perplexity: float
    bits_per_character: float
    bits_per_byte: float
    accuracy: float
    tokens: int


def compile_model(model: Model, optimizer: Optimizer | str = "adamw") -> None:
    """Give ``model`` the loss and metrics that this package relies on."""
    # The metric is a mean over tokens, the loss one over batches, of which the last may hold fewer tokens.
    model.compile(optimizer, loss=NATS, metrics=["accuracy", NATS])


def per_token(logs: Mapping[str, float]) -> dict[str, float]:
    """``logs`` of a model so compiled, with loss and perplexity over tokens."""
    result = dict(logs)
    for prefix in ("", "val_"):
        if (nats := result.pop(prefix + NATS, None)) is not None:
            result |= {f"{prefix}loss": nats, f"{prefix}perplexity": perplexity(nats)}
    return result


def evaluate(model: Model, runs: Iterable[tuple[int, Iterable[Batch]]], characters: int, size: int) -> Evaluation:
    """Evaluate ``runs``: for each, its number of tokens and the batches that carry states from one to the next.

    Raises:
        ValueError: there is not a single token.
    """
    tokens, nats, right = 0, 0.0, 0.0
    for count, batches in runs:
        logs = model.evaluate(iter(batches), verbose=0, return_dict=True, states={})
        tokens += count
        nats += logs[NATS] * count
        right += logs["accuracy"] * count
    if tokens == 0:
        raise ValueError("the texts have no tokens")
    bits = nats / math.log(2)
    loss = nats / tokens
    return Evaluation(loss, perplexity(loss), bits / characters, bits / size, right / tokens, tokens)


def padded_runs(texts: Sequence[Ids], bos_id: int) -> Iterator[tuple[list[int], list[tuple[Ids, Ids, Float]]]]:
    """Texts of similar length side by side: which they are, and their windows; what pads them has weight 0."""
    order = sorted((i for i in range(len(texts)) if len(texts[i])), key=lambda i: len(texts[i]))
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        longest = len(texts[rows[-1]])
        targets = np.zeros((len(rows), longest), np.int32)
        weights = np.zeros((len(rows), longest), np.float32)
        for row, i in enumerate(rows):
            targets[row, : len(texts[i])] = texts[i]
            weights[row, : len(texts[i])] = 1
        inputs = np.concatenate([np.full((len(rows), 1), bos_id, np.int32), targets[:, :-1]], axis=1)
        cuts = [slice(t, t + WINDOW) for t in range(0, longest, WINDOW)]
        yield rows, [(inputs[:, cut], targets[:, cut], weights[:, cut]) for cut in cuts]


def log_probs(model: Model, texts: Sequence[Ids], bos_id: int) -> list[Float]:
    """Log-probability of every token of every text; the same bits alone and among others."""
    result = [np.empty(0, np.float32) for _ in texts]
    for rows, batches in padded_runs(texts, bos_id):
        states: States = {}
        parts = [model.token_log_probs(x, y, w, states=states) for x, y, w in batches]
        values = np.concatenate(parts, axis=1)
        for row, i in enumerate(rows):
            result[i] = values[row, : len(texts[i])].copy()
    return result
