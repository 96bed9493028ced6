"""Text to token ids and back: characters, bytes, words or, from ``bpe``, parts of words."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from ..checks import check_integer, is_integer
from ..typing import Ids
from .bpe import BPETokenizer as BPETokenizer
from .foreign import ForeignTokenizer as ForeignTokenizer
from .tokenizer import (
    BOS,
    EOS,
    FORMAT_VERSION,
    UNKNOWN,
    Spans,
    TextDecoder,
    Tokenizer,
    Utf8Decoder,
    code_points,
    field,
    spans_of_bytes,
)

_MOST_COUNTED = 1 << 20  # distinct words that are counted at a time, some 150 MB


class _JoinDecoder(TextDecoder):
    """Every id has its own text."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer

    def decode(self, ids: Sequence[int] | Ids, final: bool = False) -> str:
        tokens, bos = self._tokenizer.tokens, self._tokenizer.bos_id
        return "".join([tokens[i] for i in self._tokenizer.checked(ids) if i != bos])


class CharTokenizer(Tokenizer):
    """One token for each Unicode character of the training text, ``<bos>`` first, then in code point order.

    There is no unknown character: text with one is an error that names it, because a model that has
    never seen it has nothing to say about it.

    >>> tokenizer = CharTokenizer()
    >>> tokenizer.train(["abca"])
    >>> tokenizer.encode("cab").tolist()
    [3, 1, 2]
    """

    kind = "char"
    bos_id = 0

    def __init__(self, characters: str = ""):
        self._set(characters)

    def _set(self, characters: str) -> None:
        codes = code_points(characters)
        if np.any(np.diff(codes.astype(np.int64)) <= 0):
            raise ValueError("characters must be distinct and in code point order")
        if np.any((codes >= 0xD800) & (codes <= 0xDFFF)):
            raise ValueError("characters must not contain surrogates (U+D800 to U+DFFF), which are not characters")
        self._tokens = [BOS, *characters]
        self._lookup = np.full(
            int(codes[-1]) + 2 if codes.size else 1, -1, np.int32
        )  # the last entry: not in the vocabulary
        self._lookup[codes] = np.arange(1, codes.size + 1, dtype=np.int32)

    @property
    def tokens(self) -> Sequence[str]:
        return self._tokens

    @property
    def trained(self) -> bool:
        return len(self._tokens) > 1

    def _train(self, texts: Iterable[Iterable[str]]) -> None:
        seen: set[str] = set()
        for chunk in chain.from_iterable(texts):
            seen.update(chunk)
        if not seen:
            raise ValueError("the text is empty: there are no characters to learn")
        self._set("".join(sorted(seen)))

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        position = 0
        for chunk in chunks:
            codes = code_points(chunk)
            ids = self._lookup[np.minimum(codes, len(self._lookup) - 1)]
            if ids.size and ids.min() < 0:
                index = int(np.argmin(ids))
                raise ValueError(
                    f"character {chunk[index]!r} (U+{ord(chunk[index]):04X}) at position {position + index} is not "
                    f"among the {self.vocabulary_size - 1} characters of the vocabulary"
                )
            position += len(chunk)
            yield ids

    def _spans(self, text: str, ids: Ids) -> Spans:
        starts = np.arange(len(text))
        return np.stack([starts, starts + 1], axis=1)

    def decoder(self, prefix: str = "") -> TextDecoder:
        return _JoinDecoder(self)

    def _vocabulary(self) -> dict[str, Any]:
        return {"characters": "".join(self._tokens[1:])}

    @classmethod
    def _from_vocabulary(cls, fields: dict[str, Any]) -> CharTokenizer:
        return cls(field(fields, "characters", str))


class ByteTokenizer(Tokenizer):
    """All 256 bytes and ``<bos>`` (256): any text, in UTF-8, and any file, no training.

    >>> ByteTokenizer().encode("é").tolist()
    [195, 169]
    """

    kind = "byte"
    bos_id = 256
    errors = "surrogateescape"
    _tokens: ClassVar[Sequence[str]] = (*(chr(b) if 32 <= b < 127 else f"<0x{b:02X}>" for b in range(256)), BOS)

    @property
    def tokens(self) -> Sequence[str]:
        return self._tokens

    @property
    def trained(self) -> bool:
        return True

    def _train(self, texts: Iterable[Iterable[str]]) -> None:
        """Nothing to learn; the texts are not read."""

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        for chunk in chunks:
            yield np.frombuffer(chunk.encode("utf-8", self.errors), np.uint8).astype(np.int32)

    def _spans(self, text: str, ids: Ids) -> Spans:
        return spans_of_bytes(text, np.ones(len(ids), np.int64))

    def decoder(self, prefix: str = "") -> TextDecoder:
        return Utf8Decoder(self._bytes)

    def _bytes(self, ids: Sequence[int] | Ids) -> bytes:
        return bytes(i for i in self.checked(ids) if i != self.bos_id)

    def _vocabulary(self) -> dict[str, Any]:
        return {}

    @classmethod
    def _from_vocabulary(cls, fields: dict[str, Any]) -> ByteTokenizer:
        return cls()


