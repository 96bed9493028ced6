"""Every rule against its float64 equations over several steps, all parameters in one pass."""

import dataclasses

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import optimizers
from tests.reference.cases import Float32, double, normal
from tests.reference.optimizers import Rule

RULES = [
    Rule("sgd"),
    Rule("sgd", momentum=0.9),
    Rule("sgd", momentum=0.9, nesterov=True),
    Rule("rmsprop"),
    Rule("rmsprop", momentum=0.5),
    Rule("rmsprop", rho=0.8, centered=True),
    Rule("rmsprop", momentum=0.5, centered=True),
    Rule("adagrad"),
    Rule("adam"),
    Rule("adam", beta_1=0.8, beta_2=0.99, epsilon=1e-3),
    Rule("adam", amsgrad=True),
    Rule("adam", clip_value=0.5),
    Rule("lion", beta_2=0.99),
]
SLOTS = [0, 1, 1, 1, 2, 2, 3, 1, 2, 2, 3, 2, 1]
# Around the block of 4,096 elements over which one pass is divided, and nothing at all.
SHAPES = [(1,), (7, 5), (0, 3), (4095,), (4097,), (2, 4096)]
STEPS = 3
# An element takes a handful of roundings, a division and a square root at each step.
CLOSE = 1e-6


def describe(rule: Rule) -> str:
    changed = {f.name: getattr(rule, f.name) for f in dataclasses.fields(rule) if getattr(rule, f.name) != f.default}
    return "-".join(f"{v}" if k == "kind" else f"{k}={v}" for k, v in changed.items())


NAMES = [describe(rule) for rule in RULES]


def core_rule(rule: Rule) -> _core.UpdateRule:
    return _core.UpdateRule(**dataclasses.asdict(rule))


def start(slots: int) -> tuple[list[Float32], list[list[Float32]], list[list[Float32]]]:
    """Parameters, gradients of each step, slots of zeros."""
    rng = np.random.default_rng(1)
    parameters = [normal(rng, *shape) for shape in SHAPES]
    gradients = [[normal(rng, *shape) for shape in SHAPES] for _ in range(STEPS)]
    return parameters, gradients, [[np.zeros(shape, np.float32) for _ in range(slots)] for shape in SHAPES]


@pytest.mark.parametrize(("rule", "slots"), list(zip(RULES, SLOTS, strict=True)), ids=NAMES)
def test_agrees_with_reference(rule: Rule, slots: int, isa: str, threads: int) -> None:
    core = core_rule(rule)
    assert core.slots == slots
    parameters, gradients, state = start(slots)
    expected, expected_state = [double(p) for p in parameters], [[double(s) for s in of] for of in state]
    scales = np.array([1.0, 0.5, 1.0, 0.25, 1.0, 2.0])
    decays = np.array([0.0, 0.1, 0.1, 0.0, 0.01, 0.1])
    for step in range(1, STEPS + 1):
        before = [g.copy() for g in gradients[step - 1]]
        _core.apply_update(core, step, 0.1, parameters, gradients[step - 1], state, scales, decays)
        for p64, g, s64, scale, decay in zip(expected, before, expected_state, scales, decays, strict=True):
            optimizers.apply_update(rule, step, 0.1, p64, double(g), s64, float(scale), float(decay))
        for g, untouched in zip(gradients[step - 1], before, strict=True):
            np.testing.assert_array_equal(g, untouched)
    for p, wanted in zip(parameters, expected, strict=True):
        calls.assert_close(p, wanted, CLOSE, "parameter")
    for of, wanted_of in zip(state, expected_state, strict=True):
        for k, wanted in enumerate(wanted_of):
            # Slots may be small throughout: (1 - beta_2) g² is a thousandth of a square.
            calls.assert_close(of[k], wanted, CLOSE, f"slot {k}", floor=0.0)


def test_a_late_step_of_adam_has_no_bias_correction_left(isa: str) -> None:
    rule = Rule("adam")
    p, g, m, v = (np.full(3, x, np.float32) for x in (1.0, 0.5, 0.5, 0.25))
    wanted = double(p)
    optimizers.apply_update(rule, 10**6, 0.1, wanted, double(g), [double(m), double(v)])
    _core.apply_update(core_rule(rule), 10**6, 0.1, [p], [g], [[m, v]], np.ones(1), np.zeros(1))
    calls.assert_close(p, wanted, CLOSE)
    np.testing.assert_allclose(p, 0.9, rtol=1e-5)  # m / √v is one


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_parameter_does_not_depend_on_its_neighbours(rule: Rule, isa: str) -> None:
    core = core_rule(rule)
    together, gradients, state = start(core.slots)
    alone, _, alone_state = start(core.slots)
    scales, decays = np.ones(len(SHAPES)), np.full(len(SHAPES), 0.01)
    _core.apply_update(core, 1, 0.1, together, gradients[0], state, scales, decays)
    for p, g, s in zip(alone, gradients[0], alone_state, strict=True):
        _core.apply_update(core, 1, 0.1, [p], [g], [s], scales[:1], decays[:1])
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a, b)


