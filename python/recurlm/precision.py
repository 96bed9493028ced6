"""Less than float32: weights in bfloat16, or in int8 with a scale for each output channel; training in bfloat16."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core
from .typing import Float

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")

TrainingPrecision = Literal["float32", "bfloat16"]
TRAINING_PRECISIONS: tuple[TrainingPrecision, ...] = ("float32", "bfloat16")

Bfloat16 = npt.NDArray[np.uint16]  # the upper halves of float32; NumPy has no type for them


class Quantized(NamedTuple):
    """int8 values, and by what those of each channel are multiplied."""

    values: npt.NDArray[np.int8]
    scales: Float


Matrix: TypeAlias = Float | Bfloat16 | Quantized


def check_training_precision(dtype: str) -> TrainingPrecision:
    """``dtype``; ValueError where it is neither of the two."""
    for known in TRAINING_PRECISIONS:
        if dtype == known:
            return known
    raise ValueError(f"dtype must be {' or '.join(TRAINING_PRECISIONS)}, got {dtype!r}")


def available_training_precision(dtype: TrainingPrecision) -> TrainingPrecision:
    """``dtype``, or float32 with a UserWarning where this processor does not multiply bfloat16."""
    if dtype == "float32" or _core.multiplies_bfloat16():
        return dtype
    sentence = f"training in float32: bfloat16 needs the instruction set amx or avx512bf16, in use is {_core.get_isa()}"
    warnings.warn(sentence, UserWarning, stacklevel=4)  # build, compile and who called it
    return "float32"


def to_bfloat16(matrix: Float) -> Bfloat16:
    """The nearest bfloat16, halves to even: a relative error of at most 2⁻⁸ for normal numbers up to 3.38e38.

    What is greater becomes infinite; infinities and NaN stay what they are.

    >>> import numpy as np
    >>> [hex(bits) for bits in to_bfloat16(np.array([1.0, -2.5], np.float32))]
    ['0x3f80', '0xc020']
    """
    bits = np.ascontiguousarray(matrix, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    nan = (bits >> np.uint32(16)) | np.uint32(0x40)  # rounded up, its bits could become those of an infinity
    result: Bfloat16 = np.where(np.isnan(matrix), nan, rounded).astype(np.uint16)
    return result


def from_bfloat16(matrix: Bfloat16) -> Float:
    """In float32, exactly."""
    values: Float = (matrix.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values


def quantize(matrix: Float, axis: int) -> Quantized:
    """Symmetric int8: each channel along ``axis`` has the scale that maps its largest magnitude to 127.

    The error of an element is at most half its channel's scale.

    >>> import numpy as np
    >>> quantize(np.array([[1.0, -8.0], [0.5, 4.0]], np.float32), axis=1).values.tolist()
    [[127, -127], [64, 64]]

    Raises:
        FloatingPointError: an element is not finite.
    """
    other = 1 - axis
    largest = np.abs(matrix).max(axis=other, keepdims=True, initial=0.0)
    if not np.isfinite(largest).all():
        raise FloatingPointError("the weights are not finite and were not quantized")
    scales = (largest / np.float32(127)).astype(np.float32)
    divisors = np.where(scales > 0, scales, np.float32(1))
    values = np.clip(np.rint(matrix / divisors), -127, 127).astype(np.int8)
    return Quantized(values, np.ascontiguousarray(scales.squeeze(other)))


def dequantize(quantized: Quantized, axis: int) -> Float:
    """In float32."""
    values: Float = quantized.values.astype(np.float32)
    values *= np.expand_dims(quantized.scales, 1 - axis)
    return values
