"""What a sequence classifier learns of a sequence: its class and, where they are known, the tags of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from ..typing import Array, Float, Ids
from .inputs import Reader, Rows


@dataclass(frozen=True)
class Targets:
    """Of as many sequences.

    Attributes:
        classes: numbers of the labels (samples,).
        tags: for each sequence those of the tags of its steps, or None.
        weights: of the classes in the loss (samples,), or None.
    """

    classes: Ids
    tags: Sequence[Ids] | None = None
    weights: Float | None = None

    def select(self, places: Array) -> Targets:
        return Targets(
            self.classes[places],
            None if self.tags is None else [self.tags[i] for i in places],
            None if self.weights is None else self.weights[places],
        )

    def batch(self, places: Array, steps: int) -> tuple[Any, ...]:
        """y, and sample weights where there are any, for rows that are padded to so many steps."""
        chosen = self.select(places)
        if chosen.tags is None:
            return (chosen.classes,) if chosen.weights is None else (chosen.classes, chosen.weights)
        tags = np.zeros((len(places), steps), np.int32)  # behind a sequence nobody looks at them
        for row, own in zip(tags, chosen.tags, strict=True):
            row[: len(own)] = own
        y = [chosen.classes, tags]
        return (y,) if chosen.weights is None else (y, [chosen.weights, np.ones_like(chosen.weights)])


def read_labels(rows: Rows, y: Any) -> Array:
    """y as an array; ValueError unless it holds a label for each row."""
    if y is None:
        raise ValueError("SequenceClassifier requires y to be passed, but the target y is None")
    labels: Array = column_or_1d(y, warn=True)
    check_consistent_length(rows, labels)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("y must hold labels, got NaN or infinity")
    check_classification_targets(labels)
    return labels


def read_tags(reader: Reader, rows: Rows, tags: Any) -> tuple[Array, list[Ids]]:
    """The tags there are, sorted, and for each row the numbers of its own, 0 where it is padding.

    Raises:
        ValueError: some step has none.
    """
    if len(tags) != len(rows):
        raise ValueError(f"tags must be given for each of {len(rows)} sequences, got {len(tags)}")
    counted = []
    for i, (row, own) in enumerate(zip(rows, tags, strict=True)):
        if isinstance(own, str) or len(own) != len(row):
            given = "one str" if isinstance(own, str) else str(len(own))
            raise ValueError(f"tags[{i}] must hold a tag for each of {len(row)} steps, got {given}")
        counted.append(np.asarray(own)[reader.counts(row)] if len(row) else np.zeros(0, np.str_))
    flat = np.concatenate([own for own in counted if own.size] or [np.zeros(0, np.str_)])
    if flat.ndim != 1 or not flat.size:
        raise ValueError("tags must hold texts or numbers, one for each step, and at least one")
    names = np.unique(flat)
    return names, [_numbers(names, own, reader.counts(row)) for own, row in zip(counted, rows, strict=True)]


def _numbers(names: Array, own: Array, counted: Array) -> Ids:
    numbers = np.zeros(len(counted), np.int32)
    numbers[counted] = np.searchsorted(names, own)
    return numbers
