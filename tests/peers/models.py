"""The small models on which the programs of ``bench`` are compared."""

from collections.abc import Sequence
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.configs import Config, Ids
from bench.data import token_stream, windows

CellName = Literal["rnn", "gru", "lstm", "attention"]
CELLS: Sequence[CellName] = ("rnn", "gru", "lstm")


def small_model(cell: CellName) -> Config:
    """Two layers; widths that are no multiple of a vector."""
    if cell == "attention":
        return Config("small-attention", "char", 65, 45, 45, layers=2, batch=9, steps=14, cell=cell, heads=3)
    return Config(f"small-{cell}", "char", 65, embedding=30, units=45, layers=2, batch=9, steps=14, cell=cell)


def batches(config: Config, count: int) -> list[tuple[Ids, Ids]]:
    """Consecutive windows (ids, targets) of real text."""
    stream, _ = token_stream(config)
    return list(islice(windows(stream, config), count))


def largest_difference(first: Sequence[float], second: Sequence[float]) -> float:
    difference: npt.NDArray[np.float64] = np.abs(np.subtract(first, second))
    return float(difference.max())
