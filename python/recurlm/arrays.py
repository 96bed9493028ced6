"""Between the batch-first arrays of users and the contiguous arrays inside, whose leading axes are reversed.

(B, T, D) is (T, B, D) inside, and (B, S, T, D), sequences of sequences, is (T, S, B, D): the axes before the features
stand in the opposite order, and (S, B) is one batch to a layer that works on each inner sequence.
"""

from typing import Any

import numpy as np

from .tape import Call
from .typing import Array, Mask


def reordered(value: Array, features: bool = True) -> Array:
    """A view with the axes before the features reversed (all, of ids and masks, which have none); its own inverse."""
    axes = [*range(value.ndim - 2, -1, -1), value.ndim - 1] if features else None
    return np.transpose(value, axes)


def to_inner(call: Call, name: str, value: Array, id_limit: int | None) -> Array:
    """``value`` as layers want it: int32 ids (T, B), where ``id_limit`` is given; else float32 numbers (T, B, D)."""
    if id_limit is not None:
        if value.ndim < 1:
            raise ValueError(f"{name} must be ids of shape (batch,) or (batch, time), got shape {value.shape}")
        check_ids(value, id_limit, name)
        return _moved(call, name, reordered(value, features=False), np.int32)
    if value.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of numbers, got dtype {value.dtype}")
    if value.ndim < 2:
        raise ValueError(f"{name} must have shape (batch, features) or (batch, time, features), got {value.shape}")
    return _moved(call, name, reordered(value), np.float32)


def _moved(call: Call, name: str, source: Array, dtype: Any) -> Array:
    if source.dtype == dtype and source.flags.c_contiguous:
        return source
    moved = call.buffer(name, source.shape, dtype)
    np.copyto(moved, source, casting="unsafe")
    return moved


def to_batch_major(value: Array) -> Array:
    """An owned, contiguous (B, T, D) from (T, B, D)."""
    return np.array(reordered(value), order="C")


def mask_to_inner(name: str, mask: Any, shape: tuple[int, ...]) -> Mask:
    """A batch-first mask for positions of inner ``shape``; one of the outer axes holds at all inner steps."""
    given, expected = np.asarray(mask, bool), shape[::-1]
    if given.ndim < min(2, len(shape)) or given.shape != expected[: given.ndim]:
        raise ValueError(f"{name}: mask must have shape {expected}, got {given.shape}")
    return np.ascontiguousarray(np.broadcast_to(given.T, shape))


def check_ids(ids: Array, limit: int, name: str) -> None:
    """TypeError unless ``ids`` are integers; IndexError naming the first that is not in ``0 <= id < limit``."""
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= limit):
        wrong = np.argwhere((ids < 0) | (ids >= limit))[0]
        position = ", ".join(str(int(i)) for i in wrong)
        raise IndexError(f"{name}[{position}] is {ids[tuple(wrong)]}, outside 0 <= id < {limit}")


def check_rows(owner: str, rows: Any, count: int) -> Array:
    """``rows`` of a batch of ``count`` as an index; ValueError unless indices from 0 on, or a mask of all rows."""
    picked = np.asarray(rows)
    if picked.dtype == np.bool_ and picked.shape == (count,):
        return picked
    if picked.size == 0:
        return picked.astype(np.intp)  # an empty list is one of floats
    got = f"{picked.dtype} of shape {picked.shape}"
    if picked.dtype.kind in "iu" and picked.ndim == 1:
        outside = picked[(picked < 0) | (picked >= count)]
        if outside.size == 0:
            return picked
        got = str(int(outside[0]))
    raise ValueError(f"{owner}: rows must be indices from 0 to {count - 1} or a mask of {count} booleans, got {got}")
