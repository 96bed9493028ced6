"""Layers around layers: Bidirectional, TimeDistributed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tape import Call, Parameter, Tape
from ..typing import Array, Float, Mask, Shape
from .base import Layer, assign, shown
from .recurrent import Recurrent, with_states
from .serialization import deserialize, serialize

MERGE_MODES = ("concat", "sum", "mul", "ave", None)


class Wrapper(Layer):
    """A layer that computes with others, its ``sublayers``. Their weights are its weights."""

    def __init__(self, sublayers: dict[str, Layer], *, trainable: bool = True, **kwargs: Any) -> None:
        self._sublayers: dict[str, Layer] = {}
        super().__init__(**kwargs)  # which sets trainable: those inside keep theirs
        self._sublayers = sublayers
        for layer in sublayers.values():
            if layer.activity_regularizer is not None:
                raise ValueError(f"{self.name}: activity_regularizer belongs to the wrapper, got one of {layer.name}")
        if not trainable:
            self.trainable = False

    def sublayers(self) -> dict[str, Layer]:
        return self._sublayers

    @property
    def trainable(self) -> bool:
        """Whether any layer inside is; setting it sets it for all of them."""
        return any(layer.trainable for layer in self._sublayers.values())

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self._sublayers.values():
            layer.trainable = value

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [parameter for layer in self._sublayers.values() for parameter in layer.trainable_weights]

    @property
    def learns(self) -> bool:
        return any(layer.learns for layer in self._sublayers.values())

    def named_weights(self) -> dict[str, Parameter]:
        return {
            f"{key}.{name}": parameter
            for key, layer in self._sublayers.items()
            for name, parameter in layer.named_weights().items()
        }

    def build_inside(self, input_shapes: list[Shape]) -> None:
        """Build the layers inside, each for inputs of these shapes."""
        for layer in self._sublayers.values():
            layer.ensure_built(input_shapes)
        self.weights = [parameter for layer in self._sublayers.values() for parameter in layer.weights]


class Bidirectional(Wrapper):
    """A recurrent layer over the sequence and its twin over the sequence from its end.

    ``merge_mode`` concat, sum, mul or ave makes one output of the two; None leaves both. With ``return_sequences`` the
    outputs of both stand in input order, and masked steps are zero. With ``return_state`` the final states follow,
    those of ``forward_layer`` first; ``initial_state`` is a list in the same order.

    ``layer`` is copied, with new weights. ``backward_layer`` is used as it is, by default a copy of ``layer`` in the
    other direction.

    Raises:
        TypeError: ``layer`` or ``backward_layer`` is no recurrent layer.
        ValueError: the two do not fit each other, or ``merge_mode`` is none of the above.

    >>> import numpy as np
    >>> from recurlm.layers import LSTM, Bidirectional
    >>> Bidirectional(LSTM(4, return_sequences=True))(np.zeros((2, 3, 5), np.float32)).shape
    (2, 3, 8)
    """

    def __init__(
        self,
        layer: Recurrent,
        merge_mode: str | None = "concat",
        weights: Sequence[Any] | None = None,
        backward_layer: Recurrent | None = None,
        **kwargs: Any,
    ) -> None:
        for given in (layer, layer if backward_layer is None else backward_layer):
            if not isinstance(given, Recurrent):
                raise TypeError(f"Bidirectional takes an LSTM, GRU or SimpleRNN, got {given!r}")
        if merge_mode not in MERGE_MODES:
            raise ValueError(f"Bidirectional: merge_mode must be concat, sum, mul, ave or None, got {merge_mode!r}")
        self.forward_layer = _copied(layer, "forward_")
        self.backward_layer = backward_layer or _copied(layer, "backward_", go_backwards=True)
        self.merge_mode = merge_mode
        self._initial_weights = weights
        super().__init__({"forward_layer": self.forward_layer, "backward_layer": self.backward_layer}, **kwargs)
        self._check_twins()
        self.return_sequences, self.return_state = layer.return_sequences, layer.return_state
        for twin in (self.forward_layer, self.backward_layer):
            twin.zero_output_for_mask = self.return_sequences

    def _check_twins(self) -> None:
        one, other = self.forward_layer, self.backward_layer
        if one.go_backwards == other.go_backwards:
            raise ValueError(f"{self.name}: layer and backward_layer must differ in go_backwards")
        for key in ("stateful", "return_sequences", "return_state"):
            if getattr(one, key) != getattr(other, key):
                raise ValueError(f"{self.name}: layer and backward_layer must have the same {key}")
        if self.merge_mode in ("sum", "mul", "ave") and one.units != other.units:
            raise ValueError(
                f"{self.name}: merge_mode {self.merge_mode!r} needs layers of as many units, got {one.units} and "
                f"{other.units}"
            )

    @property
    def stateful(self) -> bool:
        """Whether the layers carry their states from batch to batch."""
        return self.forward_layer.stateful

    def __call__(self, inputs: Any, *, initial_state: Any = None, training: bool = False, mask: Any = None) -> Any:
        """As for a recurrent layer; ``initial_state`` holds the forward layer's states, then the backward layer's."""
        return self.apply(with_states(inputs, initial_state), training=training, mask=mask)

    # Shapes ---------------------------------------------------------------------------------------------------------

    def build(self, input_shapes: list[Shape]) -> None:
        self.build_inside(input_shapes[:1])
        if self._initial_weights is not None:
            assign(self.name, self.weights, self._initial_weights)

    def check_inputs(self, shapes: list[Shape]) -> None:
        count = self.forward_layer.state_count + self.backward_layer.state_count
        if len(shapes) not in (1, 1 + count):
            raise ValueError(f"{self.name} has {count} initial states, got {len(shapes) - 1}")
        for layer, given in zip(self._twins, self._shares(shapes), strict=True):
            layer.check_inputs(given)

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        (one, *states), (other, *other_states) = (layer.output_specs(input_shapes[:1]) for layer in self._twins)
        outputs = [one, other] if self.merge_mode is None else [one]
        if self.merge_mode == "concat":
            outputs = [((*one[0][:-1], self.forward_layer.units + self.backward_layer.units), "float32")]
        return [*outputs, *states, *other_states]

    @property
    def _twins(self) -> tuple[Recurrent, Recurrent]:
        return self.forward_layer, self.backward_layer

    def _calls(self, call: Call) -> tuple[Call, Call]:
        return call.child("forward_layer"), call.child("backward_layer")

    def _shares(self, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        """For each direction the sequence, or what belongs to it, and the layer's share of the initial states."""
        split = 1 + self.forward_layer.state_count
        return [inputs[0], *inputs[1:split]], [inputs[0], *inputs[split:]]

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        given = zip(self._twins, self._calls(call), strict=True)
        (mask, *states), (_, *other_states) = (layer.masks(inner, inputs) for layer, inner in given)
        return [*[mask] * self._outputs, *states, *other_states]

    @property
    def _outputs(self) -> int:
        """Number of outputs that are no states."""
        return 2 if self.merge_mode is None else 1

    # Computation ----------------------------------------------------------------------------------------------------

    def takes_rows(self, tape: Tape) -> bool:
        return all(layer.takes_rows(tape) for layer in self._twins)

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        results = []
        for layer, inner, given in zip(self._twins, self._calls(call), self._shares(inputs), strict=True):
            inner.masks = [call.mask] + [None] * (len(given) - 1)
            inner.rows = call.rows
            results.append(layer.forward(inner, given))
        (one, *states), (other, *other_states) = results
        other = self._turned(other)
        call.saved["outputs"] = one, other
        return [*self._merged(call, one, other), *states, *other_states]

    def _turned(self, y: Array) -> Array:
        """The backward layer's output in the order of the forward layer's, or the other way round."""
        return y[::-1] if self.return_sequences else y

    def _merged(self, call: Call, one: Array, other: Array) -> list[Array]:
        if self.merge_mode is None:
            output = call.buffer("y", other.shape)
            np.copyto(output, other)
            return [one, output]
        if self.merge_mode == "concat":
            output = call.buffer("y", (*one.shape[:-1], one.shape[-1] + other.shape[-1]))
            return [np.concatenate((one, other), axis=-1, out=output)]
        output = call.buffer("y", one.shape)
        if self.merge_mode == "mul":
            return [np.multiply(one, other, out=output)]
        np.add(one, other, out=output)
        if self.merge_mode == "ave":
            output /= np.float32(2)
        return [output]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        count = self.forward_layer.state_count * self.forward_layer.return_state
        states = grads[self._outputs :]
        halves = self._halves(call, grads[: self._outputs])
        wanted = self._shares(call.wanted)
        passed: list[list[Float | None]] = []
        for i, (layer, inner) in enumerate(zip(self._twins, self._calls(call), strict=True)):
            inner.wanted = wanted[i]
            passed.append(layer.backward(inner, [halves[i], *(states[count:] if i else states[:count])]))
            call.tape.recycle([halves[i]], passed[i])
        (dx, *initial), (other_dx, *other_initial) = passed
        if dx is not None and other_dx is not None:
            dx += other_dx
            call.tape.give(other_dx)
        return [other_dx if dx is None else dx, *initial, *other_initial]

    def _halves(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        """The gradient of each layer's output, in memory of its own."""
        halves: list[Float | None] = []
        start = 0
        for i, (layer, y) in enumerate(zip(self._twins, call.saved["outputs"], strict=True)):
            dy = grads[i if self.merge_mode is None else 0]
            half = None if dy is None else call.gradient(y.shape)
            if dy is not None and half is not None:
                ordered = self._turned(half) if i else half
                if self.merge_mode == "concat":
                    dy = dy[..., start : start + layer.units]
                np.copyto(ordered, dy)
                if self.merge_mode == "mul":
                    ordered *= call.saved["outputs"][1 - i]
                elif self.merge_mode == "ave":
                    ordered /= np.float32(2)
            halves.append(half)
            start += layer.units
        return halves

    def get_config(self) -> dict[str, Any]:
        twins = {"layer": serialize(self.forward_layer), "backward_layer": serialize(self.backward_layer)}
        return super().get_config() | twins | {"merge_mode": self.merge_mode}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Bidirectional":
        made = {key: deserialize(config[key]) for key in ("layer", "backward_layer")}
        restored, forward = cls(**config | made), made["layer"]
        assert isinstance(forward, Recurrent)
        # Not a copy: the layer may stand elsewhere in its model too.
        restored.forward_layer = restored._sublayers["forward_layer"] = forward
        forward.zero_output_for_mask = restored.return_sequences
        return restored


class TimeDistributed(Wrapper):
    """``layer`` at every step: what it makes of (B, ...) is made of (B, T, ...), with the same weights at all T steps.

    Around a recurrent layer it reads sequences of sequences, (B, S, T, D) -> (B, S, units). Where the layer passes no
    mask on, a step is masked whose inner steps all are (as in tf.keras; Keras 3 passes on the mask of the input).

    Raises:
        TypeError: ``layer`` is no layer.
        ValueError: it is stateful, or has several outputs.
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"TimeDistributed takes a layer, got {layer!r}")
        for inner in layer.flatten():
            if isinstance(inner, Recurrent) and inner.stateful:
                raise ValueError(
                    f"TimeDistributed: {inner.name} must not be stateful: each step is a sequence of its own"
                )
        self.layer = layer
        super().__init__({"layer": layer}, **kwargs)

    def id_limit(self) -> int | None:
        return self.layer.id_limit()

    def build(self, input_shapes: list[Shape]) -> None:
        self.build_inside([_without_time(input_shapes[0])])

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 1 or len(shapes[0]) < 2:
            raise ValueError(f"{self.name} takes one input (batch, time, ...), got {shown(shapes)}")
        self.layer.check_inputs([_without_time(shapes[0])])

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        specs = self.layer.output_specs([_without_time(input_shapes[0])])
        if len(specs) > 1:
            raise ValueError(f"{self.name}: {self.layer.name} has {len(specs)} outputs, it must have one")
        (batch, *others), dtype = specs[0]
        return [((batch, input_shapes[0][1], *others), dtype)]

    # Inside, the time of the wrapper stands before the batch: (..., T, B, D) is (..., T * B, D) to the layer.

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        inner = call.child("layer")
        features = self.id_limit() is None
        x = inputs[0]
        steps, batch = call.saved["steps"] = x.shape[:-1][-2:] if features else x.shape[-2:]
        inner.masks = [None if call.mask is None else _joined(call.mask, features=False)]
        y = self.layer.forward(inner, [_joined(x, features)])[0]
        return [y.reshape(*y.shape[:-2], steps, batch, y.shape[-1])]

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        inner = call.child("layer")
        mask = self.layer.masks(inner, [_joined(inputs[0], self.id_limit() is None)])[0]
        if mask is not None:
            return [mask.reshape(*mask.shape[:-1], *call.saved["steps"])]
        if call.mask is None:
            return [None]
        return [np.any(call.mask, axis=tuple(range(call.mask.ndim - 2)))]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        inner = call.child("layer")
        inner.wanted = call.wanted
        dy = grads[0]
        dx = self.layer.backward(inner, [None if dy is None else _joined(dy)])[0]
        return [None if dx is None else dx.reshape(*dx.shape[:-2], *call.saved["steps"], dx.shape[-1])]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"layer": serialize(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TimeDistributed":
        return cls(**config | {"layer": deserialize(config["layer"])})


def _without_time(shape: Shape) -> Shape:
    return (shape[0], *shape[2:])


def _joined(value: Array, features: bool = True) -> Array:
    """A view in which the two axes before the features, or the last two where there are none, are one."""
    tail = value.shape[-1:] if features else ()
    leading = value.shape[: value.ndim - len(tail)]
    return value.reshape(*leading[:-2], leading[-2] * leading[-1], *tail)


def _copied(layer: Recurrent, prefix: str, **changes: Any) -> Recurrent:
    config = layer.get_config() | {"name": prefix + layer.name.removeprefix(prefix)} | changes
    copied = type(layer).from_config(config)
    assert isinstance(copied, Recurrent)
    return copied
