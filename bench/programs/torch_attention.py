"""The layers of a configuration with attention, in PyTorch: fused attention, one product for query, key and value."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.configs import Config, Float
from bench.programs.recurlm_attention import NORM_EPSILON


class Block(nn.Module):  # type: ignore[misc]
    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.units
        self.heads = config.heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width, NORM_EPSILON), nn.LayerNorm(width, NORM_EPSILON)
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D)."""
        split = self.qkv(self.norm_1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(split[0], split[1], split[2], is_causal=True)
        x = x + self.output(attended.transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.wide(self.norm_2(x))))

    def assign(self, weights: Sequence[Float]) -> None:
        """From 16 arrays in Keras's layout."""
        gamma_1, beta_1, *projections, output, output_bias, gamma_2, beta_2, wide, b, narrow, c = weights
        width = len(beta_1)
        qkv = np.hstack([kernel.reshape(width, width) for kernel in projections[::2]])
        qkv_bias = np.hstack([bias.reshape(width) for bias in projections[1::2]])
        fill(self.norm_1, gamma_1, beta_1)
        fill(self.qkv, qkv.T, qkv_bias)
        fill(self.output, output.reshape(width, width).T, output_bias)
        fill(self.norm_2, gamma_2, beta_2)
        fill(self.wide, wide.T, b)
        fill(self.narrow, narrow.T, c)


class AttentionLayers(nn.Module):  # type: ignore[misc]
    """In the place of recurrent layers: time-major, without a state."""

    def __init__(self, config: Config, weights: Sequence[Float]) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.from_numpy(weights[0].copy()))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.units, NORM_EPSILON)
        for i, block in enumerate(self.blocks):
            block.assign(weights[1 + 16 * i : 17 + 16 * i])
        fill(self.norm, *weights[-2:])

    def forward(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """(T, B, D)."""
        x = x.transpose(0, 1) + self.positions[: len(x)]
        for block in self.blocks:
            x = block(x)
        return self.norm(x).transpose(0, 1), ()


def fill(module: nn.Module, weight: Float, bias: Float) -> None:
    arrays = {"weight": weight, "bias": bias}
    module.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})
