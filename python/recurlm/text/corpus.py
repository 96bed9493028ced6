"""Texts as token ids on disk: read in chunks, written once, mapped; a corpus may be larger than memory.

The ids of a corpus are one array: the tokens of all files, one after the other, or those of each text of a list
followed by its end, which is ``<bos>`` (of words and BPE ``<eos> <bos>``). The ``<bos>`` that opens a stream is not in
it.
"""

from __future__ import annotations

import codecs
import hashlib
import mmap
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..files import atomic_file, naming
from ..typing import Ids
from .tokenizer import Tokenizer

StoredIds = npt.NDArray[np.uint16] | npt.NDArray[np.int32]
PathLike = str | os.PathLike[str]
Data = PathLike | Sequence[str] | Sequence[Path]

CHUNK_BYTES = 1 << 20

_STORED = re.compile(r"tokens-([0-9a-f]{24})\.bin")


def read_text(path: PathLike, errors: str = "strict") -> Iterator[str]:
    """The text of a UTF-8 file in chunks; a byte order mark at its head is dropped, line ends are kept as they are.

    With ``errors="surrogateescape"`` any file will do, and its text encoded in the same way gives all of its bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is a folder, is empty, or is not UTF-8; the message gives the offset of the first bad byte.
    """
    path = Path(path)
    with naming(path):
        yield from _decoded(path, errors)


def _decoded(path: Path, errors: str) -> Iterator[str]:
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a text file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    offset, empty = 0, True
    with path.open("rb") as file:
        while True:
            data = file.read(CHUNK_BYTES)
            held = len(decoder.getstate()[0])
            try:
                chunk = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                where = offset - held + error.start
                raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {where}") from None
            if empty and errors == "strict":
                chunk = chunk.removeprefix("\ufeff")
            if chunk:
                empty = False
                yield chunk
            if not data:
                break
            offset += len(data)
    if empty:
        raise ValueError(f"{path} is empty")


@dataclass(frozen=True)
class Texts:
    """What a corpus is made of: files read one after the other as one text, or a list of separate texts."""

    files: tuple[Path, ...] = ()
    strings: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Data, name: str = "data") -> Texts:
        """A ``str`` or ``Path`` names a file; a list holds texts, or, if all its items are ``Path``, files."""
        if isinstance(data, str):
            return cls(files=(_file_of(data),))
        if isinstance(data, os.PathLike):
            return cls(files=(Path(data),))
        if isinstance(data, (bytes, bytearray)) or not isinstance(data, Iterable):
            raise TypeError(f"{name} must be a file or a list of texts, got {type(data).__name__}")
        items = list(data)
        if not items:
            raise ValueError(f"{name} is an empty list, expected a file or texts")
        files = [item for item in items if isinstance(item, Path)]
        if len(files) == len(items):
            return cls(files=tuple(files))
        for i, item in enumerate(items):
            if not isinstance(item, str):
                raise TypeError(f"{name}[{i}] must be a str, got {type(item).__name__}")
        return cls(strings=tuple(map(str, items)))

    @property
    def separate(self) -> bool:
        """Whether each text stands for itself; if not, there is one text."""
        return bool(self.strings)

    def chunks(self, errors: str = "strict") -> Iterator[str]:
        yield from self.strings
        for path in self.files:
            yield from read_text(path, errors)

    def each(self, errors: str) -> Iterator[Iterable[str]]:
        """The chunks of each text; ``errors`` as in ``read_text``."""
        if self.separate:
            for text in self.strings:
                yield [text]
        else:
            yield self.chunks(errors)


def _file_of(name: str) -> Path:
    """The file of that name; an error supposes that ``name`` may be a text, which can be of any length."""
    try:
        there = name != "" and Path(name).exists()
    except OSError:  # too long for a name
        there = False
    if not there:
        shown = name if 0 < len(name) < 200 and name.isprintable() else f"{name[:40]!r}{'...' if name[40:] else ''}"
        raise FileNotFoundError(f"there is no file {shown}; to give a text itself, pass [text]")
    return Path(name)


