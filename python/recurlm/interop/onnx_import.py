"""Recurrent networks in ONNX files as models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import needing
from ..files import DamagedFileError
from ..layers import Add, Concatenate, Lengths
from ..model import Model
from ..text.corpus import PathLike
from .onnx_cells import Operator
from .onnx_names import GraphNames
from .onnx_values import Constant, Extents, Filled, Given, Linear, Tensor, Value, fixed

_WEIGHTS = ("kernel", "recurrent_kernel", "bias")
_READ = ("x", *_WEIGHTS, "lengths", "h", "c", "peepholes")  # inputs of RNN, GRU and LSTM
_ACTIVATIONS = {"Tanh": "tanh", "Sigmoid": "sigmoid", "Relu": "relu", "Softmax": "softmax", "LogSoftmax": "softmax"}
_MOVING = ("Expand", "Transpose", "Unsqueeze", "Squeeze", "Slice", "Identity", "Cast", "Reshape")  # values as they are

Attributes = Mapping[str, Any]


class _Contradiction(ValueError):
    """What was assumed of the inputs does not fit the graph; ``place`` is that of the node where this was found."""

    place = 0


def load_onnx(path: PathLike) -> Model:
    """The model in an ONNX file of Gather (of a table), RNN, GRU, LSTM, MatMul or Gemm, and activations; needs onnx.

    Inputs and outputs are batch-first here, whatever they are there; an initial state (directions, batch, units) is one
    input (batch, units) for each direction, lengths are (batch, 1), and a last LogSoftmax becomes softmax: ``predict``
    gives probabilities, ``token_log_probs`` their logarithms.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX file, keeps weights in other files, or has an operator, or an attribute of one
            (peepholes, ``clip``, other activations), that recurlm has not.
    """
    content = Path(path).read_bytes()
    with needing("onnx"):
        import onnx
        from google.protobuf.message import DecodeError
    try:
        file = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise DamagedFileError(f"{path} is damaged, or no ONNX file ({error})") from None
    if not file.graph.output or not file.opset_import:
        raise DamagedFileError(f"{path} is damaged, or no ONNX file: it lacks outputs, or the version of its operators")
    contradictions = []
    for order, with_states in product(("BT", "TB"), (False, True)):
        result = _read(path, file, order, with_states)
        if isinstance(result, Model):
            return result
        contradictions.append(result)
    raise ValueError(f"{path}: {max(contradictions, key=lambda each: each.place)}")


def _read(path: PathLike, file: Any, order: str, with_states: bool) -> Model | _Contradiction:
    """The model, or why inputs of that order, and layers that return states only if so, cannot be."""
    try:
        return _Reader(file, order, with_states).read()
    except _Contradiction as error:
        return error
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path} is damaged ({type(error).__name__}: {error})") from None


class _Reader:
    """Replays a graph, operator by operator."""

    def __init__(self, file: Any, order: str, with_states: bool) -> None:
        self._names = GraphNames(file, order)
        self._with_states = with_states
        self._version = max((each.version for each in file.opset_import if each.domain in ("", "ai.onnx")), default=0)

    def read(self) -> Model:
        names = self._names
        for place, node in enumerate(names.graph.node):
            try:
                names.values.update(zip(node.output, self._results(node), strict=False))
            except _Contradiction as error:  # noqa: PERF203 - it ends the loop
                error.place = place
                raise
        outputs = [names.tensor(name) for name in names.outputs]
        for name, tensor in zip(names.outputs, outputs, strict=True):
            if not tensor.axes.endswith("D"):
                raise ValueError(f"the output {name} must have the features last, its axes are {tensor.axes}")
        return Model(names.inputs, [part for tensor in outputs for part in tensor.parts])

    def _results(self, node: Any) -> Sequence[Value]:
        attributes = {each.name: self._names.attribute(each) for each in node.attribute}
        kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        if kind in ("RNN", "GRU", "LSTM"):
            return self._recurrent(node, attributes)
        if kind == "Split":
            return self._split(node, attributes)
        if kind == "Constant":
            return [Constant(np.asarray(next(iter(attributes.values()), 0)))]
        values = [self._names.values[name] for name in node.input if name]
        if values and all(isinstance(value, (Constant, Filled, Extents)) for value in values):
            return [_folded(kind, values, attributes)]
        if kind == "Shape":
            return [Extents()]
        if kind in _ACTIVATIONS:
            return [self._activated(node, attributes)]
        operators: Mapping[str, Callable[[Any, Attributes], Value]] = {
            "Identity": self._passed,
            "Dropout": self._passed,
            "Cast": self._cast,
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
        if kind not in operators:
            raise ValueError(f"{_name(node)}: the operator {kind} is not supported")
        return [operators[kind](node, attributes)]

    def _fixed(self, name: str, node: Any) -> Any:
        return fixed(self._names.values[name], f"{name} of {_name(node)}")

    def _passed(self, node: Any, attributes: Attributes) -> Value:
        return self._names.values[node.input[0]]

    def _cast(self, node: Any, attributes: Attributes) -> Value:
        value, kinds = self._names.values[node.input[0]], self._names.onnx.TensorProto
        numbers = isinstance(value, (Tensor, Linear)) and not (isinstance(value, Tensor) and "D" not in value.axes)
        if numbers and attributes["to"] not in (kinds.FLOAT, kinds.DOUBLE):
            raise ValueError(f"{_name(node)}: Cast of numbers must be to floats")
        return value

    # Layers -----------------------------------------------------------------------------------------------------------

    def _recurrent(self, node: Any, attributes: Attributes) -> list[Tensor]:
        given = {what: name for what, name in zip(_READ, node.input, strict=False) if name}
        weights = [self._fixed(given[what], node) for what in _WEIGHTS if what in given]
        operator = Operator.of(node.op_type.lower(), _name(node), int(weights[1].shape[-1]), attributes)
        if "peepholes" in given:
            raise ValueError(f"{operator.name}: peepholes are not supported")
        x = self._names.tensor(given["x"])
        if x.axes != operator.sequence_axes:
            raise _Contradiction(f"{operator.name} reads {operator.sequence_axes}, got {x.axes}")
        lengths, source = None, x.only
        if "lengths" in given:
            lengths, made = self._names.lengths(given["lengths"])
            source = source if lengths == x.lengths else Lengths()([source, made])
        if x.lengths not in (None, lengths):
            raise ValueError(f"{operator.name} reads what is padding by {x.lengths}: give it the same lengths")
        states = [self._names.states(given[what], operator) for what in ("h", "c") if what in given]
        if any(states) and not (all(states) and len(states) == (2 if operator.kind == "lstm" else 1)):
            raise ValueError(f"{operator.name}: initial states must be given together, or be zeros together")
        initial = [list(each) for each in zip(*states, strict=True)] if any(states) else []
        used = self._names.read_by_nodes | set(self._names.outputs)
        with_states = self._with_states or any(name in used for name in node.output[1:] if name)
        return operator.build(source, lengths, operator.rows(weights), initial, with_states)

    def _gather(self, node: Any, attributes: Attributes) -> Value:
        data, indices = (self._names.values[name] for name in node.input)
        axis = attributes.get("axis", 0)
        if isinstance(data, Constant) and axis == 0:
            return self._names.rows_of(data, indices, _name(node))
        tensor = self._names.tensor(node.input[0])
        index, letter = int(self._fixed(node.input[1], node)), tensor.axes[axis]
        if letter == "S":
            return tensor.part(index)
        last = tensor.at_last_step() if letter == "T" and index == -1 else None
        if last is None:
            what = "of a sequence only the last step of a forward layer without lengths can be taken"
            raise _Contradiction(f"{_name(node)}: {what}")
        return last

    def _features(self, node: Any) -> Tensor:
        """What is read along its last axis, the features."""
        x = self._names.tensor(node.input[0])
        if not x.axes.endswith("D") or len(x.parts) > 1:
            raise _Contradiction(f"{_name(node)} reads {x.axes}: it must be one tensor with the features last")
        return x

    def _matmul(self, node: Any, attributes: Attributes) -> Value:
        return Linear(self._features(node), np.float32(self._fixed(node.input[1], node)))

    def _gemm(self, node: Any, attributes: Attributes) -> Value:
        if attributes.get("alpha", 1) != 1 or attributes.get("beta", 1) != 1 or attributes.get("transA"):
            raise ValueError(f"{_name(node)}: Gemm with alpha, beta or transA is not supported")
        kernel = np.float32(self._fixed(node.input[1], node))
        kernel = kernel.T if attributes.get("transB") else kernel
        bias = None
        if len(node.input) > 2 and node.input[2]:
            bias = np.array(np.broadcast_to(np.float32(self._fixed(node.input[2], node)), kernel.shape[1:]))
        return Linear(self._features(node), kernel, bias)

    def _add(self, node: Any, attributes: Attributes) -> Value:
        values = [self._names.values[name] for name in node.input]
        constants = [value.array for value in values if isinstance(value, Constant)]
        linear = [value for value in values if isinstance(value, Linear)]
        if constants and linear and linear[0].bias is None and constants[0].shape == (linear[0].kernel.shape[1],):
            return Linear(linear[0].x, linear[0].kernel, np.float32(constants[0]))
        one, other = (self._names.tensor(name) for name in node.input)
        if (one.axes, one.lengths, len(one.parts)) != (other.axes, other.lengths, len(other.parts)):
            raise ValueError(f"{_name(node)}: {one.axes} and {other.axes} cannot be added, or are padded otherwise")
        parts = [Add()(list(pair)) for pair in zip(one.parts, other.parts, strict=True)]
        return Tensor(parts, one.axes, None, one.lengths)

    def _activated(self, node: Any, attributes: Attributes) -> Tensor:
        name, value = _ACTIVATIONS[node.op_type], self._names.values[node.input[0]]
        axes = value.x.axes if isinstance(value, Linear) else self._names.tensor(node.input[0]).axes
        axis = attributes.get("axis", -1 if self._version >= 13 else 1)
        if name == "softmax" and (axis not in (-1, len(axes) - 1) or not axes.endswith("D")):
            raise ValueError(f"{_name(node)}: {node.op_type} must be over the features, the last axis")
        if node.op_type == "LogSoftmax" and node.output[0] in self._names.read_by_nodes:
            raise ValueError(f"{_name(node)}: LogSoftmax must be the last operator")
        if isinstance(value, Linear):
            return value.layer(name, self._names.tables)
        return self._names.tensor(node.input[0]).activated(name)

    # Axes -------------------------------------------------------------------------------------------------------------

    def _transpose(self, node: Any, attributes: Attributes) -> Tensor:
        tensor = self._names.tensor(node.input[0])
        order = list(attributes.get("perm", range(len(tensor.axes))[::-1]))
        if sorted(order) != list(range(len(tensor.axes))):
            raise ValueError(f"{_name(node)}: perm {order} is no order of {len(tensor.axes)} axes")
        return tensor.moved("".join(tensor.axes[axis] for axis in order))

    def _argument(self, node: Any, attributes: Attributes, name: str, at: int) -> list[int] | None:
        """An attribute once, an input now; None where it is neither."""
        if name in attributes:
            return list(attributes[name])
        if len(node.input) <= at or not node.input[at]:
            return None
        return [int(value) for value in np.ravel(self._fixed(node.input[at], node))]

    def _squeeze(self, node: Any, attributes: Attributes) -> Value:
        value = self._names.values[node.input[0]]
        if isinstance(value, Given) and value.shape[1:] == (1,):
            return value  # lengths, as we write them
        tensor = self._names.tensor(node.input[0])
        axes = self._argument(node, attributes, "axes", 1)
        letters = ["S"] if axes is None and "S" in tensor.axes else [tensor.axes[axis] for axis in axes or []]
        if letters != ["S"] or len(tensor.parts) > 1:
            raise _Contradiction(f"{_name(node)}: Squeeze must take away the axis of the only direction")
        return tensor.part(0)

    def _unsqueeze(self, node: Any, attributes: Attributes) -> Tensor:
        tensor = self._names.tensor(node.input[0])
        axes = self._argument(node, attributes, "axes", 1)
        if axes is None or len(axes) != 1 or "S" in tensor.axes:
            raise ValueError(f"{_name(node)}: Unsqueeze must add the axis of directions")
        place = axes[0] % (len(tensor.axes) + 1)
        return Tensor(tensor.parts, tensor.axes[:place] + "S" + tensor.axes[place:], None, tensor.lengths)

    def _reshape(self, node: Any, attributes: Attributes) -> Tensor:
        tensor = self._names.tensor(node.input[0])
        shape = list(self._fixed(node.input[1], node))
        if tensor.axes.endswith("SD") and len(shape) == len(tensor.axes) - 1 and -1 not in shape[:-1]:
            return tensor.merged()
        if len(shape) != len(tensor.axes) or any(shape[:-1]):
            raise ValueError(f"{_name(node)}: Reshape must put directions side by side")
        return tensor

    def _slice(self, node: Any, attributes: Attributes) -> Tensor:
        """Some of the initial states of several layers."""
        value = self._names.values[node.input[0]]
        if isinstance(value, Given):
            value = self._names.state_input(value, "SBD")
        starts, ends, axes, steps = (
            self._argument(node, attributes, name, at) for at, name in enumerate(("starts", "ends", "axes", "steps"), 1)
        )
        whole = isinstance(value, Tensor) and axes is not None and steps in (None, [1])
        if not isinstance(value, Tensor) or not whole or [value.axes[axis] for axis in axes or []] != ["S"]:
            raise ValueError(f"{_name(node)}: Slice is supported for directions alone")
        assert starts is not None
        assert ends is not None
        return Tensor(value.parts[starts[0] : ends[0]], value.axes, None, value.lengths)

    def _split(self, node: Any, attributes: Attributes) -> list[Tensor]:
        tensor = self._names.tensor(node.input[0])
        if tensor.axes[attributes.get("axis", 0)] != "S" or len(node.output) != len(tensor.parts):
            raise ValueError(f"{_name(node)}: Split must be into directions")
        return [Tensor([part], tensor.axes, None, tensor.lengths) for part in tensor.parts]

    def _concat(self, node: Any, attributes: Attributes) -> Tensor:
        tensors = [self._names.tensor(name) for name in node.input]
        axes, lengths = tensors[0].axes, tensors[0].lengths
        if any((tensor.axes, tensor.lengths) != (axes, lengths) for tensor in tensors):
            raise ValueError(f"{_name(node)}: Concat must be of tensors with the same axes and padding")
        letter = axes[attributes["axis"]]
        if letter == "S":
            return Tensor([part for tensor in tensors for part in tensor.parts], axes, None, lengths)
        if letter != "D" or "S" in axes:
            raise ValueError(f"{_name(node)}: Concat must be of features")
        return Tensor([Concatenate()([tensor.only for tensor in tensors])], axes, None, lengths)


def _name(node: Any) -> str:
    return str(node.name or node.output[0])


def _folded(operator: str, values: list[Value], attributes: Attributes) -> Value:
    """From constants and shapes alone: what initial states of zeros, and extents, are computed by."""
    first = values[0]
    if operator == "ConstantOfShape":
        return Filled(float(np.ravel(attributes.get("value", 0.0))[0]))
    if operator == "Expand" and isinstance(first, Constant) and first.array.size == 1:
        return Filled(float(first.array.ravel()[0]))
    if operator in _MOVING and isinstance(first, Filled):
        return first
    if isinstance(first, Constant):
        if operator == "Transpose":
            return Constant(np.transpose(first.array, attributes.get("perm")))
        if operator in ("Cast", "Identity"):
            return first
    return Extents()
