"""Gradients of which only some rows are not zero: the others are neither read nor changed, with the same result."""

import numpy as np
import pytest

from recurlm import _core
from tests.reference.cases import Float32, Int32, normal

# Rows wider and narrower than the 4,096 elements at which work is divided, and one that divides nothing evenly.
TABLES = [(50, 3), (40, 333), (9, 5000)]
RULES = [_core.UpdateRule("sgd"), _core.UpdateRule("sgd", clip_value=0.01), _core.UpdateRule("adagrad")]


def sparse_gradient(shape: tuple[int, int], seed: int) -> tuple[Int32, Float32]:
    rng = np.random.default_rng(seed)
    rows = rng.permutation(shape[0])[: shape[0] // 3].astype(np.int32)
    gradient = np.zeros(shape, np.float32)
    gradient[rows] = normal(rng, len(rows), shape[1])
    return rows, gradient


@pytest.mark.parametrize("rule", RULES, ids=["sgd", "clipped", "adagrad"])
def test_updates_equal_dense_ones(rule: _core.UpdateRule, isa: str, threads: int) -> None:
    rng = np.random.default_rng(1)
    values = [normal(rng, *shape) for shape in TABLES] + [normal(rng, 7)]
    lists, gradients = map(list, zip(*(sparse_gradient(shape, i) for i, shape in enumerate(TABLES)), strict=True))
    gradients.append(normal(rng, 7))
    results = []
    for rows in (None, [*lists, None]):
        parameters = [value.copy() for value in values]
        slots = [[np.full_like(value, 0.1) for _ in range(rule.slots)] for value in values]
        _core.apply_update(rule, 1, 0.1, parameters, gradients, slots, np.full(4, 0.5), np.zeros(4), rows)
        results.append(parameters + [slot for of in slots for slot in of])
    for dense, sparse, before in zip(results[0], results[1], values, strict=False):
        assert (dense != before).any()
        np.testing.assert_array_equal(sparse, dense)


def test_other_rows_are_not_touched(isa: str) -> None:
    """What no row names may be anything, even NaN."""
    rows = np.array([4, 1], np.int32)
    value, gradient = np.ones((6, 700), np.float32), np.full((6, 700), np.nan, np.float32)
    gradient[rows] = 2.0
    _core.apply_update(_core.UpdateRule("sgd"), 1, 0.25, [value], [gradient], [[]], np.ones(1), np.zeros(1), [rows])
    np.testing.assert_array_equal(value, np.where(np.isin(np.arange(6), rows), 0.5, 1.0)[:, None].repeat(700, 1))
    assert _core.squared_norms([gradient], [rows]) == [4.0 * 1400]


def test_norms(isa: str) -> None:
    lists, gradients = zip(*(sparse_gradient(shape, i) for i, shape in enumerate(TABLES)), strict=True)
    # The same squares in double, in another order.
    np.testing.assert_allclose(_core.squared_norms(gradients, lists), _core.squared_norms(gradients), rtol=1e-12)
    empty = np.empty(0, np.int32)
    np.testing.assert_array_equal(_core.squared_norms(gradients[:1], [empty]), [0.0])


def test_norms_do_not_depend_on_threads() -> None:
    rows, gradient = sparse_gradient((3000, 1000), 1)
    before, results = _core.get_num_threads(), []
    for threads in (1, 2, 7):
        _core.set_num_threads(threads)
        results.append(_core.squared_norms([gradient], [rows])[0])
    _core.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_bad_rows() -> None:
    table, vector = np.zeros((5, 2), np.float32), np.zeros((), np.float32)
    with pytest.raises(IndexError, match=r"rows\[0\]\[1\] is 5"):
        _core.squared_norms([table], [np.array([0, 5], np.int32)])
    with pytest.raises(ValueError, match=r"rows\[0\] must not name a row twice"):
        _core.squared_norms([table], [np.array([3, 0, 3], np.int32)])
    with pytest.raises(ValueError, match="rows must have 1 entries"):
        _core.squared_norms([table], [])
    with pytest.raises(TypeError, match=r"rows\[0\].*int32"):
        _core.squared_norms([table], [np.array([0])])
    with pytest.raises(ValueError, match=r"rows\[0\] must be None"):
        _core.squared_norms([vector], [np.array([0], np.int32)])
