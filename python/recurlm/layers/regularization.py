"""Layers that disturb training on purpose: Dropout, SpatialDropout1D."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from ..seeding import check_seed
from ..tape import Call, Tape
from ..typing import Array, Float, Ids, Shape
from .base import Layer, shown


class Dropout(Layer):
    """In training, zeroes elements with probability ``rate`` and scales the others by ``1 / (1 - rate)``.

    ``noise_shape`` (batch, time, features) shares the draw along the axes where it is 1; ``(None, 1, None)`` is
    variational dropout, one mask for all time steps. None stands for the input's own extent.
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(rate, (int, float, np.number)) or not 0 <= rate <= 1:
            raise ValueError(f"{self.name}: rate must be a number from 0 to 1, got {rate!r}")
        self.rate = float(rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.seed = None if seed is None else check_seed(seed)

    def passes_on(self, tape: Tape) -> bool:
        return not tape.training or self.rate == 0

    def rows(self, call: Call) -> Ids | None:
        return call.rows

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        if self.passes_on(call.tape):
            return inputs
        return [self._drop(call, inputs[0], call.buffer("y", inputs[0].shape))]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy = grads[0]
        return [dy if dy is None or self.passes_on(call.tape) else self._drop(call, dy, dy)]

    def _drop(self, call: Call, x: Array, y: Array) -> Array:
        draw_dropout(call, x, y, self.rate, self.seed, self._noise_shape(x.shape))
        return y

    def _noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        if self.noise_shape is None:
            return None
        given = (*self.noise_shape[-2::-1], *self.noise_shape[-1:])
        if len(given) != len(shape) or any(g not in (None, 1, s) for g, s in zip(given, shape, strict=True)):
            raise ValueError(f"{self.name}: noise_shape {self.noise_shape} does not fit an input of rank {len(shape)}")
        return tuple(s if g is None else g for g, s in zip(given, shape, strict=True))

    def get_config(self) -> dict[str, Any]:
        noise_shape = None if self.noise_shape is None else list(self.noise_shape)
        return super().get_config() | {"rate": self.rate, "noise_shape": noise_shape, "seed": self.seed}


class SpatialDropout1D(Dropout):
    """Dropout of whole features: the same at all steps of a sequence (Tompson et al., 2015)."""

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, (None, 1, None), seed, **kwargs)

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 1 or len(shapes[0]) != 3:
            raise ValueError(f"{self.name} takes one input (batch, time, features), got {shown(shapes)}")

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["noise_shape"]
        return config


def draw_dropout(
    call: Call, x: Array, y: Array, rate: float, seed: int | None, noise_shape: tuple[int, ...] | None
) -> None:
    """Dropout of x into y, keyed by seed, the node's place in the graph and the training step."""
    key = call.tape.seed if seed is None else seed
    if rate == 1:  # the core would have to scale what is left by 1 / 0
        y.fill(0)
        return
    if noise_shape is None:  # the core takes up to three axes; positions are counted through all of them
        x, y = x.reshape(-1), y.reshape(-1)
    _core.dropout(x, y, rate, key, call.index, call.tape.step, noise_shape)
