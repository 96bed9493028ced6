"""Activations: stated error bounds over the whole float range, softmax of extreme values, special values."""

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import activations, softmax
from tests.reference.cases import Float32, double, normal


def forward(name: str, x: Float32) -> Float32:
    y = calls.unwritten(*x.shape)
    _core.activation_forward(name, x, y)
    return y


@pytest.fixture(scope="module")
def sweep() -> Float32:
    """Floats of every sign and exponent, and the range where sigmoid and tanh bend more densely."""
    bits = np.arange(0, 2**32, 20011, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.concatenate([bits[np.isfinite(bits)], np.linspace(-20, 20, 100_003, dtype=np.float32)])


@pytest.mark.parametrize(("name", "bound"), [("sigmoid", 2e-7), ("tanh", 3e-7)])
def test_absolute_error(name: str, bound: float, sweep: Float32, isa: str) -> None:
    error = np.abs(forward(name, sweep) - activations.forward(name, double(sweep)))
    worst = int(error.argmax())
    assert error[worst] <= bound, f"{name}({sweep[worst]!r}) is off by {error[worst]:.3g}"


def test_gelu(sweep: Float32, isa: str) -> None:
    x = sweep[np.abs(sweep) < 1e30]
    error = np.abs(forward("gelu", x) - activations.forward("gelu", double(x))) / (1.0 + np.abs(double(x)))
    assert error.max() <= 2e-7, f"gelu({x[error.argmax()]!r}) is off by {error.max():.3g} (1 + |x|)"
    gradient = calls.unwritten(*x.shape)
    _core.activation_backward("gelu", x, np.ones_like(x), gradient)
    error = np.abs(gradient - activations.gelu_derivative(double(x)))
    assert error.max() <= 4e-7, f"the gradient of gelu at {x[error.argmax()]!r} is off by {error.max():.3g}"


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_range(name: str, sweep: Float32, isa: str) -> None:
    """A gate that leaves [0, 1], or a tanh beyond 1, would let a state grow without bound."""
    y = forward(name, sweep)
    assert y.max() <= 1.0
    assert y.min() >= (0.0 if name == "sigmoid" else -1.0)


def test_exponential(isa: str) -> None:
    """softmax([x, 0]) = [eˣ, 1] / (1 + eˣ), so the quotient of the two is eˣ after two roundings more."""
    x = np.linspace(-80, 0, 50_001, dtype=np.float32)
    y = double(forward("softmax", np.stack([x, np.zeros_like(x)], axis=1)))
    error = np.abs(y[:, 0] / y[:, 1] / np.exp(double(x)) - 1.0)
    assert error.max() <= 3e-7, f"exp({x[error.argmax()]!r}) is off by a factor of {error.max():.3g}"


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_exact(name: str, sweep: Float32, isa: str) -> None:
    np.testing.assert_array_equal(forward(name, sweep), activations.forward(name, double(sweep)))


@pytest.mark.parametrize("name", ["linear", "tanh", "sigmoid", "relu", "gelu", "softmax"])
@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (0, 3), (3, 1), (5, 17), (2, 3, 33), (300, 50)], ids=str)
def test_forward_and_backward(name: str, shape: tuple[int, ...], isa: str, threads: int) -> None:
    rng = np.random.default_rng(1)
    x, dy = normal(rng, *shape, scale=3.0), normal(rng, *shape)
    if name == "softmax" and x.size:
        expected = softmax.forward(double(x))
        gradient = softmax.backward(expected, double(dy))
    else:
        expected = activations.forward("linear" if name == "softmax" else name, double(x))
        known = double(x) if name == "gelu" else expected
        gradient = activations.backward("linear" if name == "softmax" else name, known, double(dy))
    y = forward(name, x)
    kept = x if name == "gelu" else y
    # The bounds above; softmax divides by a sum of up to 50 exponentials.
    calls.assert_close(y, expected, 5e-7)
    dx = calls.unwritten(*shape)
    _core.activation_backward(name, kept, dy, dx)
    # Twice the error of y, times |dy| of up to 4.
    calls.assert_close(dx, gradient, 4e-6)

    in_place = x.copy()
    _core.activation_forward(name, in_place, in_place)
    np.testing.assert_array_equal(in_place, y)
    in_place = dy.copy()
    _core.activation_backward(name, kept, in_place, in_place)
    np.testing.assert_array_equal(in_place, dx)


@pytest.mark.parametrize("name", ["linear", "tanh", "sigmoid", "relu", "gelu"])
def test_special_values(name: str, isa: str) -> None:
    """NaN must come through, or a training run that has gone wrong would go on unnoticed."""
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    # The atol: sigmoid ends at the smallest float that its exponential reaches, not at 0.
    np.testing.assert_allclose(forward(name, x), activations.forward(name, double(x)), rtol=0, atol=1e-37)


@pytest.mark.parametrize("position", [0, 8, 16, 18])
def test_softmax_of_nan_is_nan(position: int, isa: str) -> None:
    x = np.zeros((3, 19), np.float32)
    x[1, position] = np.nan
    y = forward("softmax", x)
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize(
    "row",
    [
        [1e4, -1e4, 0.0],
        [-1e4, -1e4 - 1.0],
        [3e38, -3e38],
        [3e38, 3e38],
        [-np.inf, 0.0, 1.0],
        [1e-40, -1e-40],
        [88.8, 88.7, -88.8],
        [5.0],
    ],
    ids=str,
)
def test_softmax_of_extreme_values(row: list[float], isa: str) -> None:
    x = np.array([row] * 3, np.float32)
    y = forward("softmax", x)
    x64 = double(x)
    shifted = np.exp(x64 - x64.max(axis=1, keepdims=True))
    np.testing.assert_allclose(y, shifted / shifted.sum(axis=1, keepdims=True), rtol=3e-7, atol=1e-38)


def test_softmax_rows_sum_to_one(isa: str) -> None:
    x = normal(np.random.default_rng(2), 9, 1000, scale=5.0)
    # 1000 roundings of terms that are themselves probabilities.
    np.testing.assert_allclose(forward("softmax", x).sum(axis=1, dtype=np.float64), 1.0, atol=2e-6)


def test_unknown_name() -> None:
    x = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"swish"):
        _core.activation_forward("swish", x, x)
    with pytest.raises(ValueError, match=r"swish"):
        _core.activation_backward("swish", x, x, x)
