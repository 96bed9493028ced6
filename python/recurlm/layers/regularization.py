"""Layers that disturb training on purpose, and the draws that all layers share."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from .. import _core
from ..checks import is_number
from ..seeding import check_seed
from ..tape import Call, Tape
from ..typing import Array, Float, Ids, Shape
from .base import Layer, shown


class Purpose(IntEnum):
    """What a node draws for: draws of one node for different purposes are independent."""

    OUTPUTS = 0
    STATES = 1
    WEIGHTS = 2
    IDS = 3


_NODES = 1 << 20  # a model may have: purposes stand in the next bits of a stream


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
        if not is_number(rate) or not 0 <= rate <= 1:
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
        if len(shape) > 3:
            raise ValueError(f"{self.name}: noise_shape is for inputs of up to three axes, got {len(shape)}")
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
    call: Call,
    x: Array,
    y: Array,
    rate: float,
    seed: int | None,
    noise_shape: tuple[int, ...] | None = None,
    purpose: Purpose = Purpose.OUTPUTS,
) -> None:
    """Dropout of x into y, keyed by seed, the node's place in the graph, the purpose and the training step."""
    if rate == 1:  # the core would have to scale what is left by 1 / 0
        y.fill(0)
        return
    if x.ndim > 3 and noise_shape is None:  # the core takes up to three axes, and counts through all of them
        x, y = (array.reshape(-1, *array.shape[-2:]) for array in (x, y))
    key = call.tape.seed if seed is None else seed
    _core.dropout(x, y, rate, key, call.index + purpose * _NODES, call.tape.step, noise_shape)


def draw_factors(
    call: Call, name: str, shape: tuple[int, ...], rate: float, seed: int | None, purpose: Purpose
) -> Float:
    """0 with probability ``rate``, else ``1 / (1 - rate)``: what dropout multiplies by; memory ``name`` of the call."""
    factors = call.buffer(name, shape)
    factors.fill(1)
    draw_dropout(call, factors, factors, rate, seed, None, purpose)
    return factors
