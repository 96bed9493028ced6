"""Byte-pair encoding (Sennrich et al., 2016) on bytes (Radford et al., 2019), by the ``tokenizers`` library."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, ClassVar

import numpy as np

from ..checks import check_integer, is_integer
from ..extras import needing
from ..typing import Ids
from .tokenizer import BOS, EOS, UNKNOWN, Spans, TextDecoder, Tokenizer, Utf8Decoder, field, spans_of_bytes

_SPECIAL = (BOS, UNKNOWN, EOS)

# Characters of a piece, and pieces that are encoded in one call: enough for the library's threads, and bounded memory.
_PIECE, _PIECES = 1 << 14, 64

# Words of the library begin with a space or a line end that follows something else, and are never matched across it.
_BORDER = re.compile(r"\S(?=[ \n])")

_BAD_BYTES = re.compile(r"([\udc80-\udcff]+)")


def _alphabet() -> dict[int, str]:
    """The character that stands for each byte in a vocabulary: itself if it is visible, else one from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


_CHARACTERS = _alphabet()
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}

# How a text is cut into the words within which bytes are merged: letters (all that is not ASCII is one), digits, other
# characters, each with a space before them, and white space. On bytes that is a table of 128 entries, in any language.
_WORDS = (
    r" ?[^\x00-@\[-`{-\x7F]+"
    r"| ?[0-9]+"
    r"| ?[\x00-\x08\x0E-\x1F!-/:-@\[-`{-\x7F]+"
    r"|[\t-\r ]+(?![^\t-\r ])"
    r"|[\t-\r ]+"
)
_ASCII_WORDS = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": _WORDS}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}
# As GPT-2 does it, by classes of Unicode: so earlier versions did, whose vocabularies go on with it.
_UNICODE_WORDS = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

_Merges = list[tuple[str, str]]


