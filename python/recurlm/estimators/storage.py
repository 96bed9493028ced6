"""A sequence classifier on disk: config.json, model.safetensors and, for texts, tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import narrow
from ..files import (
    atomic_write,
    check_target,
    iterate_safetensors,
    read_json,
    reading_folder,
    replace_folder,
    write_json,
    write_safetensors,
)
from ..model import Model
from ..precision import PRECISIONS, Precision
from ..text import tokenizers
from ..text.tokenizer import Tokenizer
from ..typing import Array, Float
from .inputs import KINDS, Reader, TextReader
from .network import build_network, built_by

if TYPE_CHECKING:
    from .sequence_classifier import SequenceClassifier

KIND = "sequence_classifier"
FORMAT_VERSION = 1
_FILES = ("config.json", "model.safetensors", "tokenizer.json")


def save(classifier: SequenceClassifier, folder: Path, precision: Precision) -> None:
    """See ``SequenceClassifier.save``."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    config = _config(classifier) | ({"precision": precision} if precision != "float32" else {})
    with classifier.model_.usage.reading():
        weights = narrow.narrowed(_values(classifier.model_), precision)
    with replace_folder(check_target(folder, {"kind": KIND}, _FILES)) as temporary:
        write_json(temporary / "config.json", config)
        write_safetensors(temporary / "model.safetensors", narrow.to_arrays(weights))
        if isinstance(classifier.reader_, TextReader):
            atomic_write(temporary / "tokenizer.json", classifier.reader_.tokenizer.to_json().encode())


def load(cls: type[SequenceClassifier], folder: Path) -> SequenceClassifier:
    """See ``SequenceClassifier.load``."""
    with reading_folder(folder) as found:
        path = found / "config.json"
        config = read_json(path) if path.is_file() else None
        if not isinstance(config, dict) or config.get("kind") != KIND:
            raise ValueError(f"{found} is not a sequence classifier: its config.json does not say so")
        if config.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"{path} has format_version {config.get('format_version')!r}, expected {FORMAT_VERSION}")
        if config.get("precision", "float32") not in PRECISIONS:
            raise ValueError(f"{path} has precision {config['precision']!r}, expected one of {', '.join(PRECISIONS)}")
        try:
            classifier = _restore(cls, config, found)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged: {type(error).__name__} {error}") from None
        classifier.precision_ = config.get("precision", "float32")
        _load_weights(classifier.model_, found / "model.safetensors", classifier.precision_)
        return classifier


def _load_weights(model: Model, path: Path, precision: Precision) -> None:
    shapes = {name: value.shape for name, value in _values(model).items()}
    arrays = narrow.checked_arrays(iterate_safetensors(path), shapes, precision, path)
    for name, value in narrow.widened(narrow.from_arrays(arrays)).items():
        model.named_weights()[name].assign(value)


def _values(model: Model) -> dict[str, Float]:
    return {name: parameter.value for name, parameter in model.named_weights().items()}


def _config(classifier: SequenceClassifier) -> dict[str, Any]:
    config = {
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "parameters": {name: _plain(name, value) for name, value in _fitted(classifier).items()},
        "classes": _plain("classes_", classifier.classes_),
        **({"tags": _plain("tags_", classifier.tags_)} if classifier.tags_ is not None else {}),
        "input": {"kind": classifier.reader_.kind, "arguments": classifier.reader_.config()},
        "n_features_in": getattr(classifier, "n_features_in_", None),
        "history": classifier.history_,
    }
    # Through JSON now: what it cannot hold is told before a file is written. It has no infinity and no NaN.
    result: dict[str, Any] = json.loads(json.dumps(config), parse_constant=lambda _: None)
    return result


def _fitted(classifier: SequenceClassifier) -> dict[str, Any]:
    """The parameters that the network was built by: those of today may be others."""
    parameters: dict[str, Any] = classifier.get_params(deep=False)
    return parameters | getattr(classifier, "built_by_", {})  # classifiers pickled by earlier versions have none


def _plain(name: str, value: Any) -> Any:
    """``value`` as JSON holds it. Arrays and dicts, whose keys may be numbers, are written with their types."""
    if isinstance(value, Tokenizer):
        return value.kind  # its vocabulary is in tokenizer.json
    if isinstance(value, np.random.RandomState) or callable(value):
        return None  # what acts in training alone
    if isinstance(value, np.ndarray):
        kind = "str" if all(isinstance(each, str) for each in value) else value.dtype.str
        if kind != "str" and value.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be texts or numbers to be saved, got {value.dtype}")
        return {"dtype": kind, "values": value.tolist()}
    if isinstance(value, Mapping):
        return {"keys": _plain(name, np.array(list(value))), "values": [float(each) for each in value.values()]}
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and not isinstance(value, (str, int, float, bool)):
        raise ValueError(f"{name} must be a text or a number to be saved, got {value!r}")
    return value


def _array(saved: Mapping[str, Any]) -> Array:
    return np.array(saved["values"], dtype=saved["dtype"])


def _restore(cls: type[SequenceClassifier], config: Mapping[str, Any], folder: Path) -> SequenceClassifier:
    parameters = dict(config["parameters"])
    weights = parameters["class_weight"]
    if isinstance(weights, dict):
        parameters["class_weight"] = dict(zip(_array(weights["keys"]).tolist(), weights["values"], strict=True))
    classifier = cls(**parameters)
    classifier.reader_ = _reader(config["input"], folder)
    classifier.classes_ = _array(config["classes"])
    if "tags" in config:
        classifier.tags_ = _array(config["tags"])
    classifier.history_ = {name: [_number(x) for x in values] for name, values in config["history"].items()}
    classifier.n_iter_ = len(config["history"]["loss"])
    if config["n_features_in"] is not None:
        classifier.n_features_in_ = config["n_features_in"]
    classifier.built_by_ = built_by(classifier)
    classifier.model_ = build_network(classifier, 0)
    return classifier


def _number(saved: float | None) -> float:
    return float("nan") if saved is None else saved


def _reader(saved: Mapping[str, Any], folder: Path) -> Reader:
    if saved["kind"] != TextReader.kind:
        return KINDS[saved["kind"]](**saved["arguments"])
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a whole classifier: it has no tokenizer.json")
    try:
        return TextReader(tokenizers.from_json(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
