import math
from typing import Any

import numpy as np
import pytest

import recurlm
from recurlm import Input, Model, _core, optimizers
from recurlm.layers import Dense, Embedding
from recurlm.optimizers import ASGD, SGD, Adagrad, Adam, AdamW, Lion, RMSprop, schedules
from recurlm.tape import Parameter, Tape
from tests.python.models import normal

RNG = np.random.default_rng(23)


def parameters(count: int = 2) -> list[Parameter]:
    made = [Parameter(name, normal(RNG, 4, 3)) for name in ("kernel", "bias")[:count]]
    for parameter in made:
        parameter.grad[...] = normal(RNG, 4, 3)
    return made


def adam_step(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, rate: float) -> np.ndarray:
    m += (g - m) * (1 - 0.9)
    v += (g * g - v) * (1 - 0.999)
    return p - rate * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)


def test_adam_is_the_equation() -> None:
    (parameter,) = parameters(1)
    p, m, v = parameter.value.astype(np.float64), np.zeros((4, 3)), np.zeros((4, 3))
    optimizer = Adam(0.01)
    for t in range(1, 5):
        parameter.grad[...] = normal(RNG, 4, 3)
        p = adam_step(p, parameter.grad.astype(np.float64), m, v, t, 0.01)
        optimizer.apply([parameter])
    np.testing.assert_allclose(parameter.value, p, atol=1e-6)
    np.testing.assert_allclose(optimizer.slots(parameter)[0], m, atol=1e-6)
    assert optimizer.iterations == 4


def change(optimizer: Any, made: list[Parameter]) -> list[np.ndarray]:
    before = [parameter.value.astype(np.float64) for parameter in made]
    optimizer.apply(made)
    return [start - parameter.value for start, parameter in zip(before, made, strict=True)]


def test_clipping() -> None:
    made = parameters()
    gradients = [parameter.grad.astype(np.float64) for parameter in made]
    norms = [np.linalg.norm(g) for g in gradients]
    together = math.hypot(*norms)
    expected = {
        "clipnorm": [g * min(1, 0.5 / n) for g, n in zip(gradients, norms, strict=True)],
        "global_clipnorm": [g * min(1, 0.5 / together) for g in gradients],
        "clipvalue": [np.clip(g, -0.5, 0.5) for g in gradients],
    }
    for name, clipped in expected.items():
        for step, wanted in zip(change(SGD(1.0, **{name: 0.5}), made), clipped, strict=True):
            np.testing.assert_allclose(step, wanted, atol=1e-6)
    for step, wanted in zip(change(SGD(1.0, global_clipnorm=1e6), made), gradients, strict=True):
        np.testing.assert_allclose(step, wanted, atol=1e-6)


