"""What every layer has: a name, parameters, and a place in a graph."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .. import constraints, regularizers
from ..arrays import mask_to_inner, to_batch_major, to_inner
from ..naming import automatic_name
from ..tape import Call, Parameter, Tape
from ..typing import Array, Float, Ids, Mask, Shape

# Arguments of Keras that change nothing here, or nothing as long as they are off.
_WITHOUT_EFFECT = ("unroll", "implementation", "use_cudnn", "input_length", "input_shape", "input_dim", "batch_size")


class SymbolicTensor:
    """The output of a node. ``shape`` is batch-first, with None where it is known only when data comes."""

    def __init__(self, shape: Shape, dtype: str, node: "Node", index: int) -> None:
        self.shape = shape
        self.dtype = dtype
        self.node = node
        self.index = index

    @property
    def name(self) -> str:
        """The name of the layer that computes it."""
        return self.node.layer.name

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape} dtype={self.dtype} from {self.name}>"


class Node:
    """One call of a layer on symbolic tensors, with the arguments of that call."""

    def __init__(
        self, layer: "Layer", inputs: list[SymbolicTensor], arguments: Mapping[str, Any] | None = None
    ) -> None:
        self.layer = layer
        self.inputs = inputs
        self.arguments = dict(arguments or {})
        specs = layer.output_specs([tensor.shape for tensor in inputs])
        self.outputs = [SymbolicTensor(shape, dtype, self, index) for index, (shape, dtype) in enumerate(specs)]


class Layer:
    """Parameters, ``build``, ``forward`` and ``backward``.

    Inside, sequences are time-major: ids (T, B), activations (T, B, D), masks (T, B); axes beyond are in reversed order
    too (``arrays``). A mask has the axes of its values but for the features. ``forward`` keeps what ``backward`` needs
    in its ``Call``, never in the layer, so that a layer may be shared by several nodes and threads.
    """

    takes_ids: ClassVar[bool] = False
    call_arguments: ClassVar[tuple[str, ...]] = ()  # what a call may be given beside its inputs, as JSON can hold it
    needs_extents: ClassVar[bool] = False  # whether the width of its output depends on the number of steps
    # Each of these weights has arguments, and attributes, ``<name>_regularizer`` and ``<name>_constraint``.
    weight_options: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        activity_regularizer: Any = None,
        **keras: Any,
    ) -> None:
        self.activity_regularizer = regularizers.get(activity_regularizer)
        for option in self.weight_options:
            setattr(self, f"{option}_regularizer", regularizers.get(keras.pop(f"{option}_regularizer", None)))
            setattr(self, f"{option}_constraint", constraints.get(keras.pop(f"{option}_constraint", None)))
        for key, value in keras.items():
            if key in _WITHOUT_EFFECT:
                continue
            if not key.endswith("_quantizer") and key != "lora_rank":
                raise TypeError(f"{type(self).__name__} has no argument {key!r}")
            if value is not None:
                raise ValueError(f"{type(self).__name__}: {key} is not supported; only None is, got {value!r}")
        if dtype is not None and np.dtype(dtype) != np.float32:
            raise ValueError(f"{type(self).__name__}: dtype must be float32, got {dtype!r}")
        self.named = name is not None
        self.name = automatic_name(type(self).__name__) if name is None else str(name)
        self.trainable = trainable
        self.built = False
        self.weights: list[Parameter] = []

    # To be written for each layer -----------------------------------------------------------------------------------

    def build(self, input_shapes: list[Shape]) -> None:
        """Create the parameters. Called once, before the first use."""

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        """Shape and dtype of each output."""
        return [(input_shapes[0], "float32")]

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        """The mask of each output. A layer that works on single steps passes on what it got."""
        return [call.mask]

    def takes_rows(self, tape: Tape) -> bool:
        """Whether the first input may be distinct rows (R, D), with ``call.rows`` telling where they stand."""
        return False

    def passes_on(self, tape: Tape) -> bool:
        """Whether the output is the first input as it is."""
        return False

    def rows(self, call: Call) -> Ids | None:
        """Where the output is distinct rows, (T, B): which of them stands at each position; else None."""
        return None

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        """Outputs from inputs."""
        raise NotImplementedError

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        """Gradients for inputs (None where ``call.wanted`` is false) from those of outputs; parameters' are written.

        A gradient of an output may be overwritten and returned.
        """
        raise NotImplementedError

    # Calls ----------------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any, *, training: bool = False, mask: Any = None) -> Any:
        """Record a node if ``inputs`` is symbolic, else compute: batch-first arrays in, batch-first arrays out."""
        return self.apply(_listed(inputs), training=training, mask=mask)

    def apply(
        self,
        inputs: list[Any],
        *,
        training: bool = False,
        mask: Any = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> Any:
        """``__call__`` on a list of tensors or of arrays; ``arguments`` are those that this call alone has."""
        for name in arguments or ():
            if name not in self.call_arguments:
                raise TypeError(f"{self.name}: a call has no argument {name!r}")
        symbolic = [isinstance(value, SymbolicTensor) for value in inputs]
        if any(symbolic):
            if not all(symbolic):
                raise TypeError(f"{self.name}: symbolic tensors and arrays cannot be mixed in one call")
            if training or mask is not None:
                raise ValueError(
                    f"{self.name}: training and mask are for calls on arrays; in a model the call on the model decides "
                    "on training, and masks come from Embedding(mask_zero=True) and Masking"
                )
            self.ensure_built([tensor.shape for tensor in inputs])
            outputs: list[Any] = list(Node(self, inputs, arguments).outputs)
        else:
            outputs = self._compute([np.asarray(value) for value in inputs], training, mask, arguments or {})
        return outputs[0] if len(outputs) == 1 else outputs

    def ensure_built(self, shapes: list[Shape]) -> None:
        """Build at the first use; check the shapes at every use."""
        self.check_inputs(shapes)
        if not self.built:
            self.build(shapes)
            self.built = True

    def check_inputs(self, shapes: list[Shape]) -> None:
        """ValueError where the layer cannot take inputs of these shapes; by default it takes one of any."""
        if len(shapes) > 1:
            raise ValueError(f"{self.name} takes one input, got {len(shapes)}")

    def _compute(self, inputs: list[Array], training: bool, mask: Any, arguments: Mapping[str, Any]) -> list[Array]:
        self.ensure_built([value.shape for value in inputs])
        call = Tape().call(0)
        call.tape.training, call.arguments = training, arguments
        inner = [to_inner(call, f"input {i}", value, self.id_limit()) for i, value in enumerate(inputs)]
        given = list(mask) if _is_list_of(mask, len(inner)) else [mask] + [None] * (len(inner) - 1)
        axes = None if self.id_limit() is not None else -1
        call.masks = [
            None if m is None else mask_to_inner(self.name, m, x.shape[:axes])
            for m, x in zip(given, inner, strict=True)
        ]
        return [to_batch_major(value) for value in self.forward(call, inner)]

    def id_limit(self) -> int | None:
        """For a layer that takes ids, their number; else None."""
        return None

    # Weights --------------------------------------------------------------------------------------------------------

    def add_weight(
        self,
        name: str,
        shape: Sequence[int],
        initializer: Callable[[Sequence[int]], Any],
        option: str | None = None,
    ) -> Parameter:
        """Create a parameter; ValueError if a callable initializer gives another shape.

        ``option`` is its name among ``weight_options`` where that is not ``name``.
        """
        value = np.array(initializer(tuple(shape)), np.float32)  # a copy: a callable may have given an array of its own
        if value.shape != tuple(shape):
            raise ValueError(
                f"{self.name}: the initializer of {name} gave shape {value.shape}, expected {tuple(shape)}"
            )
        option = option or name
        regularizer, constraint = (getattr(self, f"{option}_{kind}", None) for kind in ("regularizer", "constraint"))
        if constraint is not None:
            try:
                constraint(value)
            except ValueError as error:
                raise ValueError(
                    f"{self.name}: the constraint of {name} {tuple(shape)} is not possible: {error}"
                ) from None
        self.weights.append(Parameter(name, value, regularizer, constraint))
        return self.weights[-1]

    @property
    def trainable_weights(self) -> list[Parameter]:
        """The weights that training changes: all, or none where ``trainable`` is false."""
        return list(self.weights) if self.trainable else []

    @property
    def learns(self) -> bool:
        """Whether a backward pass through the layer writes gradients of parameters."""
        return bool(self.trainable_weights)

    def named_weights(self) -> dict[str, Parameter]:
        """The weights by name, those of layers inside by ``sublayer.weight``."""
        return {parameter.name: parameter for parameter in self.weights}

    def get_weights(self) -> list[Float]:
        """Copies of the weights, in Keras's order."""
        return [parameter.value.copy() for parameter in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy ``weights`` in; ValueError on another number or shape, and then nothing is changed."""
        if not self.built:
            raise ValueError(f"{self.name} has no weights yet: it gets them when it is first called")
        assign(self.name, self.weights, weights)

    def sublayers(self) -> dict[str, "Layer"]:
        """The layers inside a wrapper, by the names that their weights and calls go by."""
        return {}

    def flatten(self) -> Iterator["Layer"]:
        """The layer, and all that are inside."""
        yield self
        for layer in self.sublayers().values():
            yield from layer.flatten()

    def reset_states(self, rows: Any = None) -> None:
        """Forget the states that stateful layers carry; with ``rows``, set those rows of a batch to zero.

        ``rows`` are indices or one boolean for each row; ValueError where they are not.
        """
        for layer in self.sublayers().values():
            layer.reset_states(rows)

    def count_params(self) -> int:
        """Number of elements of all weights."""
        if not self.built:
            raise ValueError(f"{self.name} has no weights yet: it gets them when it is first called")
        return sum(parameter.value.size for parameter in self.weights)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable}
        config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        for option in self.weight_options:
            key = f"{option}_regularizer"
            config[key] = regularizers.serialize(getattr(self, key))
            key = f"{option}_constraint"
            config[key] = constraints.serialize(getattr(self, key))
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Layer":
        """The inverse of ``get_config``; the weights are new."""
        return cls(**config)

    def __reduce__(self) -> Any:
        raise TypeError(f"{self.name}: a layer alone is not pickled or copied; its model is, or use from_config")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def assign(owner: str, parameters: Sequence[Parameter], weights: Sequence[Any]) -> None:
    """Copy ``weights`` into ``parameters`` after all shapes were checked."""
    if not isinstance(weights, Sequence):
        raise TypeError(f"{owner}: weights must be a list of arrays, got {type(weights).__name__}")
    if len(weights) != len(parameters):
        raise ValueError(f"{owner} has {len(parameters)} weights, got {len(weights)}")
    arrays = [np.asarray(weight, np.float32) for weight in weights]
    for i, (parameter, array) in enumerate(zip(parameters, arrays, strict=True)):
        if array.shape != parameter.shape:
            raise ValueError(f"{owner}: weight {i} ({parameter.name}) has shape {parameter.shape}, got {array.shape}")
    for parameter, array in zip(parameters, arrays, strict=True):
        parameter.assign(array)


def shown(shapes: list[Shape]) -> str:
    """Shapes as errors show them."""
    return ", ".join(str(tuple(shape)) for shape in shapes)


def _is_list_of(mask: Any, inputs: int) -> bool:
    """Whether ``mask`` is a list of one for each of several inputs, rather than one mask as nested lists."""
    listed = isinstance(mask, (list, tuple)) and len(mask) == inputs > 1
    return listed and all(each is None or isinstance(each, np.ndarray) for each in mask)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (SymbolicTensor, np.ndarray)):
        return list(value)
    return [value]
