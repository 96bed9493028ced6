"""csrc/bindings/text.cc: the tokenizers of the C++ runtime, which read what those of Python write."""

from ..typing import Ids

class TextTokenizer:
    def __init__(self, json: bytes) -> None:
        """From the bytes of a tokenizer.json; ValueError where it is none, or of a kind that only Python has."""

    @property
    def size(self) -> int: ...
    @property
    def bos_id(self) -> int: ...
    @property
    def end_id(self) -> int: ...
    def encode(self, text: bytes) -> Ids:
        """Ids of a text in UTF-8, without <bos>; ValueError where it has none."""

    def decode(self, ids: Ids, prefix: bytes = ...) -> list[bytes]:
        """The text of each token, behind ``prefix``, and of the end: bytes of UTF-8 that joined are the text."""