def test_squared_norms(isa: str, threads: int) -> None:
    rng = np.random.default_rng(2)
    gradients = [normal(rng, *shape, scale=1e3) for shape in SHAPES]
    # Squares of 24-bit numbers are exact in double; a sum of 8192 of them is not.
    np.testing.assert_allclose(
        _core.squared_norms(gradients), [(double(g) ** 2).sum() for g in gradients], rtol=8192 * 2.0**-52
    )
    assert _core.squared_norms([]).shape == (0,)
    # Beyond the range of float32 squares.
    assert _core.squared_norms([np.full(5, 1e30, np.float32)])[0] == pytest.approx(5e60, rel=1e-6)
    assert np.isnan(_core.squared_norms([np.array([1.0, np.nan], np.float32)])[0])
    assert np.isinf(_core.squared_norms([np.array([1.0, np.inf], np.float32)])[0])


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.5, 1.0])
def test_means_agree_with_reference(weight: float, isa: str, threads: int) -> None:
    values, (means, *_), _ = start(0)
    expected = [optimizers.update_mean(double(x), double(mean), weight) for x, mean in zip(values, means, strict=True)]
    before = [x.copy() for x in values]
    _core.update_means(values, means, weight)
    for x, untouched, mean, wanted in zip(values, before, means, expected, strict=True):
        np.testing.assert_array_equal(x, untouched)
        calls.assert_close(mean, wanted, CLOSE)
        if weight == 1.0:
            np.testing.assert_array_equal(mean, x)


def test_a_mean_that_is_its_value_stays(isa: str) -> None:
    (value, *_), _, _ = start(0)
    large = 1e3 * np.resize(value, 5000).astype(np.float32)
    mean = large.copy()
    _core.update_means([large], [mean], 0.01)
    np.testing.assert_array_equal(mean, large)


def test_means_of_bad_arguments() -> None:
    x, mean = np.ones(3, np.float32), np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="means must have 1 entries, not 0"):
        _core.update_means([x], [], 0.5)
    with pytest.raises(ValueError, match=r"means\[0\]"):
        _core.update_means([x], [np.zeros(4, np.float32)], 0.5)
    for weight in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="weight must be from 0 to 1"):
            _core.update_means([x], [mean], weight)
    with pytest.raises(ValueError, match="means must not name an array twice"):
        _core.update_means([x, x], [mean, mean], 0.5)
    assert not mean.any()


def test_nan_gradient_reaches_the_parameter(isa: str) -> None:
    """Clipping by value must not turn NaN into a number."""
    for rule in RULES:
        core = core_rule(rule)
        p, g = np.ones(3, np.float32), np.array([1.0, np.nan, 1.0], np.float32)
        slots = [np.zeros(3, np.float32) for _ in range(core.slots)]
        _core.apply_update(core, 1, 0.1, [p], [g], [slots], np.ones(1), np.zeros(1))
        np.testing.assert_array_equal(np.isnan(p), [False, True, False], err_msg=describe(rule))


def test_bad_arguments_and_nothing_is_written() -> None:
    rule = _core.UpdateRule("adam")
    p, g = np.ones(3, np.float32), np.ones(3, np.float32)
    m, v = np.zeros(3, np.float32), np.zeros(3, np.float32)
    one, zero = np.ones(1), np.zeros(1)
    with pytest.raises(ValueError, match="step"):
        _core.apply_update(rule, 0, 0.1, [p], [g], [[m, v]], one, zero)
    with pytest.raises(ValueError, match="gradients"):
        _core.apply_update(rule, 1, 0.1, [p], [], [[m, v]], one, zero)
    with pytest.raises(ValueError, match="gradients"):
        _core.apply_update(rule, 1, 0.1, [p], [np.ones(4, np.float32)], [[m, v]], one, zero)
    with pytest.raises(ValueError, match="slots"):
        _core.apply_update(rule, 1, 0.1, [p], [g], [[m]], one, zero)
    with pytest.raises(ValueError, match="slots"):
        _core.apply_update(rule, 1, 0.1, [p], [g], [[m, np.zeros(2, np.float32)]], one, zero)
    with pytest.raises(ValueError, match="scales"):
        _core.apply_update(rule, 1, 0.1, [p], [g], [[m, v]], np.ones(2), zero)
    with pytest.raises(ValueError, match="weight_decays"):
        _core.apply_update(rule, 1, 0.1, [p], [g], [[m, v]], one, np.zeros(0))
    with pytest.raises(TypeError, match=r"parameters.*float32"):
        _core.apply_update(rule, 1, 0.1, [np.ones(3)], [g], [[m, v]], one, zero)  # type: ignore[list-item]
    assert (p == 1.0).all()
    assert not m.any()
    assert not v.any()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("kind", {"kind": "adamw"}),
        ("momentum", {"kind": "sgd", "momentum": -0.1}),
        ("momentum", {"kind": "sgd", "momentum": 1.5}),
        ("rho", {"kind": "rmsprop", "rho": 1.5}),
        ("beta_1", {"kind": "adam", "beta_1": 1.0}),
        ("beta_2", {"kind": "adam", "beta_2": -0.5}),
        ("epsilon", {"kind": "adam", "epsilon": -1e-7}),
        ("clip_value", {"kind": "adam", "clip_value": -1.0}),
        ("clip_value", {"kind": "adam", "clip_value": float("nan")}),
    ],
)
def test_bad_hyperparameters(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=name):
        _core.UpdateRule(**arguments)  # type: ignore[arg-type]
