"""Layers that arrange the same numbers anew. They drop masks, as Keras's do: what was a step is none any more."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..arrays import reordered
from ..checks import check_integer, is_integer
from ..tape import Call
from ..typing import Array, Float, Mask, Shape
from .base import Layer, shown


class _Arranged(Layer):
    """A layer whose output holds the elements of its input in another order or shape."""

    needs_extents: ClassVar[bool] = True

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 1 or len(shapes[0]) < 2:
            raise ValueError(f"{self.name} takes one input (batch, ..., features), got {shown(shapes)}")
        self.arranged_shape(shapes[0])

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        return [(self.arranged_shape(input_shapes[0]), "float32")]

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        return [None]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        x = inputs[0]
        call.saved["shape"] = x.shape
        public = reordered(x)
        shape = self.arranged_shape(public.shape)
        y = call.buffer("y", (*shape[-2::-1], shape[-1]))
        self.arrange(call, public, reordered(y))
        return [y]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        if (dy := grads[0]) is None or not call.wanted[0]:
            return [None]
        dx = call.gradient(call.saved["shape"])
        self.arrange_back(call, reordered(dy), reordered(dx))
        return [dx]

    def arranged_shape(self, shape: Shape) -> Any:
        """The batch-first shape of the output; ValueError where the input cannot be arranged so."""
        raise NotImplementedError

    def arrange(self, call: Call, x: Float, y: Float) -> None:
        """Fill y from x, both batch-first views."""
        raise NotImplementedError

    def arrange_back(self, call: Call, dy: Float, dx: Float) -> None:
        """Fill dx from dy, both batch-first views."""
        raise NotImplementedError


class Reshape(_Arranged):
    """(B, ...) -> (B, *target_shape), in which one extent may be -1: what is left."""

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given = tuple(target_shape) if isinstance(target_shape, (list, tuple)) else (target_shape,)
        if not given or given.count(-1) > 1 or any(type(n) is not int or (n < 1 and n != -1) for n in given):
            raise ValueError(
                f"{self.name}: target_shape must hold positive integers and at most one -1, got {target_shape!r}"
            )
        self.target_shape = given

    def arranged_shape(self, shape: Shape) -> Any:
        batch, *extents = shape
        known = math.prod(n for n in self.target_shape if n != -1)
        if None in extents:
            return (batch, *(None if n == -1 else n for n in self.target_shape))
        size = math.prod(n or 0 for n in extents)
        if size % known if -1 in self.target_shape else size != known:
            wanted = ", ".join(map(str, ("batch", *self.target_shape)))
            raise ValueError(f"{self.name}: an input of shape {shape} cannot become ({wanted})")
        return (batch, *(size // known if n == -1 else n for n in self.target_shape))

    def arrange(self, call: Call, x: Float, y: Float) -> None:
        flat = call.buffer("flat", x.shape)
        np.copyto(flat, x)
        np.copyto(y, flat.reshape(y.shape))

    def arrange_back(self, call: Call, dy: Float, dx: Float) -> None:
        self.arrange(call, dy, dx)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"target_shape": list(self.target_shape)}


class Flatten(Reshape):
    """(B, ...) -> (B, product of the others)."""

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__((-1,), **kwargs)
        if data_format not in (None, "channels_last"):
            raise ValueError(f"{self.name}: data_format must be 'channels_last', got {data_format!r}")

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {"data_format": "channels_last"}
        del config["target_shape"]
        return config


class Permute(_Arranged):
    """Axes after the batch in another order: ``dims`` counts them from 1; (2, 1) is (B, T, D) -> (B, D, T)."""

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        listed = isinstance(dims, (list, tuple)) and all(map(is_integer, dims))
        self.dims = tuple(int(dim) for dim in dims) if listed else ()
        if not listed or sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"{self.name}: dims must hold each of 1, 2, ... once, got {dims!r}")

    def arranged_shape(self, shape: Shape) -> Any:
        if len(shape) != len(self.dims) + 1:
            raise ValueError(f"{self.name}: dims {self.dims} do not fit an input of shape {shape}")
        return (shape[0], *(shape[axis] for axis in self.dims))

    def arrange(self, call: Call, x: Float, y: Float) -> None:
        np.copyto(y, x.transpose(0, *self.dims))

    def arrange_back(self, call: Call, dy: Float, dx: Float) -> None:
        np.copyto(dx.transpose(0, *self.dims), dy)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dims": list(self.dims)}


class RepeatVector(_Arranged):
    """The same row at each of ``n`` steps: (B, D) -> (B, n, D)."""

    needs_extents: ClassVar[bool] = False

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = check_integer(f"{self.name}: n", n, 1)

    def arranged_shape(self, shape: Shape) -> Any:
        if len(shape) != 2:
            raise ValueError(f"{self.name} takes one input (batch, features), got {shape}")
        return (shape[0], self.n, shape[1])

    def arrange(self, call: Call, x: Float, y: Float) -> None:
        np.copyto(y, x[:, None])

    def arrange_back(self, call: Call, dy: Float, dx: Float) -> None:
        np.sum(dy, axis=1, out=dx)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"n": self.n}
