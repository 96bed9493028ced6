import math

import numpy as np
import pytest

from recurlm import _core, initializers
from recurlm.seeding import permutation, temporary_seed
from recurlm.utils import set_random_seed

SHAPE = (200, 300)
LIMITS = {"glorot": (200 + 300) / 2, "he": 200 / 2, "lecun": 200}


@pytest.mark.parametrize("family", LIMITS)
@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_variance_scaling(family: str, kind: str) -> None:
    values = initializers.get(f"{family}_{kind}")(SHAPE)
    variance = 1 / LIMITS[family]
    assert values.dtype == np.float32
    assert values.var() == pytest.approx(variance, rel=0.03)
    assert abs(values.mean()) < 4 * math.sqrt(variance / values.size)
    bound = math.sqrt(3 * variance) if kind == "uniform" else 2 * math.sqrt(variance) / 0.8796
    assert np.abs(values).max() == pytest.approx(bound, rel=0.01)


@pytest.mark.parametrize("shape", [(40, 40), (12, 48), (48, 12), (1, 4), (2, 3, 8), (300, 300)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = initializers.Orthogonal(gain=2.0, seed=3)(shape).reshape(-1, shape[-1]) / 2
    rows, columns = matrix.shape
    product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    np.testing.assert_allclose(product, np.eye(min(rows, columns)), atol=1e-5)
    assert not np.array_equal(matrix, initializers.Orthogonal(seed=4)(shape).reshape(-1, shape[-1]))
    with pytest.raises(ValueError, match=r"at least two dimensions, got \(3,\)"):
        initializers.Orthogonal()((3,))


def test_identity() -> None:
    np.testing.assert_array_equal(initializers.get("identity")((3, 3)), np.eye(3))
    np.testing.assert_array_equal(initializers.Identity(0.5)((2, 4)), 0.5 * np.eye(2, 4))
    with pytest.raises(ValueError, match=r"two dimensions, got \(3,\)"):
        initializers.Identity()((3,))


def test_orthogonal_matrices_are_spread_evenly() -> None:
    # For Haar's measure the entries of an n x n matrix have variance 1/n and the trace has variance 1.
    traces = np.array([np.trace(initializers.Orthogonal(seed=i)((8, 8))) for i in range(400)])
    assert abs(traces.mean()) < 0.2
    assert traces.var() == pytest.approx(1, abs=0.25)


def test_orthogonal_does_not_depend_on_threads(threads: int) -> None:
    drawn = initializers.Orthogonal(seed=1)((64, 256))
    _core.set_num_threads(1)
    np.testing.assert_array_equal(drawn, initializers.Orthogonal(seed=1)((64, 256)))


def test_simple_ones_and_names() -> None:
    assert (initializers.get("ones")((2,)) == 1).all()
    assert not initializers.get("Zeros")((2,)).any()
    assert (initializers.Constant(2.5)((2,)) == 2.5).all()
    assert np.abs(initializers.get("uniform")(SHAPE)).max() <= 0.05
    assert initializers.RandomNormal(1.0, 0.1)(SHAPE).mean() == pytest.approx(1, abs=0.01)
    assert np.abs(initializers.TruncatedNormal(0.0, 0.1)(SHAPE)).max() <= 0.2
    assert initializers.get(lambda shape: np.full(shape, 3))((1,))[0] == 3
    with pytest.raises(ValueError, match="unknown initializer 'ones_like'"):
        initializers.get("ones_like")


@pytest.mark.parametrize("name", ["GlorotUniform", "Orthogonal", "RandomNormal", "VarianceScaling", "Constant"])
def test_configurations(name: str) -> None:
    made = initializers.get({"class_name": name, "config": {}})
    again = initializers.get(initializers.serialize(made))
    assert vars(again) == vars(made)


def test_orders_of_epochs() -> None:
    orders = [permutation(seed, epoch, 20).tolist() for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[0] == permutation(1, 0, 20).tolist()


def test_seeds() -> None:
    draw = initializers.GlorotUniform()
    set_random_seed(5)
    first, second = draw((3, 3)), draw((3, 3))
    assert not np.array_equal(first, second)
    with temporary_seed(9):
        apart = draw((3, 3))
    set_random_seed(5)
    np.testing.assert_array_equal(draw((3, 3)), first)
    with temporary_seed(9):
        np.testing.assert_array_equal(draw((3, 3)), apart)
    np.testing.assert_array_equal(draw((3, 3)), second)
    own = initializers.GlorotUniform(seed=1)
    np.testing.assert_array_equal(own((3, 3)), own((3, 3)))
    with pytest.raises(ValueError, match=r"seed must be an integer from 0 to 2\*\*63 - 1, got -1"):
        set_random_seed(-1)