_WORD = re.compile(r"\n|\S+")


class WordTokenizer(Tokenizer):
    """Words between white space, ``<eos>`` for each line end, ``<unk>`` for words outside the vocabulary.

    Decoding puts one space between words, so other spacing is lost. The words ``<unk>`` and ``<eos>`` of an
    already prepared text (Penn Treebank, WikiText) are those tokens.

    With a ``size`` the memory for counting is bounded too: whenever more than 2**20 distinct words (or eight times
    ``size``) are counted, the rarest half is forgotten, to be counted from zero when it comes again. In a text with
    more of them a word that is missed is rare, or began late.

    Args:
        size: the largest vocabulary, with its three special tokens; the most frequent words stay. None: no limit.
        minimum_count: words that occur less often become ``<unk>``.
        pattern: a regular expression that cuts each piece between white space further, for instance
            ``r"\\w+|[^\\w\\s]"`` to part punctuation from words; None keeps pieces whole.

    >>> tokenizer = WordTokenizer()
    >>> tokenizer.train(["to be or not to be"])
    >>> tokenizer.encode("to see\\n").tolist()
    [4, 1, 2]
    """

    kind = "word"
    bos_id = 0
    unknown_id = 1
    eos_id = 2
    _special = (BOS, UNKNOWN, EOS)

    def __init__(self, size: int | None = None, minimum_count: int = 1, pattern: str | None = None):
        if size is not None and (not is_integer(size) or size < len(self._special) + 1):
            least = f"{len(self._special) + 1} on ({', '.join(self._special)} and a word)"
            raise ValueError(f"size must be an integer from {least}, got {size!r}")
        minimum_count = check_integer("minimum_count", minimum_count, 1)
        try:
            self._pattern = None if pattern is None else re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"pattern must be a regular expression, got {pattern!r}: {error}") from None
        self.size, self.minimum_count, self.pattern = size, minimum_count, pattern
        self._set([])

    def _set(self, words: Sequence[str]) -> None:
        self._tokens = [*self._special, *words]
        self._ids = {word: i for i, word in enumerate(self._tokens) if word != BOS}
        if len(self._ids) != len(self._tokens) - 1:
            raise ValueError("words must be distinct")

    @property
    def end_id(self) -> int:
        return self.eos_id

    @property
    def tokens(self) -> Sequence[str]:
        return self._tokens

    @property
    def trained(self) -> bool:
        return len(self._tokens) > len(self._special)

    def _train(self, texts: Iterable[Iterable[str]]) -> None:
        counts: Counter[str] = Counter()
        for words in chain.from_iterable(map(self._words, texts)):
            counts.update(words)
            if self.size is not None and len(counts) > max(_MOST_COUNTED, 8 * self.size):
                counts = _frequent_half(counts)
        for special in self._special:
            counts.pop(special, None)
        # Equal counts in order of spelling: the vocabulary does not depend on where the chunks were cut.
        ranked = sorted((w for w, n in counts.items() if n >= self.minimum_count), key=lambda w: (-counts[w], w))
        if not ranked:
            pattern = "" if self.pattern is None else f" and matches the pattern {self.pattern!r}"
            raise ValueError(f"the text has no word that occurs {self.minimum_count} times or more{pattern}")
        self._set(ranked if self.size is None else ranked[: self.size - len(self._special)])

    def _words(self, chunks: Iterable[str]) -> Iterator[list[str]]:
        """The words of each chunk, line ends as ``<eos>``; a word that the end may have cut waits for the next."""
        word: list[str] = []  # pieces of the word that the chunks so far end in
        for chunk in filter(None, chunks):
            tail = "" if chunk[-1].isspace() else chunk.rsplit(None, 1)[-1]
            if len(tail) < len(chunk):
                yield self._split("".join([*word, chunk[: len(chunk) - len(tail)]]))
                word.clear()
            word.append(tail)
        yield self._split("".join(word))

    def _split(self, text: str) -> list[str]:
        words = text.replace("\n", f" {EOS} ").split()
        if self._pattern is None:
            return words
        return [piece for word in words for piece in self._pieces(self._pattern, word)]

    def _pieces(self, pattern: re.Pattern[str], word: str) -> list[str]:
        if word in self._special:
            return [word]
        return [match.group() for match in pattern.finditer(word) if match.group()]

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        for words in self._words(chunks):
            ids = (self._ids.get(word, self.unknown_id) for word in words)
            yield np.fromiter(ids, np.int32, len(words))

    def _spans(self, text: str, ids: Ids) -> Spans:
        spans = [span for word in _WORD.finditer(text) for span in self._spans_within(word)]
        return np.array(spans, np.int64).reshape(-1, 2)

    def _spans_within(self, word: re.Match[str]) -> list[tuple[int, int]]:
        if self._pattern is None or word.group() in (*self._special, "\n"):
            return [word.span()]
        pieces = self._pattern.finditer(word.group())
        return [(word.start() + p.start(), word.start() + p.end()) for p in pieces if p.group()]

    def decoder(self, prefix: str = "") -> TextDecoder:
        return _WordDecoder(self, glued=not prefix or prefix[-1].isspace())

    def _vocabulary(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "minimum_count": self.minimum_count,
            "pattern": self.pattern,
            "words": self._tokens[len(self._special) :],
        }

    @classmethod
    def _from_vocabulary(cls, fields: dict[str, Any]) -> WordTokenizer:
        size, pattern = field(fields, "size", int, None), field(fields, "pattern", str, None)
        tokenizer = cls(size, field(fields, "minimum_count", int), pattern)
        words = field(fields, "words", list)
        if not all(isinstance(word, str) for word in words):
            raise ValueError("words must be a list of strings")
        tokenizer._set(words)
        return tokenizer


