"""Look-up of rows (Bengio, Ducharme, Vincent, Jauvin 2003, "A neural probabilistic language model").

y[r] = E[ids[r]]

The same as a product with one-hot rows, so the gradient of a table row is the sum over its occurrences:

dE[v] = Σ_{r: ids[r] = v} dy[r]
"""

import numpy as np

from tests.reference import Array, Ids


def forward(ids: Ids, table: Array) -> Array:
    """ids (R,), table (V, D) -> y (R, D)."""
    return table[ids]


def backward(ids: Ids, dy: Array, vocabulary_size: int) -> Array:
    """ids (R,), dy (R, D) -> dtable (V, D)."""
    dtable = np.zeros((vocabulary_size, dy.shape[1]))
    for r, token in enumerate(ids):
        dtable[token] += dy[r]
    return dtable
