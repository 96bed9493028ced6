"""Batches from arrays, and from iterables of batches."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np

from .checks import check_integer
from .heads import Target
from .seeding import permutation
from .typing import Array


class Names(NamedTuple):
    """Names of a model's inputs and outputs, in order."""

    inputs: list[str]
    outputs: list[str]


class Batch(NamedTuple):
    """Arrays for every input; targets for every output, or none."""

    x: list[Array]
    targets: list[Target]

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.x[0])


def arrays_of(value: Any, names: list[str], what: str) -> list[Array]:
    """One array for each name, from an array, a list of them or a dict by name."""
    if isinstance(value, Mapping):
        missing = [name for name in names if name not in value]
        if missing or len(value) != len(names):
            raise ValueError(f"{what} must be a dict with the keys {names}, got {list(value)}")
        parts = [value[name] for name in names]
    elif len(names) > 1:
        if not isinstance(value, (list, tuple)) or len(value) != len(names):
            got = f"{len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__
            raise ValueError(f"{what} must be a list of {len(names)} arrays ({', '.join(names)}), got {got}")
        parts = list(value)
    else:
        single = isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], np.ndarray)
        parts = [value[0] if single else value]
    try:
        return [np.asarray(part) for part in parts]
    except ValueError as error:
        raise ValueError(f"{what} cannot be made an array: {error}") from None


def make_batch(names: Names, x: Any, y: Any, sample_weight: Any, class_weight: Mapping[int, float] | None) -> Batch:
    """Check that everything has the same number of samples, and combine the weights."""
    inputs = arrays_of(x, names.inputs, "x")
    sizes = {len(array) if array.ndim else 0 for array in inputs}
    targets: list[Target] = []
    if y is not None:
        labels = arrays_of(y, names.outputs, "y")
        weights: Sequence[Array | None] = [None] * len(labels)
        if sample_weight is not None:
            listed = isinstance(sample_weight, (list, tuple, Mapping)) and len(names.outputs) > 1
            spread = sample_weight if listed else [sample_weight] * len(labels)
            weights = (
                arrays_of(spread, names.outputs, "sample_weight") if len(labels) > 1 else [np.asarray(sample_weight)]
            )
        if class_weight is not None:
            if len(labels) > 1:
                raise ValueError("class_weight needs a model with one output; use sample_weight")
            weights = [_with_class_weight(labels[0], weights[0], class_weight)]
        targets = [Target(label, weight) for label, weight in zip(labels, weights, strict=True)]
        sizes |= {len(label) if label.ndim else 0 for label in labels}
        sizes |= {len(weight) if weight.ndim else 0 for weight in weights if weight is not None}
    if len(sizes) > 1:
        raise ValueError(f"x, y and sample_weight must have the same number of samples, got {sorted(sizes)}")
    return Batch(inputs, targets)


def _with_class_weight(y: Array, weight: Array | None, class_weight: Mapping[int, float]) -> Array:
    integral = y.dtype.kind in "iub"
    if not integral and y.ndim > 1 and y.shape[-1] > 1:
        ids = np.argmax(y, axis=-1)
    else:
        ids = (y[..., 0] if y.ndim > 1 and y.shape[-1] == 1 else y).astype(np.int64)
    by_class = np.ones(ids.shape, np.float32)
    for label, value in class_weight.items():
        by_class[ids == label] = value
    if weight is None:
        return by_class
    return by_class * weight.reshape(weight.shape + (1,) * (by_class.ndim - weight.ndim))


