"""The names of an ONNX graph that is being read, and what they stand for by now."""

from __future__ import annotations

from typing import Any

from ..layers import Embedding, Input
from ..typing import Array
from .onnx_cells import Operator
from .onnx_values import Constant, Filled, Given, Linear, Tensor, Value


class GraphNames:
    """Values by name. What an input of the graph is follows from what reads it first.

    ``order`` is that of the axes of ids and sequences among the inputs, as it is assumed: "BT" or "TB".
    """

    def __init__(self, file: Any, order: str) -> None:
        import onnx

        self.onnx = onnx
        self.graph, self.order = file.graph, order
        self.values: dict[str, Value] = {tensor.name: Constant(self.array(tensor)) for tensor in self.graph.initializer}
        integers = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
        for given in self.graph.input:
            if given.name not in self.values:
                kind = given.type.tensor_type
                shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
                self.values[given.name] = Given(given.name, shape, kind.elem_type in integers)
        self.outputs = [output.name for output in self.graph.output]
        self.read_by_nodes = {name for node in self.graph.node for name in node.input}
        self._inputs: dict[str, list[Any]] = {}  # made for each of these
        self._tables: dict[int, Embedding] = {}  # by the array that they hold

    def array(self, tensor: Any) -> Array:
        """ValueError where the file keeps it in another one."""
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            raise ValueError(f"{tensor.name or 'a constant'} stands in another file, which is not opened")
        array: Array = self.onnx.numpy_helper.to_array(tensor)
        return array

    def attribute(self, attribute: Any) -> Any:
        """A number, bytes, a list of these, or an array."""
        value = self.onnx.helper.get_attribute_value(attribute)
        return self.array(value) if hasattr(value, "raw_data") else value

    @property
    def inputs(self) -> list[Any]:
        """In the order of the graph, as far as anything reads them."""
        return [made for given in self.graph.input for made in self._inputs.get(given.name, [])]

    @property
    def tables(self) -> list[Embedding]:
        return list(self._tables.values())

    def tensor(self, name: str) -> Tensor:
        """A tensor; a linear map whose layer ends here, or an input that is a sequence or a row of numbers."""
        value = self.values[name]
        if isinstance(value, Linear):
            value = value.layer("linear", self.tables)
        if isinstance(value, Given):
            if len(value.shape) == 3:
                value = self._input(value, (None, value.shape[2]), "float32", self.order + "D")
            elif len(value.shape) == 2 and not value.integer:
                value = self._input(value, (value.shape[1],), "float32", "BD")
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} must be computed from the inputs by supported operators")
        self.values[name] = value
        return value

    def _input(self, given: Given, shape: tuple[int | None, ...], dtype: str, axes: str) -> Tensor:
        if "D" in axes and shape[-1] is None:
            raise ValueError(f"the input {given.name} must have a known width")
        return self._made(given, [Input(shape, dtype=dtype, name=given.name)], axes)

    def _made(self, given: Given, parts: list[Any], axes: str) -> Tensor:
        if given.name in self._inputs:
            raise ValueError(f"the input {given.name} is read in two ways")
        self._inputs[given.name] = parts
        tensor = self.values[given.name] = Tensor(list(parts), axes)
        return tensor

    def rows_of(self, table: Constant, indices: Value, name: str) -> Tensor:
        """What an Embedding of the ``table`` gives for ids."""
        if isinstance(indices, Given) and indices.integer and len(indices.shape) in (1, 2):
            axes = self.order if len(indices.shape) == 2 else "B"
            indices = self._input(indices, (None,) * (len(axes) - 1), "int32", axes)
        if not isinstance(indices, Tensor) or "D" in indices.axes or table.array.ndim != 2:
            raise ValueError(f"{name}: Gather must read rows of a table by ids of an input")
        if id(table) not in self._tables:
            size, width = table.array.shape
            self._tables[id(table)] = Embedding(size, width, "zeros", weights=[table.array])
        return Tensor([self._tables[id(table)](indices.only)], indices.axes + "D")

    def state_input(self, given: Given, axes: str) -> Tensor:
        """An input that is initial states: one of ours for each direction (and layer)."""
        if len(given.shape) != 3:
            raise ValueError(f"the input {given.name} must have three axes, as an initial state has")
        count, width = given.shape[axes.index("S")], given.shape[2]
        if count is None or width is None:
            raise ValueError(f"the input {given.name} must have known extents but for the batch")
        names = [given.name if count == 1 else f"{given.name}_{i}" for i in range(count)]
        return self._made(given, [Input((width,), name=name) for name in names], axes)

    def states(self, name: str, operator: Operator) -> list[Any]:
        """Initial states (S, B, H), one for each direction; none where they are zeros."""
        value = self.values[name]
        if isinstance(value, Filled) and value.value == 0:
            return []
        if isinstance(value, Constant) and not value.array.any():
            return []
        if isinstance(value, Given):
            value = self.state_input(value, operator.state_axes)
        if not isinstance(value, Tensor) or value.axes != operator.state_axes:
            raise ValueError(f"{operator.name}: the initial state {name} must be an input, zeros, or a state")
        return list(value.parts)

    def lengths(self, name: str) -> tuple[str, Any]:
        """The name of the input that lengths are, and ours, (B, 1)."""
        value = self.values[name]
        if not isinstance(value, Given):
            raise ValueError(f"lengths must be an input, got {name}")
        made = self._inputs.setdefault(value.name, [Input((1,), name=value.name)])
        return value.name, made[0]
