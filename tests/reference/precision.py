"""Weights in less than float32, and products with them.

bfloat16 is the upper half of a float32: a weight is the float32 whose lower half is zero, and nothing else differs. In
training both operands of a product are rounded to it, so that a product is exact and a sum is one of float32:

a W = r(a) r(W)                            r(v): the nearest number of eight binary digits, of halves the even one

int8 stands with a scale s for each column of a kernel, each row of an embedding (and of a kernel that is transposed):

W[k, n] = s[n] Q[k, n]                     Q from -127 to 127

The other operand of a product is quantised on its way, with a scale S for each row (Dettmers et al. 2022, "LLM.int8():
8-bit matrix multiplication for transformers at scale": vector-wise quantisation):

S = max_k |a[k]| / 127 in float32          A[k] = the integer nearest to a[k] / S, of halves the even one
a W = S (A Q) s                            A Q is a sum of integers: exact

`a` is float64 here and float32 in the core, so that an a[k] / S close to a half may become another integer there. The
distances from a half are collected, for tests to choose data in which none is small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tests.reference import Array

Bits = npt.NDArray[np.uint16]
Int8 = npt.NDArray[np.int8]
Float32 = npt.NDArray[np.float32]


def from_bfloat16(bits: Bits) -> Array:
    values: Array = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    return values


def round_to_bfloat16(a: Array) -> Array:
    fractions, exponents = np.frexp(a)  # 0.5 <= |fraction| < 1
    rounded: Array = np.ldexp(np.rint(np.ldexp(fractions, 8)), exponents - 8)
    return rounded


class Bfloat16Kernel(np.ndarray[Any, np.dtype[np.float64]]):
    """A rounded kernel (K, N): `a @ kernel` rounds a first. So do products with a part of it and with its transpose."""

    @classmethod
    def of(cls, kernel: Array) -> Bfloat16Kernel:
        return round_to_bfloat16(kernel).view(cls)

    def __rmatmul__(self, a: Any) -> Any:
        return round_to_bfloat16(np.asarray(a)) @ np.asarray(self)


def dequantise(values: Int8, scales: Float32, axis: int) -> Array:
    """values (K, N); scales (K,) where axis is 0, (N,) where it is 1."""
    return values.astype(np.float64) * np.expand_dims(scales.astype(np.float64), 1 - axis)


def quantise_rows(a: Array, distances: list[float] | None = None) -> Array:
    """a (R, K) -> S A (R, K). How close to a half its elements came, at the closest, goes to distances."""
    largest = np.abs(a).max(axis=-1, keepdims=True, initial=0.0)
    scales = (largest.astype(np.float32) / np.float32(127)).astype(np.float64)
    quotients = np.divide(a, scales, out=np.zeros_like(a), where=scales > 0)
    if distances is not None and a.size:
        distances.append(float(np.abs(np.abs(quotients - np.trunc(quotients)) - 0.5).min()))
    quantised: Array = scales * np.rint(quotients)
    return quantised


class Int8Kernel(np.ndarray[Any, np.dtype[np.float64]]):
    """A dequantised kernel (K, N): `a @ kernel` quantises a first. So are the products with any part of it."""

    distances: list[float]

    @classmethod
    def of(cls, kernel: Array, distances: list[float]) -> Int8Kernel:
        result = kernel.view(cls)
        result.distances = distances
        return result

    def __array_finalize__(self, whole: object) -> None:
        self.distances = getattr(whole, "distances", [])

    def __rmatmul__(self, a: Any) -> Any:
        return quantise_rows(np.asarray(a), self.distances) @ np.asarray(self)
