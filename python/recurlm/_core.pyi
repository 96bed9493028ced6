"""The C++ core.

Arrays are C-contiguous, float32 unless an annotation says otherwise, and outputs are arguments that are written in
place. An optional array that is ``None`` is not read or not computed. Sequences are time-major.

Letters: ``T`` time, ``B`` batch, ``R`` rows (often ``T * B``), ``D`` input width, ``H`` units, ``G`` gates of the cell,
``V`` vocabulary, ``N`` output width.

``precision`` is that of the operands of products: float32, or bfloat16, to which both are rounded; sums are float32.
Gradients of parameters (``dkernel``, ``dbias``, ...) are overwritten, or added to where ``accumulate`` is true.
Every function checks its arguments and raises ``TypeError`` (dtype, layout), ``ValueError`` (shape, option) or
``IndexError`` (ids out of range); a failed check writes nothing.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

# The machine ---------------------------------------------------------------------------------------------------------

def supported_isas() -> list[str]: ...
def get_isa() -> str: ...
def set_isa(name: str) -> None: ...
def has_openmp() -> bool: ...
def multiplies_bfloat16() -> bool:
    """Whether the instruction set in use has products of bfloat16; the others form them by way of float32."""

def available_cores() -> int: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def measure_peak(seconds: float, threads: int) -> float:
    """fp32 GFLOP/s of fused multiply-adds in registers with the instruction set in use: the best short slice."""

def measure_bandwidth(megabytes: float, seconds: float, threads: int) -> float:
    """GB/s at which threads read their parts of so many megabytes over and over: the best short slice."""

@final
class Workspace:
    """Scratch memory that grows to what its largest user needs and is then reused; one call at a time."""

    def __init__(self) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def growths(self) -> int:
        """How often memory was requested from the system; constant once every shape has been seen."""

# Rows ----------------------------------------------------------------------------------------------------------------

def check_ids(ids: Ids, limit: int, name: str) -> None:
    """Raise ``IndexError`` naming the first position of ``ids`` (any shape) outside ``0 <= id < limit``."""

def linear_forward(
    x: Float,
    kernel: Float,
    bias: Float | None,
    y: Float,
    workspace: Workspace,
    *,
    transposed: bool = False,
    precision: str = "float32",
) -> None:
    """``y = x @ kernel + bias``; x (R, D), kernel (D, N) or, if ``transposed``, (N, D), bias (N,), y (R, N)."""

def linear_backward(
    x: Float,
    kernel: Float,
    dy: Float,
    dx: Float | None,
    dkernel: Float | None,
    dbias: Float | None,
    workspace: Workspace,
    *,
    transposed: bool = False,
    accumulate: bool = False,
    precision: str = "float32",
) -> None: ...
def distinct_ids(ids: Ids, limit: int, distinct: Ids, rows: Ids, workspace: Workspace) -> int:
    """``distinct[:R]`` = the ids (N,) that occur, in order of appearance; ``ids[r] = distinct[rows[r]]``. Returns R.

    Ids are from 0 to below ``limit``; distinct and rows have room for N.
    """

def embedding_forward(ids: Ids, table: Float, y: Float) -> None:
    """``y[r] = table[ids[r]]``; ids (R,), table (V, D), y (R, D)."""

def embedding_backward(ids: Ids, dy: Float, dtable: Float) -> None:
    """``dtable[ids[r]] += dy[r]`` in ascending r; the caller zeroes ``dtable`` where it must."""

def zero_rows(ids: Ids, table: Float) -> None:
    """``table[ids[r]] = 0``: undoes an ``embedding_backward`` without touching the other rows."""

def activation_forward(name: str, x: Float, y: Float) -> None:
    """``name`` is linear, tanh, sigmoid, relu or softmax (over the last axis); x, y of any equal shape; y may be x."""

def activation_backward(name: str, y: Float, dy: Float, dx: Float) -> None:
    """``dx`` from the activation's output ``y``; dx may be dy."""

def dropout(
    x: Float, y: Float, rate: float, seed: int, stream: int, step: int, noise_shape: tuple[int, ...] | None = None
) -> None:
    """Inverted dropout; its own backward pass when applied to dy with the same arguments.

    An element is dropped by a random number that is a function of (seed, stream, step, its position in
    ``noise_shape``); ``noise_shape`` has x's rank, each entry x's extent or 1 (shared along that axis). x has rank 1
    to 3; y may be x.
    """

# Recurrent cells -----------------------------------------------------------------------------------------------------

@final
class Cell:
    """What a recurrent cell computes. kind: rnn, gru or lstm; activation (rnn only): tanh, relu, sigmoid, linear.

    Keras layout. kernel (D, G*H), recurrent_kernel (H, G*H), bias (G*H,), for a GRU with reset_after (2, 3*H);
    gates in the order i f g o (lstm) and z r n (gru).
    """

    def __init__(
        self, kind: str, input_dim: int, units: int, *, activation: str = "tanh", reset_after: bool = True
    ) -> None: ...
    @property
    def kind(self) -> str: ...
    @property
    def gates(self) -> int: ...
    def saved_size(self, steps: int, batch: int) -> int:
        """Elements of the float32 array in which forward keeps what backward needs."""

