"""The NumPy opponent computes the same training step, so that its time may be compared."""

import numpy as np
import pytest

from bench.configs import Config, initial_weights
from bench.programs import recurlm_training
from bench.programs.numpy_training import NumpyProgram
from tests.peers.models import CELLS, CellName, batches, largest_difference, small_model


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_central_differences_of_the_loss(cell: CellName) -> None:
    config = Config("tiny", "char", 7, embedding=3, units=5, layers=2, batch=2, steps=4, cell=cell)
    program = NumpyProgram(config, [2 * weights.astype(np.float64) for weights in initial_weights(config)])
    ids, targets = np.random.default_rng(1).integers(0, 7, (2, config.batch, config.steps), dtype=np.int32)

    def loss_from_zero_state() -> float:
        for layer in program.layers:
            layer.reset_state()
        return program.loss_and_gradients(ids, targets)

    loss_from_zero_state()
    gradients = program.flat_gradients.copy()
    numeric = np.empty_like(gradients)
    delta = 1e-6
    for k, value in enumerate(program.flat_parameters.copy()):
        program.flat_parameters[k] = value + delta
        above = loss_from_zero_state()
        program.flat_parameters[k] = value - delta
        numeric[k] = (above - loss_from_zero_state()) / (2 * delta)
        program.flat_parameters[k] = value
    np.testing.assert_allclose(gradients, numeric, rtol=0, atol=1e-8)
    assert np.abs(gradients).max() > 0.1


@pytest.mark.parametrize("cell", CELLS)
def test_recurlm_follows_the_numpy_program(cell: CellName) -> None:
    config = small_model(cell)
    weights = initial_weights(config)
    ours = recurlm_training.build(config, weights, threads=2)
    theirs = NumpyProgram(config, weights).step
    losses = [(ours(ids, targets), theirs(ids, targets)) for ids, targets in batches(config, 50)]
    assert largest_difference(*zip(*losses, strict=True)) < 1e-4
    assert losses[-1][0] < losses[0][0] - 0.5
