"""What a sequence classifier reads: texts, sequences of ids, or arrays of numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import validate_data

from ..checks import is_integer
from ..layers import Embedding, Input
from ..text import tokenizers
from ..text.tokenizer import Tokenizer
from ..typing import Array, Float, Ids

Rows = Sequence[Array]


class Reader(ABC):
    """How X becomes rows, one array for each sample, and rows a batch."""

    kind: ClassVar[str]
    unknown_id: int | None = None  # stands in training for ids that were dropped

    @abstractmethod
    def read(self, estimator: Any, X: Any) -> Rows:
        """The rows of X; TypeError or ValueError where it is not of this kind."""

    @abstractmethod
    def stack(self, rows: Rows, extra: int) -> Array:
        """One array of rows; those of ids are padded to the longest, and by ``extra`` steps more."""

    @abstractmethod
    def counts(self, row: Array) -> Array:
        """Which steps of a row are no padding."""

    @abstractmethod
    def entry(self, embedding_dim: int) -> tuple[Any, Any]:
        """The input of a network, and the sequence of vectors (B, T, D) for its first layer."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""


class _IdReader(Reader):
    """Ids from 1 on, of which the last stands for what is unknown; 0 is padding."""

    size: int

    def stack(self, rows: Rows, extra: int) -> Ids:
        lengths = np.array([len(row) for row in rows])
        batch = np.zeros((len(rows), max(1, lengths.max()) + extra), np.int32)
        batch[np.arange(batch.shape[1]) < lengths[:, None]] = np.concatenate(rows)
        return batch

    def counts(self, row: Array) -> Array:
        return np.not_equal(row, 0)

    def entry(self, embedding_dim: int) -> tuple[Any, Any]:
        ids = Input((None,), dtype="int32", name="ids")
        return ids, Embedding(self.size, embedding_dim, mask_zero=True, name="embedding")(ids)


class TextReader(_IdReader):
    """Texts, by a tokenizer that has its vocabulary."""

    kind = "text"

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.unknown_id = 1 + (tokenizer.vocabulary_size if tokenizer.unknown_id is None else tokenizer.unknown_id)
        self.size = max(tokenizer.vocabulary_size, self.unknown_id) + 1

    def read(self, estimator: Any, X: Any) -> Rows:
        if isinstance(X, str):
            raise TypeError("X must be a list of texts, got one str")
        rows = []
        for i, text in enumerate(X):
            if not isinstance(text, str):
                raise TypeError(f"X must hold texts, as in fit, got {type(text).__name__} at {i}")
            try:
                rows.append(self.tokenizer.encode(text) + np.int32(1))
            except ValueError as error:
                raise ValueError(f"X[{i}]: {error}") from None
        return rows

    def config(self) -> dict[str, Any]:
        return {}  # the tokenizer has a file of its own


class IdReader(_IdReader):
    """Sequences of ids below ``limit``; those beyond are unknown."""

    kind = "ids"

    def __init__(self, limit: int):
        self.limit = self.unknown_id = limit
        self.size = limit + 1

    def read(self, estimator: Any, X: Any) -> Rows:
        rows = read_ids(X)
        return [np.minimum(row, self.limit).astype(np.int32) for row in rows]

    def config(self) -> dict[str, Any]:
        return {"limit": self.limit}


class NumberReader(Reader):
    """An array (samples, time) of numbers, or (samples, time, width) of vectors."""

    kind = "numbers"

    def __init__(self, width: int):
        self.width = width

    def read(self, estimator: Any, X: Any) -> Rows:
        values = read_numbers(estimator, X, reset=False)
        if values.shape[2] != self.width:
            raise ValueError(f"X must have vectors of width {self.width}, as in fit, got {values.shape[2]}")
        return list(values)

    def stack(self, rows: Rows, extra: int) -> Float:
        return np.stack(rows)

    def counts(self, row: Array) -> Array:
        return np.ones(len(row), np.bool_)

    def entry(self, embedding_dim: int) -> tuple[Any, Any]:
        numbers = Input((None, self.width), name="numbers")
        return numbers, numbers

    def config(self) -> dict[str, Any]:
        return {"width": self.width}


KINDS: dict[str, type[Reader]] = {cls.kind: cls for cls in (TextReader, IdReader, NumberReader)}


def learn(estimator: Any, X: Any, tokenizer: str | Tokenizer) -> tuple[Reader, Rows]:
    """A reader for what X holds, and its rows; a tokenizer without a vocabulary learns it here."""
    if isinstance(X, str):
        raise TypeError("X must be a list of texts or sequences, got one str")
    if isinstance(X, (list, tuple)) and not X:
        raise ValueError("X must hold at least one sequence, got none")
    reader: Reader
    if _holds_texts(X):
        learned = tokenizers.get(tokenizer)
        if not learned.trained:
            learned.train(map(str, X))
        reader = TextReader(learned)
        return reader, reader.read(estimator, X)
    if _holds_ids(X):
        ids = read_ids(X)
        reader = IdReader(max((int(row.max()) for row in ids if row.size), default=0) + 1)
        return reader, ids
    numbers = read_numbers(estimator, X, reset=True)
    return NumberReader(numbers.shape[2]), list(numbers)


def _holds_texts(X: Any) -> bool:
    listed = isinstance(X, (list, tuple)) or getattr(X, "ndim", 0) == 1
    return listed and len(X) > 0 and isinstance(next(iter(X)), str)


def _holds_ids(X: Any) -> bool:
    X = _unwrapped(X)
    if isinstance(X, np.ndarray) and X.dtype != object:
        return X.ndim == 2 and X.dtype.kind in "iu"
    if not isinstance(X, (list, tuple, np.ndarray)):
        return False
    rows = [row for row in X if isinstance(row, (list, tuple, np.ndarray)) and np.ndim(row) == 1]
    if len(rows) < len(X) or not any(len(row) for row in rows):
        return False
    return all(is_integer(value) for row in rows for value in row)


def _unwrapped(X: Any) -> Any:
    """The array in a data frame or the like."""
    return np.asarray(X) if hasattr(X, "__array__") else X


def read_ids(X: Any) -> list[Ids]:
    """X as arrays of ids; TypeError or ValueError unless each is a sequence of integers from 0 on."""
    rows = []
    for i, row in enumerate(_unwrapped(X)):
        ids = np.asarray(row)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise TypeError(f"X must hold sequences of integer ids, got {type(row).__name__} at {i}")
        if ids.size and not 0 <= ids.min() <= ids.max() < 2**31 - 1:
            raise ValueError(f"X must hold ids from 0 (padding) to 2**31 - 2, got {ids.min()} to {ids.max()} at {i}")
        rows.append(ids.astype(np.int32))
    return rows


def read_numbers(estimator: Any, X: Any, reset: bool) -> Float:
    """X as (samples, time, width); ``reset`` takes the number of columns from it, else it must be the same."""
    values = validate_data(estimator, X, reset=reset, dtype=np.float32, allow_nd=True, order="C")
    if values.ndim > 3:
        raise ValueError(f"X must have shape (samples, time) or (samples, time, width), got {values.shape}")
    array: Float = values[..., None] if values.ndim == 2 else values
    return array
