"""Updates and schedules beside Keras 3 and PyTorch on the same gradients; each skipped where it is not installed."""

import os
from typing import Any

import numpy as np
import pytest

import recurlm
from recurlm import optimizers
from recurlm.optimizers import schedules
from recurlm.tape import Parameter
from tests.python.models import normal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 9
SHAPES = [(4, 3), (7,)]

EMA = {"use_ema": True, "ema_momentum": 0.8}
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("Lion", {}),
    ("Lion", {"beta_1": 0.8, "beta_2": 0.95, "weight_decay": 0.1, "global_clipnorm": 1.0}),
    ("SGD", EMA),
    ("AdamW", {**EMA, "ema_overwrite_frequency": 3}),
    ("RMSprop", {**EMA, "ema_overwrite_frequency": 1}),
    ("Lion", {**EMA, "ema_overwrite_frequency": 2}),
    ("SGD", {"gradient_accumulation_steps": 3}),
    ("SGD", {"gradient_accumulation_steps": 4, "clipnorm": 0.5}),
    ("Adam", {"gradient_accumulation_steps": 2, "global_clipnorm": 0.5, "weight_decay": 0.1}),
    ("Adam", {"gradient_accumulation_steps": 2, "clipvalue": 0.1}),
    ("Adagrad", {**EMA, "gradient_accumulation_steps": 2}),
    ("Adam", {**EMA, "gradient_accumulation_steps": 3, "ema_overwrite_frequency": 2}),
]


def walk(seed: int = 3) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """Weights at the start, and the gradients of each step."""
    rng = np.random.default_rng(seed)
    return [normal(rng, *s) for s in SHAPES], [[normal(rng, *s) for s in SHAPES] for _ in range(STEPS)]


