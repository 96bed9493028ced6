"""Linear projection, softmax and cross-entropy of one target a row, weighted.

logits = x W + b                           (R, V)
log p  = log_softmax(logits)
q[r]   = (1 − s) onehot(target[r]) + s / V              label smoothing s (Szegedy et al. 2016, "Rethinking the
                                                        Inception architecture"), section 7
L      = −Σ_r w[r] Σ_v q[r, v] log p[r, v]

dlogits[r, v] = w[r] (p[r, v] − q[r, v])                then as in linear.py

The rank of a target is its position when entries are sorted by probability, equal ones by index; rank 0 is the arg max.
"""

from typing import NamedTuple

import numpy as np

from tests.reference import Array, Ids, linear, softmax


class Result(NamedTuple):
    loss: float
    log_probs: Array  # (R,)
    ranks: Ids  # (R,)
    predictions: Ids  # (R,)
    dx: Array  # (R, D)
    dkernel: Array  # (D, V)
    dbias: Array  # (V,)
    logits: Array  # (R, V)


def forward_backward(
    x: Array, kernel: Array, bias: Array | None, targets: Ids, weights: Array, smoothing: float = 0.0
) -> Result:
    """x (R, D), kernel (D, V), bias (V,), targets (R,), weights (R,); a row of weight 0 is padding."""
    padding = weights == 0.0
    rows = np.arange(len(x))
    targets = np.where(padding, 0, targets)
    logits = linear.forward(x, kernel, bias)
    log_p = softmax.log_softmax(logits)
    log_probs = np.where(padding, 0.0, log_p[rows, targets])
    own = logits[rows, targets][:, None]  # (R, 1)
    earlier = np.arange(logits.shape[1]) < targets[:, None]  # (R, V)
    ranks = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    q = np.full_like(log_p, smoothing / logits.shape[1])
    q[rows, targets] += 1.0 - smoothing
    dlogits = np.exp(log_p) - q
    return Result(
        -float(weights @ (q * log_p).sum(axis=1)),
        log_probs,
        np.where(padding, -1, ranks),
        np.where(padding, -1, logits.argmax(axis=1)),
        *linear.backward(x, kernel, dlogits * weights[:, None]),
        logits,
    )
