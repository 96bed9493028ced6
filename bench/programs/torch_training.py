"""PyTorch at its best on a CPU: oneDNN's LSTM, time-major sequences, the fused Adam, gradients set to None."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.configs import BETA_1, BETA_2, CLIP_NORM, EPSILON, LEARNING_RATE, Config, Float, Ids
from bench.programs import Step
from bench.programs.torch_attention import AttentionLayers
from bench.programs.torch_weights import to_torch_layers

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class TorchProgram:
    """Embedding, layers and projection, from weights in Keras's layout; sequences are (T, B).

    With ``bfloat16`` the forward pass runs under autocast, as PyTorch recommends; the backward pass follows its types.
    """

    def __init__(self, config: Config, weights: Sequence[Float], bfloat16: bool = False) -> None:
        self.bfloat16 = bfloat16
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        self.cells = layers(config, weights[1:-2])
        self.projection = nn.Linear(config.units, config.vocabulary)
        assign(self.embedding, {"weight": weights[0]})
        assign(self.projection, {"weight": weights[-2].T, "bias": weights[-1]})
        modules = (self.embedding, self.cells, self.projection)
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.state: Any = None

    def loss(self, ids: Ids, targets: Ids) -> Tensor:
        """Mean cross-entropy of ids and targets (B, T); the state is carried, without its history."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            hidden, state = self.cells(self.embedding(tensor(ids)), self.state)
            self.state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
            return F.cross_entropy(self.projection(hidden).flatten(0, 1), tensor(targets).flatten())

    def loss_and_gradients(self, ids: Ids, targets: Ids) -> float:
        """The loss; gradients clipped by the global norm stand in ``parameters``."""
        for parameter in self.parameters:
            parameter.grad = None
        loss = self.loss(ids, targets)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
        return float(loss.detach())


def layers(config: Config, weights: Sequence[Float]) -> nn.Module:
    if config.cell == "attention":
        return AttentionLayers(config, weights)
    cells = CELLS[config.cell](config.embedding, config.units, config.layers)
    assign(cells, to_torch_layers(config.cell, weights))
    if config.cell != "gru":  # PyTorch adds two biases where one does: the second stays zero, as it has no twin
        for name, parameter in cells.named_parameters():
            parameter.requires_grad_(not name.startswith("bias_hh"))
    return cells


def assign(module: nn.Module, arrays: Mapping[str, Float]) -> None:
    module.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})


def tensor(ids: Ids) -> Tensor:
    """(B, T) int32 -> (T, B) int64, the only type that cross_entropy takes."""
    return torch.from_numpy(np.ascontiguousarray(ids.T, dtype=np.int64))


def build(config: Config, weights: list[Float], threads: int, dtype: str = "float32") -> Step:
    torch.set_num_threads(threads)
    program = TorchProgram(config, weights, bfloat16=dtype == "bfloat16")
    # Of PyTorch's three Adams the fused one is up to five times as fast as the others on a CPU.
    optimizer: Any = torch.optim.Adam(program.parameters, lr=LEARNING_RATE, betas=(BETA_1, BETA_2), fused=True)
    updates = 0

    def step(ids: Ids, targets: Ids) -> float:
        nonlocal updates
        updates += 1
        loss = program.loss_and_gradients(ids, targets)
        # Keras adds epsilon before the bias correction, PyTorch after it: this makes both the same formula.
        optimizer.param_groups[0]["eps"] = EPSILON / (1 - BETA_2**updates) ** 0.5
        optimizer.step()
        return loss

    return step
