"""The same weights in PyTorch's layout.

Keras: kernel (D, G*H), recurrent_kernel (H, G*H), one bias, or two for a GRU; gates i f g o and z r n.
PyTorch: weight_ih (G*H, D), weight_hh (G*H, H), two biases always; gates i f g o and r z n.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.configs import GATES

Array = npt.NDArray[Any]


def to_torch_cell(cell: str, kernel: Array, recurrent_kernel: Array, bias: Array) -> dict[str, Array]:
    """weight_ih, weight_hh, bias_ih and bias_hh of one layer. A single bias goes to bias_ih."""
    bias_ih, bias_hh = bias if cell == "gru" else (bias, np.zeros_like(bias))
    arrays = {"weight_ih": kernel.T, "weight_hh": recurrent_kernel.T, "bias_ih": bias_ih, "bias_hh": bias_hh}
    return {name: np.ascontiguousarray(swap_gates(cell, array)) for name, array in arrays.items()}


def swap_gates(cell: str, array: Array) -> Array:
    """(G*H, ...) with a GRU's first two gates exchanged, which is its own inverse; other cells agree already."""
    if cell != "gru":
        return array
    z, r, n = np.split(array, GATES["gru"])
    return np.concatenate([r, z, n])


def to_torch_layers(cell: str, weights: Sequence[Array]) -> dict[str, Array]:
    """Names and arrays of ``torch.nn.LSTM`` (GRU, RNN) from kernel, recurrent_kernel, bias of each layer in turn."""
    return {
        f"{name}_l{layer}": array
        for layer in range(len(weights) // 3)
        for name, array in to_torch_cell(cell, *weights[3 * layer : 3 * layer + 3]).items()
    }
