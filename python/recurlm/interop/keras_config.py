"""The architecture of a Keras 3 model, as its ``config.json`` has it, built of our layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from .. import layers
from ..layers import Bidirectional, Embedding, InputLayer, Layer, Masking, SymbolicTensor
from ..layers.recurrent import Recurrent
from ..model import Model
from ..sequential import Sequential

_FLOAT32 = ("float32", "mixed_float16", "mixed_bfloat16")  # policies whose weights are float32
_MODELS = ("Functional", "Model", "Sequential")
_MASKS = ("mask", "query_mask", "value_mask", "key_mask")  # arguments of calls

Parts: TypeAlias = "list[tuple[str, Layer | Built]]"


class Built(NamedTuple):
    """A model, and its layers and models inside by their classes in Keras, in the order of the file."""

    model: Model
    parts: Parts


# Operations by which Keras's layers make masks of masks, and which it writes down where they are part of a graph.
_OF_MASKS = ("Any", "ConvertToTensor", "LogicalAnd", "LogicalOr", "Concatenate", "ExpandDims")
_LIKE = ("OnesLike", "ZerosLike")  # what stands in them for an input that has no mask


class _Operated(NamedTuple):
    """What an operation gives; ``mask`` where it is one that our layers make themselves."""

    operation: str
    mask: bool


def build(config: Mapping[str, Any]) -> Built:
    """The model of ``{"class_name", "config"}``, its weights not yet read.

    Raises:
        ValueError: it has a layer, an argument, an operation or a dtype that recurlm has not.
    """
    kind, inside = config["class_name"], config["config"]
    if kind == "Sequential":
        parts = [(entry["class_name"], _part(entry)) for entry in inside["layers"]]
        return Built(_sequential([part for _, part in parts], inside["name"]), parts)
    if kind not in _MODELS:
        raise ValueError(f"expected a Sequential or Functional model of Keras 3, got a {kind}")
    return _Functional(inside).build()


def _sequential(parts: list[Layer | Built], name: str) -> Model:
    """A Sequential; with models among its layers a Model, whose inputs those of the first may be."""
    if not any(isinstance(part, Built) for part in parts):
        return Sequential(parts, name)
    first = parts[0]
    x = source = first.tensor if isinstance(first, InputLayer) else None
    for part in parts[source is not None :]:
        if source is None:
            if not isinstance(part, Built):
                raise ValueError(f"{name} must begin with an Input or a model")
            source, x = part.model.inputs[0], part.model.outputs[0]
        else:
            x = _callable(part)(x)
    return Model(source, x, name)


def _callable(part: Layer | Built) -> Layer | Model:
    return part.model if isinstance(part, Built) else part


def _part(entry: Mapping[str, Any]) -> Layer | Built:
    """A layer, or a model within the model, of one entry."""
    kind, config = entry["class_name"], dict(entry["config"])
    if kind in _MODELS:
        return build(entry)
    if not str(entry.get("module", "keras")).startswith("keras") or kind in ("Lengths", "Reverse", "PositionEmbedding"):
        raise ValueError(f"layer {config.get('name')!r} of class {kind} is none of Keras's own")
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
        tensors = [self._tensor(history) for history in ([histories] if one else histories)]
        for tensor in tensors:
            if isinstance(tensor, _Operated):
                raise ValueError(f"an output is what the operation {tensor.operation} gives, which recurlm has not")
        return tensors

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
            return [_Operated(entry["class_name"], self._is_mask(entry, args))]
        # None and False are what a call has without being asked; masks come from Embedding and Masking.
        given = {
            key: value
            for key, value in kwargs.items()
            if value is not None and value is not False and not (key in _MASKS and _all_masks(value))
        }
        for operated in _operated([args, given]):
            raise ValueError(
                f"layer {name!r} reads what the operation {operated.operation} gives, which recurlm has not"
            )
        if isinstance(part, (Recurrent, Bidirectional)) and len(args) == 2:
            given["initial_state"] = args.pop()
        outputs = _callable(part)(*args, **given)
        return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]

    def _is_mask(self, entry: Mapping[str, Any], args: list[Any]) -> bool:
        """Whether it is the mask of an Embedding or a Masking, or made of such."""
        if entry["class_name"] == "NotEqual" and isinstance(args[0], SymbolicTensor):
            return any(args[1] == value for value in self._paddings_of(args[0]))
        operated = _operated(args)
        if entry["class_name"] in _LIKE:
            return not operated
        return entry["class_name"] in _OF_MASKS and bool(operated) and all(each.mask for each in operated)

    def _paddings_of(self, tensor: SymbolicTensor) -> list[float]:
        """What layers that make a mask of ``tensor`` take for padding."""
        paddings: list[float] = []
        for name, part in self._parts.items():
            makes = isinstance(part, Masking) or (isinstance(part, Embedding) and part.mask_zero)
            if makes and tensor in (self._tensor(each) for each in _read(self._entries[name]["inbound_nodes"])):
                paddings.append(part.mask_value if isinstance(part, Masking) else 0)
        return paddings

    def _argument(self, value: Any) -> Any:
        """As it was in the call: a tensor, or what holds tensors."""
        if isinstance(value, Mapping):
            if value.get("class_name") == "__keras_tensor__":
                return self._tensor(value["config"]["keras_history"])
            return {key: self._argument(each) for key, each in value.items()}
        return [self._argument(each) for each in value] if isinstance(value, list) else value


def _is_operation(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("module")).startswith("keras.src.ops")


def _read(call: Any) -> list[Any]:
    """The tensors that a call, or several, read, by their histories."""
    if isinstance(call, Mapping):
        if call.get("class_name") == "__keras_tensor__":
            return [call["config"]["keras_history"]]
        call = list(call.values())
    return [history for each in call for history in _read(each)] if isinstance(call, list) else []


def _operated(value: Any) -> list[_Operated]:
    """All that operations gave in the arguments of a call."""
    if isinstance(value, _Operated):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [operated for each in inside for operated in _operated(each)]


def _all_masks(value: Any) -> bool:
    """Whether it is a mask that our layers make themselves, or a list of such and of None."""
    each = value if isinstance(value, list) else [value]
    return any(each) and all(mask is None or (isinstance(mask, _Operated) and mask.mask) for mask in each)
