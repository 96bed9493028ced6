"""Models as ONNX files."""

from __future__ import annotations

from typing import Any

from ..files import atomic_write
from ..layers import Lengths
from ..layers.base import Node
from ..model import Model
from ..text.corpus import PathLike
from .onnx_operators import operators
from .onnx_writer import GraphWriter

_OPSET, _IR_VERSION = 17, 8  # of 2022: the first opset with LayerNormalization


def save_onnx(model: Model, path: PathLike) -> None:
    """Write a model as an ONNX file (opset 17); needs onnx (``[onnx]``).

    Arrays are batch-first and named as in the model; ids are int64. What a stateful layer carries is an input
    ``layer.h`` (and ``layer.c``) of zeros to begin with, (batch, units), and an output ``layer.h.next`` after the last
    step.

    Raises:
        ValueError: a layer has no operators there, or makes a mask (``mask_zero``, ``Masking``): ONNX has lengths only.
    """
    with model.usage.reading():
        written = _written(model)
    atomic_write(path, written.SerializeToString())


def _written(model: Model) -> Any:
    graph = GraphWriter()
    inputs = []
    for tensor, limit in zip(model.inputs, model.graph.id_limits, strict=True):
        graph.values[tensor] = tensor.name
        inputs.append(graph.info(tensor.name, tensor.shape, limit is not None))
    for node in model.graph.nodes:
        if node.inputs:
            graph.values.update(zip(node.outputs, operators(node.layer, node, graph), strict=True))
            _pass_lengths_on(node, graph)
    outputs = []
    for place, tensor in enumerate(model.outputs):
        name = f"{tensor.name}.output" if len(model.outputs) == 1 else f"{tensor.name}.output.{place}"
        graph.rename(graph.values[tensor], name)
        outputs.append(graph.info(name, tensor.shape))
    return _file(model.name, graph, inputs + graph.state_inputs, outputs + graph.state_outputs)


def _pass_lengths_on(node: Node, graph: GraphWriter) -> None:
    """The sequences that a layer makes of padded ones are padded likewise; ValueError where these differ."""
    if isinstance(node.layer, Lengths):
        return
    found = {graph.lengths.get(tensor) for tensor in node.inputs if len(tensor.shape) == 3}
    if len(found) > 1:
        raise ValueError(
            f"{node.layer.name} reads sequences of different lengths: what is padding there ONNX cannot tell"
        )
    if found and (lengths := found.pop()) is not None:
        graph.lengths.update((tensor, lengths) for tensor in node.outputs if len(tensor.shape) == 3)


def _file(name: str, graph: GraphWriter, inputs: list[Any], outputs: list[Any]) -> Any:
    helper = graph.onnx.helper
    made = helper.make_graph(graph.nodes, name, inputs, outputs, graph.arrays)
    opset = helper.make_opsetid("", _OPSET)
    file = helper.make_model(made, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="recurlm")
    graph.onnx.checker.check_model(file)
    return file
