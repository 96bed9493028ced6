"""Layers that work on rows."""

from ._machine import Workspace
from ._types import Float, Ids

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
    """``name``: linear, tanh, sigmoid, relu, gelu or softmax (over the last axis). y, of x's shape, may be x."""

def activation_backward(name: str, y: Float, dy: Float, dx: Float) -> None:
    """``dx`` from the activation's output ``y`` or, for gelu, its input in place of y; dx may be dy."""

def dropout(
    x: Float, y: Float, rate: float, seed: int, stream: int, step: int, noise_shape: tuple[int, ...] | None = None
) -> None:
    """Inverted dropout; its own backward pass when applied to dy with the same arguments.

    An element is dropped by a random number that is a function of (seed, stream, step, its position in
    ``noise_shape``); ``noise_shape`` has x's rank, each entry x's extent or 1 (shared along that axis). x has rank 1
    to 3; y may be x.
    """
