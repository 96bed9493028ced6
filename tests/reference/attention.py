"""Attention of a batch of sequences, one head after the other.

p = softmax(scale · scores)        y = p V

with scores q·k (Vaswani et al. 2017, "Attention is all you need") or Σ_d w_d tanh(q_d + k_d) (Bahdanau et al. 2014). A
query sees the keys that are no padding and, where causal, do not come after it; one that is padding itself or sees none
has p = 1/S, a constant.

dV = pᵀ dy        dp = dy Vᵀ        dscores = scale · p ⊙ (dp − Σ_s dp ⊙ p)

dq = dscores K        dK = dscoresᵀ Q, or through tanh′ = 1 − tanh² with z = q_d + k_d.
"""

from dataclasses import dataclass, fields

import numpy as np

from tests.reference import Array, Mask


@dataclass(frozen=True)
class Options:
    heads: int = 1
    scale: float = 1.0
    causal: bool = False
    query_mask: Mask | None = None  # (T, B)
    key_mask: Mask | None = None  # (S, B)


@dataclass(frozen=True)
class Gradients:
    query: Array  # (T, B, N*K)
    key: Array  # (S, B, N*K)
    value: Array  # (S, B, N*V)
    additive: Array  # (K,)

    def arrays(self) -> dict[str, Array]:
        return {f"d{field.name}": getattr(self, field.name) for field in fields(self)}


def split(x: Array, heads: int) -> Array:
    """(T, B, N*K) -> (B, N, T, K)."""
    steps, batch, width = x.shape
    return x.reshape(steps, batch, heads, width // heads).transpose(1, 2, 0, 3)


def join(x: Array) -> Array:
    """(B, N, T, K) -> (T, B, N*K)."""
    batch, heads, steps, width = x.shape
    return x.transpose(2, 0, 1, 3).reshape(steps, batch, heads * width)


def visible(options: Options, batch: int, queries: int, keys: int) -> Mask:
    """(B, 1, T, S)."""
    seen = np.ones((batch, 1, queries, keys), bool)
    if options.causal:
        seen &= np.arange(keys) <= np.arange(queries)[:, None]
    if options.key_mask is not None:
        seen &= options.key_mask.T[:, None, None, :]
    if options.query_mask is not None:
        seen &= options.query_mask.T[:, None, :, None]
    return seen


def probabilities(query: Array, key: Array, additive: Array | None, options: Options) -> Array:
    """query (T, B, N*K), key (S, B, N*K), additive (K,) -> (B, N, T, S)."""
    q, k = split(query, options.heads), split(key, options.heads)
    if additive is None:
        scores = options.scale * (q @ k.swapaxes(2, 3))
    else:
        scores = options.scale * (additive * np.tanh(q[..., :, None, :] + k[..., None, :, :])).sum(-1)
    seen = visible(options, q.shape[0], q.shape[2], k.shape[2])
    blind = ~seen.any(axis=-1, keepdims=True)
    scores = np.where(blind, 0.0, np.where(seen, scores, -np.inf))
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-1e300))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def forward(p: Array, factors: Array | float, value: Array, heads: int) -> Array:
    """Probabilities p (B, N, T, S), dropout's factors, value (S, B, N*V) -> y (T, B, N*V)."""
    return join((p * factors) @ split(value, heads))


def backward(
    query: Array, key: Array, value: Array, additive: Array | None, options: Options, factors: Array | float, dy: Array
) -> Gradients:
    """dy (T, B, N*V)."""
    heads = options.heads
    q, k, v, d = (split(x, heads) for x in (query, key, value, dy))
    p = probabilities(query, key, additive, options)
    dp = (d @ v.swapaxes(2, 3)) * factors
    ds = options.scale * p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    ds *= visible(options, q.shape[0], q.shape[2], k.shape[2]).any(axis=-1, keepdims=True)
    dv = (p * factors).swapaxes(2, 3) @ d
    if additive is None:
        dq, dk, dadditive = ds @ k, ds.swapaxes(2, 3) @ q, np.zeros(q.shape[3])
    else:
        y = np.tanh(q[..., :, None, :] + k[..., None, :, :])  # (B, N, T, S, K)
        dz = ds[..., None] * additive * (1.0 - y * y)
        dq, dk, dadditive = dz.sum(axis=3), dz.sum(axis=2), (ds[..., None] * y).sum(axis=(0, 1, 2, 3))
    return Gradients(join(dq), join(dk), join(dv), dadditive)
