"""The architecture of a Keras 3 model, as its ``config.json`` has it, built of our layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from .. import layers
from ..layers import Embedding, InputLayer, Layer, Masking, SymbolicTensor
from ..model import Model
from ..sequential import Sequential

_FLOAT32 = ("float32", "mixed_float16", "mixed_bfloat16")  # policies whose weights are float32
_MODELS = ("Functional", "Model", "Sequential")

Parts: TypeAlias = "list[tuple[str, Layer | Built]]"


class Built(NamedTuple):
    """A model, and its layers and models inside by their classes in Keras, in the order of the file."""

    model: Model
    parts: Parts


class _MaskValue(NamedTuple):
    """What an operation gives that Keras wrote down because a mask is made with it: our layers make their own."""

    operation: str


def build(config: Mapping[str, Any]) -> Built:
    """The model of ``{"class_name", "config"}``, its weights not yet read.

    Raises:
        ValueError: it has a layer, an argument, an operation or a dtype that recurlm has not.
    """
    kind, inside = config["class_name"], config["config"]
    if kind == "Sequential":
        parts = [(entry["class_name"], _part(entry)) for entry in inside["layers"]]
        return Built(Sequential(map(_callable, (part for _, part in parts)), inside["name"]), parts)
    if kind not in _MODELS:
        raise ValueError(f"expected a Sequential or Functional model of Keras 3, got a {kind}")
    return _Functional(inside).build()


def _callable(part: Layer | Built) -> Layer | Model:
    return part.model if isinstance(part, Built) else part


def _part(entry: Mapping[str, Any]) -> Layer | Built:
    """A layer, or a model within the model, of one entry."""
    kind, config = entry["class_name"], dict(entry["config"])
    if kind in _MODELS:
        return build(entry)
    _check_dtype(config.get("name"), config.pop("dtype", None), integers=kind == "InputLayer")
    if kind == "InputLayer":
        dtype = entry["config"].get("dtype")
        return InputLayer(batch_shape=config["batch_shape"], dtype=dtype, name=config["name"])
    for key, value in config.items():
        if key.endswith("_initializer"):
            config[key] = "zeros"  # what there is to draw is about to be read
        elif isinstance(value, Mapping) and value.get("class_name") in layers.__all__:
            config[key] = _part(value)
    if config.get("quantization_config", ...) is None:
        del config["quantization_config"]
    try:
        return layers.deserialize({"class_name": kind, "config": config})
    except (TypeError, ValueError) as error:
        raise ValueError(f"layer {config.get('name')!r} of class {kind}: {error}") from None


def _check_dtype(name: Any, dtype: Any, integers: bool) -> None:
    policy = dtype["config"]["name"] if isinstance(dtype, Mapping) else dtype
    if policy is not None and policy not in _FLOAT32 and not (integers and str(policy).startswith(("int", "uint"))):
        raise ValueError(f"layer {name!r} has dtype {policy}, expected float32")


class _Functional:
    """Replays the calls of a graph, each once what it reads is there."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._entries = {entry["name"]: entry for entry in config["layers"]}
        self._parts = {name: _part(entry) for name, entry in self._entries.items() if not _is_operation(entry)}
        self._results: dict[tuple[str, int], list[Any]] = {}
        padding = {0} if any(isinstance(p, Embedding) and p.mask_zero for p in self._parts.values()) else set()
        self._padding = padding | {p.mask_value for p in self._parts.values() if isinstance(p, Masking)}

    def build(self) -> Built:
        inputs, outputs = (self._ends(self._config[key]) for key in ("input_layers", "output_layers"))
        parts = [
            (entry["class_name"], self._parts[name]) for name, entry in self._entries.items() if name in self._parts
        ]
        return Built(Model(inputs, outputs, self._config["name"]), parts)

    def _ends(self, histories: Any) -> list[SymbolicTensor]:
        if isinstance(histories, Mapping):
            histories = list(histories.values())
        one = histories and isinstance(histories[0], str)
        return [self._tensor(history) for history in ([histories] if one else histories)]

    def _tensor(self, history: Iterable[Any]) -> Any:
        name, node, index = history
        if (name, node) not in self._results:
            self._results[name, node] = self._call(name, node)
        return self._results[name, node][index]

    def _call(self, name: str, node: int) -> list[Any]:
        entry = self._entries[name]
        part = self._parts.get(name)
        if isinstance(part, InputLayer):
            return [part.tensor]
        call = entry["inbound_nodes"][node]
        args, kwargs = self._argument(call["args"]), self._argument(call["kwargs"])
        if part is None:
            return [self._mask(entry["class_name"], args)]
        # None and False are what a call has without being asked; masks come from Embedding and Masking.
        given = {
            key: value
            for key, value in kwargs.items()
            if value is not None and value is not False and not (key.endswith("mask") and _is_mask(value))
        }
        for operation in _operations([args, given]):
            raise ValueError(f"layer {name!r} reads what the operation {operation} gives, which recurlm has not")
        outputs = _callable(part)(*args, **given)
        return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]

    def _mask(self, operation: str, args: list[Any]) -> _MaskValue:
        if operation == "NotEqual" and args[1] not in self._padding:
            raise ValueError(f"a mask of values other than {args[1]} is of no Embedding with mask_zero and no Masking")
        return _MaskValue(operation)

    def _argument(self, value: Any) -> Any:
        """As it was in the call: a tensor, or what holds tensors."""
        if isinstance(value, Mapping):
            if value.get("class_name") == "__keras_tensor__":
                return self._tensor(value["config"]["keras_history"])
            return {key: self._argument(each) for key, each in value.items()}
        return [self._argument(each) for each in value] if isinstance(value, list) else value


def _is_operation(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("module")).startswith("keras.src.ops")


def _is_mask(value: Any) -> bool:
    return isinstance(value, _MaskValue) or (
        isinstance(value, list) and bool(value) and all(each is None or isinstance(each, _MaskValue) for each in value)
    )


def _operations(value: Any) -> list[str]:
    if isinstance(value, _MaskValue):
        return [value.operation]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [operation for each in inside for operation in _operations(each)]
