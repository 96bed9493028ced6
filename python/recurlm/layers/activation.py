"""Activation: a function of every element, or of every row."""

from typing import Any

import numpy as np

from ..tape import Call
from ..typing import Array, Float
from .base import Layer
from .core import ACTIVATIONS, activate, activation_gradient, check_activation


class Activation(Layer):
    """``activation`` of its input: linear, tanh, sigmoid, relu, gelu or softmax (over the last axis).

    A cross-entropy is computed without forming probabilities only where ``Dense(activation="softmax")`` ends a model.
    """

    def __init__(self, activation: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = check_activation(self.name, "activation", activation, ACTIVATIONS)

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        x = call.buffer("y", inputs[0].shape)
        np.copyto(x, inputs[0])
        return [activate(call, self.activation, x)]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy = grads[0]
        return [None if dy is None else activation_gradient(call, self.activation, dy)]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"activation": self.activation}
