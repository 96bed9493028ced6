"""Embedding: rows are copied, so forward is exact; gradients are sums in ascending order of rows, so those are too."""

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import embedding
from tests.reference.cases import double, normal


@pytest.mark.parametrize("sizes", [(0, 3, 4), (1, 1, 1), (13, 5, 7), (300, 65, 33), (40, 2, 100)], ids=str)
def test_forward_and_backward(sizes: tuple[int, int, int], isa: str, threads: int) -> None:
    rows, vocabulary, width = sizes
    rng = np.random.default_rng(1)
    ids = rng.integers(0, vocabulary, rows, dtype=np.int32)
    table, dy, before = normal(rng, vocabulary, width), normal(rng, rows, width), normal(rng, vocabulary, width)
    y = calls.unwritten(rows, width)
    _core.embedding_forward(ids, table, y)
    np.testing.assert_array_equal(y, embedding.forward(ids, double(table)))

    dtable = before.copy()
    _core.embedding_backward(ids, dy, dtable)
    sequential = before.copy()  # float32, in the order that is promised
    for r, token in enumerate(ids):
        sequential[token] += dy[r]
    np.testing.assert_array_equal(dtable, sequential)
    # n + 1 roundings of a sum of n terms of order one, n the count of the most frequent id.
    count = np.bincount(ids, minlength=1).max()
    calls.assert_close(dtable, before + embedding.backward(ids, double(dy), vocabulary), 4 * (count + 1) * calls.UNIT)


def test_zero_rows_undoes_backward_and_touches_nothing_else(isa: str) -> None:
    rng = np.random.default_rng(2)
    ids = np.array([5, 0, 5, 2], np.int32)
    table = normal(rng, 7, 3)
    others = table.copy()
    others[ids] = 0.0
    _core.zero_rows(ids, table)
    np.testing.assert_array_equal(table, others)


@pytest.mark.parametrize("bad", [-1, 7, 2**31 - 1, -(2**31)])
def test_bad_id_is_named_and_nothing_is_written(bad: int) -> None:
    ids = np.array([0, 6, bad, 1], np.int32)
    table, y = np.ones((7, 3), np.float32), np.full((4, 3), 2.0, np.float32)
    with pytest.raises(IndexError, match=rf"ids\b.*\b2\b.*{bad}"):
        _core.embedding_forward(ids, table, y)
    with pytest.raises(IndexError, match=rf"ids\b.*\b2\b.*{bad}"):
        _core.embedding_backward(ids, y, table)
    with pytest.raises(IndexError, match=rf"ids\b.*\b2\b.*{bad}"):
        _core.zero_rows(ids, table)
    assert (table == 1.0).all()
    assert (y == 2.0).all()
