"""Cross-validation of texts without leaks, for scikit-learn's ``cv=``, in NumPy alone.

A random split of a text puts next to every held-out piece the pieces that it continues, and a corpus with repeated
lines has most of its test lines in training: either makes a model look better than it is.

>>> from recurlm.text.folds import BlockedKFold
>>> [(train.tolist(), test.tolist()) for train, test in BlockedKFold(3, gap=1).split("abcdef")]
[([3, 4, 5], [0, 1]), ([0, 5], [2, 3]), ([0, 1, 2], [4, 5])]
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_integer
from ..seeding import check_seed

Places = npt.NDArray[np.int64]
Fold = tuple[Places, Places]


class _KFold(ABC):
    """``n_splits`` folds of which each is the test set once."""

    def __init__(self, n_splits: int):
        self.n_splits = check_integer("n_splits", n_splits, 2)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """The number of folds."""
        return self.n_splits

    @abstractmethod
    def split(self, X: Sequence[Any], y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Places of the training and of the test samples, ascending, fold by fold."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def _size(self, X: Sequence[Any]) -> int:
        size: int = X.shape[0] if hasattr(X, "shape") else len(X)
        if size < self.n_splits:
            raise ValueError(f"n_splits={self.n_splits} is more than there are samples: {size}")
        return size


class BlockedKFold(_KFold):
    """Contiguous blocks of what has an order: the tokens or lines of one text, windows of it, texts by date.

    The first blocks are larger by one where sizes are not even.

    Args:
        n_splits: number of blocks, at least 2.
        gap: samples before and after the held-out block that training leaves out. ``overlap_gap`` tells how many keep
            apart windows that overlap.
    """

    def __init__(self, n_splits: int = 5, gap: int = 0):
        super().__init__(n_splits)
        self.gap = check_integer("gap", gap, 0)

    def split(self, X: Sequence[Any], y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """See ``_KFold``; ValueError where there are fewer samples than blocks, or the gap leaves none to train on."""
        places = np.arange(self._size(X))
        for block in np.array_split(places, self.n_splits):
            train = places[(places < block[0] - self.gap) | (places > block[-1] + self.gap)]
            if not train.size:
                raise ValueError(f"gap={self.gap} leaves nothing to train on beside samples {block[0]} to {block[-1]}")
            yield train, block


def overlap_gap(window: int, stride: int) -> int:
    """The ``gap`` in windows of ``window`` tokens, cut every ``stride``, with which none overlaps the held-out block.

    >>> overlap_gap(window=64, stride=16)
    3
    """
    return -(-check_integer("window", window, 1) // check_integer("stride", stride, 1)) - 1


class DeduplicatedKFold(_KFold):
    """Folds of about the same size in which a text and its duplicates stay together, and with them their group.

    ``groups`` given to ``split``, such as the document of each sample, stay together too: what is linked by a chain of
    duplicates and shared groups is one. The largest of these go first, each to the fold that is smallest so far.

    Args:
        n_splits: number of folds, at least 2.
        normalize: duplicates are what this maps to equal values; None: what is equal itself.
        seed: those of one size are dealt out in an order that is a function of it; None: as they come.
    """

    def __init__(
        self,
        n_splits: int = 5,
        normalize: Callable[[Any], Any] | None = None,
        seed: int | None = None,
    ):
        super().__init__(n_splits)
        if normalize is not None and not callable(normalize):
            raise TypeError(f"normalize must be a function or None, got {normalize!r}")
        self.normalize = normalize
        self.seed = None if seed is None else check_seed(seed)

    def split(self, X: Sequence[Any], y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """See ``_KFold``; ValueError where fewer distinct samples or groups are left than folds."""
        size = self._size(X)
        keys = [_key(each if self.normalize is None else self.normalize(each)) for each in X]
        units = _codes(keys)
        if groups is not None:
            if len(groups) != size:
                raise ValueError(f"groups must have one entry for each of {size} samples, got {len(groups)}")
            units = _linked(units, _codes(_key(group) for group in groups))
        fold_of = self._deal(np.bincount(units))[units]
        places = np.arange(size)
        for fold in range(self.n_splits):
            yield places[fold_of != fold], places[fold_of == fold]

    def _deal(self, sizes: Places) -> Places:
        """The fold of each unit."""
        if len(sizes) < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} is more than there are samples or groups apart from duplicates: {len(sizes)}"
            )
        order = np.arange(len(sizes)) if self.seed is None else np.random.default_rng(self.seed).permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]
        totals, fold_of = np.zeros(self.n_splits, np.int64), np.empty(len(sizes), np.int64)
        for unit in order:
            fold_of[unit] = np.argmin(totals)
            totals[fold_of[unit]] += sizes[unit]
        return fold_of


def normalized(text: str) -> str:
    """``text`` without what rarely tells texts apart: case, width and form of characters, punctuation, spacing.

    >>> normalized("  Show me FLIGHTS, please! ")
    'show me flights please'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(" " if unicodedata.category(each)[0] == "P" else each for each in folded)
    return " ".join(kept.split())


def _key(value: Any) -> Any:
    """``value``, or what can be compared in its place: lists and arrays of ids are equal where their contents are."""
    return tuple(_key(each) for each in value) if isinstance(value, (list, tuple, np.ndarray)) else value


def _codes(keys: Iterable[Any]) -> Places:
    """A number for each key, from 0 on, the same for equal ones."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _linked(first: Places, second: Places) -> Places:
    """A number for each sample, the same for all that are linked by equal numbers in either."""
    parents = list(range(len(first)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    for codes in (first, second):
        seen: dict[int, int] = {}
        for i, code in enumerate(codes.tolist()):
            parents[root(i)] = root(seen.setdefault(code, i))
    return _codes(map(root, range(len(first))))
