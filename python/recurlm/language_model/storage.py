"""A language model on disk: config.json, model.safetensors, tokenizer.json, generation_config.json, selftest.json.

If it was trained, also history.json. Earlier versions wrote no generation_config.json.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import checkpoint, files, narrow
from ..files import (
    atomic_write,
    iterate_safetensors,
    read_json,
    reading_folder,
    replace_folder,
    write_json,
    write_safetensors,
)
from ..precision import PRECISIONS, Precision
from ..text import tokenizers
from ..text.tokenizer import Tokenizer
from ..typing import Array, Float, Ids
from .architecture import Architecture
from .generation_config import GenerationConfig
from .history import TrainingHistory
from .scoring import log_probs
from .weights import RunningWeights

if TYPE_CHECKING:
    from .language_model import LanguageModel

FORMAT_VERSION = 1
KIND = "language_model"
PACKED_KIND = "packed_language_model"
_PACKED_FILES = ("config.json", "packed.safetensors", "tokenizer.json")
_FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "selftest.json", "history.json",
)  # fmt: skip

# Instruction sets were measured to differ by at most 1.5e-6 in a log-probability; a damaged weight makes far more.
# In int8 such a difference can round an activation to the integer beside.
_TOLERANCES = {"float32": 1e-4, "bfloat16": 1e-4, "int8": 1e-2}


class Parts(NamedTuple):
    """All that a model is but for its weights."""

    architecture: Architecture
    tokenizer: Tokenizer
    separate_texts: bool
    precision: Precision
    generation: GenerationConfig

    @classmethod
    def of(cls, lm: LanguageModel) -> Parts:
        return cls(lm.architecture, lm.tokenizer, lm.separate_texts, lm.precision, lm.generation_config)


def config(lm: LanguageModel) -> dict[str, Any]:
    """The contents of config.json."""
    return {
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "tokenizer": lm.tokenizer.kind,
        "separate_texts": lm.separate_texts,
        **({"precision": lm.precision} if lm.precision != "float32" else {}),
        **lm.architecture.config(),
    }


def write(lm: LanguageModel, folder: Path) -> None:
    """Write the model's files into an empty folder."""
    write_json(folder / "config.json", config(lm))
    write_safetensors(folder / "model.safetensors", lm.weights.running().arrays())
    atomic_write(folder / "tokenizer.json", lm.tokenizer.to_json().encode())
    write_json(folder / "generation_config.json", lm.generation_config.config())
    if lm.history is not None:
        write_json(folder / "history.json", lm.history.config())
    ids = _probe(lm)
    predicted = [float(value) for value in _predict(lm, ids)]
    if not np.isfinite(predicted).all():
        raise FloatingPointError("the model predicts no numbers and was not saved: its training has diverged")
    write_json(folder / "selftest.json", {"ids": ids.tolist(), "log_probs": predicted})


def check_target(folder: Path) -> Path:
    """Where saving a model in ``folder`` writes; ValueError or FileExistsError if something else is there."""
    return files.check_target(folder, {"kind": KIND}, _FILES)


def save(lm: LanguageModel, folder: Path) -> None:
    """Replace the model in ``folder``, once the new one was read back."""
    with replace_folder(check_target(folder)) as temporary, lm.weights.reading():
        write(lm, temporary)
        _compare(lm, temporary)


def save_packed(lm: LanguageModel, folder: Path) -> None:
    """Replace the packed model in ``folder``, for the C library alone."""
    target = files.check_target(folder, {"kind": PACKED_KIND}, _PACKED_FILES)
    with replace_folder(target) as temporary:
        write_json(temporary / "config.json", config(lm) | {"kind": PACKED_KIND})
        atomic_write(temporary / "packed.safetensors", lm.weights.packed().packed_file())
        atomic_write(temporary / "tokenizer.json", lm.tokenizer.to_json().encode())


def _compare(lm: LanguageModel, folder: Path) -> None:
    """OSError unless the files in ``folder`` hold ``lm``, every bit of it: no second model is needed to tell."""
    parts = _read_parts(folder)
    mine = Parts.of(lm)
    same = parts._replace(tokenizer=mine.tokenizer) == mine and parts.tokenizer.to_json() == mine.tokenizer.to_json()
    arrays = lm.weights.running().arrays()
    for name, array in _iterate_arrays(parts, folder):
        same = same and array.tobytes() == np.ascontiguousarray(arrays[name]).tobytes()
    if not same:
        raise OSError(f"{folder} does not hold what was written to it")
    _check(lm, folder)


def load(cls: type[LanguageModel], folder: Path, check: bool) -> LanguageModel:
    """The model in ``folder``; ``check`` compares a few predictions with those it was saved with."""
    with reading_folder(folder) as found:
        return _read(cls, found, check)


def _read(cls: type[LanguageModel], folder: Path, check: bool) -> LanguageModel:
    parts = _read_parts(folder)
    lm = cls.assemble(parts.architecture, parts.tokenizer, parts.separate_texts)
    lm.history, lm.generation_config = _read_history(folder), parts.generation
    if parts.precision == "float32":
        named = lm.weights.make_network(initial=False).named_weights()
        for name, array in _iterate_arrays(parts, folder):
            named[name].assign(array)
    else:
        lm.weights.run_only(RunningWeights.from_arrays(_iterate_arrays(parts, folder), parts.precision))
    if check:
        _check(lm, folder)
    return lm


