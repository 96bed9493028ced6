"""What the tests of models share: gradients by the model itself and by differences, and tiny data."""

from pathlib import Path
from typing import Any

import numpy as np

from recurlm import Input, Model
from recurlm.data import make_batch
from recurlm.layers import Dense
from recurlm.training import backpropagate


def gradients(model: Model, x: Any, y: Any, sample_weight: Any = None) -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradients of every parameter that has one, as a training step computes them."""
    batch = make_batch(model.names, x, y, sample_weight, None)
    tape = model.tape
    tape.training, tape.seed, tape.step = True, model.seed, model.step
    with tape.gradients():
        loss = backpropagate(model.compiled, tape, batch)
        named = {name: p.grad.copy() for name, p in model.named_weights().items() if p in tape.written}
    return loss, named


def check_gradients(
    model: Model, x: Any, y: Any, sample_weight: Any = None, probes: int = 6, step: float = 1e-2
) -> None:
    """Compare with central differences of the float32 loss along random directions, for every parameter.

    Rounding of a loss near 1 (6e-8) over twice the step leaves about 1e-5; curvature adds some 1e-4, and a quarter of
    that at half the step.
    """
    _, named = gradients(model, x, y, sample_weight)
    rng = np.random.default_rng(5)
    for name, parameter in model.named_weights().items():
        if name not in named:
            continue
        for _ in range(probes):
            direction = rng.standard_normal(parameter.shape).astype(np.float32)
            direction /= np.linalg.norm(direction)
            before = parameter.value.copy()
            losses = []
            for sign in (1, -1):
                parameter.value[...] = before + np.float32(sign * step) * direction
                losses.append(gradients(model, x, y, sample_weight)[0])
            parameter.value[...] = before
            expected = (losses[0] - losses[1]) / (2 * step)
            actual = float(np.sum(named[name].astype(np.float64) * direction))
            assert abs(actual - expected) <= 1e-3 * max(1.0, abs(expected)), (name, actual, expected)


def ids(rng: np.random.Generator, limit: int, *shape: int) -> np.ndarray:
    return rng.integers(limit, size=shape).astype(np.int32)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def saved(folder: Path) -> Path:
    """The folder, with a small model in it."""
    x = Input((3,))
    model = Model(x, Dense(2, name="dense")(x))
    model.save(folder)
    return folder
