"""Recurrent cells."""

from typing import final

from ._machine import Workspace
from ._types import Float, Ids, Mask

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
    state_factors: Float | None = None,
    dropped_h: Float | None = None,
) -> None:
    """Run the cell over x (T, B, D) or, with ``rows`` (T, B), over x[rows] of an x (R, D), each of whose rows is
    multiplied once however often it stands there.

    h and, for an lstm, c are (T + 1, B, H) and hold every state. Before the call h[0] (h[T] if ``reverse``) holds the
    initial state. Afterwards h[1:] (h[:T] if ``reverse``) are the outputs in input order and h[T] (h[0] if
    ``reverse``) is the final state. Where mask (T, B) is False the state passes on unchanged. ``reverse`` runs from
    the last step to the first. ``saved`` (1-D, ``cell.saved_size(T, B)``) is written.

    Recurrent dropout: the previous state is multiplied by ``state_factors`` (B, H) where it enters a product, and
    nowhere else; what entered them is kept in ``dropped_h`` (T, B, H).
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
    state_factors: Float | None = None,
    dropped_h: Float | None = None,
) -> None:
    """Gradients. dy (T, B, H) with respect to every output, in input order; dx has x's shape and may lie where dy does.

    On entry dh (B, H) and dc (B, H) hold the gradient with respect to the final state (zeros where unused); on
    return, the gradient with respect to the initial state. ``saved`` is overwritten, so that forward must run again
    before another backward.
    """
