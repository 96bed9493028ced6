"""Layers that make one tensor of several: Add, Subtract, Multiply, Average, Concatenate."""

from functools import reduce
from typing import Any

import numpy as np

from ..checks import is_integer
from ..tape import Call
from ..typing import Array, Float, Mask, Shape
from .base import Layer, shown


class _Merge(Layer):
    """A layer on a list of inputs."""

    def __call__(self, inputs: Any, *, training: bool = False, mask: Any = None) -> Any:
        """As for every layer, on a list; ``mask`` is a list too, None standing for an input without one."""
        if not isinstance(inputs, (list, tuple)) or not inputs:
            raise ValueError(f"{self.name} takes a list of inputs, got {inputs!r}")
        return self.apply(list(inputs), training=training, mask=mask)


class _Elementwise(_Merge):
    """Merging element by element. Extents of 1 are spread, and inputs of fewer axes are the same at all steps.

    Where all inputs have a mask, a step is masked that is masked in all of them; else none is.
    """

    def check_inputs(self, shapes: list[Shape]) -> None:
        if any(len(shape) < 2 for shape in shapes):
            raise ValueError(f"{self.name} takes inputs (batch, ..., features), got {shown(shapes)}")
        _spread_shape(self.name, shapes)

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        return [(_spread_shape(self.name, input_shapes), "float32")]

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        aligned = _aligned_masks(call, inputs)
        if aligned is None:
            return [None]
        mask = call.buffer("mask", (*np.broadcast_shapes(*(m.shape for m in aligned))[:-1], 1), np.bool_)
        np.copyto(mask, reduce(np.logical_or, aligned))
        return [mask[..., 0]]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        shape = _spread_shape(self.name, [(*x.shape[-2::-1], x.shape[-1]) for x in inputs])
        y = call.buffer("y", [extent or 0 for extent in (*shape[-2::-1], shape[-1])])
        aligned = call.saved["aligned"] = [_align(x, y.ndim) for x in inputs]
        call.saved["shapes"] = [x.shape for x in inputs]
        self.merge(call, aligned, y)
        return [y]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        if (dy := grads[0]) is None:
            return [None] * len(call.wanted)
        return [self._gradient(call, i, dy) if wanted else None for i, wanted in enumerate(call.wanted)]

    def _gradient(self, call: Call, index: int, dy: Float) -> Float:
        whole = call.gradient(dy.shape)
        self.differentiate(call, index, dy, whole)
        aligned: Array = call.saved["aligned"][index]
        dx = whole
        if aligned.shape != dy.shape:
            dx = call.gradient(aligned.shape)
            spread = np.flatnonzero(np.not_equal(aligned.shape, dy.shape))
            np.sum(whole, axis=tuple(spread), keepdims=True, out=dx)
            call.tape.give(whole)
        return np.reshape(dx, call.saved["shapes"][index])

    def merge(self, call: Call, inputs: list[Array], y: Float) -> None:
        """Fill y from inputs of its rank."""
        raise NotImplementedError

    def differentiate(self, call: Call, index: int, dy: Float, dx: Float) -> None:
        """Fill dx, of the shape of dy, for one input."""
        raise NotImplementedError


class Add(_Elementwise):
    """The sum of its inputs."""

    def merge(self, call: Call, inputs: list[Array], y: Float) -> None:
        np.copyto(y, inputs[0])
        for x in inputs[1:]:
            y += x

    def differentiate(self, call: Call, index: int, dy: Float, dx: Float) -> None:
        np.copyto(dx, dy)


class Average(Add):
    """The mean of its inputs."""

    def merge(self, call: Call, inputs: list[Array], y: Float) -> None:
        super().merge(call, inputs, y)
        y /= np.float32(len(inputs))

    def differentiate(self, call: Call, index: int, dy: Float, dx: Float) -> None:
        np.divide(dy, np.float32(len(call.wanted)), out=dx)


class Subtract(_Elementwise):
    """The first of two inputs less the second."""

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 2:
            raise ValueError(f"{self.name} takes two inputs, got {len(shapes)}")
        super().check_inputs(shapes)

    def merge(self, call: Call, inputs: list[Array], y: Float) -> None:
        np.subtract(inputs[0], inputs[1], out=y)

    def differentiate(self, call: Call, index: int, dy: Float, dx: Float) -> None:
        np.multiply(dy, np.float32(1 - 2 * index), out=dx)


