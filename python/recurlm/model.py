"""Model and Sequential: a graph of layers that trains, evaluates, predicts, and is saved.

>>> import numpy as np
>>> from recurlm import Input, Model
>>> from recurlm.layers import Dense, Embedding, LSTM
>>> ids = Input(shape=(None,))
>>> model = Model(ids, Dense(10, "softmax")(LSTM(4)(Embedding(10, 3)(ids))))
>>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
>>> history = model.fit(np.zeros((8, 5), int), np.zeros(8, int), verbose=0)
>>> model.predict(np.zeros((2, 5), int), verbose=0).shape
(2, 10)
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import model_io
from .arrays import to_batch_major
from .data import arrays_of
from .graph import Graph
from .layers.base import Layer, SymbolicTensor, assign
from .layers.core import Embedding, Input, InputLayer
from .layers.recurrent import Recurrent
from .naming import automatic_name, snake_case
from .summary import summary_lines
from .tape import Parameter
from .trainer import Trainer
from .training import borrowed_tape
from .typing import Float, Shape


class Model(Trainer):
    """The layers between ``inputs`` and ``outputs``, one symbolic tensor or a list of them each.

    ``predict``, ``evaluate`` and ``token_log_probs`` may run on one model from many threads at once; while it trains,
    they raise RuntimeError in other threads. ``seed`` decides dropout and shuffling; by default it is the global seed.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, *, seed: int | None = None) -> None:
        super().__init__(seed)
        self.name = name or automatic_name(type(self).__name__)
        self._graph: Graph | None = None
        if inputs is not None:
            self._graph = Graph(_as_list(inputs), _as_list(outputs))

    # Structure ------------------------------------------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """The sorted graph; ValueError while a Sequential has not been built."""
        if self._graph is None:
            raise ValueError(
                f"{self.name} is not built yet: start it with Input(...), call build(input_shape) or fit it"
            )
        return self._graph

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """Input tensors."""
        return self.graph.inputs

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """Output tensors."""
        return self.graph.outputs

    @property
    def layers(self) -> list[Layer]:
        """All layers, from inputs to outputs, in Keras's order."""
        return self.graph.layers

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by name or by place; ValueError if there is none."""
        if index is not None and -len(self.layers) <= index < len(self.layers):
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        wanted = f"index {index}" if index is not None else f"name {name!r}"
        raise ValueError(f"no layer with {wanted}; there are {', '.join(layer.name for layer in self.layers)}")

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        """Outputs for arrays, or this graph of shared layers on other symbolic tensors."""
        given = _as_list(inputs)
        if not given or not isinstance(given[0], SymbolicTensor):
            outputs = self._compute(inputs, training)
            return outputs[0] if len(outputs) == 1 else outputs
        if len(given) != len(self.inputs):
            raise ValueError(f"{self.name} has {len(self.inputs)} inputs, got {len(given)}")
        made: dict[SymbolicTensor, SymbolicTensor] = dict(zip(self.inputs, given, strict=True))
        for node in self.graph.nodes:
            if node.inputs:
                results = node.layer.apply([made[tensor] for tensor in node.inputs])
                made.update(zip(node.outputs, _as_list(results), strict=True))
        outputs = [made[tensor] for tensor in self.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def _compute(self, inputs: Any, training: bool) -> list[Float]:
        self.ensure_built(inputs)
        arrays = arrays_of(inputs, self.names.inputs, "inputs")
        with borrowed_tape(self, None) as tape:
            tape.training, tape.seed, tape.step = training, self.seed, self.step
            values = self.graph.forward(tape, arrays).values
            return [to_batch_major(values[tensor]) for tensor in self.outputs]

    # Weights --------------------------------------------------------------------------------------------------------

    @property
    def weights(self) -> list[Parameter]:
        """All parameters, in the order of ``get_weights``."""
        return [parameter for layer in self.layers for parameter in layer.weights]

    @property
    def trainable_weights(self) -> list[Parameter]:
        """Those of layers that are not frozen."""
        return [parameter for layer in self.layers for parameter in layer.trainable_weights]

    def named_weights(self) -> dict[str, Parameter]:
        """Parameters by ``layer.weight``; a layer without a given name is called after its class and number here."""
        named: dict[str, Parameter] = {}
        counts: dict[str, int] = {}
        for layer in self.layers:
            kind = snake_case(type(layer).__name__)
            number = counts.get(kind, 0)
            name = layer.name if layer.named else f"{kind}_{number}" if number else kind
            counts[kind] = number + (not layer.named)
            named.update((f"{name}.{parameter.name}", parameter) for parameter in layer.weights)
        return named

    def get_weights(self) -> list[Float]:
        """Copies of all weights."""
        return [parameter.value.copy() for parameter in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy ``weights`` in, e.g. a Keras model's; ValueError on another number or shape, and nothing changes."""
        with self.usage.training():
            assign(self.name, self.weights, weights)
            self.weights_version += 1

    def count_params(self) -> int:
        """Number of elements of all weights."""
        return sum(parameter.value.size for parameter in self.weights)

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Hand a table of layers, output shapes and sizes to ``print_fn``, line by line."""
        for line in summary_lines(self.name, self.graph):
            print_fn(line)

    def reset_states(self) -> None:
        """Forget the carried states of all stateful layers."""
        for layer in self.layers:
            if isinstance(layer, Recurrent):
                layer.reset_states()

    # Files ----------------------------------------------------------------------------------------------------------

    def save_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Write all weights to a safetensors file, under the names of ``named_weights``."""
        model_io.save_weights(self, filepath)

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Read what ``save_weights`` wrote; ValueError where names, shapes or the file itself are not right."""
        with self.usage.training():
            model_io.load_weights(self, filepath)
            self.weights_version += 1

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Write a folder: architecture, weights and, where compiled, how it trains with the optimizer's moments."""
        model_io.save_model(self, filepath)

    @staticmethod
    def load(filepath: str | os.PathLike[str]) -> "Model":
        """The inverse of ``save``."""
        return model_io.load_model(filepath)

    def get_config(self) -> dict[str, Any]:
        """Layers and how they are connected, as JSON can hold them."""
        return model_io.graph_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Model":
        """The inverse of ``get_config``; the weights are new."""
        return model_io.model_from_config(config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


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

    def build(self, input_shape: Shape) -> None:
        """Create the weights for inputs of ``input_shape`` (batch, ...)."""
        if self._graph is None:
            self._input = Input(batch_shape=(None, *input_shape[1:]))
            self._connect()

    def ensure_built(self, x: Any) -> None:
        if self._graph is None and self._stack:
            array = np.asarray(x[0] if isinstance(x, list) and len(x) == 1 else x)
            if isinstance(self._stack[0], Embedding):
                self.build((None,) * array.ndim)
            else:
                self.build((None, *([None] if array.ndim == 3 else []), array.shape[-1]))

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


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