class BPETokenizer(Tokenizer):
    """Frequent sequences of bytes within a word and the space before it; any text, and any file, round-trips.

    ``tokenizer.json`` is the schema of the ``tokenizers`` library, whose ``Tokenizer.from_file`` opens it. The special
    tokens are ``<bos>``, ``<unk>`` and ``<eos>``, which no text gives, not even one that spells them: bytes leave
    nothing unknown, so ``<unk>`` is only what blank noise puts in a token's place.

    Args:
        size: the largest vocabulary, with three special tokens and 256 bytes; the most frequent merges stay.
        minimum_count: pairs that occur less often are not merged.

    Raises:
        ImportError: ``tokenizers`` is not installed; only training and encoding need it.

    >>> tokenizer = BPETokenizer(size=265)
    >>> tokenizer.train(["hello hello world"])
    >>> [tokenizer.tokens[i] for i in tokenizer.encode("hello you")]
    ['hello', ' ', 'y', 'o', 'u']
    """

    kind = "bpe"
    bos_id = 0
    unknown_id = 1
    eos_id = 2
    errors = "surrogateescape"
    _smallest: ClassVar[int] = len(_SPECIAL) + len(_CHARACTERS)

    def __init__(self, size: int = 8192, minimum_count: int = 2):
        if not is_integer(size) or size < self._smallest:
            raise ValueError(
                f"size must be an integer from {self._smallest} on ({len(_SPECIAL)} special tokens and 256 bytes), "
                f"got {size!r}"
            )
        self.size, self.minimum_count = int(size), check_integer("minimum_count", minimum_count, 1)
        self._set([])
        self._merges = None
        self._words: dict[str, Any] = _ASCII_WORDS

    _merges: _Merges | None
    _encoder: Any

    def _set(self, merges: _Merges) -> None:
        """Take these merges, most frequent first; they are all that makes one vocabulary differ from another."""
        merged = dict.fromkeys(left + right for left, right in merges)
        self._entries = [*_SPECIAL, *sorted(_BYTES), *merged]
        specials = [b""] * len(_SPECIAL)
        self._token_bytes = [*specials, *(bytes(map(_BYTES.__getitem__, e)) for e in self._entries[len(_SPECIAL) :])]
        self._tokens = [*_SPECIAL, *map(_readable, self._token_bytes[len(_SPECIAL) :])]
        self._merges, self._encoder = merges, None

    @property
    def end_id(self) -> int:
        return self.eos_id

    @property
    def end_ids(self) -> tuple[int, ...]:
        return (self.bos_id, self.eos_id)

    @property
    def tokens(self) -> Sequence[str]:
        return self._tokens

    @property
    def trained(self) -> bool:
        return self._merges is not None

    def _train(self, texts: Iterable[Iterable[str]]) -> None:
        library = require_library()
        trainer = library.trainers.BpeTrainer(
            vocab_size=self.size,
            min_frequency=self.minimum_count,
            special_tokens=list(_SPECIAL),
            initial_alphabet=sorted(_BYTES),
            show_progress=False,
        )
        self._words = _ASCII_WORDS
        tokenizer = _byte_level(library, library.models.BPE(), self._words)
        pieces = chain.from_iterable(map(_pieces, texts))
        parts = (part for piece in pieces for part in _BAD_BYTES.split(piece)[::2])
        first = next(filter(None, parts), None)
        if first is None:
            raise ValueError("the text is empty: there is nothing to learn")
        tokenizer.train_from_iterator(chain([first], parts), trainer)
        self._set(_merges_of(json.loads(tokenizer.to_str())["model"]))

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Encode text that comes in chunks, in pieces that start with a space or line end after something else.

        Only there can a text be cut without another tokenisation; what has no such place is held in memory as a whole.
        """
        pieces = _pieces(chunks)
        while group := list(islice(pieces, _PIECES)):
            yield self._encode_pieces(group)

    def _encode_pieces(self, pieces: Sequence[str]) -> Ids:
        for piece in pieces:
            piece.encode("utf-8", self.errors)  # surrogates that stand for no byte are refused here
        if self._encoder is None:
            self._encoder = self._make_encoder()
        parts = [part for piece in pieces for part in _BAD_BYTES.split(piece)]
        texts = [part for part in parts if not _BAD_BYTES.match(part)]
        encodings = iter(self._encoder.encode_batch(texts, add_special_tokens=False))
        ids = [self._ids_of_bytes(part) if _BAD_BYTES.match(part) else next(encodings).ids for part in parts]
        return np.concatenate([np.array(each, np.int32) for each in ids])

    def _ids_of_bytes(self, text: str) -> Ids:
        data = text.encode("utf-8", self.errors)
        return np.array([self._entries.index(_CHARACTERS[byte]) for byte in data], np.int32)

    def _make_encoder(self) -> Any:
        """The library's tokenizer without special tokens, which it would find in a text that spells them."""
        library = require_library()
        ids = {entry: i for i, entry in enumerate(self._entries)}
        return _byte_level(library, library.models.BPE(ids, self._merges), self._words)

    def _spans(self, text: str, ids: Ids) -> Spans:
        return spans_of_bytes(text, np.array([len(self._token_bytes[i]) for i in ids.tolist()], np.int64))

    def decode_bytes(self, ids: Sequence[int] | Ids) -> bytes:
        """The bytes of ids, UTF-8 or not; special tokens have none."""
        return b"".join(self._token_bytes[i] for i in self.checked(ids))

    def decoder(self, prefix: str = "") -> TextDecoder:
        return Utf8Decoder(self.decode_bytes)

    def to_json(self) -> str:
        if self._merges is None:
            raise ValueError("the bpe tokenizer has no vocabulary yet: call train, or fit a model with it")
        return json.dumps(self._vocabulary(), ensure_ascii=False, indent=1) + "\n"

    def _vocabulary(self) -> dict[str, Any]:
        """All of the schema, written here, so that one vocabulary is one file with every version of the library."""
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": i, "content": token, **flags} for i, token in enumerate(_SPECIAL)],
            "normalizer": None,
            "pre_tokenizer": self._words,
            "post_processor": None,
            "decoder": _UNICODE_WORDS,  # where it decodes, what cuts words is not asked
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": {entry: i for i, entry in enumerate(self._entries)},
                "merges": [" ".join(pair) for pair in self._merges or ()],
            },
        }

    @classmethod
    def _from_vocabulary(cls, fields: dict[str, Any]) -> BPETokenizer:
        merges = _merges_of(field(fields, "model", dict))
        tokenizer = cls(max(cls._smallest, len(field(fields["model"], "vocab", dict))))
        tokenizer._set(merges)
        if fields.get("pre_tokenizer") == _UNICODE_WORDS:
            tokenizer._words = _UNICODE_WORDS
        found, expected = fields | {"model": dict(fields["model"])}, tokenizer._vocabulary()
        found["model"]["merges"] = expected["model"]["merges"]
        if found["model"].pop("ignore_merges", False) is not False:  # of newer versions of the library
            raise ValueError("ignore_merges must be false")
        for part, whole in ((found["model"], expected["model"]), (found, expected)):
            for name in part.keys() | whole.keys():
                if name not in part or name not in whole or part[name] != whole[name]:
                    raise ValueError(f"{name!r} is not what a byte-level BPE tokenizer of recurlm has")
        return tokenizer


def _readable(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in data)


def require_library() -> Any:
    """``tokenizers``; ImportError where it is not installed."""
    with needing("bpe", "the bpe tokenizer"):
        import tokenizers
    return tokenizers


def _byte_level(library: Any, model: Any, words: dict[str, Any]) -> Any:
    """A tokenizer of the library that sees bytes, and a space as the first byte of the word that it precedes."""
    make, tokenizer = library.pre_tokenizers, library.Tokenizer(model)
    if words == _UNICODE_WORDS:
        tokenizer.pre_tokenizer = make.ByteLevel(add_prefix_space=False)
    else:
        split = make.Split(library.Regex(_WORDS), "isolated")
        tokenizer.pre_tokenizer = make.Sequence([split, make.ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer


def _merges_of(model: dict[str, Any]) -> _Merges:
    """The merges of a BPE model, as pairs or, as older versions of the library write them, with a space between."""
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in field(model, "merges", list)]
    seen = set(_BYTES)
    for i, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(e, str) and e in seen for e in pair):
            raise ValueError(f"merges[{i}] must join two tokens that bytes and earlier merges give, got {pair!r}")
        seen.add("".join(pair))
    return [(left, right) for left, right in pairs]


def _pieces(chunks: Iterable[str]) -> Iterator[str]:
    """The same text, cut at borders of words only, into pieces of about ``_PIECE`` characters."""
    text, searched = "", 0
    for chunk in chunks:
        text += chunk
        start = 0
        while border := _BORDER.search(text, max(start + _PIECE, searched)):
            yield text[start : border.end()]
            start = border.end()
        text = text[start:]
        searched = max(len(text) - 1, 0)
    if text:
        yield text
