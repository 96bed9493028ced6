"""The parts of an ONNX graph that is being written: nodes, constants, and names of what has been computed."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np

from ..extras import needing
from ..layers import SymbolicTensor
from ..tape import Parameter
from ..typing import Array

_ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "softmax": "Softmax"}
_LAST = 2**63 - 1  # beyond every index


class GraphWriter:
    """Collects what ``onnx.helper.make_graph`` wants.

    Attributes:
        values: names of the tensors of the model, batch-first.
        lengths: for sequences that are padded, the name of their int32 lengths (B,).
    """

    def __init__(self) -> None:
        with needing("onnx"):
            import onnx

        self.onnx = onnx
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []
        self.values: dict[SymbolicTensor, str] = {}
        self.lengths: dict[SymbolicTensor, str] = {}
        self.state_inputs: list[Any] = []
        self.state_outputs: list[Any] = []
        self._weights: dict[Parameter, str] = {}
        self._numbers = count()

    def info(self, name: str, shape: Any, integer: bool = False) -> Any:
        """What a graph says of an input or output; extents that data give have names."""
        kinds = self.onnx.TensorProto
        extents = [extent or axis for axis, extent in zip(("batch", "time", *shape[2:]), shape, strict=False)]
        return self.onnx.helper.make_tensor_value_info(name, kinds.INT64 if integer else kinds.FLOAT, extents)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A new node with one output, whose name is returned."""
        return self.add_several(operator, 1, *inputs, **attributes)[0]

    def add_several(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """A new node with several outputs."""
        names = [f"{operator.lower()}_{next(self._numbers)}" for _ in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def rename(self, value: str, name: str) -> None:
        """Make ``value`` known by a name of the user's too."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))

    def constant(self, array: Array, name: str | None = None) -> str:
        name = name or f"constant_{next(self._numbers)}"
        self.arrays.append(self.onnx.numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def weight(self, parameter: Parameter) -> str:
        """A parameter, once for all layers that use it."""
        if parameter not in self._weights:
            name = f"weight_{len(self._weights)}.{parameter.name}"
            self._weights[parameter] = self.constant(parameter.value, name)
        return self._weights[parameter]

    def activated(self, x: str, activation: str) -> str:
        if activation == "linear":
            return x
        if activation != "gelu":
            return self.add(_ACTIVATIONS[activation], x)
        half, one, root = (self.constant(np.float32(value)) for value in (0.5, 1, 0.5**0.5))
        distribution = self.add("Mul", half, self.add("Add", one, self.add("Erf", self.add("Mul", x, root))))
        return self.add("Mul", x, distribution)

    def flipped(self, x: str) -> str:
        """The steps of (B, T, D) in the opposite order."""
        arguments = (self.integers(value) for value in (-1, -_LAST, 1, -1))  # starts, ends, axes, steps
        return self.add("Slice", x, *arguments)
