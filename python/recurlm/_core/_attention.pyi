"""Attention and layer normalisation.

Letters: ``T`` queries, ``S`` keys, ``B`` batch, ``N`` heads, ``K`` and ``V`` widths of a head's keys and values.
"""

from ._machine import Workspace
from ._types import Float, Mask

def attention_forward(
    query: Float,
    key: Float,
    value: Float,
    output: Float,
    probabilities: Float,
    workspace: Workspace,
    *,
    heads: int = 1,
    scale: float = 1.0,
    causal: bool = False,
    additive: Float | None = None,
    query_mask: Mask | None = None,
    key_mask: Mask | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    stream: int = 0,
    step: int = 0,
) -> None:
    """``output = softmax(scale * scores) @ value`` for each head; a head is a run of columns.

    query (T, B, N*K), key (S, B, N*K), value (S, B, N*V), output (T, B, N*V). Scores are dot products or, with
    ``additive`` (K,), ``sum(additive * tanh(query + key))``. Where a mask, (T, B) or (S, B), is False there is
    padding: such keys are not seen nor, where ``causal``, those behind the query. A query that is padding or sees
    nothing has the probability 1 / S for all keys. ``probabilities`` (B, N, T, S) is written, and needed by backward.
    Dropout of them is a function of (seed, stream, step, position), as in ``dropout``.
    """

def attention_backward(
    query: Float,
    key: Float,
    value: Float,
    probabilities: Float,
    doutput: Float,
    dquery: Float,
    dkey: Float,
    dvalue: Float,
    workspace: Workspace,
    *,
    heads: int = 1,
    scale: float = 1.0,
    causal: bool = False,
    additive: Float | None = None,
    dadditive: Float | None = None,
    query_mask: Mask | None = None,
    key_mask: Mask | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    stream: int = 0,
    step: int = 0,
) -> None:
    """Gradients, all overwritten; the options are those of forward."""

def layer_norm_forward(
    x: Float, gamma: Float | None, beta: Float | None, epsilon: float, y: Float, statistics: Float
) -> None:
    """``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`` for each row of x (R, D); gamma, beta (D,).

    statistics (R, 2) is written, and needed by backward.
    """

def layer_norm_backward(
    x: Float,
    gamma: Float | None,
    statistics: Float,
    dy: Float,
    dx: Float,
    dgamma: Float | None,
    dbeta: Float | None,
    workspace: Workspace,
    *,
    accumulate: bool = False,
) -> None:
    """dx may be dy."""
