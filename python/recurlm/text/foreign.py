"""A ``tokenizer.json`` of another's making, run by the ``tokenizers`` library: GPT-2's, BERT's, SentencePiece's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..typing import Ids
from .bpe import require_library
from .tokenizer import BOS, EOS, Spans, TextDecoder, Tokenizer

# Special tokens that open a text, and those that end one, under the names that are in use; GPT-2 has one for both.
_BEGINNINGS = (BOS, "<s>", "<|begin_of_text|>", "<|startoftext|>", "[CLS]", "<|endoftext|>")
_ENDS = (EOS, "</s>", "<|end_of_text|>", "<|endoftext|>", "[SEP]")

# Ids that a decoder looks back on: more than make one character, or one word whose pieces are joined.
_WINDOW = 32
_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class ForeignTokenizer(Tokenizer):
    """Any tokenizer that the ``tokenizers`` library reads and that has a special token to open texts with.

    A text is tokenized as a whole, so it is held in memory. Normalizers may lose something: a decoded text need not be
    the one that was encoded. The C library does not read such a file.

    Args:
        text: the contents of tokenizer.json; kept as they are.

    Raises:
        ImportError: ``tokenizers`` is not installed.
        ValueError: the library does not read it, or it has no special token that opens a text.
    """

    kind = "foreign"

    def __init__(self, text: str):
        library = require_library()
        try:
            self._library = library.Tokenizer.from_str(text)
        except Exception as error:  # the library raises nothing more precise
            raise ValueError(f"the tokenizers library does not read it: {error}") from None
        self._text = text
        self._library.no_truncation()
        self._library.no_padding()
        self._library.encode_special_tokens = True  # a text that spells one is a text
        names = {i: name for name, i in self._library.get_vocab(with_added_tokens=True).items()}
        self._tokens = [names.get(i, "") for i in range(max(names) + 1)]
        special = {token.content: i for i, token in self._library.get_added_tokens_decoder().items() if token.special}
        self.bos_id = _first(special, _BEGINNINGS, "opens a text")
        self._end_id = _first(special, _ENDS, "ends one") if special.keys() & set(_ENDS) else self.bos_id
        self.unknown_id = _unknown_id(json.loads(text)["model"], self._library)
        self._end_ids = tuple(sorted(set(special.values()) - {self.unknown_id}))

    @property
    def end_id(self) -> int:
        return self._end_id

    @property
    def end_ids(self) -> tuple[int, ...]:
        return self._end_ids

    @property
    def tokens(self) -> Sequence[str]:
        return self._tokens

    @property
    def trained(self) -> bool:
        return True

    def _train(self, texts: Iterable[Iterable[str]]) -> None:
        raise ValueError("a foreign tokenizer has its vocabulary, and learns no other")

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        yield np.array(self._encode("".join(chunks)).ids, np.int32)

    def _encode(self, text: str) -> Any:
        text.encode()  # surrogates are refused here, with a ValueError
        return self._library.encode(text, add_special_tokens=False)

    def _spans(self, text: str, ids: Ids) -> Spans:
        return np.array(self._encode(text).offsets, np.int64).reshape(-1, 2)

    def decoder(self, prefix: str = "") -> TextDecoder:
        return _WindowDecoder(self, self.encode(prefix).tolist())

    def text_of(self, ids: Sequence[int]) -> str:
        """What the library makes of ids of the vocabulary; special tokens have no text."""
        text: str = self._library.decode(list(ids), skip_special_tokens=True)
        return text

    def to_json(self) -> str:
        return self._text

    def _vocabulary(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self._text)
        return fields

    @classmethod
    def _from_vocabulary(cls, fields: dict[str, Any]) -> ForeignTokenizer:
        return cls(json.dumps(fields, ensure_ascii=False))

    def __reduce__(self) -> tuple[type[ForeignTokenizer], tuple[str]]:
        return ForeignTokenizer, (self._text,)


class _WindowDecoder(TextDecoder):
    """Decodes the last ids together with the new ones, and gives what has come to their text."""

    def __init__(self, tokenizer: ForeignTokenizer, before: list[int]):
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = ""
        self._keep(before)

    def decode(self, ids: Sequence[int] | Ids, final: bool = False) -> str:
        self._ids += self._tokenizer.checked(ids)
        text = self._tokenizer.text_of(self._ids)
        if text.endswith(_INCOMPLETE) and not final:
            return ""
        new = text[len(self._shown) :]
        self._keep(self._ids)
        return new

    def _keep(self, ids: list[int]) -> None:
        self._ids = ids[-_WINDOW:]
        self._shown = self._tokenizer.text_of(self._ids)


def _first(special: dict[str, int], names: Sequence[str], what: str) -> int:
    for name in names:
        if name in special:
            return special[name]
    raise ValueError(f"it has no special token that {what}: none of {', '.join(names)}")


def _unknown_id(model: dict[str, Any], library: Any) -> int | None:
    """Of what a model has no tokens for: Unigram has its id, the others its name."""
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    name = model.get("unk_token")
    found: int | None = None if name is None else library.token_to_id(name)
    return found
