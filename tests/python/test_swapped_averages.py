"""Weights that are written, and averages that are asked for, while averages stand in the weights' place."""

import numpy as np

from recurlm.optimizers import SGD

from .test_averaging import batches, train, untied


def test_what_is_set_while_averages_stand_in_is_set_in_the_weights() -> None:
    model = untied(SGD(0.0, use_ema=True))
    train(model, batches(2, 90, 3))
    model.optimizer.use_averages(model.trainable_weights)
    model.set_weights([np.full_like(weight, 7) for weight in model.get_weights()])
    train(model, batches(1, 90, 3))
    assert all((weight == 7).all() for weight in model.get_weights())


def test_averages_that_stood_in_before_a_context_stand_in_after_it() -> None:
    model = untied(SGD(0.5, use_ema=True))
    train(model, batches(3, 90, 3))
    model.optimizer.use_averages(model.trainable_weights)
    averages = model.get_weights()
    with model.averaged_weights():
        pass
    for now, then in zip(model.get_weights(), averages, strict=True):
        np.testing.assert_array_equal(now, then)
