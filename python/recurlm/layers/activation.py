"""Activation: a function of every element, or of every row."""

from typing import Any

from .. import _core
from ..tape import Call
from ..typing import Array, Float
from .base import Layer
from .core import ACTIVATIONS, check_activation


class Activation(Layer):
    """``activation`` of its input: linear, tanh, sigmoid, relu or softmax (over the last axis).

    A cross-entropy is computed without forming probabilities only where ``Dense(activation="softmax")`` ends a model.
    """

    def __init__(self, activation: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = check_activation(self.name, "activation", activation, ACTIVATIONS)

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        y = call.saved["y"] = call.buffer("y", inputs[0].shape)
        _core.activation_forward(self.activation, inputs[0], y)
        return [y]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        if (dy := grads[0]) is not None:
            _core.activation_backward(self.activation, call.saved["y"], dy, dy)
        return [dy]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"activation": self.activation}
