"""A graph of layer calls: sorted once, run forward and backward on a tape."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .arrays import to_inner
from .layers.base import Layer, Node, SymbolicTensor
from .layers.core import Dense, InputLayer
from .tape import Tape
from .typing import Array, Float, Ids, Mask


class Activations(NamedTuple):
    """What a forward pass leaves: value and mask of each tensor, time-major."""

    values: dict[SymbolicTensor, Array]
    masks: dict[SymbolicTensor, Mask | None]


class Graph:
    """Everything between ``inputs`` and ``outputs``."""

    def __init__(self, inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]) -> None:
        for kind, tensors in (("inputs", inputs), ("outputs", outputs)):
            for tensor in tensors:
                if not isinstance(tensor, SymbolicTensor):
                    raise TypeError(f"{kind} must be symbolic tensors, got {tensor!r}")
        for tensor in inputs:
            if not isinstance(tensor.node.layer, InputLayer):
                raise ValueError(f"inputs must come from Input(), got {tensor!r}")
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.nodes, visited = _sorted_nodes(self.outputs)
        missing = [n.layer.name for n in self.nodes if not n.inputs and n.outputs[0] not in self.inputs]
        if missing:
            raise ValueError(f"outputs depend on Input {missing[0]!r}, which is not among inputs")
        self.layers = _layers_by_depth(self.nodes, visited, [tensor.node for tensor in self.inputs])
        inside = dict.fromkeys(inner for layer in self.layers for inner in layer.flatten())
        names = [layer.name for layer in inside]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"names of layers must be unique in a model, {name!r} occurs {names.count(name)} times"
                )
        for layer in inside:
            if isinstance(layer, Dense) and layer.tied_to is not None and layer.tied_to not in inside:
                raise ValueError(
                    f"{layer.name!r} is tied to {layer.tied_to.name!r}, which no output of the model depends on: "
                    "it would be neither trained nor saved"
                )
        self.index = {node: i for i, node in enumerate(self.nodes)}
        self.consumers = {t: [n for n in self.nodes if t in n.inputs] for node in self.nodes for t in node.outputs}
        self.id_limits = [self._id_limit(tensor) for tensor in self.inputs]

    def _id_limit(self, tensor: SymbolicTensor) -> int | None:
        limits = [node.layer.id_limit() for node in self.consumers.get(tensor, [])]
        if not any(limits):
            return None
        if None in limits:
            raise ValueError(
                f"Input {tensor.name!r} feeds an Embedding, which takes ids, and a layer that takes numbers"
            )
        return min(limit for limit in limits if limit is not None)

    def forward(self, tape: Tape, arrays: Sequence[Array], skip: Collection[Node] = ()) -> Activations:
        """Run every node but those of ``skip`` on batch-first arrays, one for each input."""
        values: dict[SymbolicTensor, Array] = {}
        masks: dict[SymbolicTensor, Mask | None] = {}
        rows: dict[SymbolicTensor, Ids | None] = {}
        inputs = zip(self.inputs, arrays, self.id_limits, strict=True)
        for i, (tensor, array, limit) in enumerate(inputs):
            _check_input(tensor, array)
            # Inputs no output depends on have no node to run, but are checked all the same.
            call = tape.call(self.index.get(tensor.node, len(self.nodes) + i))
            values[tensor] = to_inner(call, f"input {tensor.name!r}", array, limit)
            masks[tensor] = rows[tensor] = None
        for i, node in enumerate(self.nodes):
            if not node.inputs or node in skip:
                continue
            call = tape.call(i)
            call.masks = [masks[tensor] for tensor in node.inputs]
            call.arguments = node.arguments
            call.rows = rows[node.inputs[0]]
            call.distinct = self._takes_rows(node.outputs[0], tape)
            given = [values[tensor] for tensor in node.inputs]
            values.update(zip(node.outputs, node.layer.forward(call, given), strict=True))
            masks.update(zip(node.outputs, node.layer.masks(call, given), strict=True))
            rows.update(dict.fromkeys(node.outputs, node.layer.rows(call)))
        return Activations(values, masks)

    def _takes_rows(self, tensor: SymbolicTensor, tape: Tape) -> bool:
        node = tensor.node
        if tensor in self.outputs or node.layer.activity_regularizer is not None:
            return False
        return all(
            node.layer.takes_rows(tape) or (node.layer.passes_on(tape) and self._takes_rows(node.outputs[0], tape))
            for node in self.consumers[tensor]
        )

    def backward(
        self, tape: Tape, seeds: Iterable[tuple[SymbolicTensor, Float]], wanted: Mapping[SymbolicTensor, bool]
    ) -> None:
        """From gradients of some tensors to those of every trainable parameter below them."""
        grads: dict[SymbolicTensor, Float] = {}
        for tensor, gradient in seeds:
            _add(tape, grads, tensor, gradient)
        for i, node in reversed(list(enumerate(self.nodes))):
            given = [grads.pop(tensor, None) for tensor in node.outputs]
            if not node.inputs or all(gradient is None for gradient in given):
                continue
            call = tape.call(i)
            call.wanted = [wanted[tensor] for tensor in node.inputs]
            passed: list[Float | None] = []
            if wanted[node.outputs[0]]:
                passed = node.layer.backward(call, given)
            for tensor, dx in zip(node.inputs, passed, strict=False):
                if dx is not None:
                    _add(tape, grads, tensor, dx)
            tape.recycle(given, passed)

    def wanted(self) -> dict[SymbolicTensor, bool]:
        """For each tensor, whether a trainable parameter lies below it."""
        wanted: dict[SymbolicTensor, bool] = {}
        for node in self.nodes:
            value = node.layer.learns or any(wanted[tensor] for tensor in node.inputs)
            wanted.update((tensor, value) for tensor in node.outputs)
        return wanted


def _add(tape: Tape, grads: dict[SymbolicTensor, Float], tensor: SymbolicTensor, gradient: Float) -> None:
    if tensor in grads:
        np.add(grads[tensor], gradient, out=grads[tensor])
        tape.give(gradient)
    else:
        grads[tensor] = gradient


def _check_input(tensor: SymbolicTensor, array: Array) -> None:
    expected = tensor.shape
    fits = array.ndim == len(expected) and all(
        extent in (None, given) for extent, given in zip(expected[1:], array.shape[1:], strict=True)
    )
    if not fits:
        shown = ("batch", *("any" if extent is None else extent for extent in expected[1:]))
        raise ValueError(f"input {tensor.name!r} must have shape ({', '.join(map(str, shown))}), got {array.shape}")


def _sorted_nodes(outputs: list[SymbolicTensor]) -> tuple[list[Node], dict[Layer, int]]:
    """Nodes, each after those it reads; and the order in which layers are first visited from the outputs."""
    nodes: dict[Node, None] = {}
    visited: dict[Layer, int] = {}
    stack = [(tensor.node, False) for tensor in reversed(outputs)]
    while stack:
        node, done = stack.pop()
        if done:
            nodes[node] = None
        elif node not in nodes:
            visited.setdefault(node.layer, len(visited))
            stack.append((node, True))
            stack.extend((tensor.node, False) for tensor in reversed(node.inputs))
    return list(nodes), visited


def _layers_by_depth(nodes: list[Node], visited: dict[Layer, int], inputs: list[Node]) -> list[Layer]:
    """Layers in Keras's order: by distance from the outputs, the farthest first; then as visited. Weights follow it."""
    node_depths: dict[Node, int] = {}
    layer_depths: dict[Layer, int] = {}
    for node in reversed(nodes):
        depth = max(node_depths.get(node, 0), layer_depths.get(node.layer, 0))
        layer_depths[node.layer] = depth
        for tensor in node.inputs:
            node_depths[tensor.node] = max(depth + 1, node_depths.get(tensor.node, 0))
    for node in inputs:
        visited.setdefault(node.layer, len(visited))
        layer_depths.setdefault(node.layer, 0)
    return sorted(layer_depths, key=lambda layer: (-layer_depths[layer], visited[layer]))
