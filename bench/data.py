"""Real text as token ids: what the measured models train on."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from bench.configs import Config, Ids

CORPORA = {"char": "tinyshakespeare/input.txt", "word": "wikitext-2/train.article-shuffled.txt"}


def data_folder() -> Path:
    """``RECURLM_DATA``, else ``../shared/data`` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("RECURLM_DATA", beside))


def read_text(kind: Literal["char", "word"]) -> tuple[str, str]:
    """The corpus and its name: a standard one where it is there, else the prose that comes with Python."""
    path = data_folder() / CORPORA[kind]
    if path.is_file():
        return path.read_text(encoding="utf-8"), CORPORA[kind]
    from pydoc_data.topics import topics  # a megabyte of text that only this branch needs

    return "\n".join(topics.values()), "pydoc_data.topics"


def frequency_ranks(tokens: Sequence[str], vocabulary: int) -> Ids:
    """Each token's rank by frequency; all that do not fit into the vocabulary share its last id."""
    ranks = {token: rank for rank, (token, _) in enumerate(Counter(tokens).most_common(vocabulary - 1))}
    return np.fromiter((ranks.get(token, vocabulary - 1) for token in tokens), dtype=np.int32, count=len(tokens))


def token_stream(config: Config) -> tuple[Ids, str]:
    """The corpus as ids (N,), and its name. A line of words ends in ``<eos>``, as is usual for WikiText-2."""
    text, source = read_text(config.text)
    tokens = list(text) if config.text == "char" else text.replace("\n", " <eos> ").split()
    return frequency_ranks(tokens, config.vocabulary), source


def line_ids(config: Config) -> list[Ids]:
    """The lines of a text of characters, each with its end; empty ones are left out."""
    text, _ = read_text("char")
    stream, _ = token_stream(config)
    ends = 1 + np.flatnonzero([character == "\n" for character in text])
    return [line for line in np.split(stream, ends) if len(line) > 1]


def distinct_tokens(stream: Ids, config: Config, sample: int = 16) -> float:
    """How many different tokens a window has, on average over the first ones."""
    return float(np.mean([np.unique(ids).size for ids, _ in islice(windows(stream, config), sample)]))


def windows(stream: Ids, config: Config) -> Iterator[tuple[Ids, Ids]]:
    """Endless (ids, targets), each (B, T): contiguous streams cut into consecutive windows, so that state carries over.

    Raises ValueError if the streams are shorter than one window.
    """
    length = len(stream) // config.batch
    rows = stream[: length * config.batch].reshape(config.batch, length)
    if length <= config.steps:
        raise ValueError(f"{config.name} needs {config.batch * (config.steps + 1)} tokens of text, got {len(stream)}")
    while True:
        for start in range(0, length - config.steps, config.steps):
            window = rows[:, start : start + config.steps + 1]
            yield np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:])
