"""Models from and to files of any of the formats, told by their names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import files
from ..language_model import LanguageModel
from ..model import Model
from ..text.corpus import PathLike
from .keras import load_keras, save_keras_weights
from .onnx_export import save_onnx
from .onnx_import import load_onnx
from .pytorch import from_pytorch, read_state, to_pytorch


def load(path: PathLike, **pytorch: Any) -> Model:
    """A model from ``.keras``, ``.onnx``, ``.safetensors`` (a PyTorch state dict), or a folder that recurlm saved.

    ``pytorch`` are the arguments of ``from_pytorch``.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is none of these.
    """
    path = Path(path)
    if path.name.endswith(".keras"):
        return load_keras(path)
    if path.name.endswith(".onnx"):
        return load_onnx(path)
    if path.name.endswith(".safetensors"):
        return from_pytorch(read_state(path), **pytorch)
    if path.suffix in (".pt", ".pth", ".bin"):
        raise ValueError(
            f"{path} is a pickle, which could run code and is not read: with PyTorch, "
            "safetensors.torch.save_file(module.state_dict(), 'weights.safetensors') writes what is"
        )
    if path.is_file():
        raise ValueError(f"{path} must be a folder, or end in .keras, .onnx or .safetensors")
    with files.reading_folder(path) as folder:
        config = files.read_json(folder / "config.json")
    is_language_model = isinstance(config, dict) and config.get("kind") == "language_model"
    return LanguageModel.load(path).model if is_language_model else Model.load(path)


def save(model: Model, path: PathLike) -> None:
    """A model as ``.onnx``, ``.weights.h5`` (Keras), ``.safetensors`` (a PyTorch state dict), or a folder of recurlm.

    Raises:
        ValueError: the format cannot hold the model, or the name ends in that of a format that is not written.
    """
    name = Path(path).name
    if name.endswith(".onnx"):
        save_onnx(model, path)
    elif name.endswith(".weights.h5"):
        save_keras_weights(model, path)
    elif name.endswith(".safetensors"):
        files.write_safetensors(path, to_pytorch(model))
    elif Path(path).suffix in (".keras", ".h5", ".pt", ".pth"):
        raise ValueError(f"{path} must end in .onnx, .weights.h5 or .safetensors, or be a folder")
    else:
        model.save(path)


def read_tokens(path: PathLike) -> list[str]:
    """A vocabulary: JSON, a list of tokens or an object of their ids, or else a token a line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of these.
    """
    with Path(path).open(encoding="utf-8", newline="\n") as file:
        text = file.read()
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text.removesuffix("\n").split("\n")
    if isinstance(value, dict) and sorted(value.values(), key=str) == sorted(range(len(value)), key=str):
        value = sorted(value, key=value.__getitem__)
    if not isinstance(value, list) or not all(isinstance(token, str) for token in value):
        raise ValueError(f"{path} must hold a list of tokens, or an object of tokens and their ids from 0 on")
    return value
