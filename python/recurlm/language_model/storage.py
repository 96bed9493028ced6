"""A language model on disk: config.json, model.safetensors, tokenizer.json, selftest.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..files import (
    atomic_write,
    iterate_safetensors,
    read_json,
    reading_folder,
    replace_folder,
    write_json,
    write_safetensors,
)
from ..model import Model
from ..text import tokenizers
from ..text.tokenizer import Tokenizer
from ..typing import Float, Ids
from .architecture import Architecture

if TYPE_CHECKING:
    from .language_model import LanguageModel

FORMAT_VERSION = 1
KIND = "language_model"
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "selftest.json")

# Instruction sets were measured to differ by at most 1.5e-6 in a log-probability; a damaged weight makes far more.
_TOLERANCE = 1e-4


def config(lm: LanguageModel) -> dict[str, Any]:
    """The contents of config.json."""
    return {
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "tokenizer": lm.tokenizer.kind,
        "separate_texts": lm.separate_texts,
        **lm.architecture.config(),
    }


def write(lm: LanguageModel, folder: Path) -> None:
    """Write the model's files into an empty folder."""
    write_json(folder / "config.json", config(lm))
    write_safetensors(folder / "model.safetensors", {n: p.value for n, p in lm.model.named_weights().items()})
    atomic_write(folder / "tokenizer.json", lm.tokenizer.to_json().encode())
    ids = _probe(lm)
    log_probs = [float(value) for value in _predict(lm, ids)]
    if not np.isfinite(log_probs).all():
        raise FloatingPointError("the model predicts no numbers and was not saved: its training has diverged")
    write_json(folder / "selftest.json", {"ids": ids.tolist(), "log_probs": log_probs})


def check_target(folder: Path) -> Path:
    """Where saving a model in ``folder`` writes; ValueError or FileExistsError if something else is there."""
    return files.check_target(folder, {"kind": KIND}, _FILES)


def save(lm: LanguageModel, folder: Path) -> None:
    """Replace the model in ``folder``, once the new one was read back."""
    with replace_folder(check_target(folder)) as temporary, lm.model.usage.reading():
        write(lm, temporary)
        _compare(lm, temporary)


def _compare(lm: LanguageModel, folder: Path) -> None:
    """OSError unless the files in ``folder`` hold ``lm``, every bit of it: no second model is needed to tell."""
    architecture, tokenizer, separate_texts = _read_parts(folder)
    same = architecture == lm.architecture and separate_texts == lm.separate_texts
    same = same and tokenizer.to_json() == lm.tokenizer.to_json()
    named = lm.model.named_weights()
    for name, array in iterate_weights(lm.model, folder):
        same = same and np.array_equal(array.view(np.uint32), named[name].value.view(np.uint32))
    if not same:
        raise OSError(f"{folder} does not hold what was written to it")
    _check(lm, folder)


def load(cls: type[LanguageModel], folder: Path, check: bool) -> LanguageModel:
    """The model in ``folder``; ``check`` compares a few predictions with those it was saved with."""
    with reading_folder(folder) as found:
        return _read(cls, found, check)


def _read(cls: type[LanguageModel], folder: Path, check: bool) -> LanguageModel:
    lm = cls.assemble(*_read_parts(folder))
    named = lm.model.named_weights()
    for name, array in iterate_weights(lm.model, folder):
        named[name].assign(array)
    if check:
        _check(lm, folder)
    return lm


def _read_parts(folder: Path) -> tuple[Architecture, Tokenizer, bool]:
    """All that a model is but for its weights, as ``LanguageModel.assemble`` takes it."""
    fields = read_config(folder)
    path = _part(folder, "tokenizer.json")
    try:
        tokenizer = tokenizers.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if tokenizer.kind != fields.pop("tokenizer"):
        raise ValueError(f"{path} is of another kind than config.json says")
    separate_texts = fields.pop("separate_texts")
    try:
        return Architecture.from_config(fields), tokenizer, separate_texts
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'} is damaged: {error}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """config.json without what is the same in every one."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a recurlm model: it has no config.json")
    fields = read_json(path)
    if not isinstance(fields, dict) or fields.get("kind") != KIND:
        raise ValueError(f"{folder} is not a language model: {path} does not say so")
    if fields.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"{path} has format_version {fields.get('format_version')!r}, expected {FORMAT_VERSION}")
    if not isinstance(fields.get("separate_texts"), bool) or not isinstance(fields.get("tokenizer"), str):
        raise ValueError(f"{path} is damaged: separate_texts or tokenizer is missing")
    return {name: value for name, value in fields.items() if name not in ("format_version", "kind")}


def _part(folder: Path, name: str) -> Path:
    """A file that every model has; ValueError where this one lacks it."""
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{folder} is not a whole model: it has no {name}")
    return path


def iterate_weights(model: Model, folder: Path) -> Iterator[tuple[str, Float]]:
    """The weights in ``folder`` by name, one after the other; names and shapes must be those of ``model``."""
    path = _part(folder, "model.safetensors")
    expected = model.named_weights()
    for name, array in iterate_safetensors(path):
        parameter = expected.pop(name, None)
        if parameter is None:
            raise ValueError(f"{path} does not fit config.json: {name} is unknown")
        if array.shape != parameter.shape or array.dtype != np.float32:
            raise ValueError(
                f"{path}: {name} must be float32 of shape {tuple(parameter.shape)}, "
                f"got {array.dtype} of shape {array.shape}"
            )
        yield name, array
    if expected:
        raise ValueError(f"{path} does not fit config.json: {min(expected)} is missing")


def _probe(lm: LanguageModel) -> Ids:
    """Four ids from all over the vocabulary."""
    size = lm.tokenizer.vocabulary_size
    return np.array([size * k // 4 for k in range(4)], np.int32)


def _predict(lm: LanguageModel, ids: Ids) -> Float:
    inputs = np.append(np.int32(lm.tokenizer.bos_id), ids[:-1])
    log_probs: Float = lm.model.token_log_probs(inputs[None], ids[None], states={})[0]
    return log_probs


def _check(lm: LanguageModel, folder: Path) -> None:
    path = _part(folder, "selftest.json")
    saved = read_json(path)
    try:
        ids = np.array(saved["ids"], np.int32)
        expected = np.array(saved["log_probs"], np.float64)
        difference = float(np.abs(_predict(lm, ids) - expected).max())
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise ValueError(f"{path} is damaged: expected a few ids and as many log_probs") from None
    if not difference <= _TOLERANCE:
        raise ValueError(
            f"{folder} does not predict what it did when it was saved (log-probabilities differ by {difference:.2g}): "
            "a file was changed; LanguageModel.load(..., check=False) loads it all the same"
        )
