"""What a sequence classifier learns of a sequence: its class and, where they are known, the tags of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from ..checks import is_integer
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


def read_tags(reader: Reader, rows: Rows, tags: Any, known: Array | None = None) -> tuple[Array, list[Ids]]:
    """The tags there are, sorted, or those that are ``known``, and for each row the numbers of its own, 0 of padding.

    Raises:
        TypeError, ValueError: some step has none, or one that is not known, or they are neither texts nor integers.
    """
    if not hasattr(tags, "__len__"):
        raise TypeError(f"tags must be a list of tags for each sequence, got {tags!r}")
    if len(tags) != len(rows):
        raise ValueError(f"tags must be given for each of {len(rows)} sequences, got {len(tags)}")
    counted = [reader.counts(row) for row in rows]
    listed = [_listed(i, own, len(row)) for i, (own, row) in enumerate(zip(tags, rows, strict=True))]
    if len({isinstance(tag, str) for own in listed for tag in own}) > 1:
        raise TypeError("tags must be all texts or all integers")
    if known is None:
        given = chain.from_iterable(compress(own, counts) for own, counts in zip(listed, counted, strict=True))
        known = np.array(sorted(set(given)))
    if not known.size:
        raise ValueError("tags must be given for at least one step")
    number_of = {tag: number for number, tag in enumerate(known.tolist())}
    return known, [_numbers(number_of, own, counts) for own, counts in zip(listed, counted, strict=True)]


def _listed(i: int, own: Any, steps: int) -> list[Any]:
    if not isinstance(own, (Sequence, np.ndarray)) or isinstance(own, (str, bytes)):
        raise TypeError(f"tags[{i}] must be a sequence of tags, got {type(own).__name__}")
    if len(own) != steps:
        raise ValueError(f"tags[{i}] must hold a tag for each of {steps} steps of X[{i}], got {len(own)}")
    for tag in own:
        if not (isinstance(tag, str) or (is_integer(tag) and -(2**63) <= tag < 2**63)):
            raise TypeError(f"tags[{i}] must hold texts or integers of 64 bits, got {tag!r}")
    return [tag if isinstance(tag, str) else int(tag) for tag in own]


def _numbers(number_of: dict[Any, int], own: list[Any], counted: Array) -> Ids:
    for tag in compress(own, counted):
        if tag not in number_of:
            raise ValueError(f"the tag {tag!r} is none of those that fit was given")
    return np.array([number_of[tag] if counts else 0 for tag, counts in zip(own, counted, strict=True)], np.int32)
