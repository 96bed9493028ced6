"""Running a trained model."""

from collections.abc import Sequence
from typing import Literal, final, overload

import numpy as np
import numpy.typing as npt

from ._recurrent import Cell
from ._types import Float, Ids, Mask

@final
class Sampling:
    """How the next token is drawn. temperature 0 is greedy; top_k 0, top_p 1, min_p 0, penalties 1, 0 and 0 are off.

    The repetition penalty divides positive and multiplies negative logits of tokens seen in the prompt or generated;
    then a token that was generated loses the presence penalty, and the frequency penalty as often as it was.
    Order: penalties, temperature, top_k, top_p, min_p (relative to the most probable token).
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
    ) -> None: ...

# A weight matrix: float32; bfloat16 as its bits, uint16; or int8 and the scales of its columns (of an embedding: rows).
Weights = Float | npt.NDArray[np.uint16] | tuple[npt.NDArray[np.int8], Float]

@final
class PackedModel:
    """Immutable packed weights of embedding -> cells -> projection, for running only. Safe to share between threads.

    Products with int8 weights quantise the other operand too, row by row, and sum in integers.
    """

    def __init__(
        self,
        embedding: Weights,
        cells: Sequence[tuple[Cell, Weights, Weights, Float | None]],
        kernel: Weights,
        bias: Float | None,
        *,
        transposed: bool = False,
    ) -> None:
        """``kernel`` is (H, V) or, ``transposed``, (V, H): then its scales, if any, are those of rows."""

    @property
    def vocabulary_size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def packed_file(self) -> bytes:
        """The weights as they are packed, the same on every machine: a safetensors file that the C library maps."""

    @property
    def read_bytes(self) -> int:
        """Of the weights, those that one token of one stream reads."""

    def begin(
        self,
        prompts: Sequence[Ids],
        seed: int,
        banned: Ids | None = None,
        logit_bias: tuple[Ids, Float] | None = None,
        cache: PrefixCache | None = None,
    ) -> DecodingState:
        """Read each prompt (at least one id) from the zero state, or from where a text in ``cache`` leaves it.

        ``banned`` ids are never drawn; ``logit_bias`` (ids, biases) is added to logits before anything is drawn.
        """

    @overload
    def generate(
        self,
        state: DecodingState,
        count: int,
        sampling: Sampling | Sequence[Sampling],
        stop_ids: Ids | None = None,
        log_probs: bool = True,
    ) -> tuple[Ids, Float | None]: ...
    @overload
    def generate(
        self,
        state: DecodingState,
        count: int,
        sampling: Sampling | Sequence[Sampling],
        stop_ids: Ids | None = None,
        log_probs: Literal[True] = True,
        *,
        alternatives: int,
    ) -> tuple[Ids, Float, Ids, Float]:
        """Draw up to ``count`` tokens a stream: ids and the unmodified model's log-probabilities, (streams, count).

        ``sampling`` is for all, or one for each stream. A stream that drew a stop id is finished: what follows is -1
        (log-probability 0). With ``alternatives`` also the ids and log-probabilities of so many that were the most
        probable in the place of each, (streams, count, alternatives), banned ones left out; -1 where there are fewer.
        The draw for token n of stream s is a function of (seed, s, n) and of the stream's own ids, whatever the pieces.
        """

    def search_beams(
        self,
        state: DecodingState,
        *,
        width: int = 4,
        max_tokens: int = 200,
        length_penalty: float = 0.0,
        best: int = 1,
        stop_ids: Ids | None = None,
    ) -> list[tuple[Ids, Float, float]]:
        """The ``best`` continuations of a state of one stream, which stays where it is: ids, log-probabilities, score.

        Found among ``width`` texts followed side by side. A text of n tokens has the score
        sum(log_probs) / ((5 + n) / 6) ** length_penalty (Wu et al., 2016).
        """

    @overload
    def score(self, ids: Ids, offsets: npt.NDArray[np.int64], first_id: int) -> tuple[Float, Ids]: ...
    @overload
    def score(
        self, ids: Ids, offsets: npt.NDArray[np.int64], first_id: int, alternatives: int
    ) -> tuple[Float, Ids, Ids, Float]:
        """Log-probability of each id, and the most probable one in its place, both of the shape of ``ids``.

        Text i is ``ids[offsets[i]:offsets[i + 1]]``, read from the zero state after ``first_id``. What texts begin with
        in common is read once; the result is that of each text alone. With ``alternatives`` also the ids and
        log-probabilities of so many that are the most probable in the place of each, (tokens, alternatives).
        """

    def score_next(self, state: DecodingState, ids: Ids) -> tuple[Float, Ids]:
        """The same for the next tokens of the streams of ``state``, (streams, steps), which reads them."""

@final
class PrefixCache:
    """States after prompts that one model has read, at most ``capacity`` bytes of them. Threads may share it."""

    def __init__(self, capacity: int) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def tokens_found(self) -> int:
        """Tokens that needed no reading, so far."""

@final
class DecodingState:
    """State, counters and history of a batch of streams; advanced by ``PackedModel.generate``."""

    @property
    def streams(self) -> int: ...
    @property
    def finished(self) -> Mask: ...
    def copy(self) -> DecodingState: ...
    def select(self, rows: Ids) -> DecodingState:
        """These streams, in this order; one that is named twice goes on twice, with the same draws."""

    @staticmethod
    def join(states: Sequence[DecodingState]) -> DecodingState:
        """The streams of all, one after another: each goes on as it would have alone."""