def read_history(folder: Path) -> TrainingHistory:
    """Of the model in ``folder``, or of the newest checkpoint there; ValueError where there is none."""
    with reading_folder(checkpoint.newest(folder) if checkpoint.list_steps(folder) else folder) as found:
        read_config(found)
        history = _read_history(found)
    if history is None:
        raise ValueError(f"{found} has no history.json: it was not trained, or saved by an earlier version")
    return history


def _read_history(folder: Path) -> TrainingHistory | None:
    path = folder / "history.json"
    if not path.exists():
        return None  # never trained, or saved by an earlier version
    fields = read_json(path)
    try:
        return TrainingHistory.from_config(fields)
    except ValueError as error:
        raise files.DamagedFileError(f"{path} is damaged: {error}") from None


def _read_parts(folder: Path) -> Parts:
    fields = read_config(folder)
    path = _part(folder, "tokenizer.json")
    try:
        tokenizer = tokenizers.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if tokenizer.kind != fields.pop("tokenizer"):
        raise ValueError(f"{path} is of another kind than config.json says")
    separate_texts, precision = fields.pop("separate_texts"), fields.pop("precision", "float32")
    try:
        architecture = Architecture.from_config(fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'} is damaged: {error}") from None
    return Parts(architecture, tokenizer, separate_texts, precision, read_generation(folder))


def read_generation(folder: Path) -> GenerationConfig:
    path = folder / "generation_config.json"
    if not path.exists():
        return GenerationConfig()  # saved by an earlier version
    saved = read_json(path)
    try:
        return GenerationConfig.from_config(saved)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """config.json without what is the same in every one."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a recurlm model: it has no config.json")
    fields = read_json(path)
    if not isinstance(fields, dict) or fields.get("kind") != KIND:
        raise ValueError(f"{folder} {_other_kind(fields) or f'is not a language model: {path} does not say so'}")
    if fields.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"{path} has format_version {fields.get('format_version')!r}, expected {FORMAT_VERSION}")
    if not isinstance(fields.get("separate_texts"), bool) or not isinstance(fields.get("tokenizer"), str):
        raise ValueError(f"{path} is damaged: separate_texts or tokenizer is missing")
    if fields.get("precision", "float32") not in PRECISIONS:
        raise ValueError(f"{path} has precision {fields['precision']!r}, expected one of {', '.join(PRECISIONS)}")
    return {name: value for name, value in fields.items() if name not in ("format_version", "kind")}


def _other_kind(fields: Any) -> str:
    if not isinstance(fields, dict):
        return ""
    if fields.get("kind") == PACKED_KIND:
        return "is packed for the C library: Python loads the model that it was made from"
    if fields.get("kind") == "sequence_classifier":
        return "is not a language model: it is a SequenceClassifier, for SequenceClassifier.load"
    return "is not a language model: it is a Model, for Model.load" if fields.get("format") else ""


def _part(folder: Path, name: str) -> Path:
    """A file that every model has; ValueError where this one lacks it."""
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{folder} is not a whole model: it has no {name}")
    return path


def iterate_weights(lm: LanguageModel, folder: Path) -> Iterator[tuple[str, Float]]:
    """The weights of a checkpoint of ``lm`` in ``folder`` by name, one after the other."""
    return _iterate_arrays(Parts.of(lm), folder)


def _iterate_arrays(parts: Parts, folder: Path) -> Iterator[tuple[str, Array]]:
    """The arrays in ``folder`` by name, one after the other: all of a model of these parts, and no others."""
    path = _part(folder, "model.safetensors")
    shapes = parts.architecture.shapes(parts.tokenizer.vocabulary_size)
    return narrow.checked_arrays(iterate_safetensors(path), shapes, parts.precision, path)


def _probe(lm: LanguageModel) -> Ids:
    """Four ids from all over the vocabulary."""
    size = lm.tokenizer.vocabulary_size
    return np.array([size * k // 4 for k in range(4)], np.int32)


def _predict(lm: LanguageModel, ids: Ids) -> Float:
    if lm.precision != "float32":
        return log_probs(lm.weights.packed(), [ids], lm.tokenizer.bos_id)[0]
    # Not packed for four ids: a checkpoint is written amid training.
    inputs = np.append(np.int32(lm.tokenizer.bos_id), ids[:-1])
    predicted: Float = lm.model.token_log_probs(inputs[None], ids[None], states={})[0]
    return predicted


def _check(lm: LanguageModel, folder: Path) -> None:
    path = _part(folder, "selftest.json")
    saved = read_json(path)
    try:
        ids = np.array(saved["ids"], np.int32)
        expected = np.array(saved["log_probs"], np.float64)
        if not (ids.ndim == 1 <= len(ids) and ids.shape == expected.shape):
            raise ValueError
        if not (ids.min() >= 0 and ids.max() < lm.tokenizer.vocabulary_size):
            raise ValueError
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise ValueError(f"{path} is damaged: expected a few ids and as many log_probs") from None
    difference = float(np.abs(_predict(lm, ids) - expected).max())
    if not difference <= _TOLERANCES[lm.precision]:
        raise ValueError(
            f"{folder} does not predict what it did when it was saved (log-probabilities differ by {difference:.2g}): "
            "a file was changed; LanguageModel.load(..., check=False) loads it all the same"
        )
