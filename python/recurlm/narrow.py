"""Weights by name in less than float32, and in files: biases as they are, the scales of ``name`` as ``name.scales``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from .precision import Matrix, Precision, Quantized, dequantize, from_bfloat16, quantize, to_bfloat16
from .typing import Array, Float

_SCALES = ".scales"
_DTYPES = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}

Shapes = Mapping[str, tuple[int, ...]]


def narrowed(named: Mapping[str, Float], precision: Precision) -> dict[str, Matrix]:
    """Copies of these weights, the matrices in ``precision``; FloatingPointError where one has no place there."""
    for name, value in named.items():
        if precision != "float32" and not np.isfinite(value).all():
            raise FloatingPointError(f"{name} is not finite: the model was not quantized")
    return {name: _narrow(name, value, precision) for name, value in named.items()}


def widened(named: Mapping[str, Matrix]) -> dict[str, Float]:
    """In float32: the inverse of ``narrowed``, but for what that has rounded."""
    return {name: _widen(name, value) for name, value in named.items()}


def to_arrays(named: Mapping[str, Matrix]) -> dict[str, Array]:
    """As they are written."""
    arrays: dict[str, Array] = {}
    for name, value in named.items():
        if isinstance(value, Quantized):
            arrays |= {name: value.values, name + _SCALES: value.scales}
        else:
            arrays[name] = value
    return arrays


def from_arrays(arrays: Iterable[tuple[str, Array]]) -> dict[str, Matrix]:
    """The inverse of ``to_arrays``."""
    found = dict(arrays)
    return {
        name: Quantized(value, found[name + _SCALES]) if name + _SCALES in found else value
        for name, value in found.items()
        if not name.endswith(_SCALES)
    }


def checked_arrays(
    arrays: Iterable[tuple[str, Array]], shapes: Shapes, precision: Precision, path: Path
) -> Iterator[tuple[str, Array]]:
    """The arrays of a file: all that ``to_arrays`` gives of weights of these ``shapes``, and no others.

    Raises:
        ValueError: one is missing, unknown, or not what it must be; the sentence names it.
    """
    expected = _expected_arrays(shapes, precision)
    for name, array in arrays:
        if name not in expected:
            raise ValueError(f"{path} does not fit config.json: {name} is unknown")
        shape, dtype = expected.pop(name)
        if array.shape != shape or array.dtype != dtype:
            wanted = f"{np.dtype(dtype).name} of shape {shape}"
            raise ValueError(f"{path}: {name} must be {wanted}, got {array.dtype} of shape {array.shape}")
        if array.dtype == np.int8 and (array == -128).any():
            raise ValueError(f"{path}: {name} must hold integers from -127 to 127, got -128")
        yield name, array
    if expected:
        raise ValueError(f"{path} does not fit config.json: {min(expected)} is missing")


def _expected_arrays(shapes: Shapes, precision: Precision) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and dtype by name."""
    expected: dict[str, tuple[tuple[int, ...], type]] = {}
    for name, shape in shapes.items():
        matrix = _is_matrix(name)
        expected[name] = shape, _DTYPES[precision] if matrix else np.float32
        if matrix and precision == "int8":
            expected[name + _SCALES] = (shape[_channels(name)],), np.float32
    return expected


def _narrow(name: str, value: Float, precision: Precision) -> Matrix:
    if precision == "float32" or not _is_matrix(name):
        return np.array(value)
    return to_bfloat16(value) if precision == "bfloat16" else quantize(value, _channels(name))


def _widen(name: str, value: Matrix) -> Float:
    if isinstance(value, Quantized):
        return dequantize(value, _channels(name))
    return from_bfloat16(np.asarray(value, np.uint16)) if value.dtype == np.uint16 else np.asarray(value, np.float32)


def _is_matrix(name: str) -> bool:
    return not name.endswith(".bias")


def _channels(name: str) -> int:
    """Along which axis the outputs lie: a row of an embedding is what a token gives, and, tied, what predicts it."""
    return 0 if name.endswith(".embeddings") else 1