def step(optimizer: optimizers.Optimizer, parameters: list[Parameter], gradients: list[np.ndarray]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad[...] = gradient
    optimizer.apply(parameters)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_steps_are_those_of_keras(name: str, options: dict[str, Any]) -> None:
    keras = pytest.importorskip("keras", minversion="3")
    start, gradients = walk()
    theirs = getattr(keras.optimizers, name)(keras.optimizers.schedules.InverseTimeDecay(0.1, 2, 0.5), **options)
    ours = getattr(optimizers, name)(schedules.InverseTimeDecay(0.1, 2, 0.5), **options)
    variables = [keras.Variable(value) for value in start]
    parameters = [Parameter(f"p{i}", value.copy()) for i, value in enumerate(start)]
    for each in gradients:
        theirs.apply([keras.ops.convert_to_tensor(g) for g in each], variables)
        step(ours, parameters, each)
        assert ours.iterations == int(theirs.iterations)
        assert ours.learning_rate == pytest.approx(float(theirs.learning_rate), rel=1e-6)
        for parameter, variable in zip(parameters, variables, strict=True):
            np.testing.assert_allclose(parameter.value, np.asarray(variable), atol=1e-5)
    if ours.averages is not None:
        for parameter, average in zip(parameters, theirs._model_variables_moving_average, strict=True):
            np.testing.assert_allclose(ours.averages.of(parameter), np.asarray(average), atol=1e-5)
        theirs.finalize_variable_values(variables)
        ours.finalize_variable_values(parameters)
        for parameter, variable in zip(parameters, variables, strict=True):
            np.testing.assert_allclose(parameter.value, np.asarray(variable), atol=1e-5)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_training_with_averages_is_that_of_keras(swap_on_epoch: bool) -> None:
    keras = pytest.importorskip("keras", minversion="3")
    rng = np.random.default_rng(4)
    x, y, start = normal(rng, 12, 3), normal(rng, 12, 2), [normal(rng, 3, 2), normal(rng, 2)]
    results = []
    for library in (keras, recurlm):
        inputs = library.Input((3,))
        model = library.Model(inputs, library.layers.Dense(2)(inputs))
        model.set_weights(start)
        model.compile(library.optimizers.SGD(0.2, use_ema=True, ema_momentum=0.7), "mse")
        swap = library.callbacks.SwapEMAWeights(swap_on_epoch)
        options = {"validation_data": (x, y), "shuffle": False, "verbose": 0, "callbacks": [swap]}
        history = model.fit(x, y, batch_size=4, epochs=3, **options).history
        results.append((history, model.get_weights(), model.evaluate(x, y, verbose=0)))
    (their_history, their_weights, their_loss), (history, weights, loss) = results
    for name, figures in their_history.items():
        np.testing.assert_allclose(history[name], figures, atol=1e-5, err_msg=name)
    for a, b in zip(weights, their_weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert loss == pytest.approx(their_loss, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ExponentialDecay", {"initial_learning_rate": 0.5, "decay_steps": 4, "decay_rate": 0.3}),
        ("ExponentialDecay", {"initial_learning_rate": 0.5, "decay_steps": 4, "decay_rate": 0.3, "staircase": True}),
        ("PiecewiseConstantDecay", {"boundaries": [3, 8], "values": [0.5, 0.2, 0.1]}),
        ("CosineDecay", {"initial_learning_rate": 0.5, "decay_steps": 10, "alpha": 0.1}),
        ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 9, "warmup_target": 0.5, "warmup_steps": 4}),
        ("CosineDecayRestarts", {"initial_learning_rate": 0.5, "first_decay_steps": 5}),
        ("CosineDecayRestarts", {"initial_learning_rate": 0.5, "first_decay_steps": 4, "t_mul": 1.0, "m_mul": 0.7}),
        (
            "CosineDecayRestarts",
            {"initial_learning_rate": 0.5, "first_decay_steps": 3, "t_mul": 1.7, "m_mul": 0.8, "alpha": 0.2},
        ),
        ("PolynomialDecay", {"initial_learning_rate": 0.5, "decay_steps": 10}),
        ("PolynomialDecay", {"initial_learning_rate": 0.5, "decay_steps": 7, "power": 2.0, "end_learning_rate": 0.1}),
        ("PolynomialDecay", {"initial_learning_rate": 0.5, "decay_steps": 7, "power": 0.5, "cycle": True}),
        ("InverseTimeDecay", {"initial_learning_rate": 0.5, "decay_steps": 3, "decay_rate": 0.7}),
        ("InverseTimeDecay", {"initial_learning_rate": 0.5, "decay_steps": 3, "decay_rate": 0.7, "staircase": True}),
    ],
)
def test_schedules_are_those_of_keras(name: str, arguments: dict[str, Any]) -> None:
    keras = pytest.importorskip("keras", minversion="3")
    theirs = getattr(keras.optimizers.schedules, name)(**arguments)
    ours = getattr(schedules, name)(**arguments)
    for at in range(40):
        assert ours(at) == pytest.approx(float(theirs(at)), abs=1e-6), at
    again = schedules.deserialize(schedules.serialize(ours))
    assert [again(at) for at in range(40)] == [ours(at) for at in range(40)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"t0": 2},
        {"t0": 0, "lambd": 0.1, "alpha": 0.5},
        {"t0": 3, "lambd": 0.05, "weight_decay": 0.2},
    ],
)
def test_asgd_is_that_of_torch(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    start, gradients = walk()
    tensors = [torch.tensor(value, requires_grad=True) for value in start]
    parameters = [Parameter(f"p{i}", value.copy()) for i, value in enumerate(start)]
    theirs, ours = torch.optim.ASGD(tensors, lr=0.3, **options), optimizers.ASGD(0.3, **options)
    assert ours.averages is not None
    for each in gradients:
        for tensor, gradient in zip(tensors, each, strict=True):
            tensor.grad = torch.tensor(gradient)
        theirs.step()
        step(ours, parameters, each)
        for parameter, tensor in zip(parameters, tensors, strict=True):
            np.testing.assert_allclose(parameter.value, tensor.detach().numpy(), atol=1e-5)
            np.testing.assert_allclose(ours.averages.of(parameter), theirs.state[tensor]["ax"].numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"total_steps": 20},
        {"total_steps": 20, "anneal_strategy": "linear"},
        {"total_steps": 23, "pct_start": 0.45, "div_factor": 10.0, "final_div_factor": 100.0},
        {"total_steps": 21, "pct_start": 0.4, "three_phase": True, "anneal_strategy": "linear"},
        {"total_steps": 30, "three_phase": True},
        {"total_steps": 5, "pct_start": 0.1},
    ],
)
def test_one_cycle_is_that_of_torch(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    weights = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(weights, max_lr=0.5, cycle_momentum=False, **options)
    ours = schedules.OneCycle(0.5, **options)
    for at in range(options["total_steps"]):
        assert ours(at) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9), at
        weights.step()
        if at + 1 < options["total_steps"]:
            theirs.step()
    assert ours(1000) == ours(options["total_steps"] - 1)
    again = schedules.deserialize(schedules.serialize(ours))
    assert [again(at) for at in range(40)] == [ours(at) for at in range(40)]
