"""Models as JSON and arrays: architecture, weights, the state of training, and the folder that holds them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import files, layers, losses, optimizers
from .compiled import per_output
from .layers.base import Layer, Node, SymbolicTensor
from .layers.core import InputLayer
from .layers.recurrent import Recurrent
from .seeding import temporary_seed
from .tape import Parameter
from .typing import Array, Float

if TYPE_CHECKING:
    from .model import Model

FORMAT = "recurlm.Model"
FORMAT_VERSION = 1
_FILES = ("config.json", "model.safetensors", "training.safetensors")


class ModelState(NamedTuple):
    """Arrays by name, and values that JSON can hold."""

    arrays: dict[str, Array]
    values: dict[str, Any]


# The state of training -----------------------------------------------------------------------------------------------


def get_state(model: Model) -> ModelState:
    """See ``Model.get_state``."""
    optimizer = model.optimizer
    named = model.named_weights()
    arrays: dict[str, Array] = {f"weights/{name}": parameter.value for name, parameter in named.items()}
    arrays |= _slots(model, named)
    for layer, name in _stateful(model).items():
        for i, carried in enumerate(layer.states.get(layer.name, [])):
            arrays[f"states/{name}.{i}"] = carried
    values = {
        "seed": model.seed,
        "step": model.step,
        "iterations": optimizer.steps,  # of Keras's two counts the finer one
        "learning_rate": None if optimizer.scheduled else optimizer.learning_rate,
        "optimizer": optimizer.get_state(),
        "metrics": model.compiled.get_state(),
    }
    return ModelState(arrays, values)


def set_state(model: Model, state: ModelState) -> None:
    """See ``Model.set_state``."""
    optimizer, values = model.optimizer, state.values
    _check_values(values)
    details = values.get("optimizer", {})  # which older files lack
    optimizer.check_state(details)
    named = model.named_weights()
    targets: dict[str, Array] = {f"weights/{name}": parameter.value for name, parameter in named.items()}
    targets |= _slots(model, named)
    kept = {name: array for name, array in state.arrays.items() if not name.startswith("states/")}
    carried = {layer: _carried(layer, name, state.arrays) for layer, name in _stateful(model).items()}
    _check_arrays(kept, targets, "the state")
    model.compiled.set_state(values["metrics"])  # the last that can fail
    for name, parameter in named.items():
        parameter.assign(kept[f"weights/{name}"])
        del targets[f"weights/{name}"]
    for name, slot in targets.items():
        slot[...] = kept[name]
    for layer, parts in carried.items():
        layer.reset_states()
        if parts:
            layer.states[layer.name] = parts
    model.seed, model.step, optimizer.steps = values["seed"], values["step"], values["iterations"]
    optimizer.set_state(details, model.trainable_weights)
    if values["learning_rate"] is not None and not optimizer.scheduled:
        optimizer.learning_rate = values["learning_rate"]


def _check_values(values: Mapping[str, Any]) -> None:
    missing = {"seed", "step", "iterations", "learning_rate", "metrics"} - set(values)
    if missing:
        raise ValueError(f"the state lacks {', '.join(sorted(missing))}")
    for name in ("seed", "step", "iterations"):
        if type(values[name]) is not int or values[name] < 0:
            raise ValueError(f"the state is damaged: {name} must be an integer from 0 on, got {values[name]!r}")
    rate = values["learning_rate"]
    if rate is not None and not (isinstance(rate, (int, float)) and math.isfinite(rate)):
        raise ValueError(f"the state is damaged: learning_rate must be a finite number or None, got {rate!r}")


def _carried(layer: Recurrent, name: str, arrays: Mapping[str, Array]) -> list[Float]:
    """Copies of what the layer carries; none where the state has nothing for it."""
    found = [arrays.get(f"states/{name}.{i}") for i in range(layer.state_count)]
    parts = [np.array(part, np.float32) for part in found if part is not None]
    if len(parts) < layer.state_count:
        return []
    if any(part.ndim != 2 or part.shape[1] != layer.units or len(part) != len(parts[0]) for part in parts):
        shapes = ", ".join(str(part.shape) for part in parts)
        raise ValueError(f"the state is not of this model: {name} carries (batch, {layer.units}), got {shapes}")
    return parts


def _slots(model: Model, named: Mapping[str, Parameter]) -> dict[str, Array]:
    trained = set(model.trainable_weights)
    return {
        f"optimizer/{name}.{key}": array
        for name, parameter in named.items()
        if parameter in trained
        for key, array in model.optimizer.arrays(parameter).items()
    }


def _stateful(model: Model) -> dict[Recurrent, str]:
    named = model.names_in_files()
    return {layer: name for layer, name in named.items() if isinstance(layer, Recurrent) and layer.stateful}


def _check_arrays(source: Mapping[str, Array], targets: Mapping[str, Array], what: str) -> None:
    """ValueError unless both have the same names, shapes and dtypes."""
    missing, extra = sorted(set(targets) - set(source)), sorted(set(source) - set(targets))
    if missing or extra:
        wrong = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r}, which the model has not"
        raise ValueError(f"{what} is not of this model: it {wrong}")
    for name, target in targets.items():
        if source[name].shape != target.shape or source[name].dtype != np.float32:
            found = f"{source[name].dtype} {source[name].shape}"
            raise ValueError(f"{what} is not of this model: {name} must be float32 {target.shape}, got {found}")


# Weights -------------------------------------------------------------------------------------------------------------


def save_weights(model: Model, path: str | os.PathLike[str]) -> None:
    """See ``Model.save_weights``."""
    files.write_safetensors(path, {name: parameter.value for name, parameter in model.named_weights().items()})


def load_weights(model: Model, path: str | os.PathLike[str]) -> None:
    """See ``Model.load_weights``."""
    model.forget_averages()
    assign_weights(model.named_weights(), files.read_safetensors(os.fspath(path)), str(path))


def assign_weights(named: Mapping[str, Parameter], arrays: Mapping[str, Array], source: str) -> None:
    """Copy ``arrays`` in; ValueError, and nothing changes, where they are not those of the parameters ``named``."""
    _check_arrays(arrays, {name: parameter.value for name, parameter in named.items()}, source)
    for name, parameter in named.items():
        parameter.assign(arrays[name])


# Architecture --------------------------------------------------------------------------------------------------------


def is_saved_model(folder: Path) -> bool:
    """Whether ``Model.save`` wrote it."""
    path = folder / "config.json"
    config = files.read_json(path) if path.is_file() else None
    return isinstance(config, dict) and config.get("format") == FORMAT


def graph_config(model: Model) -> dict[str, Any]:
    """Layers, then nodes in an order in which they can be replayed; tensors are [node, output]."""
    graph = model.graph
    # Inputs first, in order: one that no output depends on is an input all the same.
    nodes = [tensor.node for tensor in graph.inputs] + [node for node in graph.nodes if node.inputs]
    place = {node: i for i, node in enumerate(nodes)}
    order = {layer: i for i, layer in enumerate(graph.layers)}

    def described(node: Node) -> dict[str, Any]:
        entry = {"layer": order[node.layer], "inputs": references(node.inputs)}
        return entry | {"arguments": node.arguments} if node.arguments else entry

    def references(tensors: list[SymbolicTensor]) -> list[list[int]]:
        return [[place[tensor.node], tensor.index] for tensor in tensors]

    return {
        "name": model.name,
        "seed": model.seed,
        "layers": layer_configs(graph.layers),
        "nodes": [described(node) for node in nodes],
        "outputs": references(graph.outputs),
    }


def model_from_config(config: Mapping[str, Any]) -> Model:
    """The inverse of ``graph_config``; ValueError where it is not one."""
    from .model import Model

    try:
        made = layers_from_config(config["layers"])
        results: list[list[SymbolicTensor]] = []
        inputs: list[SymbolicTensor] = []
        for node in config["nodes"]:
            layer = made[node["layer"]]
            if isinstance(layer, InputLayer):
                inputs.append(layer.tensor)
                results.append([layer.tensor])
            else:
                outputs = layer.apply([results[i][k] for i, k in node["inputs"]], arguments=node.get("arguments"))
                results.append(outputs if isinstance(outputs, list) else [outputs])
        return Model(inputs, [results[i][k] for i, k in config["outputs"]], config["name"], seed=config["seed"])
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"the architecture is damaged: {type(error).__name__} {error}") from None


def layer_configs(listed: Iterable[Layer]) -> list[dict[str, Any]]:
    """Classes and arguments of layers, as JSON can hold them."""
    return [layers.serialize(layer) | {"named": layer.named} for layer in listed]


def layers_from_config(configs: list[dict[str, Any]]) -> list[Layer]:
    """The inverse of ``layer_configs``; the weights are new."""
    made: dict[str, Layer] = {}
    # A tied layer needs the one it is tied to, wherever that stands.
    for entry in sorted(configs, key=lambda entry: _is_tied(entry["config"])):
        _make(entry, made).named = bool(entry["named"])
    return [made[entry["config"]["name"]] for entry in configs]


def _make(entry: Mapping[str, Any], made: dict[str, Layer]) -> Layer:
    """The layer of an entry, after those inside; one of a name that was ``made`` is the same layer again."""
    config = dict(entry["config"])
    if config["name"] not in made:
        for key, value in config.items():
            if key == "tied_to" and value:
                config[key] = made[value]
            elif isinstance(value, dict) and value.get("class_name") in layers.__all__:
                config[key] = _make(value, made)
        made[config["name"]] = layers.deserialize({"class_name": entry["class_name"], "config": config})
    return made[config["name"]]


def _is_tied(config: Mapping[str, Any]) -> bool:
    return any(
        (key == "tied_to" and bool(value)) or (isinstance(value, dict) and _is_tied(value))
        for key, value in config.items()
    )


# The folder ----------------------------------------------------------------------------------------------------------


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """See ``Model.save``."""
    target = files.check_target(path, {"format": FORMAT}, _FILES)
    config = {"format": FORMAT, "format_version": FORMAT_VERSION, "model": graph_config(model)}
    if model.is_compiled:
        config["compiled"] = recipe_config(model)
    with files.replace_folder(target) as folder:
        save_weights(model, folder / "model.safetensors")
        if model.is_compiled:
            state = get_state(model)
            slots = {name: array for name, array in state.arrays.items() if not name.startswith("weights/")}
            files.write_safetensors(folder / "training.safetensors", slots)
            config["training"] = state.values
        files.write_json(folder / "config.json", config)


def load_model(path: str | os.PathLike[str]) -> Model:
    """A model from the folder that ``save`` wrote, compiled as it was.

    Raises:
        FileNotFoundError: there is no such folder, or a file of it is missing.
        ValueError: a file is damaged, or was written by a later version.
    """
    with files.reading_folder(path) as folder:
        return _read_model(folder)


def _read_model(folder: Path) -> Model:
    config = _read_config(folder)
    try:
        with temporary_seed(0):  # of weights that are replaced: no draw of the user's seed is used up
            model = model_from_config(config["model"])
        load_weights(model, folder / "model.safetensors")
        if "compiled" in config:
            compile_from_config(model, config["compiled"])
            arrays = files.read_safetensors(folder / "training.safetensors")
            arrays |= {f"weights/{name}": parameter.value for name, parameter in model.named_weights().items()}
            set_state(model, ModelState(arrays, config["training"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / 'config.json'} is damaged: {type(error).__name__} {error}") from None
    return model


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no saved model: it has no config.json")
    config = files.read_json(path)
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        kind = config.get("kind") if isinstance(config, dict) else None
        other = ": it is a language model's, for LanguageModel.load" if kind == "language_model" else ""
        raise ValueError(f"{path} is not the configuration of a saved model{other}")
    version = config.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ValueError(f"{path} has format_version {version!r}; this version of recurlm reads up to {FORMAT_VERSION}")
    return config


def recipe_config(model: Model) -> dict[str, Any]:
    """What ``compile`` was given, resolved for each output; metrics are kept only where their names are enough."""
    recipe = model.recipe
    if model.is_built:
        heads = model.compiled.heads
        resolved, weights = [head.loss for head in heads], [head.loss_weight for head in heads]
    else:  # a Sequential, whose one output has no name yet
        resolved = [losses.get(each) for each in per_output(recipe["loss"], ["output"], "loss")]
        weights = recipe["loss_weights"]
    return {
        "optimizer": optimizers.serialize(model.optimizer),
        "loss": [losses.serialize(loss) for loss in resolved],
        "loss_weights": weights,
        "metrics": _names_of_metrics(recipe["metrics"]),
        "weighted_metrics": _names_of_metrics(recipe["weighted"]),
        "dtype": recipe["dtype"],
    }


def _names_of_metrics(spec: Any) -> Any:
    if isinstance(spec, dict):
        return {name: _names_of_metrics(each) for name, each in spec.items()}
    if isinstance(spec, (list, tuple)):
        return [_names_of_metrics(each) for each in spec]
    if spec is None or isinstance(spec, str):
        return spec
    raise ValueError(f"a compiled model can be saved only with metrics given by name, got {spec!r}")


def compile_from_config(model: Model, config: Mapping[str, Any]) -> None:
    """Compile as the model was of which ``recipe_config`` is."""
    model.compile(
        optimizers.get(config["optimizer"]),
        [losses.get(each) for each in config["loss"]],
        config["loss_weights"],
        config["metrics"],
        config["weighted_metrics"],
        dtype=config.get("dtype", "float32"),
    )
