"""Layers about the steps of a sequence, which Keras has not: models of other libraries need them."""

import numpy as np

from ..tape import Call
from ..typing import Array, Float, Mask, Shape
from .base import Layer, shown


class Reverse(Layer):
    """The steps in the opposite order, (B, T, D) -> (B, T, D), and their mask too.

    What a layer with ``go_backwards`` gives stands in the order of its input again.
    """

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 1 or len(shapes[0]) != 3:
            raise ValueError(f"{self.name} takes one input (batch, time, features), got {shown(shapes)}")

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        return [None if call.mask is None else np.ascontiguousarray(call.mask[::-1])]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        y = call.buffer("y", inputs[0].shape)
        y[...] = inputs[0][::-1]
        return [y]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy = grads[0]
        if dy is None or not call.wanted[0]:
            return [None]
        dx = call.gradient(dy.shape)
        dx[...] = dy[::-1]
        return [dx]


class Lengths(Layer):
    """A sequence (B, T, D) and how many steps of each row count, (B, 1), which others call lengths: the rest is masked.

    The output is the sequence as it is; the layers above skip what is padding, and the loss does not count it.
    """

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 2 or len(shapes[0]) != 3 or len(shapes[1]) != 2 or shapes[1][1] != 1:
            raise ValueError(f"{self.name} takes (batch, time, features) and (batch, 1), got {shown(shapes)}")

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        x, lengths = inputs  # (T, B, D), (B, 1)
        mask = np.less(np.arange(len(x))[:, None], lengths[:, 0])  # (T, B)
        return [mask if call.mask is None else mask & call.mask]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        return [inputs[0]]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        return [grads[0] if call.wanted[0] else None, None]
