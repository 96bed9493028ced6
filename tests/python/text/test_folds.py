from typing import Any

import numpy as np
import pytest

from recurlm.text.folds import BlockedKFold, DeduplicatedKFold, normalized, overlap_gap


@pytest.mark.parametrize("size", [3, 10, 17])
def test_blocks_are_contiguous_and_cover_all_once(size: int) -> None:
    blocks = [test for _, test in BlockedKFold(3).split(range(size))]
    assert np.concatenate(blocks).tolist() == list(range(size))
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


def test_a_gap_is_left_out_on_both_sides() -> None:
    for train, test in BlockedKFold(5, gap=2).split(np.zeros((40, 7))):
        distances = np.abs(train[:, None] - test[None, :])
        assert distances.min() == 3
        outside = {place for place in range(40) if not test[0] - 2 <= place <= test[-1] + 2}
        assert set(train.tolist()) == outside


@pytest.mark.parametrize(("window", "stride"), [(8, 8), (8, 4), (8, 3), (5, 9), (1, 1)])
def test_no_window_overlaps_the_held_out_block(window: int, stride: int) -> None:
    starts = np.arange(0, 300, stride)
    gap = overlap_gap(window, stride)
    for train, test in BlockedKFold(4, gap=gap).split(starts):
        tokens = [{*range(start, start + window)} for start in starts]
        held_out = set().union(*(tokens[place] for place in test))
        assert all(tokens[place].isdisjoint(held_out) for place in train)
        if gap:  # and none is left out that could stay
            neighbour = test[-1] + gap
            assert neighbour >= len(starts) or not tokens[neighbour].isdisjoint(held_out)


def test_duplicates_share_a_fold() -> None:
    rng = np.random.default_rng(0)
    texts = [f"text {i}" for i in rng.integers(60, size=200)]
    seen: list[int] = []
    for train, test in DeduplicatedKFold(4, seed=1).split(texts):
        assert {texts[place] for place in train}.isdisjoint({texts[place] for place in test})
        assert len(train) + len(test) == 200
        assert 45 <= len(test) <= 55
        seen += test.tolist()
    assert sorted(seen) == list(range(200))


def test_duplicates_after_normalization_share_a_fold() -> None:
    texts = ["Show me flights.", "one", "two", "three", "show  me FLIGHTS", "four"]
    together = [{0, 4} <= set(test.tolist()) for _, test in DeduplicatedKFold(3, normalize=normalized).split(texts)]
    assert sorted(together) == [False, False, True]
    apart = [{0, 4} <= set(test.tolist()) for _, test in DeduplicatedKFold(6).split(texts)]
    assert not any(apart)


def test_groups_and_duplicates_are_linked() -> None:
    """Documents a and b share a text, b and c another: all three are one, however long the chain is."""
    texts = ["x", "s", "s", "t", "t", "y", "z", "w"]
    groups = ["a", "a", "b", "b", "c", "c", "d", "e"]
    folds = [set(test.tolist()) for _, test in DeduplicatedKFold(3).split(texts, groups=groups)]
    assert folds == [{0, 1, 2, 3, 4, 5}, {6}, {7}]


def test_large_groups_go_first() -> None:
    """In the order they come, the group of six would be dealt to a fold that has two already."""
    groups = list("abcdeeeeeeff")
    sizes = [len(test) for _, test in DeduplicatedKFold(2).split(range(12), groups=groups)]
    assert sizes == [6, 6]


@pytest.mark.parametrize("texts", [[[1, 2], [1], [1, 2], [2]], [np.array([1, 2]), np.array([1]), [1, 2], [2]]])
def test_sequences_of_ids_are_compared_by_content(texts: list[Any]) -> None:
    folds = [set(test.tolist()) for _, test in DeduplicatedKFold(2).split(texts)]
    assert folds == [{0, 2}, {1, 3}]


def test_the_deal_is_a_function_of_the_seed() -> None:
    def folds(seed: int | None) -> list[list[int]]:
        return [test.tolist() for _, test in DeduplicatedKFold(3, seed=seed).split(list(range(30)))]

    assert folds(1) == folds(1)
    assert folds(1) != folds(2)
    assert folds(None)[0] == list(range(0, 30, 3))


def test_normalized() -> None:
    assert normalized("ＦＵＬＬ-width ﬁne\tStraße?") == "full width fine strasse"


@pytest.mark.parametrize(
    ("make", "texts", "groups", "sentence"),
    [
        (lambda: BlockedKFold(1), "abc", None, "n_splits must be an integer from 2 on, got 1"),
        (lambda: BlockedKFold(2, gap=-1), "abc", None, "gap must be an integer from 0 on, got -1"),
        (lambda: BlockedKFold(4), "abc", None, "n_splits=4 is more than there are samples: 3"),
        (lambda: BlockedKFold(2, gap=3), "abcd", None, "gap=3 leaves nothing to train on beside samples 0 to 1"),
        (lambda: DeduplicatedKFold(2), ["a", "a"], None, "more than there are samples or groups apart from duplic"),
        (lambda: DeduplicatedKFold(2), ["a", "b"], [1], "groups must have one entry for each of 2 samples, got 1"),
        (lambda: DeduplicatedKFold(2, seed=-1), "ab", None, "seed must be an integer from 0"),
        (lambda: DeduplicatedKFold(2, normalize="lower"), "ab", None, "normalize must be a function or None"),
    ],
)
def test_bad_input(make: Any, texts: Any, groups: Any, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError), match=sentence):
        list(make().split(texts, groups=groups))


def test_scikit_learn_takes_them() -> None:
    pytest.importorskip("sklearn")
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import GridSearchCV, cross_val_score

    X, y = np.arange(20)[:, None], np.arange(20) % 2
    for cv in (BlockedKFold(4, gap=1), DeduplicatedKFold(4)):
        assert len(cross_val_score(DummyClassifier(), X, y, cv=cv)) == 4
        search = GridSearchCV(DummyClassifier(), {"strategy": ["prior"]}, cv=cv).fit(X, y)
        assert search.n_splits_ == 4
        assert type(cv).__name__ in repr(search)
