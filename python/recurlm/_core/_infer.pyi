"""Running a trained model."""

from collections.abc import Sequence
from typing import final

import numpy as np
import numpy.typing as npt

from ._recurrent import Cell
from ._types import Float, Ids, Mask

@final
class Sampling:
    """How the next token is drawn. temperature 0 is greedy; top_k 0, top_p 1, min_p 0, repetition_penalty 1 are off.

    The penalty divides positive and multiplies negative logits of tokens seen in the prompt or generated.
    Order: penalty, temperature, top_k, top_p, min_p (relative to the most probable token).
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
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
    @property
    def read_bytes(self) -> int:
        """Of the weights, those that one token of one stream reads."""

    def begin(self, prompts: Sequence[Ids], seed: int, banned: Ids | None = None) -> DecodingState:
        """Read each prompt (at least one id) from the zero state. ``banned`` ids are never drawn."""

    def generate(
        self,
        state: DecodingState,
        count: int,
        sampling: Sampling,
        stop_ids: Ids | None = None,
        log_probs: bool = True,
    ) -> tuple[Ids, Float | None]:
        """Draw up to ``count`` tokens a stream: ids and the unmodified model's log-probabilities, (streams, count).

        A stream that drew a stop id is finished: what follows that id is -1 (log-probability 0).
        The draw for token n of stream s is a function of (seed, s, n) and of the stream's own ids, whatever the pieces.
        """

    def score(self, ids: Ids, offsets: npt.NDArray[np.int64], first_id: int) -> tuple[Float, Ids]:
        """Log-probability of each id, and the most probable one in its place, both of the shape of ``ids``.

        Text i is ``ids[offsets[i]:offsets[i + 1]]``, read from the zero state after ``first_id``. What texts begin with
        in common is read once; the result is that of each text alone.
        """

    def score_next(self, state: DecodingState, ids: Ids) -> tuple[Float, Ids]:
        """The same for the next tokens of the streams of ``state``, (streams, steps), which reads them."""

@final
class DecodingState:
    """State, counters and history of a batch of streams; advanced by ``PackedModel.generate``."""

    @property
    def streams(self) -> int: ...
    @property
    def finished(self) -> Mask: ...
    def copy(self) -> DecodingState: ...
