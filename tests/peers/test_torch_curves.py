"""From identical weights and batches, training follows PyTorch's loss curve."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.configs import BETA_1, BETA_2, CLIP_NORM, EPSILON, initial_weights
from bench.programs.recurlm_training import language_model
from recurlm import Model
from recurlm.optimizers import SGD, Adam, Optimizer
from tests.peers.models import CELLS, CellName, batches, largest_difference, small_model
from tests.peers.torch_weights import from_torch_layers

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed here")

from bench.programs.torch_training import TorchProgram  # noqa: E402  (needs torch)

torch.set_num_threads(1)  # its idle threads would spin beside ours

STEPS = 200
SGD_RATE, ADAM_RATE = 1.0, 3e-3


class TorchSgd:
    """p -= rate * g."""

    def update(self, parameters: list[Any]) -> None:
        with torch.no_grad():
            for parameter in parameters:
                parameter -= SGD_RATE * parameter.grad


class TorchAdam:
    """Keras's form: epsilon stands outside the bias correction."""

    def __init__(self) -> None:
        self.moments: list[tuple[Any, Any]] = []
        self.updates = 0

    def update(self, parameters: list[Any]) -> None:
        self.moments = self.moments or [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
        self.updates += 1
        rate = ADAM_RATE * (1 - BETA_2**self.updates) ** 0.5 / (1 - BETA_1**self.updates)
        with torch.no_grad():
            for parameter, (m, v) in zip(parameters, self.moments, strict=True):
                m += (1 - BETA_1) * (parameter.grad - m)
                v += (1 - BETA_2) * (parameter.grad**2 - v)
                parameter -= rate * m / (v.sqrt() + EPSILON)


def keras_adam() -> Optimizer:
    return Adam(ADAM_RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON, global_clipnorm=CLIP_NORM)


def keras_sgd() -> Optimizer:
    return SGD(SGD_RATE, global_clipnorm=CLIP_NORM)


OPTIMIZERS = pytest.mark.parametrize(
    ("ours", "theirs"), [(keras_sgd, TorchSgd), (keras_adam, TorchAdam)], ids=["sgd", "adam"]
)


def follow(cell: CellName, ours: Optimizer, theirs: TorchSgd | TorchAdam) -> tuple[Model, TorchProgram]:
    """Both trained side by side."""
    config = small_model(cell)
    weights = initial_weights(config)
    model, program = language_model(config, weights, ours), TorchProgram(config, weights)
    losses, expected = [], []
    for ids, targets in batches(config, STEPS):
        losses.append(float(model.train_on_batch(ids, targets)))
        expected.append(program.loss_and_gradients(ids, targets))
        theirs.update(program.parameters)
    assert largest_difference(losses, expected) < 1e-3
    assert losses[-1] < losses[0] - 0.5
    return model, program


@OPTIMIZERS
@pytest.mark.parametrize("cell", CELLS)
def test_training_follows_the_loss_curve(
    cell: CellName, ours: Callable[[], Optimizer], theirs: Callable[[], TorchSgd | TorchAdam]
) -> None:
    model, program = follow(cell, ours(), theirs())
    cells = {name: parameter.detach().numpy() for name, parameter in program.cells.named_parameters()}
    for mine, other in zip(model.get_weights()[1:-2], from_torch_layers(cell, cells), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-3)


@OPTIMIZERS
def test_attention_follows_the_loss_curve(
    ours: Callable[[], Optimizer], theirs: Callable[[], TorchSgd | TorchAdam]
) -> None:
    model, program = follow("attention", ours(), theirs())
    np.testing.assert_allclose(model.get_weights()[1], program.cells.positions.detach().numpy(), rtol=0, atol=1e-3)
