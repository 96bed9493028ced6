"""What every tokenizer is: a vocabulary, and the ways from text to token ids and back.

Every vocabulary holds ``<bos>``, which opens a text and is never drawn in generation. Text comes as an iterable of
chunks, cut anywhere, so that no corpus has to fit in memory; the chunks give the same ids as their concatenation.
"""

from __future__ import annotations

import codecs
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..typing import Ids

BOS = "<bos>"
EOS = "<eos>"
UNKNOWN = "<unk>"
FORMAT_VERSION = 1

Spans = npt.NDArray[np.int64]


class TextDecoder(ABC):
    """Ids to text, a piece at a time; the pieces joined are the text that one call would give."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | Ids, final: bool = False) -> str:
        """Text that ``ids`` complete; ``final`` also releases what was held back, such as half a UTF-8 character."""


class Utf8Decoder(TextDecoder):
    """Holds back the bytes of a character until its last one has come; ``to_bytes`` tells the bytes of ids."""

    def __init__(self, to_bytes: Callable[[Sequence[int] | Ids], bytes]):
        self._to_bytes = to_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def decode(self, ids: Sequence[int] | Ids, final: bool = False) -> str:
        return self._utf8.decode(self._to_bytes(ids), final)


class Tokenizer(ABC):
    """A vocabulary and the two ways through it.

    Attributes:
        kind: the name under which it is saved and asked for: ``"char"``, ``"byte"``, ``"word"`` or ``"bpe"``.
        bos_id: the id that opens every text.
        unknown_id: the id of what is not in the vocabulary, or None where there is none.
        errors: what becomes of bytes in a file that are not UTF-8, as ``bytes.decode`` and ``str.encode`` take it.
        end_id: the id that ends a text: ``<eos>`` for words and BPE, else the ``<bos>`` of the text that follows.
        end_ids: the ids that stand for no text and part texts; one text has none of them but its opening ``<bos>``.
    """

    kind: ClassVar[str]
    bos_id: int
    unknown_id: int | None = None
    errors: ClassVar[str] = "strict"

    @property
    def end_id(self) -> int:
        return self.bos_id

    @property
    def end_ids(self) -> tuple[int, ...]:
        return (self.bos_id,)

    @property
    @abstractmethod
    def tokens(self) -> Sequence[str]:
        """The readable name of every id, in order."""

    @property
    def vocabulary_size(self) -> int:
        return len(self.tokens)

    @property
    @abstractmethod
    def trained(self) -> bool:
        """Whether there is a vocabulary; without one, only ``train`` may be called."""

    def train(self, texts: Iterable[str | Iterable[str]]) -> None:
        """Take the vocabulary from texts, each a str or, where it is too long for one, its chunks, cut anywhere."""
        if isinstance(texts, str):
            raise TypeError("texts must be a list of texts, got one str")
        self._train([text] if isinstance(text, str) else text for text in texts)

    @abstractmethod
    def _train(self, texts: Iterable[Iterable[str]]) -> None:
        """``train`` on texts in chunks."""

    @abstractmethod
    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Encode text that comes in chunks, holding no more than a chunk and a word in memory."""

    @abstractmethod
    def _spans(self, text: str, ids: Ids) -> Spans:
        """Where in ``text`` its ``ids`` are; see ``encode_with_offsets``."""

    @abstractmethod
    def decoder(self, prefix: str = "") -> TextDecoder:
        """A decoder of what comes after the text ``prefix``."""

    @abstractmethod
    def _vocabulary(self) -> dict[str, Any]:
        """The fields of ``tokenizer.json`` besides format_version and kind."""

    @classmethod
    @abstractmethod
    def _from_vocabulary(cls, fields: dict[str, Any]) -> Tokenizer: ...

    def encode(self, text: str) -> Ids:
        """Ids of a text, int32 of shape (tokens,); ``<bos>`` is not added.

        Raises:
            ValueError: a character is not in the vocabulary (characters only; unknown words become ``<unk>``).
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {type(text).__name__}")
        parts = list(self.encode_chunks([text]))
        return np.concatenate(parts) if parts else np.empty(0, np.int32)

    def encode_with_offsets(self, text: str) -> tuple[Ids, Spans]:
        """``encode(text)`` and, int64 of shape (tokens, 2), where each token starts and ends: ``text[start:end]``.

        Offsets count characters. A token of some bytes of a character has those of the whole character.
        """
        ids = self.encode(text)
        return ids, self._spans(text, ids)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The text of ids. ``<bos>`` has none; bytes that are not UTF-8 become U+FFFD.

        Raises:
            IndexError: an id is negative or not below ``vocabulary_size``.
        """
        return self.decoder().decode(ids, final=True)

    def to_json(self) -> str:
        """The contents of ``tokenizer.json``."""
        if not self.trained:
            raise ValueError(f"the {self.kind} tokenizer has no vocabulary yet: call train, or fit a model with it")
        fields = {"format_version": FORMAT_VERSION, "kind": self.kind, **self._vocabulary()}
        return json.dumps(fields, ensure_ascii=False, indent=1) + "\n"

    def checked(self, ids: Sequence[int] | Ids) -> list[int]:
        """``ids`` as a list, every one of the vocabulary."""
        array = np.asarray(ids)
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers, got {array.dtype}")
        if array.ndim != 1:
            raise TypeError(f"ids must be a sequence, got an array of shape {array.shape}")
        checked: list[int] = array.tolist()
        if checked and not (min(checked) >= 0 and max(checked) < self.vocabulary_size):
            place = next(i for i, each in enumerate(checked) if not 0 <= each < self.vocabulary_size)
            raise IndexError(f"ids[{place}] is {checked[place]}, expected 0 <= id < {self.vocabulary_size}")
        return checked


def code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def spans_of_bytes(text: str, lengths: npt.NDArray[np.int64]) -> Spans:
    """The characters, (tokens, 2), of tokens that are so many bytes of ``text``, one after the other."""
    codes = code_points(text)
    widths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    widths[(codes >= 0xDC80) & (codes <= 0xDCFF)] = 1  # a byte that is not UTF-8, as "surrogateescape" has it
    characters = np.repeat(np.arange(codes.size), widths)  # of each byte
    ends = np.cumsum(lengths)
    return np.stack([characters[ends - lengths], characters[ends - 1] + 1], axis=1).astype(np.int64)


def field(fields: dict[str, Any], name: str, *kinds: type | None) -> Any:
    """``fields[name]``, of one of ``kinds`` (None: null is allowed)."""
    if name not in fields:
        raise ValueError(f"field {name!r} is missing")
    value = fields[name]
    if not any(value is None if kind is None else type(value) is kind for kind in kinds):
        expected = " or ".join("null" if kind is None else kind.__name__ for kind in kinds)
        raise ValueError(f"field {name!r} must be {expected}, got {type(value).__name__}")
    return value


def encode_named(tokenizer: Tokenizer, text: str, name: str) -> Ids:
    """Ids of ``text``; an error says which argument it was."""
    try:
        return tokenizer.encode(text)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
