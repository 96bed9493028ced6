"""Small texts and models that the tests of language models share."""

from pathlib import Path

import numpy as np

from recurlm import LanguageModel
from recurlm.text.corpus import Data

LINES = [
    "the cat sat on the mat and saw the dog",
    "a dog ran after the cat and the cat ran away",
    "the mat was flat and the hat was on the cat",
    "é is a letter, and so is ß",
]


def text(lines: int = 200, seed: int = 0) -> str:
    """Lines of a tiny language."""
    rng = np.random.default_rng(seed)
    return "".join(LINES[i] + "\n" for i in rng.integers(len(LINES), size=lines))


def text_file(folder: Path, lines: int = 200, name: str = "text.txt") -> Path:
    path = folder / name
    path.write_text(text(lines), encoding="utf-8", newline="")
    return path


RECIPE = {"batch_size": 4, "window": 16, "verbose": False}


def trained(data: Data, epochs: int = 2, recipe: dict[str, object] = RECIPE, **model: object) -> LanguageModel:
    lm = LanguageModel(**{"units": 24, "layers": 2, "seed": 3} | model)  # type: ignore[arg-type]
    lm.fit(data, epochs=epochs, **recipe)  # type: ignore[arg-type]
    return lm


def weight_bytes(lm: LanguageModel) -> bytes:
    return b"".join(weight.tobytes() for weight in lm.model.get_weights())
