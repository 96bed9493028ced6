"""What a language model is trained on, and what is held out to validate it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..text.augmentation import Augmentation
from ..text.batching import Streams
from ..text.corpus import Data, PathLike, StoredIds, Texts, build_corpus
from ..text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Sources:
    """Ids to train and to validate on.

    Attributes:
        train: (tokens,).
        held_out: (tokens,), or None where nothing is held out.
        validation_split: the share of the text that ``held_out`` is, 0 where it is another text.
        separate: whether the text is a list of texts, each followed by its end.
        key: stands for the text and the tokenizer.
        validation_key: stands for what is held out.
    """

    train: StoredIds
    held_out: StoredIds | None
    validation_split: float
    separate: bool
    key: str
    validation_key: str

    def streams(self, bos_id: int, batch_size: int, window: int, augmentation: Augmentation | None = None) -> Streams:
        """What is trained on, in streams; ValueError where it is too short for them."""
        try:
            return Streams(
                self.train, bos_id, batch_size, window, restarts=not self.separate, augmentation=augmentation
            )
        except ValueError as error:
            if self.held_out is None or self.validation_split == 0:
                raise
            held = f"validation_split={self.validation_split} holds out another {len(self.held_out):,}"
            raise ValueError(f"{error} ({held})") from None


def read_sources(
    tokenizer: Tokenizer, data: Data, validation_data: Data | None, validation_split: float, folder: Path | None
) -> Sources:
    """Encode texts into files of ``folder``; a tokenizer without a vocabulary gets one here."""
    texts = Texts.of(data)
    validation = None if validation_data is None else Texts.of(validation_data, "validation_data")
    if not tokenizer.trained:
        tokenizer.train(_vocabulary_texts(tokenizer, texts, validation, validation_split))
    corpus = build_corpus(texts, tokenizer, folder)
    if validation is not None:
        other = build_corpus(validation, tokenizer, folder)
        return Sources(corpus.ids, other.ids, 0, texts.separate, corpus.key, other.key)
    if validation_split == 0:
        return Sources(corpus.ids, None, 0, texts.separate, corpus.key, "nothing")
    train, held_out = corpus.split(validation_split)
    if len(held_out) == 0:
        total = len(corpus.ids)
        raise ValueError(
            f"validation_split must hold out at least one of {total:,} tokens, or be 0 to hold out nothing, "
            f"got {validation_split}"
        )
    key = f"the last {len(held_out)} tokens"
    return Sources(train, held_out, validation_split, texts.separate, corpus.key, key)


def corpus_folder(asked: PathLike | None, checkpoints: Path | None) -> Path | None:
    """Where the ids of texts go: where they were asked for, or with the checkpoints.

    Raises:
        ValueError: they were asked for with the checkpoints, where no ids stay.
        NotADirectoryError: a file was asked for.
    """
    if asked is None:
        return checkpoints
    folder = Path(asked)
    if checkpoints is not None and folder.resolve() == checkpoints.resolve():
        raise ValueError("corpus_dir must be another folder than checkpoint_dir, in which ids are deleted in the end")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"corpus_dir must be a folder, {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _vocabulary_texts(
    tokenizer: Tokenizer, texts: Texts, validation: Texts | None, validation_split: float
) -> Iterator[Iterable[str]]:
    """Where a vocabulary comes from: what is trained on, but where a token outside of it could not be scored at all."""
    errors = tokenizer.errors
    if tokenizer.unknown_id is None:
        return chain(texts.each(errors), () if validation is None else validation.each(errors))
    if validation is not None or validation_split == 0:
        return texts.each(errors)
    # Tokens are not known yet: their share is one of characters here.
    total = sum(len(chunk) for text in texts.each(errors) for chunk in text)
    return _beginning(texts.each(errors), round(total * (1 - validation_split)))


def _beginning(texts: Iterator[Iterable[str]], characters: int) -> Iterator[Iterable[str]]:
    """The first so many characters of texts in chunks."""
    left = characters

    def cut(chunks: Iterable[str]) -> Iterator[str]:
        nonlocal left
        for chunk in chunks:
            yield chunk[:left]
            left -= len(chunk[:left])
            if left == 0:
                return

    while left > 0 and (text := next(texts, None)) is not None:
        yield cut(text)
