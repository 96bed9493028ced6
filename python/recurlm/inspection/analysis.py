"""What a language model makes of every token of a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..checks import check_integer
from ..language_model import LanguageModel
from ..layers.recurrent import Recurrent
from ..model import Model
from ..tape import States
from ..text.tokenizer import Spans, Tokenizer
from ..typing import Float, Ids

_WINDOW = 256  # tokens in one call: bounds the memory of the probabilities, (window, vocabulary)
_LARGEST = 12  # units that are chosen where none is asked for


@dataclass(frozen=True)
class Inspection:
    """A text of T tokens, read from the zero state after ``<bos>``.

    Attributes:
        tokenizer: names ids.
        ids: (T,).
        pieces: for each token the text from its start to that of the next; together the text.
        log_probs: natural log-probability of each token, (T,) float32.
        ranks: 1 for a token that was the most probable, (T,) int32.
        top_ids, top_probs: the most probable tokens in its place, the first the most, (T, K).
        hidden: for each recurrent layer its output once the token was read, (T, units) float32 from -1 to 1.
    """

    tokenizer: Tokenizer
    ids: Ids
    pieces: list[str]
    log_probs: Float
    ranks: Ids
    top_ids: Ids
    top_probs: Float
    hidden: list[Float]

    @property
    def loss(self) -> float:
        """Mean surprise in nats for each token."""
        return -math.fsum(self.log_probs) / len(self.ids)

    def units_of_largest_variance(self) -> list[tuple[int, int]]:
        """(layer, index) of a few units of each layer, of up to three the most telling first."""
        count = max(1, min(3, _LARGEST // len(self.hidden)))
        return [
            (layer, int(unit))
            for layer, outputs in enumerate(self.hidden)
            for unit in np.argsort(-outputs.var(axis=0), kind="stable")[:count]
        ]

    def activations(self, layer: int, unit: int) -> Float:
        """Of one unit, (T,); ValueError where there is none."""
        if not 0 <= layer < len(self.hidden):
            raise ValueError(f"unit {layer}:{unit}: the model has layers 0 to {len(self.hidden) - 1}")
        if not 0 <= unit < self.hidden[layer].shape[1]:
            raise ValueError(f"unit {layer}:{unit}: layer {layer} has units 0 to {self.hidden[layer].shape[1] - 1}")
        values: Float = self.hidden[layer][:, unit]
        return values


def inspect_text(lm: LanguageModel, text: str, *, top: int = 5, max_tokens: int = 20_000) -> Inspection:
    """Read ``text`` with ``lm``.

    The values of a quantized model's weights are used in float32, so that what it predicts itself differs a little.

    Args:
        top: how many of the most probable tokens are kept at each place; fewer where the vocabulary is smaller.
        max_tokens: the most there may be: each is looked at on its own.

    Raises:
        ValueError: the text has none, too many, or a character that is not in the vocabulary.
    """
    top, max_tokens = check_integer("top", top, 1), check_integer("max_tokens", max_tokens, 1)
    network, tokenizer = lm.weights.readable(), lm.tokenizer
    ids, spans = tokenizer.encode_with_offsets(text)
    if len(ids) == 0:
        raise ValueError("the text has no tokens")
    if len(ids) > max_tokens:
        raise ValueError(
            f"the text has {len(ids):,} tokens, more than max_tokens={max_tokens}: give a shorter one, or raise that"
        )
    inputs = np.append(np.int32(tokenizer.bos_id), ids)  # (T + 1,)
    recurrent = [node.outputs[0] for node in network.graph.nodes if isinstance(node.layer, Recurrent)]
    inner = Model(network.inputs, [*recurrent, *network.outputs])  # of the same layers
    top = min(top, tokenizer.vocabulary_size)
    ranks, top_ids, top_probs = np.empty(len(ids), np.int32), *_empty_tops(len(ids), top)
    hidden: list[list[Float]] = [[] for _ in recurrent]
    states: States = {}
    with lm.weights.reading():
        for start in range(0, len(inputs), _WINDOW):
            *outputs, probs = inner.predict(inputs[None, start : start + _WINDOW], verbose=0, states=states)
            for kept, output in zip(hidden, outputs, strict=True):
                kept.append(output[0])
            place = slice(start, min(start + _WINDOW, len(ids)))
            ranks[place], top_ids[place], top_probs[place] = _rank(probs[0], ids[place], top)
        log_probs = _log_probs(network, inputs[:-1], ids)
    return Inspection(
        tokenizer,
        ids,
        _pieces(text, spans),
        log_probs,
        ranks,
        top_ids,
        top_probs,
        [np.concatenate(kept)[1:] for kept in hidden],
    )


def _empty_tops(length: int, top: int) -> tuple[Ids, Float]:
    return np.empty((length, top), np.int32), np.empty((length, top), np.float32)


def _rank(probs: Float, ids: Ids, top: int) -> tuple[Ids, Ids, Float]:
    """Ranks of ``ids`` among ``probs`` (T or T + 1, V), and the ``top`` most probable in order."""
    probs = probs[: len(ids)]
    ranks = 1 + np.count_nonzero(probs > probs[np.arange(len(ids)), ids][:, None], axis=1)
    candidates = np.argpartition(-probs, top - 1, axis=1)[:, :top]  # sorting all of a large vocabulary takes seconds
    order = np.argsort(-np.take_along_axis(probs, candidates, axis=1), axis=1)
    best = np.take_along_axis(candidates, order, axis=1)
    return ranks.astype(np.int32), best.astype(np.int32), np.take_along_axis(probs, best, axis=1)


def _log_probs(network: Model, inputs: Ids, targets: Ids) -> Float:
    """(T,), by the projection that forms no probabilities: these may be too small for float32."""
    states: States = {}
    windows = [slice(start, start + _WINDOW) for start in range(0, len(targets), _WINDOW)]
    return np.concatenate(
        [network.token_log_probs(inputs[None, w], targets[None, w], states=states)[0] for w in windows]
    )


def _pieces(text: str, spans: Spans) -> list[str]:
    cuts = [0, *spans[1:, 0].tolist(), len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]