def _frequent_half(counts: Counter[str]) -> Counter[str]:
    """The more frequent half; of equals those that came first."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return Counter(dict(ranked[: len(ranked) // 2]))


class _WordDecoder(TextDecoder):
    """Spaces go before a word, never after it, so that nothing trails at the end of a line."""

    def __init__(self, tokenizer: WordTokenizer, glued: bool):
        self._tokenizer = tokenizer
        self._glued = glued

    def decode(self, ids: Sequence[int] | Ids, final: bool = False) -> str:
        pieces = []
        for i in self._tokenizer.checked(ids):
            if i == self._tokenizer.eos_id:
                pieces.append("\n")
                self._glued = True
            elif i != self._tokenizer.bos_id:
                pieces.append(self._tokenizer.tokens[i] if self._glued else " " + self._tokenizer.tokens[i])
                self._glued = False
        return "".join(pieces)


_CLASSES: tuple[type[Tokenizer], ...] = (CharTokenizer, ByteTokenizer, WordTokenizer, BPETokenizer)
KINDS = {cls.kind: cls for cls in _CLASSES}


def get(tokenizer: str | Tokenizer) -> Tokenizer:
    """A tokenizer by its kind, the one in a ``tokenizer.json``, or the tokenizer itself."""
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    if isinstance(tokenizer, str) and tokenizer.endswith(".json"):
        return from_file(tokenizer)
    if tokenizer not in KINDS:
        kinds = ", ".join(KINDS)
        raise ValueError(f"tokenizer must be one of {kinds}, a tokenizer.json or a Tokenizer, got {tokenizer!r}")
    return KINDS[tokenizer]()


def from_file(path: str) -> Tokenizer:
    """The tokenizer in a ``tokenizer.json``, of recurlm or of any that the ``tokenizers`` library reads.

    Raises:
        ValueError: it is none, which names the file.
    """
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        return from_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is no tokenizer: {error}") from None


def _opens_as_ours(fields: dict[str, Any]) -> bool:
    """Whether ``<bos>`` is the first of the special tokens, as of every vocabulary that recurlm has written."""
    added = fields.get("added_tokens")
    first = added[0] if isinstance(added, list) and added else None
    return isinstance(first, dict) and (first.get("id"), first.get("content")) == (0, BOS)


def from_json(text: str) -> Tokenizer:
    """The tokenizer whose ``to_json`` gave ``text``, or a ``ForeignTokenizer``.

    Raises:
        ValueError: the text is not JSON, or a field is missing, unknown or of the wrong type.
    """
    try:
        fields = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(fields, dict):
        raise ValueError("expected a JSON object")
    if "model" in fields:
        return BPETokenizer._from_vocabulary(fields) if _opens_as_ours(fields) else ForeignTokenizer(text)
    version, kind = field(fields, "format_version", int), field(fields, "kind", str)
    if version != FORMAT_VERSION:
        raise ValueError(f"format_version is {version}, this version of recurlm reads {FORMAT_VERSION}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    tokenizer = KINDS[kind]._from_vocabulary(fields)
    unknown = fields.keys() - {"format_version", "kind"} - tokenizer._vocabulary().keys()
    if unknown:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    return tokenizer