def test_weight_decay_and_exclusion() -> None:
    made = parameters()
    for parameter in made:
        parameter.grad.fill(0)
    kernel = made[0].value.astype(np.float64)
    optimizer = SGD(0.5, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    decayed, kept = change(optimizer, made)
    np.testing.assert_allclose(decayed, 0.05 * kernel, atol=1e-6)
    assert not kept.any()
    assert AdamW().weight_decay == 0.004


def test_a_nonfinite_gradient_changes_nothing() -> None:
    made = parameters()
    made[1].grad[2, 1] = np.inf
    optimizer = Adam()
    before = [parameter.value.copy() for parameter in made]
    with pytest.raises(FloatingPointError, match=r"the gradient of bias \(4, 3\) is not finite"):
        optimizer.apply(made)
    assert optimizer.iterations == 0
    for parameter, value in zip(made, before, strict=True):
        np.testing.assert_array_equal(parameter.value, value)


def test_a_schedule_that_gives_nan_changes_nothing() -> None:
    made = parameters()
    before = [parameter.value.copy() for parameter in made]
    with pytest.raises(ValueError, match="learning rate of step 0 must be finite, the schedule gave nan"):
        SGD(lambda step: math.nan).apply(made)
    for parameter, value in zip(made, before, strict=True):
        np.testing.assert_array_equal(parameter.value, value)


def test_slots_start_as_keras_has_them() -> None:
    (parameter,) = parameters(1)
    assert [
        len(o.slots(parameter)) for o in (SGD(), SGD(momentum=0.9), RMSprop(centered=True), Adam(amsgrad=True))
    ] == [*(0, 1, 2, 3)]
    assert (Adagrad().slots(parameter)[0] == np.float32(0.1)).all()


def test_schedules_and_rates() -> None:
    decay = schedules.ExponentialDecay(1.0, 2, 0.5)
    optimizer = SGD(decay)
    made = parameters()
    rates = []
    for _ in range(3):
        rates.append(optimizer.learning_rate)
        optimizer.apply(made)
    assert rates == pytest.approx([1, 0.5**0.5, 0.5])
    with pytest.raises(TypeError, match="learning_rate is a schedule and cannot be set"):
        optimizer.learning_rate = 0.1
    fixed = SGD(0.1)
    fixed.learning_rate = 0.2
    assert fixed.learning_rate == 0.2
    steps = schedules.PiecewiseConstantDecay([2, 4], [1.0, 0.5, 0.1])
    assert [steps(i) for i in range(6)] == [1, 1, 1, 0.5, 0.5, 0.1]
    warm = schedules.CosineDecay(0.0, 10, alpha=0.1, warmup_target=1.0, warmup_steps=4)
    assert [warm(i) for i in (0, 2, 4, 9, 14, 100)] == pytest.approx([0, 0.5, 1, 0.55, 0.1, 0.1])


def test_warmup_leads_to_any_schedule() -> None:
    warm = schedules.LinearWarmup(schedules.CosineDecay(0.3, 10, alpha=0.1), 4)
    whole = schedules.CosineDecay(0.0, 10, alpha=0.1, warmup_target=0.3, warmup_steps=4)
    again = schedules.deserialize(schedules.serialize(warm))
    for step in range(20):
        assert warm(step) == pytest.approx(whole(step))
        assert again(step) == warm(step)
    constant = schedules.deserialize(schedules.serialize(schedules.LinearWarmup(0.4, 2)))
    assert [constant(step) for step in range(4)] == [0.0, 0.2, 0.4, 0.4]
    assert schedules.LinearWarmup(0.4, 0)(0) == 0.4


@pytest.mark.parametrize("name", ["SGD", "ASGD", "RMSprop", "Adagrad", "Adam", "AdamW", "Lion"])
def test_names_and_configurations(name: str) -> None:
    optimizer = optimizers.get(name.lower())
    assert type(optimizer).__name__ == name
    again = optimizers.get(optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    averaged = {} if name == "ASGD" else {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3}
    rate = schedules.LinearWarmup(schedules.CosineDecay(0.1, 5), 3)
    scheduled = type(optimizer)(rate, global_clipnorm=2.0, gradient_accumulation_steps=2, **averaged)
    config = optimizers.serialize(scheduled)
    assert optimizers.get(config).get_config() == config["config"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SGD(clipnorm=1.0, clipvalue=1.0), ValueError, "only one of clipnorm, clipvalue and global_clipnorm"),
        (lambda: Adam(global_clipnorm=-1), ValueError, "global_clipnorm must be a positive number, got -1"),
        (lambda: SGD(momentum=2), ValueError, "momentum must be from 0 to 1, not 2"),
        (lambda: SGD("fast"), ValueError, "learning_rate must be a finite number from 0 on or a schedule, got 'fast'"),
        (
            lambda: SGD(float("nan")),
            ValueError,
            "learning_rate must be a finite number from 0 on or a schedule, got nan",
        ),
        (lambda: SGD(None), ValueError, "learning_rate must be a finite number from 0 on or a schedule, got None"),
        (lambda: SGD(weight_decay=float("nan")), ValueError, "weight_decay must be a finite number from 0 on, got nan"),
        (lambda: AdamW(weight_decay=-1), ValueError, "weight_decay must be a finite number from 0 on, got -1"),
        (lambda: SGD(0.1, use_sam=True), TypeError, "SGD has no argument 'use_sam'"),
        (lambda: AdamW(momentum=0.1), TypeError, "AdamW has no argument 'momentum'"),
        (lambda: SGD(momentum="x"), TypeError, "SGD: momentum must be a number, got 'x'"),
        (lambda: Adagrad(initial_accumulator_value=math.nan), ValueError, "initial_accumulator_value must be a finite"),
        (lambda: Adam(beta_1="x"), TypeError, "Adam: beta_1 must be a number, got 'x'"),
        (lambda: optimizers.get(len), TypeError, "optimizer must be a name or an object of recurlm.optimizers, got"),
        (lambda: optimizers.get("adamax"), ValueError, "unknown optimizer 'adamax'; known are"),
        (lambda: SGD(use_ema=True, ema_momentum=1.5), ValueError, "ema_momentum must be from 0 to 1, got 1.5"),
        (lambda: SGD(ema_overwrite_frequency=0), ValueError, "ema_overwrite_frequency must be None or an integer from"),
        (
            lambda: SGD(gradient_accumulation_steps=1),
            ValueError,
            "gradient_accumulation_steps must be None or an integer from 2 on, got 1",
        ),
        (lambda: Lion(beta_1=0), ValueError, "beta_1 must be above 0"),
        (lambda: ASGD(use_ema=True), ValueError, "ASGD keeps an average of its own: use_ema cannot be set"),
        (lambda: ASGD(lambd=-1), ValueError, "lambd must be a finite number from 0 on, got -1"),
        (lambda: ASGD(alpha=math.nan), ValueError, "alpha must be a finite number from 0 on, got nan"),
        (lambda: ASGD(t0=-1), ValueError, "t0 must be None or an integer from 0 on, got -1"),
        (lambda: schedules.PolynomialDecay(0.1, 0), ValueError, "decay_steps must be positive, got 0"),
        (lambda: schedules.InverseTimeDecay(0.1, -1, 1), ValueError, "decay_steps must be positive, got -1"),
        (lambda: schedules.CosineDecayRestarts(0.1, 0), ValueError, "first_decay_steps must be positive, got 0"),
        (lambda: schedules.CosineDecayRestarts(0.1, 5, 0.5), ValueError, "t_mul must be at least 1, got 0.5"),
        (lambda: schedules.LinearWarmup(0.1, -1), ValueError, "warmup_steps must be at least 0, got -1"),
        (lambda: schedules.OneCycle(0.1, 0), ValueError, "total_steps must be positive, got 0"),
        (lambda: schedules.OneCycle(0.1, 9, 1.5), ValueError, "pct_start must be from 0 to 1, got 1.5"),
        (
            lambda: schedules.OneCycle(0.1, 9, 0.6, three_phase=True),
            ValueError,
            "pct_start must be from 0 to 0.5, got 0.6",
        ),
        (
            lambda: schedules.OneCycle(0.1, 9, anneal_strategy="exp"),
            ValueError,
            "anneal_strategy must be 'cos' or 'linear', got 'exp'",
        ),
        (lambda: schedules.PiecewiseConstantDecay([1], [1.0]), ValueError, "values must be one more than boundaries"),
        (lambda: schedules.CosineDecay(0.1, 0), ValueError, "decay_steps must be positive, got 0"),
    ],
)
def test_bad_arguments_are_named(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "sparse"),
    [
        (lambda: SGD(0.5), True),
        (lambda: SGD(0.5, weight_decay=0.1), False),
        (lambda: SGD(0.5, momentum=0.9), False),
        (lambda: Adagrad(0.5), True),
        (lambda: Adam(0.05), False),
    ],
    ids=["sgd", "decayed", "momentum", "adagrad", "adam"],
)
def test_row_sparse_gradients_change_no_result(make: Any, sparse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of which few rows are read, against the same run whose optimizer is told of no rows."""
    rng = np.random.default_rng(5)
    batches = [(rng.integers(0, 90, (2, 7), np.int32), rng.integers(0, 5, (2, 7), np.int32)) for _ in range(4)]
    update, told, weights = _core.apply_update, [], []

    def spy(*arguments: Any) -> None:
        told.append(arguments[-1] is not None and any(rows is not None for rows in arguments[-1]))
        update(*arguments)

    monkeypatch.setattr("recurlm.optimizers.base._core.apply_update", spy)
    for rows_of in (Tape.rows_of, lambda tape, parameter: None):
        monkeypatch.setattr(Tape, "rows_of", rows_of)
        recurlm.utils.set_random_seed(1)
        inputs = Input((7,), dtype="int32")
        model = Model(inputs, Dense(5, "softmax")(Embedding(90, 6)(inputs)))
        model.compile(make(), "sparse_categorical_crossentropy")
        for x, y in batches:
            model.train_on_batch(x, y)
        weights.append(model.get_weights())
    assert told == [sparse] * 4 + [False] * 4
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
