"""A network: layers connected into a graph, their weights, and how it is run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .arrays import to_batch_major
from .data import Names, arrays_of
from .graph import Graph
from .layers.base import Layer, SymbolicTensor, assign
from .naming import automatic_name, snake_case
from .seeding import check_seed, global_seed
from .summary import summary_lines
from .tape import Parameter, States, Tape
from .typing import Float
from .usage import Usage

_TAPES_KEPT = 4  # with their memory, for calls to come


class Network:
    """The layers between ``inputs`` and ``outputs``."""

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, *, seed: int | None = None) -> None:
        self.name = name or automatic_name(type(self).__name__)
        self.seed = global_seed() if seed is None else check_seed(seed)
        self.step = 0  # training steps ever taken: what dropout draws from
        self.usage = Usage()
        self.tape = Tape()  # of the thread that trains
        self._tapes: list[Tape] = []
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
    def is_built(self) -> bool:
        """Whether there is a graph; a Sequential without an Input has none at first."""
        return self._graph is not None

    def ensure_built(self, x: Any) -> Any:
        """``x``, from which a Sequential without an Input has taken its shape; an iterator comes back whole."""
        return x

    @property
    def names(self) -> Names:
        """Names of inputs and outputs; an output is named after its layer."""
        return Names([t.name for t in self.graph.inputs], [t.name for t in self.graph.outputs])

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

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

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
                results = node.layer.apply([made[tensor] for tensor in node.inputs], arguments=node.arguments)
                made.update(zip(node.outputs, _as_list(results), strict=True))
        tensors = [made[tensor] for tensor in self.outputs]
        return tensors[0] if len(tensors) == 1 else tensors

    def _compute(self, inputs: Any, training: bool) -> list[Float]:
        inputs = self.ensure_built(inputs)
        arrays = arrays_of(inputs, self.names.inputs, "inputs")
        with self.borrow_tape(None) as tape:
            tape.training, tape.seed, tape.step = training, self.seed, self.step
            values = self.graph.forward(tape, arrays).values
            return [to_batch_major(values[tensor]) for tensor in self.outputs]

    @contextmanager
    def borrow_tape(self, states: States | None) -> Iterator[Tape]:
        """A tape for a call that does not train: the training thread's own in a callback, else one of a pool."""
        with self.usage.reading() as own:
            try:
                tape = self.tape if own else self._tapes.pop()
            except IndexError:
                tape = Tape()
            tape.training, tape.precision, tape.states = False, "float32", states
            try:
                yield tape
            finally:
                if not own and len(self._tapes) < _TAPES_KEPT:
                    self._tapes.append(tape)

    # Weights --------------------------------------------------------------------------------------------------------

    @property
    def weights(self) -> list[Parameter]:
        """All parameters, in the order of ``get_weights``."""
        return list(dict.fromkeys(parameter for layer in self.layers for parameter in layer.weights))

    @property
    def trainable_weights(self) -> list[Parameter]:
        """Those of layers that are not frozen."""
        return list(dict.fromkeys(parameter for layer in self.layers for parameter in layer.trainable_weights))

    def named_weights(self) -> dict[str, Parameter]:
        """Parameters by ``layer.weight``, with the layer's name in files."""
        names = self.names_in_files()
        named: dict[Parameter, str] = {}  # a layer that stands alone and in a wrapper has its weights once
        for layer in self.layers:
            for weight, parameter in layer.named_weights().items():
                named.setdefault(parameter, f"{names[layer]}.{weight}")
        return {name: parameter for parameter, name in named.items()}

    def names_in_files(self) -> dict[Layer, str]:
        """A layer without a given name is called after its class and number here, whatever models came before.

        One inside another is called after that and its place there.
        """
        names: dict[Layer, str] = {}
        counts: dict[str, int] = {}
        for layer in self.layers:
            kind = snake_case(type(layer).__name__)
            number = counts.get(kind, 0)
            _name(names, layer, layer.name if layer.named else f"{kind}_{number}" if number else kind)
            counts[kind] = number + (not layer.named)
        return names

    @property
    def weights_version(self) -> int:
        """Rises whenever a weight is written, through the model, a layer, an optimizer or another model that shares it.

        What is written straight into a parameter's array is not counted.
        """
        return sum(parameter.version for parameter in self.weights)

    def get_weights(self) -> list[Float]:
        """Copies of all weights; RuntimeError while another thread trains the model."""
        with self.usage.reading():
            return [parameter.value.copy() for parameter in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy ``weights`` in, e.g. a Keras model's; ValueError on another number or shape, and nothing changes."""
        with self.usage.training():
            self.forget_averages()
            assign(self.name, self.weights, weights)

    def forget_averages(self) -> None:
        """What is written next is written to the weights, not to averages that stand in their place."""

    def count_params(self) -> int:
        """Number of elements of all weights."""
        return sum(parameter.value.size for parameter in self.weights)

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Hand a table of layers, output shapes and sizes to ``print_fn``, line by line."""
        for line in summary_lines(self.name, self.graph):
            print_fn(line)

    def reset_states(self, rows: Any = None) -> None:
        """Forget the carried states of all stateful layers; with ``rows``, set those of some rows to zero.

        ``rows`` are indices or one boolean for each row of the batch; ValueError where they are not.
        """
        for layer in self.layers:
            layer.reset_states(rows)


def _name(names: dict[Layer, str], layer: Layer, name: str) -> None:
    names.setdefault(layer, name)
    for key, inside in layer.sublayers().items():
        _name(names, inside, f"{name}.{key}")


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
