"""How well a model predicts a text: as it is, or while it goes on learning from that text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .._core import PackedModel
from ..model import Model
from ..optimizers import SGD
from ..text.batching import Streams
from ..text.corpus import StoredIds, count_ids
from ..text.tokenizer import Tokenizer
from ..typing import Float, Ids
from .position import Batches
from .progress import perplexity
from .scoring import NATS, WINDOW, compile_model, scores

# Steps between two updates: the shorter, the sooner a word of the text is learned, and the longer it takes.
_ADAPTING_WINDOW = 32
_ADAPTING_NORM = 1.0  # of the gradient, at most: a window of one stream is few tokens


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
        oov_rate: share of the tokens that stand for what is out of vocabulary. Where texts or vocabularies differ in
            it, so do perplexities: the unknown is easy to predict.
    """

    loss: float
    perplexity: float
    bits_per_character: float
    bits_per_byte: float
    accuracy: float
    tokens: int
    oov_rate: float


@dataclass
class Tally:
    """Adds up how well tokens were predicted."""

    tokens: int = 0
    nats: float = 0.0
    right: int = 0  # were the most probable

    def add(self, log_probs: Float, predictions: Ids, targets: Ids) -> None:
        """Tokens whose log-probabilities, most probable rivals and ids these are."""
        self.tokens += log_probs.size
        self.nats -= float(np.sum(log_probs, dtype=np.float64))
        self.right += int(np.count_nonzero(predictions == targets))

    def evaluation(self, characters: int, size: int, unknown: int) -> Evaluation:
        """Over a text of so many characters, bytes and unknown tokens.

        Raises:
            ValueError: there was not a single token.
        """
        if self.tokens == 0:
            raise ValueError("the texts have no tokens")
        loss, bits = self.nats / self.tokens, self.nats / math.log(2)
        return Evaluation(
            loss, perplexity(loss), bits / characters, bits / size, self.right / self.tokens, self.tokens,
            unknown / self.tokens,
        )  # fmt: skip


def count_unknown(texts: Iterable[StoredIds], tokenizer: Tokenizer) -> int:
    """How many of these ids stand for what is out of vocabulary."""
    if tokenizer.unknown_id is None:
        return 0
    return sum(int(count_ids(ids, tokenizer.vocabulary_size)[tokenizer.unknown_id]) for ids in texts)


def evaluate_texts(model: PackedModel, texts: Sequence[Ids], bos_id: int) -> Tally:
    """Every text from the zero state after ``<bos>``."""
    tally = Tally()
    for log_probs, predictions, ids in scores(model, texts, bos_id):
        tally.add(log_probs, predictions, ids)
    return tally


def evaluate_streams(model: PackedModel, ids: StoredIds, bos_id: int, streams: int) -> Tally:
    """A corpus read side by side in so many ``streams``, the states carried from window to window."""
    tally = Tally()
    state = model.begin([np.array([bos_id], np.int32)] * streams, 0)
    for _, targets, weights in Streams(ids, bos_id, streams, WINDOW, whole=True).windows():
        log_probs, predictions = model.score_next(state, targets)
        counted = np.ones(targets.shape, bool) if weights is None else weights > 0
        tally.add(log_probs[counted], predictions[counted], targets[counted])
    return tally


def evaluate_adapting(network: Model, ids: StoredIds, bos_id: int, streams: int, rate: float) -> Tally:
    """The same by a ``network`` that learns every window once it was predicted, by a step of SGD.

    Dynamic evaluation (Mikolov et al., 2010; Krause et al., 2018): what a text speaks of becomes more probable.
    """
    compile_model(network, SGD(rate, global_clipnorm=_ADAPTING_NORM))
    windows = Batches(Streams(ids, bos_id, streams, _ADAPTING_WINDOW, whole=True))
    network.fit(windows, epochs=1, shuffle=False, verbose=0)
    sums = {metric.name: metric.state for metric in network.compiled.metrics}
    (nats, tokens), (right, _) = sums[NATS], sums["accuracy"]
    return Tally(int(tokens), nats, int(right))
