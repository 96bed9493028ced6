"""Packed models of any precision as the tests make them, with the reference model of the same weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from recurlm import _core
from tests.ops import calls
from tests.reference import Array, decoding, precision
from tests.reference.cases import CellSpec, Float32, Int32, double, normal, recurrent_case

Offsets = npt.NDArray[np.int64]
PRECISIONS = ["float32", "bfloat16", "int8"]
MIXED = ("float32", "bfloat16", "int8", "int8", "bfloat16")  # the matrices of a model take their turn

# Of a step of the quantisation of activations: how far from a half all of them must be, for the core to find the same
# integers. An activation is off by some 5e-7 of its row's largest, which is 127 steps: 6e-5 of one.
CLEAR = 5e-4


@dataclass(frozen=True)
class Shape:
    """form: how the projection's kernel is given: as it is, transposed, or as the embedding again."""

    specs: tuple[CellSpec, ...]
    width: int
    units: int
    vocabulary: int
    form: str = "kernel"
    precisions: tuple[str, ...] = ("float32",)
    biased: bool = True


@dataclass(frozen=True)
class Packed:
    model: _core.PackedModel
    reference: decoding.LanguageModel
    arguments: dict[str, Any]  # of `_core.PackedModel`
    distances: list[float]

    def expected(self, texts: Sequence[Int32], first: int) -> list[Array]:
        """For each text the log-probabilities (length, V) of all that could stand in its places."""
        return [
            self.reference.log_probs([first, *text[:-1].tolist()]) if len(text) else np.zeros((0, 1)) for text in texts
        ]


def narrow(matrix: Float32, kind: str, axis: int) -> tuple[Any, Array]:
    """What the core takes for the matrix, and its values: bfloat16 cuts bits off, int8 has scales along axis."""
    if kind == "float32":
        return matrix, double(matrix)
    if kind == "bfloat16":
        bits = (matrix.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        return bits, precision.from_bfloat16(bits)
    scales = (np.abs(matrix).max(axis=1 - axis) / 127).astype(np.float32)
    scales[scales == 0] = 1
    values = np.rint(matrix / np.expand_dims(scales, 1 - axis)).astype(np.int8)
    return (values, scales), precision.dequantise(values, scales, axis)


def make(shape: Shape, seed: int = 1) -> Packed:
    rng = np.random.default_rng(seed)
    distances: list[float] = []
    kinds = iter(shape.precisions * (2 * len(shape.specs) + 2))

    def operand(values: Array, kind: str) -> Array:
        return precision.Int8Kernel.of(values, distances) if kind == "int8" else values

    width, kind = shape.units if shape.form == "tied" else shape.width, next(kinds)
    embedding, embedding64 = narrow(normal(rng, shape.vocabulary, width), kind, 0)
    cells: list[Any] = []
    layers: list[Any] = []
    for i, spec in enumerate(shape.specs):
        case = recurrent_case(spec, (1, 1, width, shape.units), seed=1000 * seed + i, biased=shape.biased)
        cell: list[Any] = [calls.core_cell(spec, width, shape.units)]
        kernels: list[Array] = []
        for matrix in (case.kernel, case.recurrent_kernel):
            cell_kind = next(kinds)
            stored, values = narrow(matrix, cell_kind, 1)
            cell.append(stored)
            kernels.append(operand(values, cell_kind))
        cells.append((*cell, case.bias))
        zero = tuple(np.zeros((1, shape.units)) for _ in range(spec.states))
        layers.append(
            (
                spec.reference(),
                case.reference_parameters()._replace(kernel=kernels[0], recurrent_kernel=kernels[1]),
                zero,
            )
        )
        width = shape.units
    # A wide spread of logits, so that log-probabilities differ by more than what a wrong weight could hide behind.
    kernel, bias = normal(rng, width, shape.vocabulary, scale=2.0), normal(rng, shape.vocabulary)
    if shape.form == "tied":
        projection, kernel64 = embedding, embedding64.T
    else:
        kind = next(kinds)
        matrix = np.ascontiguousarray(kernel.T) if shape.form == "transposed" else kernel
        projection, kernel64 = narrow(matrix, kind, 0 if shape.form == "transposed" else 1)
        kernel64 = kernel64.T if shape.form == "transposed" else kernel64
    arguments = {"embedding": embedding, "cells": cells, "kernel": projection, "bias": bias if shape.biased else None}
    arguments |= {"transposed": shape.form != "kernel"}
    bias64 = double(bias) if shape.biased else np.zeros(shape.vocabulary)
    reference = decoding.LanguageModel(embedding64, layers, operand(kernel64, kind), bias64)
    return Packed(_core.PackedModel(**arguments), reference, arguments, distances)


def made(shape: Shape) -> Packed:
    return _made(shape, _core.get_isa())


@functools.cache
def _made(shape: Shape, isa: str) -> Packed:
    """For each instruction set its own: the table of the first layer is computed when a model is packed."""
    del isa
    return make(shape)


def make_texts(shape: Shape, lengths: Sequence[int], seed: int) -> list[Int32]:
    """The last text begins as the first one does."""
    rng = np.random.default_rng(seed)
    texts = [rng.integers(0, shape.vocabulary, length, dtype=np.int32) for length in lengths]
    shared = min(len(texts[0]), len(texts[-1])) // 2
    texts[-1][:shared] = texts[0][:shared]
    return texts


def clear(shape: Shape, lengths: tuple[int, ...]) -> tuple[Packed, list[Int32], list[Array]]:
    return _clear(shape, lengths, _core.get_isa())


@functools.cache
def _clear(shape: Shape, lengths: tuple[int, ...], isa: str) -> tuple[Packed, list[Int32], list[Array]]:
    """A model, texts of these lengths, and what must come out of scoring them after id 0; no activation that the model
    quantises on the way is close to a half."""
    del isa  # as in _made
    for seed in range(1, 200):
        packed, texts = make(shape, seed), make_texts(shape, lengths, seed)
        expected = packed.expected(texts, 0)
        if min(packed.distances, default=1.0) > CLEAR:
            return packed, texts, expected
    raise AssertionError("every seed brings an activation close to a half: use fewer or shorter texts")


def score(model: _core.PackedModel, texts: Sequence[Int32], first: int = 0) -> list[tuple[Float32, Int32]]:
    """`model.score`, text by text."""
    offsets = [0, *accumulate(len(text) for text in texts)]
    ids = np.concatenate([np.zeros(0, np.int32), *texts])
    log_probs, predictions = model.score(ids, np.array(offsets, np.int64), first)
    assert (log_probs.dtype.name, predictions.dtype.name) == ("float32", "int32")
    assert log_probs.shape == predictions.shape == ids.shape
    return [(log_probs[a:b], predictions[a:b]) for a, b in pairwise(offsets)]


def assert_scores(
    actual: list[tuple[Float32, Int32]], texts: Sequence[Int32], expected: Sequence[Array], relative: float
) -> None:
    """Log-probabilities as `calls.assert_close` does; what is predicted is the most probable, within the same bound."""
    for (log_probs, predictions), text, rows in zip(actual, texts, expected, strict=True):
        places = np.arange(len(text))
        calls.assert_close(log_probs, rows[places, text], relative)
        lead = rows.max(axis=1, initial=-np.inf) - rows[places, predictions]
        bound = 2 * relative * max(1.0, float(np.abs(rows).max(initial=0.0)))
        assert (lead <= bound).all()


def assert_equal(actual: list[tuple[Float32, Int32]], expected: list[tuple[Float32, Int32]]) -> None:
    for got, wanted in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(got[0], wanted[0])
        np.testing.assert_array_equal(got[1], wanted[1])
