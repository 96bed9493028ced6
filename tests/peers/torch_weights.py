"""Weights of a PyTorch model back in Keras's layout; ``bench.programs.torch_weights`` goes the other way."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.programs.torch_weights import swap_gates

Array = npt.NDArray[Any]


def from_torch_layers(cell: str, arrays: Mapping[str, Array]) -> list[Array]:
    """kernel, recurrent_kernel, bias of each layer. The two biases are summed where the cell adds them anyway."""
    weights = []
    for layer in range(len(arrays) // 4):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weight_ih, weight_hh, *biases = (swap_gates(cell, arrays[f"{name}_l{layer}"]) for name in names)
        weights += [weight_ih.T, weight_hh.T, np.stack(biases) if cell == "gru" else biases[0] + biases[1]]
    return weights
