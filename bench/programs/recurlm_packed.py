"""A configuration's weights packed for running, as ``LanguageModel`` packs them."""

from typing import Any

from bench.configs import Config, Float
from recurlm import _core
from recurlm.precision import Matrix, quantize, to_bfloat16


def packed_model(config: Config, weights: list[Float], dtype: str) -> Any:
    cells = [
        (
            _core.Cell(config.cell, dim, config.units),
            in_precision(weights[first], dtype),
            in_precision(weights[first + 1], dtype),
            weights[first + 2],
        )
        for dim, first in zip(config.input_dims, range(1, 1 + 3 * config.layers, 3), strict=True)
    ]
    kernel = in_precision(weights[-2], dtype)
    return _core.PackedModel(in_precision(weights[0], dtype, axis=0), cells, kernel, weights[-1])


def in_precision(matrix: Float, dtype: str, axis: int = 1) -> Matrix:
    """int8 has a scale for each column or, with ``axis`` 0, for each row."""
    if dtype == "float32":
        return matrix
    return to_bfloat16(matrix) if dtype == "bfloat16" else quantize(matrix, axis)
