"""Sequential: a stack of layers."""

from collections.abc import Iterable
from typing import Any

from .data import arrays_of, peek
from .graph import Graph
from .layers.base import Layer, SymbolicTensor
from .layers.core import Input, InputLayer
from .model import Model
from .typing import Shape


class Sequential(Model):
    """A stack of layers. Without an ``Input`` at its start it is built by its first data, or by ``build``."""

    def __init__(
        self, layers: Iterable[Any] | None = None, name: str | None = None, *, seed: int | None = None
    ) -> None:
        super().__init__(None, None, name, seed=seed)
        self._stack: list[Layer] = []
        self._input: SymbolicTensor | None = None
        for layer in layers or ():
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Put a layer (or an ``Input``) on top."""
        if isinstance(layer, SymbolicTensor) and isinstance(layer.node.layer, InputLayer):
            layer = layer.node.layer
        if isinstance(layer, InputLayer):
            if self._stack or self._input is not None:
                raise ValueError(f"{self.name}: Input must come first")
            self._input = layer.tensor
        elif isinstance(layer, Layer):
            self._stack.append(layer)
        else:
            raise TypeError(f"{self.name}: add takes a layer, got {layer!r}")
        self._connect()

    def pop(self) -> Layer:
        """Take the topmost layer off."""
        if not self._stack:
            raise ValueError(f"{self.name} has no layer to take off")
        layer = self._stack.pop()
        self._connect()
        return layer

    @property
    def stack(self) -> list[Layer]:
        """What was added, from the bottom up, after the input's layer where there is one."""
        return [*([self._input.node.layer] if self._input is not None else []), *self._stack]

    def build(self, input_shape: Shape) -> None:
        """Create the weights for inputs of ``input_shape`` (batch, ...)."""
        if self._graph is None:
            self._input = Input(batch_shape=(None, *input_shape[1:]))
            self._connect()

    def ensure_built(self, x: Any) -> Any:
        if self._graph is not None or not self._stack:
            return x
        first, x = peek(x)
        if first is None:
            raise ValueError(f"{self.name} is not built yet, and x has no batch from which to take its shape")
        array = arrays_of(first, ["x"], "x")[0]
        takes_ids = self._stack[0].id_limit() is not None
        if array.ndim < (1 if takes_ids else 2):
            raise ValueError(f"{self.name} cannot take its shape from x, whose shape is {array.shape}")
        shape: Shape = array.shape if takes_ids else array.shape[:-1]
        if not any(inner.needs_extents for layer in self._stack for inner in layer.flatten()):
            shape = (None,) * len(shape)
        self.build(shape if takes_ids else (*shape, array.shape[-1]))
        return x

    def _connect(self) -> None:
        self._compiled = None
        if self._input is None or not self._stack:
            self._graph = None
            return
        tensor = self._input
        for layer in self._stack:
            tensor = layer(tensor)
            if isinstance(tensor, list):
                raise ValueError(f"{self.name}: {layer.name} has several outputs, which a Sequential cannot pass on")
        self._graph = Graph([self._input], [tensor])