def recurrent_forward(
    cell: Cell,
    x: Float,
    kernel: Float,
    recurrent_kernel: Float,
    bias: Float | None,
    h: Float,
    c: Float | None,
    saved: Float,
    mask: Mask | None,
    workspace: Workspace,
    *,
    reverse: bool = False,
    rows: Ids | None = None,
    precision: str = "float32",
) -> None:
    """Run the cell over x (T, B, D) or, with ``rows`` (T, B), over x[rows] of an x (R, D), each of whose rows is
    multiplied once however often it stands there.

    h and, for an lstm, c are (T + 1, B, H) and hold every state. Before the call h[0] (h[T] if ``reverse``) holds the
    initial state. Afterwards h[1:] (h[:T] if ``reverse``) are the outputs in input order and h[T] (h[0] if
    ``reverse``) is the final state. Where mask (T, B) is False the state passes on unchanged. ``reverse`` runs from
    the last step to the first. ``saved`` (1-D, ``cell.saved_size(T, B)``) is written.
    """

def recurrent_backward(
    cell: Cell,
    x: Float,
    kernel: Float,
    recurrent_kernel: Float,
    bias: Float | None,
    h: Float,
    c: Float | None,
    saved: Float,
    mask: Mask | None,
    dy: Float | None,
    dh: Float,
    dc: Float | None,
    dx: Float | None,
    dkernel: Float | None,
    drecurrent_kernel: Float | None,
    dbias: Float | None,
    workspace: Workspace,
    *,
    reverse: bool = False,
    accumulate: bool = False,
    rows: Ids | None = None,
    precision: str = "float32",
) -> None:
    """Gradients. dy (T, B, H) with respect to every output, in input order; dx has x's shape and may lie where dy does.

    On entry dh (B, H) and dc (B, H) hold the gradient with respect to the final state (zeros where unused); on
    return, the gradient with respect to the initial state. ``saved`` is overwritten, so that forward must run again
    before another backward.
    """

# Losses --------------------------------------------------------------------------------------------------------------

def projection_cross_entropy(
    x: Float,
    kernel: Float,
    bias: Float | None,
    targets: Ids,
    weights: Float | None,
    log_probs: Float,
    ranks: Ids,
    predictions: Ids,
    dx: Float | None,
    dkernel: Float | None,
    dbias: Float | None,
    workspace: Workspace,
    *,
    transposed: bool = False,
    accumulate: bool = False,
    precision: str = "float32",
) -> float:
    """Linear projection, log-softmax and cross-entropy over row chunks, so that no (R, V) array ever exists.

    x (R, D), kernel (D, V) or (V, D) if ``transposed``, targets (R,), weights (R,) or None for ones. Returns ``sum_r
    -weights[r] * log_probs[r]`` and writes per row the target's log-probability (natural), the number of entries more
    probable than the target and the arg max. Equal entries stand in the order of their ids, so rank 0 is a correct
    prediction. Gradients are of the returned value. A row of weight 0 is padding: its target is not looked at, its
    log_prob is 0, its rank -1 and prediction -1.
    """

def loss_forward(name: str, y_true: Float, y_pred: Float, loss: Float) -> None:
    """Loss of each row, Keras's definitions on probabilities; y_true, y_pred (R, N), loss (R,).

    ``name``: mean_squared_error, mean_absolute_error, binary_crossentropy, categorical_crossentropy.
    """

def loss_backward(name: str, y_true: Float, y_pred: Float, weights: Float, dy: Float) -> None:
    """``dy = weights[:, None] * d loss[r] / d y_pred``."""

def sparse_categorical_crossentropy_forward(targets: Ids, y_pred: Float, loss: Float) -> None: ...
def sparse_categorical_crossentropy_backward(targets: Ids, y_pred: Float, weights: Float, dy: Float) -> None: ...
def softmax_cross_entropy(logits: Float, y_true: Float, weights: Float, loss: Float, dlogits: Float | None) -> None:
    """Dense targets: ``loss[r] = -sum_n y_true[r, n] * log_softmax(logits[r])[n]``; dlogits carries the weights."""

def weighted_sum(values: Float, weights: Float | None) -> float:
    """Sum in double over fixed blocks combined in order; the same bits for any number of threads."""

# Optimisers ----------------------------------------------------------------------------------------------------------

@final
class UpdateRule:
    """One optimiser step's rule and hyperparameters; Keras's formulas.

    ``kind`` and its slots (moments) per parameter, all float32 of the parameter's shape, zero at the start: sgd: []
    or, with momentum, [velocity]; rmsprop: [mean_square] + [momentum if momentum] + [mean_gradient if centered];
    adagrad: [accumulator]; adam: [m, v] + [v_max if amsgrad]. weight_decay is decoupled (AdamW and all others, as in
    Keras).
    """

    def __init__(
        self,
        kind: str,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        rho: float = 0.9,
        centered: bool = False,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        amsgrad: bool = False,
        epsilon: float = 1e-7,
        clip_value: float = 0.0,
    ) -> None: ...
    @property
    def slots(self) -> int: ...

def squared_norms(gradients: Sequence[Float], rows: Sequence[Ids | None] | None = None) -> Double:
    """Squared Euclidean norm of each gradient, in double, over fixed blocks of 4,096 elements; (len(gradients),).

    ``rows``: for each, the distinct rows that are not zero, or None where any may be.
    """

def apply_update(
    rule: UpdateRule,
    step: int,
    learning_rate: float,
    parameters: Sequence[Float],
    gradients: Sequence[Float],
    slots: Sequence[Sequence[Float]],
    scales: Double,
    weight_decays: Double,
    rows: Sequence[Ids | None] | None = None,
) -> None:
    """Update all parameters, or only the distinct ``rows`` of one, in one pass. ``step`` counts from 1.

    ``scales`` (one for each parameter) multiply the gradients first (that is how norm clipping is applied), then
    ``clip_value`` clips. Gradients are left as they are.
    """

# Inference -----------------------------------------------------------------------------------------------------------

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
