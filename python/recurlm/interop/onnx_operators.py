"""Each layer as operators of ONNX: ``operators(layer, node, graph)`` gives the names of the outputs of one call."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from .. import layers
from ..layers import Layer
from ..layers.base import Node
from ..layers.recurrent import Recurrent
from .cells import ONNX, CellRows
from .onnx_writer import GraphWriter

_MERGES = {"sum": "Add", "mul": "Mul", "ave": "Mean"}
_RNN_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}


@singledispatch
def operators(layer: Layer, node: Node, graph: GraphWriter) -> list[str]:
    """ValueError where the layer, or what it is asked for, has none."""
    raise ValueError(f"layer {layer.name!r} of class {type(layer).__name__} has no operators in ONNX")


@operators.register
def _embedding(layer: layers.Embedding, node: Node, graph: GraphWriter) -> list[str]:
    if layer.mask_zero:
        raise ValueError(f"{layer.name} has mask_zero: ONNX has no masks, only lengths")
    return [graph.add("Gather", graph.weight(layer.embeddings), _x(node, graph))]


def _x(node: Node, graph: GraphWriter) -> str:
    return graph.values[node.inputs[0]]


@operators.register
def _dense(layer: layers.Dense, node: Node, graph: GraphWriter) -> list[str]:
    return [_linear(layer, _x(node, graph), graph)]


@operators.register
def _time_distributed(layer: layers.TimeDistributed, node: Node, graph: GraphWriter) -> list[str]:
    if not isinstance(layer.layer, layers.Dense):
        raise ValueError(f"{layer.name}: a {type(layer.layer).__name__} at every step has no operators in ONNX")
    return [_linear(layer.layer, _x(node, graph), graph)]


def _linear(layer: layers.Dense, x: str, graph: GraphWriter) -> str:
    kernel = graph.weight(layer.kernel)
    y = graph.add("MatMul", x, graph.add("Transpose", kernel, perm=[1, 0]) if layer.transposed else kernel)
    return graph.activated(y if layer.bias is None else graph.add("Add", y, graph.weight(layer.bias)), layer.activation)


@operators.register(layers.Dropout)
@operators.register(layers.SpatialDropout1D)
def _dropout(layer: Layer, node: Node, graph: GraphWriter) -> list[str]:
    return [_x(node, graph)]


@operators.register
def _activation(layer: layers.Activation, node: Node, graph: GraphWriter) -> list[str]:
    return [graph.activated(_x(node, graph), layer.activation)]


@operators.register
def _normalization(layer: layers.LayerNormalization, node: Node, graph: GraphWriter) -> list[str]:
    ones = graph.constant(np.ones(layer.width, np.float32)) if layer.gamma is None else graph.weight(layer.gamma)
    beta = [] if layer.beta is None else [graph.weight(layer.beta)]
    return [graph.add("LayerNormalization", _x(node, graph), ones, *beta, axis=-1, epsilon=layer.epsilon)]


@operators.register
def _concatenate(layer: layers.Concatenate, node: Node, graph: GraphWriter) -> list[str]:
    return [graph.add("Concat", *(graph.values[tensor] for tensor in node.inputs), axis=layer.axis)]


@operators.register(layers.GlobalAveragePooling1D)
@operators.register(layers.GlobalMaxPooling1D)
def _pooling(layer: layers.GlobalMaxPooling1D, node: Node, graph: GraphWriter) -> list[str]:
    if node.inputs[0] in graph.lengths:
        raise ValueError(f"{layer.name} leaves padding out, for which ONNX has no operator")
    operator = "ReduceMax" if isinstance(layer, layers.GlobalMaxPooling1D) else "ReduceMean"
    return [graph.add(operator, _x(node, graph), axes=[1], keepdims=int(layer.keepdims))]


@operators.register
def _lengths(layer: layers.Lengths, node: Node, graph: GraphWriter) -> list[str]:
    if node.inputs[0] in graph.lengths:
        raise ValueError(f"{layer.name} reads what is padded already: ONNX has one length for each row")
    lengths = graph.add("Squeeze", graph.values[node.inputs[1]], graph.integers(1))
    graph.lengths[node.outputs[0]] = graph.add("Cast", lengths, to=graph.onnx.TensorProto.INT32)
    return [_x(node, graph)]


@operators.register
def _reverse(layer: layers.Reverse, node: Node, graph: GraphWriter) -> list[str]:
    if node.inputs[0] in graph.lengths:
        raise ValueError(f"{layer.name}: the steps of padded sequences are reversed by no operator of ONNX")
    return [graph.flipped(_x(node, graph))]


# Recurrent layers ----------------------------------------------------------------------------------------------------


@operators.register
def _recurrent(layer: Recurrent, node: Node, graph: GraphWriter) -> list[str]:
    states = [graph.values[tensor] for tensor in node.inputs[1:]] or _carried(layer, graph)
    sequence, *finals = _direction(layer, node, states, graph)
    if layer.stateful and len(node.inputs) == 1:
        _carry(layer, finals, graph)
    if layer.go_backwards and layer.return_sequences:
        if node.inputs[0] in graph.lengths:
            raise ValueError(f"{layer.name}: of padded sequences ONNX has no outputs in the order of go_backwards")
        sequence = graph.flipped(sequence)
    return [sequence if layer.return_sequences else finals[0], *(finals if layer.return_state else [])]


@operators.register
def _bidirectional(layer: layers.Bidirectional, node: Node, graph: GraphWriter) -> list[str]:
    if layer.stateful:
        raise ValueError(f"{layer.name} is stateful, which is not supported for both directions at once")
    if layer.forward_layer.go_backwards:
        raise ValueError(f"{layer.name}: the forward layer must not have go_backwards")
    states = [graph.values[tensor] for tensor in node.inputs[1:]]
    count = layer.forward_layer.state_count
    one, *finals = _direction(layer.forward_layer, node, states[:count], graph)
    other, *other_finals = _direction(layer.backward_layer, node, states[count:], graph)
    ends = [one, other] if layer.return_sequences else [finals[0], other_finals[0]]
    outputs = ends
    if layer.merge_mode == "concat":
        outputs = [graph.add("Concat", *ends, axis=-1)]
    elif layer.merge_mode is not None:
        outputs = [graph.add(_MERGES[layer.merge_mode], *ends)]
    return [*outputs, *(finals + other_finals if layer.return_state else [])]


def _direction(cell: Recurrent, node: Node, states: list[str], graph: GraphWriter) -> list[str]:
    """All outputs (B, T, units) in the order of the input, and the final states (B, units)."""
    lengths = graph.lengths.get(node.inputs[0], "")
    if lengths and cell.return_sequences and not cell.zero_output_for_mask:
        raise ValueError(f"{cell.name}: in ONNX outputs of padding are zero, as with zero_output_for_mask=True")
    rows = CellRows.of(cell, ONNX)
    weights = [rows.kernel, rows.recurrent_kernel, *([] if rows.biases is None else [np.concatenate(rows.biases)])]
    names = [graph.constant(array[None]) for array in weights]  # (1, ...): of one direction
    inputs = [
        graph.add("Transpose", _x(node, graph), perm=[1, 0, 2]),
        *names,
        *([""] if len(names) == 2 else []),
        lengths,
    ]
    inputs += [graph.add("Unsqueeze", state, graph.integers(0)) for state in states]
    attributes = {"hidden_size": cell.units, "direction": "reverse" if cell.go_backwards else "forward"}
    y, *finals = graph.add_several(cell.kind.upper(), 1 + cell.state_count, *inputs, **attributes, **_particulars(cell))
    sequence = graph.add("Transpose", graph.add("Squeeze", y, graph.integers(1)), perm=[1, 0, 2])
    return [sequence, *(graph.add("Squeeze", final, graph.integers(0)) for final in finals)]


def _particulars(cell: Recurrent) -> dict[str, object]:
    if cell.kind == "gru":
        return {"linear_before_reset": int(cell.reset_after)}
    if cell.kind == "rnn":
        if cell.activation not in _RNN_ACTIVATIONS:
            raise ValueError(f"{cell.name}: an RNN with the activation {cell.activation} has no operator in ONNX")
        return {"activations": [_RNN_ACTIVATIONS[cell.activation]]}
    return {}


def _carried(layer: Recurrent, graph: GraphWriter) -> list[str]:
    """Names of the states that a stateful layer begins with; none where it begins with zeros."""
    if not layer.stateful:
        return []
    names = _state_names(layer)
    graph.state_inputs += [graph.info(name, (None, layer.units)) for name in names]
    return names


def _carry(layer: Recurrent, finals: list[str], graph: GraphWriter) -> None:
    for name, final in zip(_state_names(layer), finals, strict=True):
        graph.rename(final, f"{name}.next")
        graph.state_outputs.append(graph.info(f"{name}.next", (None, layer.units)))


def _state_names(layer: Recurrent) -> list[str]:
    return [f"{layer.name}.{letter}" for letter in ("h", "c")[: layer.state_count]]
