"""Layer normalisation: against the equations, whatever the sizes and threads; the same bits for a row alone."""

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import layer_norm, numeric
from tests.reference.cases import Float32, double, normal

EPSILON = 1e-3
SIZES = [(0, 3), (3, 0), (1, 1), (3, 7), (64, 16), (65, 33), (200, 130), (700, 1000)]


def run(
    x: Float32, gamma: Float32 | None, beta: Float32 | None, dy: Float32, start: Float32 | None = None
) -> dict[str, Float32]:
    """Output and gradients; parameters' are added to ``start`` where it is given."""
    y, statistics, dx = calls.unwritten(*x.shape), calls.unwritten(len(x), 2), calls.unwritten(*x.shape)
    _core.layer_norm_forward(x, gamma, beta, EPSILON, y, statistics)
    dgamma, dbeta = (calls.unwritten(x.shape[1]) if start is None else start.copy() for _ in range(2))
    workspace = _core.Workspace()
    _core.layer_norm_backward(x, gamma, statistics, dy, dx, dgamma, dbeta, workspace, accumulate=start is not None)
    return {"y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "plain"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_forward_and_backward(sizes: tuple[int, int], weighted: bool, isa: str, threads: int) -> None:
    rng = np.random.default_rng(1)
    rows, width = sizes
    x, dy = normal(rng, rows, width) + np.float32(2), normal(rng, rows, width)
    gamma, beta = (normal(rng, width), normal(rng, width)) if weighted else (None, None)
    actual = run(x, gamma, beta, dy)
    if not x.size:
        assert not actual["dgamma"].any()
        return
    scale = np.ones(width) if gamma is None else double(gamma)
    shift = np.zeros(width) if beta is None else double(beta)
    # A mean of 2 costs two digits of the difference; rows of one element are all difference.
    calls.assert_close(actual["y"], layer_norm.forward(double(x), scale, shift, EPSILON), 5e-6)
    expected = layer_norm.backward(double(x), scale, EPSILON, double(dy))
    for name, gradient in zip(("dx", "dgamma", "dbeta"), expected, strict=True):
        calls.assert_close(actual[name], gradient, 1e-5, name)
    in_place = dy.copy()
    statistics, y = calls.unwritten(rows, 2), calls.unwritten(rows, width)
    _core.layer_norm_forward(x, gamma, beta, EPSILON, y, statistics)
    _core.layer_norm_backward(x, gamma, statistics, in_place, in_place, None, None, _core.Workspace())
    np.testing.assert_array_equal(in_place, actual["dx"])


def test_accumulate(isa: str) -> None:
    rng = np.random.default_rng(2)
    x, gamma, dy, start = normal(rng, 130, 9), normal(rng, 9), normal(rng, 130, 9), normal(rng, 9)
    fresh, added = run(x, gamma, None, dy), run(x, gamma, None, dy, start)
    for name in ("dgamma", "dbeta"):
        np.testing.assert_allclose(added[name], start + fresh[name], rtol=0, atol=2e-5)


def test_a_batch_equals_its_rows_and_threads_do_not_matter(isa: str) -> None:
    rng = np.random.default_rng(3)
    x, gamma, beta, dy = normal(rng, 3000, 97), normal(rng, 97), normal(rng, 97), normal(rng, 3000, 97)
    before, results = _core.get_num_threads(), []
    for count in (1, 2, 7):
        _core.set_num_threads(count)
        results.append(run(x, gamma, beta, dy))
    _core.set_num_threads(before)
    for other in results[1:]:
        for name, array in other.items():
            np.testing.assert_array_equal(array, results[0][name], err_msg=name)
    for row in (0, 63, 64, 2999):
        alone = run(x[row : row + 1], gamma, beta, dy[row : row + 1])
        for name in ("y", "dx"):
            np.testing.assert_array_equal(alone[name][0], results[0][name][row], err_msg=name)


def test_gradients_of_the_reference() -> None:
    rng = np.random.default_rng(4)
    x, gamma, beta, dy = (rng.standard_normal(shape) for shape in ((3, 5), (5,), (5,), (3, 5)))

    def total() -> float:
        return float((dy * layer_norm.forward(x, gamma, beta, EPSILON)).sum())

    for array, gradient in zip((x, gamma, beta), layer_norm.backward(x, gamma, EPSILON, dy), strict=True):
        np.testing.assert_allclose(gradient, numeric.gradient(total, array), rtol=1e-8, atol=1e-8)


def test_nan_stays_in_its_row(isa: str) -> None:
    x = normal(np.random.default_rng(5), 3, 19)
    x[1, 18] = np.nan
    y = run(x, None, None, x)["y"]
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[[0, 2]]).all()


def test_the_workspace_grows_once(threads: int) -> None:
    x, statistics = normal(np.random.default_rng(6), 700, 33), np.ones((700, 2), np.float32)
    workspace, growths = _core.Workspace(), []
    for rows in (700, 5, 700, 300):
        dx = calls.unwritten(rows, 33)
        _core.layer_norm_backward(x[:rows], None, statistics[:rows], x[:rows], dx, None, None, workspace)
        growths.append(workspace.growths)
    assert growths[0] > 0
    assert len(set(growths)) == 1
