"""Layers that make one tensor of several: Add."""

from typing import Any

import numpy as np

from ..tape import Call
from ..typing import Array, Float, Mask, Shape
from .base import Layer


class Add(Layer):
    """The sum of two or more inputs of one shape. Where all have a mask, a step is masked that is masked in all."""

    def __call__(self, inputs: Any, *, training: bool = False, mask: Any = None) -> Any:
        """As for every layer, on a list."""
        if not isinstance(inputs, (list, tuple)):
            raise ValueError(f"{self.name} takes a list of inputs, got {inputs!r}")
        return self.apply(list(inputs), training=training, mask=mask)

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) < 2 or len({len(shape) for shape in shapes}) > 1 or len({shape[-1] for shape in shapes}) > 1:
            raise ValueError(f"{self.name} takes two or more inputs of one shape, got {shapes}")

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        given = [mask for mask in call.masks if mask is not None]
        if len(given) < len(inputs):
            return [None]
        return [np.logical_or.reduce(given, out=call.buffer("mask", given[0].shape, np.bool_))]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        y = call.buffer("y", inputs[0].shape)
        np.add(inputs[0], inputs[1], out=y)
        for other in inputs[2:]:
            y += other
        return [y]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy = grads[0]
        if dy is None:
            return [None] * len(call.wanted)
        passed: list[Float | None] = []
        for wanted in call.wanted:
            passed.append(call.gradient(dy.shape) if wanted else None)
            if (gradient := passed[-1]) is not None:
                gradient[...] = dy
        return passed