class ArrayBatches:
    """Slices of arrays, in order or shuffled by (seed, epoch); ``first`` is the user's number of the first sample."""

    def __init__(self, whole: Batch, batch_size: int, steps: int | None, shuffle: bool, first: int = 0) -> None:
        if whole.size == 0:
            raise ValueError("x must hold at least one sample, got none")
        self.whole = whole
        self.batch_size = check_integer("batch_size", batch_size, 1)
        available = math.ceil(whole.size / batch_size)
        self.steps: int | None = available if steps is None else min(steps, available)
        self.shuffle = shuffle
        self.first = first

    def numbers(self, epoch: int, step: int, seed: int) -> Array:
        """Which samples of the user's data a batch consists of."""
        order = self._order(epoch, seed)
        order = np.arange(self.whole.size) if order is None else order
        return order[step * self.batch_size : (step + 1) * self.batch_size] + self.first

    def _order(self, epoch: int, seed: int) -> Array | None:
        return permutation(seed, epoch, self.whole.size) if self.shuffle else None

    def epoch(self, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        """The batches of an epoch from number ``start`` on."""
        order = self._order(epoch, seed)
        for step in range(start, self.steps or 0):
            piece: Any = slice(step * self.batch_size, (step + 1) * self.batch_size)
            if order is not None:
                piece = order[piece]
            yield select(self.whole, piece)


def select(batch: Batch, piece: Any) -> Batch:
    """Some samples of a batch."""
    targets = [Target(y[piece], None if weight is None else weight[piece]) for y, weight in batch.targets]
    return Batch([array[piece] for array in batch.x], targets)


class IterableBatches:
    """Batches made by someone else: tuples (x,), (x, y) or (x, y, sample_weight)."""

    def __init__(
        self, names: Names, iterable: Iterable[Any], steps: int | None, class_weight: Mapping[int, float] | None
    ) -> None:
        length = getattr(iterable, "__len__", None)
        self.names = names
        self.iterable = iterable
        self.limit = steps
        self.steps = steps if steps is not None or length is None else int(length())
        self.class_weight = class_weight
        self._ahead: Iterator[Any] | None = None  # what is left of an epoch that was resumed

    def numbers(self, epoch: int, step: int, seed: int) -> None:
        """Nobody knows."""

    def skip(self, epochs: int, steps: int) -> None:
        """Pass over batches that were done before an interruption, an iterator's of earlier epochs too."""
        earlier = epochs * (self.limit or 0) if isinstance(self.iterable, Iterator) else 0
        self._ahead = iter(self.iterable)
        next(islice(self._ahead, earlier + steps, earlier + steps), None)

    def epoch(self, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        """The batches of an epoch; the iterable itself begins at number ``start``, unless ``skip`` has gone there."""
        count = start
        source, self._ahead = self._ahead or iter(self.iterable), None
        for item in islice(source, None if self.limit is None else self.limit - start):
            yield make_batch(self.names, *parts_of(item), self.class_weight)
            count += 1
        if count == 0 and self.limit != 0:
            raise ValueError(
                f"the data has no batch for epoch {epoch + 1}: it is empty, or an iterator that has ended (give one "
                "that goes on, with the number of steps, or an object that can be iterated afresh)"
            )
        if self.limit is not None and count < self.limit:
            warnings.warn(f"the data ended after {count} of {self.limit} steps", RuntimeWarning, stacklevel=2)


Batches = ArrayBatches | IterableBatches


def is_array_like(x: Any) -> bool:
    """Whether x holds samples rather than yields batches."""
    return isinstance(x, (np.ndarray, list, tuple, Mapping)) or hasattr(x, "__array__")


def parts_of(item: Any) -> tuple[Any, Any, Any]:
    """x, y and sample_weight of a batch that an iterable gave, None for what it lacks."""
    parts = item if isinstance(item, tuple) else (item,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(f"batches must be (x, y) or (x, y, sample_weight), got a tuple of {len(parts)}")
    return (*parts, None, None)[:3]


def peek(data: Any) -> tuple[Any, Any]:
    """The inputs of the first batch, and data that still begins with it; (None, data) where there is none."""
    if is_array_like(data) or not isinstance(data, Iterable):
        return data, data
    for first in data:
        # An iterator has moved on; anything else begins again.
        return parts_of(first)[0], chain([first], data) if isinstance(data, Iterator) else data
    return None, data


def batches_of(
    names: Names,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    steps: int | None = None,
    class_weight: Mapping[int, float] | None = None,
    shuffle: bool = False,
) -> Batches:
    """Whatever ``fit`` and its like accept as data."""
    if is_array_like(x):
        whole = make_batch(names, x, y, sample_weight, class_weight)
        return ArrayBatches(whole, 32 if batch_size is None else batch_size, steps, shuffle)
    if not isinstance(x, Iterable):
        raise TypeError(
            f"x must be an array, a list or dict of arrays, or an iterable of batches, got {type(x).__name__}"
        )
    if y is not None or sample_weight is not None:
        raise ValueError("y and sample_weight must come with x in the batches of an iterable")
    if batch_size is not None:
        raise ValueError("batch_size cannot be given with an iterable, whose batches are already made")
    return IterableBatches(names, x, steps, class_weight)
