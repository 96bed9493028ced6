"""Pooling over the steps of a sequence."""

from typing import Any

import numpy as np

from ..tape import Call
from ..typing import Array, Float, Mask, Shape
from .base import Layer, shown


class _GlobalPooling1D(Layer):
    """(B, T, D) -> (B, D), or (B, 1, D) with ``keepdims``."""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if data_format not in (None, "channels_last"):
            raise ValueError(f"{self.name}: data_format must be 'channels_last', got {data_format!r}")
        self.keepdims = keepdims

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 1 or len(shapes[0]) != 3:
            raise ValueError(f"{self.name} takes one input (batch, time, features), got {shown(shapes)}")

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        batch, _, width = input_shapes[0]
        return [((batch, 1, width) if self.keepdims else (batch, width), "float32")]

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        return [None]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        x = inputs[0]
        if len(x) == 0:
            raise ValueError(f"{self.name} takes sequences of at least one step, got none")
        y = call.buffer("y", x.shape[1:])
        self.pool(call, x, y)
        return [y[None] if self.keepdims else y]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy = grads[0]
        if dy is None or not call.wanted[0]:
            return [None]
        dx = call.gradient(call.saved["shape"])
        self.spread(call, dy.reshape(dx.shape[1:]), dx)
        return [dx]

    def pool(self, call: Call, x: Float, y: Float) -> None:
        """Fill y (B, D) from x (T, B, D) and save the shape of x."""
        raise NotImplementedError

    def spread(self, call: Call, dy: Float, dx: Float) -> None:
        """Fill dx (T, B, D) from dy (B, D)."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"data_format": "channels_last", "keepdims": self.keepdims}


class GlobalAveragePooling1D(_GlobalPooling1D):
    """The mean of the steps that are not masked: (B, T, D) -> (B, D). Without any it is 0 (Keras: NaN)."""

    def pool(self, call: Call, x: Float, y: Float) -> None:
        mask = call.mask
        y.fill(0)
        for t, step in enumerate(x):  # np.sum would add in another order where B * D is 1
            np.add(y, step, out=y, where=True if mask is None else mask[t, :, None])
        counts = np.float32(len(x)) if mask is None else np.maximum(np.count_nonzero(mask, axis=0), 1)[:, None]
        call.saved.update(shape=x.shape, counts=np.asarray(counts, np.float32))
        y /= call.saved["counts"]

    def spread(self, call: Call, dy: Float, dx: Float) -> None:
        dy /= call.saved["counts"]
        np.copyto(dx, dy)
        if call.mask is not None:
            dx *= call.mask[..., None]


class GlobalMaxPooling1D(_GlobalPooling1D):
    """The largest value of each feature: (B, T, D) -> (B, D). As in Keras masked steps count: it takes no mask.

    Steps that share the largest value share the gradient.
    """

    def pool(self, call: Call, x: Float, y: Float) -> None:
        np.max(x, axis=0, out=y)
        call.saved.update(shape=x.shape, x=x, y=y)

    def spread(self, call: Call, dy: Float, dx: Float) -> None:
        largest = np.equal(call.saved["x"], call.saved["y"], out=call.buffer("largest", dx.shape, np.bool_))
        dy /= np.maximum(np.count_nonzero(largest, axis=0), 1)
        np.multiply(largest, dy, out=dx)
