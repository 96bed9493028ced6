"""Helpers for preparing data, with Keras's names."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import check_ids
from .seeding import set_random_seed
from .typing import Array, Float

__all__ = ["pad_sequences", "set_random_seed", "to_categorical"]


def to_categorical(x: Any, num_classes: int | None = None) -> Float:
    """One-hot rows (..., num_classes) from ids (...) or (..., 1).

    >>> from recurlm.utils import to_categorical
    >>> to_categorical([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    ids = np.asarray(x)
    if ids.ndim > 1 and ids.shape[-1] == 1:
        ids = ids[..., 0]
    if ids.dtype.kind == "f" and np.array_equal(ids, np.trunc(ids)):
        ids = ids.astype(np.int64)
    classes = num_classes if num_classes is not None else int(ids.max(initial=-1)) + 1
    check_ids(ids, classes, "x")
    one_hot = np.zeros((ids.size, classes), np.float32)
    one_hot[np.arange(ids.size), ids.reshape(-1)] = 1
    return one_hot.reshape(*ids.shape, classes)


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> Array:
    """An array (len(sequences), maxlen, ...) from sequences of different lengths.

    ``padding`` and ``truncating``, each pre or post, say at which end ``value`` is added and elements are dropped.

    >>> from recurlm.utils import pad_sequences
    >>> pad_sequences([[1], [2, 3, 4]], maxlen=2).tolist()
    [[0, 1], [3, 4]]
    """
    for name, given in (("padding", padding), ("truncating", truncating)):
        if given not in ("pre", "post"):
            raise ValueError(f"{name} must be 'pre' or 'post', got {given!r}")
    arrays = []
    for i, sequence in enumerate(sequences):
        if not hasattr(sequence, "__len__"):
            raise ValueError(f"sequences must hold sequences, got {type(sequence).__name__} at {i}")
        arrays.append(np.asarray(sequence, dtype))
    length = max((len(array) for array in arrays), default=0) if maxlen is None else maxlen
    shapes = {array.shape[1:] for array in arrays if len(array)} or {()}
    if len(shapes) > 1:
        raise ValueError(f"elements of all sequences must have one shape, got {sorted(shapes)}")
    padded = np.full((len(arrays), length, *shapes.pop()), value, dtype)
    for row, array in zip(padded, arrays, strict=True):
        kept = array[max(0, len(array) - length) :] if truncating == "pre" else array[:length]
        if len(kept):
            row[length - len(kept) if padding == "pre" else 0 :][: len(kept)] = kept
    return padded