class Multiply(_Elementwise):
    """The product of its inputs. A masked step of an input counts as 1; one masked in all inputs gives 0."""

    def merge(self, call: Call, inputs: list[Array], y: Float) -> None:
        np.copyto(y, 1)
        factors = call.saved["factors"] = [self._factor(call, i, x) for i, x in enumerate(inputs)]
        for factor in factors:
            y *= factor
        present = _aligned_masks(call, inputs)
        if present is not None:
            y *= reduce(np.logical_or, present)

    def _factor(self, call: Call, index: int, x: Array) -> Array:
        mask = call.masks[index]
        if mask is None:
            return x
        factor = call.buffer(f"factor {index}", x.shape)
        np.copyto(factor, x)
        np.copyto(factor, 1, where=~_align(mask[..., None], x.ndim))
        return factor

    def differentiate(self, call: Call, index: int, dy: Float, dx: Float) -> None:
        np.copyto(dx, dy)
        for i, factor in enumerate(call.saved["factors"]):
            if i != index:
                dx *= factor
        mask = call.masks[index]
        if mask is not None:
            dx *= _align(mask[..., None], dx.ndim)


class Concatenate(_Merge):
    """Inputs side by side along ``axis``, which may be any but the batch's.

    Along time an input without a mask counts as unmasked; along features a step is masked that is masked in all inputs.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not is_integer(axis) or axis == 0:
            raise ValueError(f"{self.name}: axis must be an integer other than 0, the batch's, got {axis!r}")
        self.axis = int(axis)

    def check_inputs(self, shapes: list[Shape]) -> None:
        rank = len(shapes[0])
        if rank < 2 or not -rank < self.axis < rank:
            raise ValueError(f"{self.name}: axis {self.axis} does not fit an input of shape {shapes[0]}")
        axis = self.axis % rank
        for shape in shapes:
            others = [{a, b} - {None} for a, b in zip(shape, shapes[0], strict=False)]
            del others[axis : axis + 1]
            if len(shape) != rank or any(len(extents) > 1 for extents in others):
                raise ValueError(f"{self.name} takes inputs that differ only along axis {axis}, got {shown(shapes)}")

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        shape = [
            next((extent for extent in extents if extent is not None), None)
            for extents in zip(*input_shapes, strict=True)
        ]
        along = [given[self.axis] for given in input_shapes]
        shape[self.axis] = None if None in along else sum(extent or 0 for extent in along)
        return [(tuple(shape), "float32")]

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        masks, axis = call.masks, self._inner_axis(inputs[0].ndim)
        if axis == inputs[0].ndim - 1:
            return [None if any(m is None for m in masks) else reduce(np.logical_or, masks)]  # type: ignore[arg-type]
        if all(m is None for m in masks):
            return [None]
        filled = [np.ones(x.shape[:-1], np.bool_) if m is None else m for m, x in zip(masks, inputs, strict=True)]
        return [np.concatenate(filled, axis)]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        self.check_inputs([(*x.shape[-2::-1], x.shape[-1]) for x in inputs])
        axis = self._inner_axis(inputs[0].ndim)
        shape = list(inputs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in inputs)
        call.saved["shapes"] = [x.shape for x in inputs]
        return [np.concatenate(inputs, axis, out=call.buffer("y", shape))]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        if (dy := grads[0]) is None:
            return [None] * len(call.wanted)
        axis, start = self._inner_axis(dy.ndim), 0
        passed: list[Float | None] = []
        for shape, wanted in zip(call.saved["shapes"], call.wanted, strict=True):
            piece = np.moveaxis(dy, axis, 0)[start : start + shape[axis]]
            start += shape[axis]
            passed.append(call.gradient(shape) if wanted else None)
            if (dx := passed[-1]) is not None:
                np.copyto(np.moveaxis(dx, axis, 0), piece)
        return passed

    def _inner_axis(self, rank: int) -> int:
        axis = self.axis % rank
        return axis if axis == rank - 1 else rank - 2 - axis

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis}


def _spread_shape(name: str, shapes: list[Shape]) -> Shape:
    """The batch-first shape to which all ``shapes`` spread; ValueError where there is none."""
    rank = max(map(len, shapes))
    merged: list[int | None] = []
    aligned = [(shape[0], *(1,) * (rank - len(shape)), *shape[1:]) for shape in shapes]
    for axis, extents in enumerate(zip(*aligned, strict=True)):
        known = {extent for extent in extents if extent is not None and (axis == 0 or extent != 1)}
        if len(known) > 1:
            raise ValueError(f"{name} takes inputs of shapes that can be spread to one, got {shown(shapes)}")
        merged.append(known.pop() if known else None if None in extents else 1)
    return tuple(merged)


def _align(x: Array, rank: int) -> Array:
    """A view of ``rank`` axes: those that x lacks come after the batch's, which is before the last but one inside."""
    return x.reshape(*x.shape[:-2], *(1,) * (rank - x.ndim), *x.shape[-2:])


def _aligned_masks(call: Call, inputs: list[Array]) -> list[Mask] | None:
    """The masks of all inputs, each (..., B, 1); None unless all have one."""
    masks = [mask[..., None] for mask in call.masks if mask is not None]
    rank = max(x.ndim for x in inputs)
    return [_align(mask, rank) for mask in masks] if len(masks) == len(inputs) else None
