"""Models for ``pickle`` and ``copy.deepcopy``: configurations and safetensors bytes, no objects of ours.

What is pickled names one function of this module and plain data, so that a later version of the package reads it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import model_io
from .layers import Embedding
from .layers.base import Layer
from .model_io import ModelState
from .seeding import temporary_seed
from .tape import Parameter
from .typing import Array

if TYPE_CHECKING:
    from .model import Model
    from .sequential import Sequential

Reduced = tuple[Callable[[dict[str, Any]], Any], tuple[dict[str, Any]]]


def reduce_model(model: Model) -> Reduced:
    """What ``Model.__reduce__`` returns.

    Raises:
        TypeError: it is of a subclass, which alone knows what else it holds.
        ValueError: it holds what has no configuration, such as a metric that is an object.
    """
    from .model import Model
    from .sequential import Sequential

    if isinstance(model, Sequential) and type(model) is Sequential:
        return restore_sequential, (_sequential_values(model) | _training_values(model),)
    if type(model) is not Model:
        raise TypeError(f"{type(model).__name__} must define __reduce__ to be pickled or copied")
    weights = {name: parameter.value for name, parameter in model.named_weights().items()}
    values = {"graph": model_io.graph_config(model), "weights": to_bytes(weights)}
    return restore_model, (values | _training_values(model),)


def restore_model(values: dict[str, Any]) -> Model:
    """The inverse of ``reduce_model`` for a ``Model``."""
    with temporary_seed(0):  # as when a model is loaded
        model = model_io.model_from_config(values["graph"])
    model_io.assign_weights(model.named_weights(), from_bytes(values["weights"]), "the pickle")
    _restore_training(model, values)
    return model


def restore_sequential(values: dict[str, Any]) -> Sequential:
    """The inverse of ``reduce_model`` for a ``Sequential``, built or not."""
    from .sequential import Sequential

    with temporary_seed(0):
        model = Sequential(model_io.layers_from_config(values["stack"]), values["name"], seed=values["seed"])
    model_io.assign_weights(_stacked_weights(model.stack), from_bytes(values["weights"]), "the pickle")
    _restore_training(model, values)
    return model


def _sequential_values(model: Sequential) -> dict[str, Any]:
    # Most layers get their weights when the model is built; those that have them before came from elsewhere.
    if not model.is_built and any(layer.weights for layer in model.stack if not isinstance(layer, Embedding)):
        raise ValueError(f"{model.name} holds trained layers but is not built: build it before it is pickled or copied")
    weights = {name: parameter.value for name, parameter in _stacked_weights(model.stack).items()}
    stack = model_io.layer_configs(model.stack)
    return {"stack": stack, "name": model.name, "seed": model.seed, "weights": to_bytes(weights)}


def _stacked_weights(stack: Iterable[Layer]) -> dict[str, Parameter]:
    return {f"{i}.{k}": weight for i, layer in enumerate(stack) for k, weight in enumerate(layer.weights)}


def _training_values(model: Model) -> dict[str, Any]:
    """How the model was compiled, and the optimizer's moments; nothing where it was not."""
    if not model.is_compiled:
        return {}
    values: dict[str, Any] = {"compiled": model_io.recipe_config(model)}
    if model.is_built:
        state = model_io.get_state(model)
        moments = {name: array for name, array in state.arrays.items() if not name.startswith("weights/")}
        values |= {"training": state.values, "moments": to_bytes(moments)}
    return values


def _restore_training(model: Model, values: Mapping[str, Any]) -> None:
    if "compiled" in values:
        model_io.compile_from_config(model, values["compiled"])
    if "training" in values:
        arrays = from_bytes(values["moments"])
        arrays |= {f"weights/{name}": parameter.value for name, parameter in model.named_weights().items()}
        model_io.set_state(model, ModelState(arrays, values["training"]))


def to_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Arrays by name as one safetensors file."""
    from safetensors.numpy import save

    data: bytes = save(dict(arrays))
    return data


def from_bytes(data: bytes) -> dict[str, Array]:
    """The inverse of ``to_bytes``."""
    from safetensors.numpy import load

    arrays: dict[str, Array] = load(data)
    return arrays
