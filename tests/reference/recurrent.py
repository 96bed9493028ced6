"""A recurrent cell over a sequence, and back-propagation through time (Werbos 1990, "Backpropagation through time: what
it does and how to do it").

s[t+1] = step(x[t], s[t])                  s: (h,) or, for an LSTM, (h, c)

A masked step passes the state on: s[t+1] = s[t]. Backward walks the steps in the opposite order; the gradient of a
state is what the next step hands back plus, for h, the gradient dy[t] of that step's output.

States lie as in the core: row t of a (T + 1, B, H) array is the state before step t and row t + 1 the state after it;
in reverse (t from T − 1 down), row t + 1 is the state before step t and row t the state after it.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from tests.reference import Array, Mask

State: TypeAlias = tuple[Array, ...]


class Parameters(NamedTuple):
    """Of a cell, or their gradients."""

    kernel: Array  # (D, G*H)
    recurrent_kernel: Array  # (H, G*H)
    bias: Array  # (G*H,); (2, 3*H) for a GRU with reset_after


class Cell(Protocol):
    def step(self, p: Parameters, x: Array, state: State) -> tuple[State, tuple[Array, ...]]: ...
    def step_backward(
        self, p: Parameters, cache: tuple[Array, ...], dstate: State
    ) -> tuple[Array, State, Parameters]: ...


@dataclass(frozen=True)
class Run:
    """A forward pass: its states (T + 1, B, H) each, and what each step keeps for the backward pass."""

    states: State
    caches: list[tuple[Array, ...]]


class Gradients(NamedTuple):
    dx: Array  # (T, B, D)
    dinitial: State  # (B, H) each
    dparameters: Parameters


def order(steps: int, reverse: bool) -> list[int]:
    """Time steps in the order in which they are computed."""
    return list(range(steps))[:: -1 if reverse else 1]


def forward(
    cell: Cell, p: Parameters, x: Array, initial: State, mask: Mask | None = None, reverse: bool = False
) -> Run:
    """x (T, B, D), initial states (B, H), mask (T, B)."""
    steps = len(x)
    states = tuple(np.empty((steps + 1, *s.shape)) for s in initial)
    caches: list[tuple[Array, ...]] = [()] * steps
    state = initial
    for rows, s in zip(states, state, strict=True):
        rows[steps if reverse else 0] = s
    for t in order(steps, reverse):
        new, caches[t] = cell.step(p, x[t], state)
        if mask is not None:
            keep = mask[t][:, None]  # (B, 1)
            new = tuple(np.where(keep, a, b) for a, b in zip(new, state, strict=True))
        state = new
        for rows, s in zip(states, state, strict=True):
            rows[t if reverse else t + 1] = s
    return Run(states, caches)


def backward(
    cell: Cell,
    p: Parameters,
    run: Run,
    dx_shape: tuple[int, ...],
    dy: Array | None,
    dfinal: State,
    mask: Mask | None = None,
    reverse: bool = False,
) -> Gradients:
    """dy (T, B, H) in input order, dfinal (B, H) for each state, dx_shape (T, B, D)."""
    dx = np.zeros(dx_shape)
    totals = Parameters(*(np.zeros_like(a) for a in p))
    dstate = dfinal
    for t in reversed(order(dx_shape[0], reverse)):
        if dy is not None:
            dstate = (dstate[0] + dy[t], *dstate[1:])
        active = np.ones((dx_shape[1], 1), bool) if mask is None else mask[t][:, None]
        # A masked row sends nothing into the step and hands its state's gradient on unchanged.
        dx[t], dprev, gradients = cell.step_backward(p, run.caches[t], tuple(np.where(active, d, 0.0) for d in dstate))
        dstate = tuple(np.where(active, new, old) for new, old in zip(dprev, dstate, strict=True))
        for total, gradient in zip(totals, gradients, strict=True):
            total += gradient
    return Gradients(dx, dstate, totals)
