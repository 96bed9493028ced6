"""Weights of PyTorch modules: ``nn.Embedding``, then ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM``, then ``nn.Linear``.

A state dict has names and arrays but no graph: what reads what follows from the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from ..files import DamagedFileError
from ..layers import Bidirectional, Dense, Embedding, Input
from ..layers.recurrent import Recurrent
from ..model import Model
from ..precision import from_bfloat16
from ..text.corpus import PathLike
from ..typing import Float
from .cells import CELLS, PYTORCH, CellRows, kind_of
from .chain import Chain

_RECURRENT = re.compile(
    r"(?P<module>(?:.*\.)?)(?P<part>(?:weight|bias)_(?:ih|hh|hr))_l(?P<layer>\d+)(?P<back>_reverse)?"
)

Directions = list[CellRows]  # of a layer: one, or forward and backward


def from_pytorch(
    state: Mapping[str, Any],
    *,
    embedding: str | None = None,
    linear: str | None = None,
    recurrent: Sequence[str] | None = None,
    activation: str = "linear",
    nonlinearity: str = "tanh",
    return_sequences: bool = True,
) -> Model:
    """A model with the weights of a PyTorch module.

    Args:
        state: ``module.state_dict()``, tensors or arrays by name. An Embedding before the recurrent modules and a
            Linear after them are told by their shapes. Tied weights stay tied.
        embedding, linear: names of these modules, where shapes do not tell.
        recurrent: names of the recurrent modules in their order, where there are several that are not just numbered.
        activation: of the Linear, which a state dict does not hold; ``"softmax"`` for a language model.
        nonlinearity: of an ``nn.RNN``: ``"tanh"`` or ``"relu"``.
        return_sequences: False where the Linear reads the final state alone, of both directions.

    Raises:
        ValueError: there is no recurrent module, one has ``proj_size``, shapes do not fit, or an array belongs to none
            of these modules.

    >>> import numpy as np
    >>> from recurlm.interop import from_pytorch
    >>> shapes = {"embed.weight": (9, 4), "rnn.weight_ih_l0": (12, 4), "rnn.weight_hh_l0": (12, 3)}
    >>> shapes |= {"rnn.bias_ih_l0": (12,), "rnn.bias_hh_l0": (12,), "out.weight": (9, 3), "out.bias": (9,)}
    >>> model = from_pytorch({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    >>> model.predict(np.zeros((2, 5), int), verbose=0).shape
    (2, 5, 9)
    """
    arrays = {name: _array(name, value) for name, value in state.items()}
    stack = list(_take_layers(arrays, recurrent))
    if not stack:
        raise ValueError(f"no weights of an nn.RNN, nn.GRU or nn.LSTM among these: {', '.join(arrays) or 'none'}")
    first, last = _find_ends(arrays, (_width_before(stack), _width_after(stack)), embedding, linear)
    x = source = Input((None, stack[0][0].width)) if first is None else Input((None,), dtype="int32")
    table = None
    if first is not None:
        size, width = arrays[first].shape
        table = Embedding(size, width, "zeros", weights=[arrays[first]])
        x = table(x)
    for place, directions in enumerate(stack):
        x = _recurrent(x, directions, nonlinearity, return_sequences or place < len(stack) - 1)
    if last is not None:
        tied = table is not None and first is not None and np.array_equal(arrays[first], arrays[last])
        x = _linear(x, arrays[last], arrays.get(_bias_of(last)), table if tied else None, activation)
    return Model(source, x)


def read_state(path: PathLike) -> dict[str, Float]:
    """The arrays of a ``.safetensors`` file in float32; ValueError where there are others than floats in it."""
    content = Path(path).read_bytes()
    try:
        found: list[tuple[str, dict[str, Any]]] = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise DamagedFileError(f"{path} is damaged: it is not a valid safetensors file ({error})") from None
    return {name: _floats(f"{path}: {name}", entry) for name, entry in found}


def _floats(name: str, entry: Mapping[str, Any]) -> Float:
    kinds: dict[str, Any] = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
    if entry["dtype"] not in kinds:
        raise ValueError(f"{name} must be of floats, got {entry['dtype']}")
    array = np.frombuffer(entry["data"], kinds[entry["dtype"]]).reshape(entry["shape"])
    return from_bfloat16(array) if entry["dtype"] == "BF16" else array.astype(np.float32)


def _array(name: str, value: Any) -> Float:
    """A tensor of any floating type, on any device, as float32."""
    if hasattr(value, "detach"):
        if not value.is_floating_point():
            raise ValueError(f"{name} must be a tensor of floats, got {value.dtype}")
        value = value.detach().cpu().float().numpy()
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{name} must be an array of floats, got {array.dtype}")
    return np.ascontiguousarray(array, np.float32)


# Recurrent modules ---------------------------------------------------------------------------------------------------


def _take_layers(arrays: dict[str, Float], order: Sequence[str] | None) -> Iterator[Directions]:
    """The layers of all recurrent modules, one after the other; their arrays are taken out of ``arrays``."""
    found: dict[str, dict[int, dict[str, dict[str, Float]]]] = {}
    for name in list(arrays):
        if match := _RECURRENT.fullmatch(name):
            layer = found.setdefault(match["module"], {}).setdefault(int(match["layer"]), {})
            layer.setdefault(match["back"] or "", {})[match["part"]] = arrays.pop(name)
    for module in _ordered(list(found), order):
        layers = found[module]
        for place in range(len(layers)):
            name = f"{module}*_l{place}"
            if place not in layers or "" not in layers[place]:
                raise ValueError(f"{name}: the layer, or its forward direction, is missing")
            yield [_cell_rows(name + back, layers[place][back]) for back in sorted(layers[place])]


def _ordered(modules: list[str], order: Sequence[str] | None) -> list[str]:
    """Modules that differ in numbers by these; ValueError where only the caller can know their order."""
    if order is not None:
        named = [name if name in modules else f"{name}." for name in order]
        if sorted(named) != sorted(modules):
            raise ValueError(f"recurrent must name {', '.join(modules)}, each once, got {', '.join(order)}")
        return named
    if len({re.sub(r"\d+", "#", module) for module in modules}) > 1:
        raise ValueError(
            f"there are several recurrent modules ({', '.join(modules)}): give their order, recurrent=[...]"
        )
    return sorted(modules, key=lambda module: [int(number) for number in re.findall(r"\d+", module)])


def _cell_rows(name: str, parts: Mapping[str, Float]) -> CellRows:
    """ValueError where the arrays of one direction are not those of a cell."""
    if "weight_hr" in parts:
        raise ValueError(f"{name}: an nn.LSTM with proj_size is not supported")
    needed = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if len(parts) > 2 else [])]
    missing = [part for part in needed if part not in parts]
    if missing:
        raise ValueError(f"{name}: {missing[0]} is missing")
    biases = (parts["bias_ih"], parts["bias_hh"]) if len(parts) > 2 else None
    rows = CellRows(parts["weight_ih"], parts["weight_hh"], biases)
    rows.check(name)
    return rows


def _width_before(stack: list[Directions]) -> int:
    return stack[0][0].width


def _width_after(stack: list[Directions]) -> int:
    return sum(rows.units for rows in stack[-1])


def _recurrent(x: Any, directions: Directions, nonlinearity: str, sequences: bool) -> Any:
    cls = CELLS[kind_of(directions[0])]
    layer = cls(
        directions[0].units,
        nonlinearity if cls.kind == "rnn" else "tanh",
        use_bias=directions[0].biases is not None,
        kernel_initializer="zeros",
        recurrent_initializer="zeros",
        return_sequences=sequences,
    )
    wrapped = layer if len(directions) == 1 else Bidirectional(layer)
    y = wrapped(x)
    cells = [layer] if isinstance(wrapped, Recurrent) else [wrapped.forward_layer, wrapped.backward_layer]
    for cell, rows in zip(cells, directions, strict=True):
        cell.set_weights(rows.weights(cell, PYTORCH))
    return y


# What stands before and after ----------------------------------------------------------------------------------------


def _bias_of(weight: str) -> str:
    return weight.removesuffix("weight") + "bias"


def _find_ends(
    arrays: Mapping[str, Float], widths: tuple[int, int], embedding: str | None, linear: str | None
) -> tuple[str | None, str | None]:
    """Names of the weights of the Embedding and the Linear; ValueError where ``arrays`` do not fit, or fit twice."""
    before, after = widths
    weights = [name for name in arrays if name.endswith("weight") and arrays[name].ndim == 2]
    biases = {_bias_of(name) for name in weights}
    strange = [name for name in arrays if name not in weights and name not in biases]
    if strange:
        raise ValueError(f"{strange[0]} {arrays[strange[0]].shape} belongs to no Embedding, RNN, GRU, LSTM or Linear")

    def fits(first: str | None, last: str | None) -> bool:
        is_table = first is None or (arrays[first].shape[1] == before and _bias_of(first) not in arrays)
        is_linear = last is None or arrays[last].shape[1] == after
        named = (embedding is None or _is_of(first, embedding)) and (linear is None or _is_of(last, linear))
        return is_table and is_linear and named

    pairs = [(None, None), *((name, None) for name in weights), *((None, name) for name in weights)]
    pairs += permutations(weights, 2) if len(weights) == 2 else []
    ends = [pair for pair in pairs if {*pair} - {None} == set(weights) and fits(*pair)] if len(weights) <= 2 else []
    return _only(ends, arrays, weights, widths)


def _is_of(weight: str | None, module: str) -> bool:
    return weight in (f"{module}.weight", module)


def _only(
    ends: list[tuple[str | None, str | None]], arrays: Mapping[str, Float], weights: list[str], widths: tuple[int, int]
) -> tuple[str | None, str | None]:
    shapes = ", ".join(f"{name} {arrays[name].shape}" for name in weights[:5]) or "none"
    if not ends:
        expected = f"an Embedding of width {widths[0]} and a Linear that reads {widths[1]}"
        raise ValueError(f"expected beside the recurrent weights at most {expected}, got {shapes}")
    if len(ends) > 1 and not _are_tied(arrays, weights):
        raise ValueError(f"shapes do not tell which is the Embedding and which the Linear ({shapes}): name them")
    return ends[0]


def _are_tied(arrays: Mapping[str, Float], weights: list[str]) -> bool:
    return len(weights) == 2 and np.array_equal(arrays[weights[0]], arrays[weights[1]])


def _linear(x: Any, weight: Float, bias: Float | None, tied_to: Embedding | None, activation: str) -> Any:
    layer = Dense(len(weight), activation, bias is not None, "zeros", tied_to=tied_to)
    y = layer(x)
    layer.set_weights([*([] if tied_to else [weight.T]), *([] if bias is None else [bias])])
    return y


# The way back --------------------------------------------------------------------------------------------------------


def to_pytorch(model: Model) -> dict[str, Float]:
    """Arrays for ``load_state_dict`` of a module with ``embedding``, ``rnn`` and ``linear``, as far as there are any.

    Layers of a width of their own are modules of their own: ``rnns.0``, ``rnns.1``, ... Tied weights are there twice.
    The activation of the last layer, and dropout, are for the module to have.

    Raises:
        ValueError: the model is no chain of Embedding, recurrent layers and Dense, or has what PyTorch's have not.
    """
    chain = Chain.of_weights(model)
    state: dict[str, Float] = {}
    if chain.embedding is not None:
        state["embedding.weight"] = chain.embedding.embeddings.value
    for place, layer in enumerate(chain.recurrent):
        module, index = ("rnn", place) if chain.uniform else (f"rnns.{place}", 0)
        for back, cell in zip(("", "_reverse"), chain.cells(layer), strict=False):
            state |= _named(f"{module}.{{}}_l{index}{back}", cell)
    if chain.dense is not None:
        kernel = chain.dense.kernel.value
        state["linear.weight"] = kernel if chain.dense.transposed else kernel.T
        if chain.dense.bias is not None:
            state["linear.bias"] = chain.dense.bias.value
    return {name: np.array(value, order="C") for name, value in state.items()}


def _named(name: str, cell: Recurrent) -> dict[str, Float]:
    if cell.kind == "gru" and not cell.reset_after:
        raise ValueError(f"{cell.name}: PyTorch has no GRU with reset_after=False")
    if cell.kind == "rnn" and cell.activation not in ("tanh", "relu"):
        raise ValueError(f"{cell.name}: PyTorch has an nn.RNN with tanh and relu, not with {cell.activation}")
    rows = CellRows.of(cell, PYTORCH)
    parts = {"weight_ih": rows.kernel, "weight_hh": rows.recurrent_kernel}
    if rows.biases is not None:
        parts |= {"bias_ih": rows.biases[0], "bias_hh": rows.biases[1]}
    return {name.format(part): array for part, array in parts.items()}
