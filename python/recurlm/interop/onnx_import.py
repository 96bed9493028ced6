"""Recurrent networks in ONNX files as models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ..files import DamagedFileError
from ..layers import Add, Concatenate, Embedding, Input, Lengths
from ..model import Model
from ..text.corpus import PathLike
from .onnx_cells import Operator
from .onnx_values import Constant, Extents, Filled, Given, Linear, Tensor, Value, fixed

_ACTIVATIONS = {"Tanh": "tanh", "Sigmoid": "sigmoid", "Relu": "relu", "Softmax": "softmax", "LogSoftmax": "softmax"}
_WEIGHTS = ("kernel", "recurrent_kernel", "bias")
_READ = ("x", *_WEIGHTS, "lengths", "h", "c", "peepholes")  # inputs of RNN, GRU and LSTM
_PASSED = ("Identity", "Cast", "Dropout")


class _Contradiction(ValueError):
    """What was assumed of the inputs does not fit the graph; ``place`` is that of the node where this was found."""

    place = 0


def load_onnx(path: PathLike) -> Model:
    """The model in an ONNX file of Gather (of a table), RNN, GRU, LSTM, MatMul or Gemm, and activations; needs onnx.

    Inputs and outputs are batch-first here, whatever they are there; an initial state (directions, batch, units) is one
    input (batch, units) for each direction, lengths are (batch, 1), and LogSoftmax becomes softmax: ``predict`` gives
    probabilities, ``token_log_probs`` their logarithms.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX file, keeps weights in other files, or has an operator, or an attribute of one
            (peepholes, ``clip``, other activations), that recurlm has not.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        file = onnx.load_model_from_string(Path(path).read_bytes())
    except DecodeError as error:
        raise DamagedFileError(f"{path} is damaged, or no ONNX file ({error})") from None
    if not file.graph.output or not file.opset_import:
        raise DamagedFileError(
            f"{path} is damaged, or no ONNX file: it has no output, or tells no version of operators"
        )
    contradictions = []
    for order, with_states in product(("BT", "TB"), (False, True)):
        result = _read(path, file.graph, order, with_states)
        if isinstance(result, Model):
            return result
        contradictions.append(result)
    raise ValueError(f"{path}: {max(contradictions, key=lambda each: each.place)}")


def _read(path: PathLike, graph: Any, order: str, with_states: bool) -> Model | _Contradiction:
    """The model, or why inputs of that order, and layers that return states only if so, cannot be."""
    try:
        return _Reader(graph, order, with_states).read()
    except _Contradiction as error:
        return error
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path} is damaged ({type(error).__name__}: {error})") from None


