"""Between the batch-first arrays of users and the time-major, contiguous arrays inside."""

from typing import Any

import numpy as np

from .tape import Call
from .typing import Array


def to_inner(call: Call, name: str, value: Array, id_limit: int | None) -> Array:
    """``value`` as layers want it.

    Ids, where ``id_limit`` is given: (B,) or (B, T) integers become (B,) or (T, B) int32. Else numbers: (B, D) float32
    stays, (B, T, D) becomes (T, B, D) float32.
    """
    if id_limit is not None:
        if value.ndim not in (1, 2):
            raise ValueError(f"{name} must be ids of shape (batch,) or (batch, time), got shape {value.shape}")
        check_ids(value, id_limit, name)
        return _moved(call, name, value, np.int32, value.ndim == 2)
    if value.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of numbers, got dtype {value.dtype}")
    if value.ndim not in (2, 3):
        raise ValueError(f"{name} must have shape (batch, features) or (batch, time, features), got {value.shape}")
    return _moved(call, name, value, np.float32, value.ndim == 3)


def _moved(call: Call, name: str, value: Array, dtype: Any, transpose: bool) -> Array:
    source = value.swapaxes(0, 1) if transpose else value
    if source.dtype == dtype and source.flags.c_contiguous:
        return source
    moved = call.buffer(name, source.shape, dtype)
    np.copyto(moved, source, casting="unsafe")
    return moved


def to_batch_major(value: Array) -> Array:
    """An owned, contiguous (B, T, D) from (T, B, D); what has no time axis is copied."""
    return np.array(value.swapaxes(0, 1) if value.ndim == 3 else value, order="C")


def check_ids(ids: Array, limit: int, name: str) -> None:
    """TypeError unless ``ids`` are integers; IndexError naming the first that is not in ``0 <= id < limit``."""
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= limit):
        wrong = np.argwhere((ids < 0) | (ids >= limit))[0]
        position = ", ".join(str(int(i)) for i in wrong)
        raise IndexError(f"{name}[{position}] is {ids[tuple(wrong)]}, outside 0 <= id < {limit}")