@dataclass(frozen=True)
class Corpus:
    """Token ids of some texts, and how long these were.

    Attributes:
        ids: (tokens,), uint16 or int32, read-only, mapped from a file.
        characters: Unicode characters of the texts.
        bytes: their bytes in UTF-8.
        key: stands for the texts and the tokenizer.
    """

    ids: StoredIds
    characters: int
    bytes: int
    key: str

    def split(self, fraction: float) -> tuple[StoredIds, StoredIds]:
        """The first part and, with the last ``fraction`` of the ids, the second."""
        if not 0 < fraction < 1:
            raise ValueError(f"validation_split must be between 0 and 1, got {fraction}")
        cut = round(len(self.ids) * (1 - fraction))
        return self.ids[:cut], self.ids[cut:]


def build_corpus(texts: Texts, tokenizer: Tokenizer, folder: Path | None = None) -> Corpus:
    """Encode ``texts`` into a file of ``folder``, or map the one that is there for this very text and tokenizer.

    Without a folder, or where it cannot be written to, the file has no name and is gone with the corpus.
    """
    key, characters, size = _measure(texts, tokenizer)
    dtype = np.dtype("<u2" if tokenizer.vocabulary_size <= 1 << 16 else "<i4")
    if folder is None or not _writable(folder):
        with naming(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
            _write_ids(file, dtype, texts, tokenizer)
            file.flush()
            return Corpus(np.memmap(file, dtype, mode="r"), characters, size, key)
    path = folder / f"tokens-{key}.bin"
    if not _holds_ids(path, dtype, tokenizer.vocabulary_size):
        with atomic_file(path) as written:
            _write_ids(written, dtype, texts, tokenizer)
    return Corpus(np.memmap(path, dtype, mode="r"), characters, size, key)


def release(ids: StoredIds) -> None:
    """Let go of the pages of stored ids that were read: they would count as this process's memory until it ends."""
    base: Any = ids
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)  # they are read-only, and come back from the file when they are needed


def count_ids(ids: StoredIds, vocabulary_size: int) -> npt.NDArray[np.int64]:
    """How often each id occurs, (vocabulary_size,); there may be more ids than fit in memory."""
    counts = np.zeros(vocabulary_size, np.int64)
    step = CHUNK_BYTES // ids.itemsize
    for start in range(0, len(ids), step):
        counts += np.bincount(ids[start : start + step], minlength=vocabulary_size)
        release(ids)
    return counts


def forget_corpora(folder: Path, kept: Collection[str]) -> None:
    """Delete the ids that ``build_corpus`` wrote into ``folder``, but for those with one of the keys ``kept``."""
    for path in folder.iterdir():
        if (match := _STORED.fullmatch(path.name)) and match[1] not in kept:
            path.unlink(missing_ok=True)


def _holds_ids(path: Path, dtype: np.dtype[Any], limit: int) -> bool:
    """Whether the file is there, and has not been changed into what would be no ids of the vocabulary."""
    size = path.stat().st_size if path.exists() else 0
    if size == 0 or size % dtype.itemsize:
        return False
    with path.open("rb") as file:  # not mapped: what was read of a map stays in memory
        parts = (np.frombuffer(data, dtype) for data in iter(lambda: file.read(CHUNK_BYTES), b""))
        return all(part.min() >= 0 and part.max() < limit for part in parts)


def _write_ids(file: IO[bytes], dtype: np.dtype[Any], texts: Texts, tokenizer: Tokenizer) -> None:
    for ids in _encode(texts, tokenizer):
        file.write(ids.astype(dtype).tobytes())
    if file.tell() == 0:
        raise ValueError("the text has no tokens")


def _measure(texts: Texts, tokenizer: Tokenizer) -> tuple[str, int, int]:
    """A key for the texts and the tokenizer, and the texts' length in characters and in bytes."""
    digest = hashlib.sha256(tokenizer.to_json().encode())
    characters = size = 0
    errors = tokenizer.errors
    for text in texts.each(errors):
        digest.update(b"\xff" if texts.separate else b"\xfe")  # not in UTF-8: no two lists share what is hashed
        for chunk in text:
            data = chunk.encode("utf-8", errors)
            digest.update(data)
            characters, size = characters + len(chunk), size + len(data)
    if not size:
        raise ValueError("the texts are all empty")
    return digest.hexdigest()[:24], characters, size


def _encode(texts: Texts, tokenizer: Tokenizer) -> Iterator[Ids]:
    end = np.array(list(dict.fromkeys([tokenizer.end_id, tokenizer.bos_id])), np.int32)
    for text in texts.each(tokenizer.errors):
        yield from tokenizer.encode_chunks(text)
        if texts.separate:
            yield end


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