class _Reader:
    """Replays a graph, with inputs of ids and sequences in the ``order`` that is assumed of them."""

    def __init__(self, graph: Any, order: str, with_states: bool) -> None:
        import onnx

        self._graph, self._order, self._with_states = graph, order, with_states
        self._values: dict[str, Value] = {}
        for tensor in graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise ValueError(f"{tensor.name} stands in another file, which is not opened")
            self._values[tensor.name] = Constant(onnx.numpy_helper.to_array(tensor))
        self._attribute_value = onnx.helper.get_attribute_value
        self._to_array = onnx.numpy_helper.to_array
        for given in graph.input:
            if given.name not in self._values:
                kind = given.type.tensor_type
                shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
                integer = kind.elem_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
                self._values[given.name] = Given(given.name, shape, integer)
        self._inputs: dict[str, list[Any]] = {}  # made for each of these
        self._tables: dict[int, Embedding] = {}  # by the array they hold

    def read(self) -> Model:
        for place, node in enumerate(self._graph.node):
            try:
                self._values.update(zip(node.output, self._results(node), strict=False))
            except _Contradiction as error:  # noqa: PERF203 - it ends the loop
                error.place = place
                raise
        outputs = [part for given in self._graph.output for part in self._tensor(given.name).parts]
        names = [given.name for given in self._graph.input]
        inputs = [made for name in names for made in self._inputs.get(name, [])]
        return Model(inputs, outputs)

    def _results(self, node: Any) -> Sequence[Value]:
        attributes = {each.name: self._attribute(each) for each in node.attribute}
        if node.op_type in ("RNN", "GRU", "LSTM"):
            return self._recurrent(node, attributes)
        if node.op_type == "Split":
            return self._split(node, attributes)
        values = [self._values[name] for name in node.input if name]
        if node.op_type == "Constant":
            return [Constant(np.asarray(next(iter(attributes.values()))))]
        if values and all(isinstance(value, (Constant, Filled, Extents)) for value in values):
            return [_folded(node.op_type, values, attributes)]
        if node.op_type == "Shape":
            return [Extents()]
        if node.op_type in _PASSED:
            return values[:1]
        if node.op_type in _ACTIVATIONS:
            return [self._activated(node, attributes)]
        operators: Mapping[str, Callable[[Any, Mapping[str, Any]], Value]] = {
            "Gather": self._gather,
            "MatMul": self._matmul,
            "Gemm": self._gemm,
            "Add": self._add,
            "Transpose": self._transpose,
            "Squeeze": self._squeeze,
            "Unsqueeze": self._unsqueeze,
            "Reshape": self._reshape,
            "Slice": self._slice,
            "Concat": self._concat,
        }
        if node.op_type not in operators:
            raise ValueError(f"{_name(node)}: the operator {node.op_type} is not supported")
        return [operators[node.op_type](node, attributes)]

    def _attribute(self, attribute: Any) -> Any:
        """A number, bytes, a list of these, or an array."""
        value = self._attribute_value(attribute)
        return self._to_array(value) if hasattr(value, "raw_data") else value

    # Values as they are needed ----------------------------------------------------------------------------------------

    def _tensor(self, name: str) -> Tensor:
        """A tensor; a linear map whose layer ends here, or an input that is a sequence or a row of numbers."""
        value = self._values[name]
        if isinstance(value, Linear):
            value = value.layer("linear", list(self._tables.values()))
        if isinstance(value, Given):
            if len(value.shape) == 3:
                value = self._input(value, (None, value.shape[2]), "float32", self._order + "D")
            elif len(value.shape) == 2 and not value.integer:
                value = self._input(value, (value.shape[1],), "float32", "BD")
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} must be computed from the inputs by supported operators")
        self._values[name] = value
        return value

    def _input(self, given: Given, shape: tuple[int | None, ...], dtype: str, axes: str) -> Tensor:
        if given.name in self._inputs:
            raise ValueError(f"the input {given.name} is read in two ways")
        if "D" in axes and shape[-1] is None:
            raise ValueError(f"the input {given.name} must have a known width")
        made = Input(shape, dtype=dtype)
        self._inputs[given.name] = [made]
        tensor = self._values[given.name] = Tensor([made], axes)
        return tensor

    def _states(self, name: str, operator: Operator) -> list[Any]:
        """Initial states (S, B, H), one for each direction; none where they are zeros."""
        value = self._values[name]
        if isinstance(value, Filled) and value.value == 0:
            return []
        if isinstance(value, Constant) and not value.array.any():
            return []
        if isinstance(value, Given):
            value = self._state_input(value, operator.state_axes)
        if not isinstance(value, Tensor) or value.axes != operator.state_axes:
            raise ValueError(f"{operator.name}: the initial state {name} must be an input, zeros or computed")
        return list(value.parts)

    def _state_input(self, given: Given, axes: str) -> Tensor:
        count, width = given.shape[axes.index("S")], given.shape[2]
        if count is None or width is None:
            raise ValueError(f"the input {given.name} must have known extents but for the batch")
        self._inputs[given.name] = [Input((width,)) for _ in range(count)]
        tensor = self._values[given.name] = Tensor(list(self._inputs[given.name]), axes)
        return tensor

    # Operators --------------------------------------------------------------------------------------------------------

    def _recurrent(self, node: Any, attributes: Mapping[str, Any]) -> list[Tensor]:
        operator = Operator.of(node.op_type.lower(), _name(node), attributes)
        given = {what: name for what, name in zip(_READ, node.input, strict=False) if name}
        if "peepholes" in given:
            raise ValueError(f"{operator.name}: peepholes are not supported")
        x = self._tensor(given["x"])
        if x.axes != operator.sequence_axes:
            raise _Contradiction(f"{operator.name} reads {operator.sequence_axes}, got {x.axes}")
        weights = [fixed(self._values[given[what]], operator.name) for what in _WEIGHTS if what in given]
        source = x.only
        if "lengths" in given and not isinstance(self._values[given["lengths"]], Constant):
            source = Lengths()([source, self._lengths(given["lengths"])])
        states = [self._states(given[what], operator) for what in ("h", "c") if what in given]
        if any(states) and not all(states):
            raise ValueError(f"{operator.name}: initial states must be given together, or be zeros together")
        initial = [list(each) for each in zip(*states, strict=True)] if any(states) else []
        wanted = self._with_states or any(name in self._read_names() for name in node.output[1:] if name)
        return operator.build(source, operator.rows(weights), initial, wanted)

    def _read_names(self) -> set[str]:
        return {name for node in self._graph.node for name in node.input} | {o.name for o in self._graph.output}

    def _lengths(self, name: str) -> Any:
        value = self._values[name]
        if not isinstance(value, Given):
            raise ValueError(f"lengths must be an input, got {name}")
        return self._inputs.setdefault(value.name, [Input((1,))])[0]

    def _gather(self, node: Any, attributes: Mapping[str, Any]) -> Value:
        data, indices = (self._values[name] for name in node.input)
        axis = attributes.get("axis", 0)
        if isinstance(data, Constant):
            return self._look_up(data, indices, axis, _name(node))
        tensor = self._tensor(node.input[0])
        index, letter = int(fixed(indices, _name(node))), tensor.axes[axis]
        if letter == "S":
            return tensor.part(index)
        last = tensor.at_last_step() if letter == "T" and index == -1 else None
        if last is None:
            raise _Contradiction(f"{_name(node)}: of a sequence only the last step of a forward layer can be taken")
        return last

    def _look_up(self, table: Constant, indices: Value, axis: int, name: str) -> Tensor:
        if isinstance(indices, Given):
            axes = {1: "B", 2: self._order}.get(len(indices.shape), "")
            indices = self._input(indices, (None,) * (len(axes) - 1), "int32", axes)
        if not isinstance(indices, Tensor) or axis != 0 or table.array.ndim != 2:
            raise ValueError(f"{name}: Gather must read rows of a table by ids of an input")
        if id(table) not in self._tables:
            size, width = table.array.shape
            self._tables[id(table)] = Embedding(size, width, "zeros", weights=[table.array])
        return Tensor([self._tables[id(table)](indices.only)], indices.axes + "D")

    def _matmul(self, node: Any, attributes: Mapping[str, Any]) -> Value:
        kernel = fixed(self._values[node.input[1]], _name(node))
        return Linear(self._tensor(node.input[0]), np.float32(kernel))

    def _gemm(self, node: Any, attributes: Mapping[str, Any]) -> Value:
        if attributes.get("alpha", 1) != 1 or attributes.get("beta", 1) != 1 or attributes.get("transA"):
            raise ValueError(f"{_name(node)}: Gemm with alpha, beta or transA is not supported")
        kernel = np.float32(fixed(self._values[node.input[1]], _name(node)))
        bias = np.float32(fixed(self._values[node.input[2]], _name(node))) if len(node.input) > 2 else None
        return Linear(self._tensor(node.input[0]), kernel.T if attributes.get("transB") else kernel, bias)

    def _add(self, node: Any, attributes: Mapping[str, Any]) -> Value:
        values = [self._values[name] for name in node.input]
        constants = [value.array for value in values if isinstance(value, Constant)]
        linear = [value for value in values if isinstance(value, Linear)]
        if constants and linear and linear[0].bias is None and constants[0].shape == (linear[0].kernel.shape[1],):
            return Linear(linear[0].x, linear[0].kernel, np.float32(constants[0]))
        one, other = (self._tensor(name) for name in node.input)
        if one.axes != other.axes:
            raise ValueError(f"{_name(node)}: {one.axes} and {other.axes} cannot be added")
        return Tensor([Add()(list(pair)) for pair in zip(one.parts, other.parts, strict=True)], one.axes)

    def _activated(self, node: Any, attributes: Mapping[str, Any]) -> Tensor:
        name, value = _ACTIVATIONS[node.op_type], self._values[node.input[0]]
        x = value.x if isinstance(value, Linear) else self._tensor(node.input[0])
        if name == "softmax" and attributes.get("axis", -1) not in (-1, len(x.axes) - 1):
            raise ValueError(f"{_name(node)}: {node.op_type} must be over the last axis")
        return value.layer(name, list(self._tables.values())) if isinstance(value, Linear) else x.activated(name)

    # Axes -------------------------------------------------------------------------------------------------------------

    def _transpose(self, node: Any, attributes: Mapping[str, Any]) -> Tensor:
        tensor = self._tensor(node.input[0])
        order = attributes.get("perm", range(len(tensor.axes))[::-1])
        return tensor.moved("".join(tensor.axes[axis] for axis in order))

    def _axes_of(self, node: Any, attributes: Mapping[str, Any], at: int) -> list[int]:
        """The argument ``axes``: an attribute once, an input now."""
        if "axes" in attributes:
            return list(attributes["axes"])
        return [int(axis) for axis in np.ravel(fixed(self._values[node.input[at]], _name(node)))]

    def _squeeze(self, node: Any, attributes: Mapping[str, Any]) -> Value:
        value = self._values[node.input[0]]
        if isinstance(value, Given) and value.shape[1:] == (1,):
            return value  # lengths, as we write them
        tensor = self._tensor(node.input[0])
        if [tensor.axes[axis] for axis in self._axes_of(node, attributes, 1)] != ["S"] or len(tensor.parts) > 1:
            raise _Contradiction(f"{_name(node)}: Squeeze must take away the axis of the only direction")
        return tensor.part(0)

    def _unsqueeze(self, node: Any, attributes: Mapping[str, Any]) -> Tensor:
        tensor = self._tensor(node.input[0])
        axes = self._axes_of(node, attributes, 1)
        if len(axes) != 1 or "S" in tensor.axes:
            raise ValueError(f"{_name(node)}: Unsqueeze must add the axis of directions")
        place = axes[0] % (len(tensor.axes) + 1)
        return Tensor(tensor.parts, tensor.axes[:place] + "S" + tensor.axes[place:])

    def _reshape(self, node: Any, attributes: Mapping[str, Any]) -> Tensor:
        tensor = self._tensor(node.input[0])
        if tensor.axes.endswith("SD"):
            return tensor.merged()
        shape = self._values[node.input[1]]
        kept = isinstance(shape, Constant) and len(shape.array) == len(tensor.axes) and not shape.array[:-1].any()
        if not kept:
            raise ValueError(f"{_name(node)}: Reshape must put directions side by side")
        return tensor

    def _slice(self, node: Any, attributes: Mapping[str, Any]) -> Tensor:
        """Some of the initial states of several layers."""
        value = self._values[node.input[0]]
        if isinstance(value, Given) and len(value.shape) == 3:
            value = self._state_input(value, "SBD")
        starts, ends, axes, *steps = (fixed(self._values[name], _name(node)) for name in node.input[1:])
        if (
            not isinstance(value, Tensor)
            or [value.axes[axis] for axis in axes] != ["S"]
            or any(steps[0] != 1 for _ in steps)
        ):
            raise ValueError(f"{_name(node)}: Slice is supported for directions alone")
        return Tensor(value.parts[int(starts[0]) : int(ends[0])], value.axes)

    def _split(self, node: Any, attributes: Mapping[str, Any]) -> list[Tensor]:
        tensor = self._tensor(node.input[0])
        if tensor.axes[attributes.get("axis", 0)] != "S" or len(node.output) != len(tensor.parts):
            raise ValueError(f"{_name(node)}: Split must be into directions")
        return [Tensor([part], tensor.axes) for part in tensor.parts]

    def _concat(self, node: Any, attributes: Mapping[str, Any]) -> Tensor:
        tensors = [self._tensor(name) for name in node.input]
        axes = tensors[0].axes
        if any(tensor.axes != axes for tensor in tensors):
            raise ValueError(f"{_name(node)}: Concat must be of tensors with the same axes")
        letter = axes[attributes["axis"]]
        if letter == "S":
            return Tensor([part for tensor in tensors for part in tensor.parts], axes)
        if letter != "D" or "S" in axes:
            raise ValueError(f"{_name(node)}: Concat must be of features")
        return Tensor([Concatenate()([tensor.only for tensor in tensors])], axes)


def _name(node: Any) -> str:
    return str(node.name or node.output[0])


def _folded(operator: str, values: list[Value], attributes: Mapping[str, Any]) -> Value:
    """From constants and shapes alone: what initial states of zeros, and extents, are computed by."""
    if operator == "ConstantOfShape":
        return Filled(float(np.ravel(attributes.get("value", 0.0))[0]))
    if isinstance(values[0], Filled):
        return values[0]
    if operator == "Expand" and isinstance(values[0], Constant) and values[0].array.size == 1:
        return Filled(float(values[0].array.ravel()[0]))
    if operator in ("Transpose", "Cast", "Identity") and isinstance(values[0], Constant):
        return Constant(
            np.transpose(values[0].array, attributes.get("perm")) if operator == "Transpose" else values[0].array
        )
    return Extents()
