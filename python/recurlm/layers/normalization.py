"""LayerNormalization."""

from typing import Any

from .. import _core, initializers
from ..tape import Call, Parameter
from ..typing import Array, Float, Shape
from .base import Layer, shown


class LayerNormalization(Layer):
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` over the last axis (Ba, Kiros and Hinton, 2016).

    ``center`` and ``scale`` leave beta and gamma out. Only the last axis is supported.
    """

    weight_options = ("beta", "gamma")

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        *,
        rms_scaling: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if axis not in (-1, [-1], (-1,)):
            raise ValueError(f"{self.name}: only axis=-1 is supported, got {axis!r}")
        if rms_scaling:
            raise ValueError(f"{self.name}: rms_scaling is not supported; only False is")
        if not epsilon >= 0:
            raise ValueError(f"{self.name}: epsilon must not be negative, got {epsilon!r}")
        self.epsilon = float(epsilon)
        self.center, self.scale = center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.gamma: Parameter | None = None
        self.beta: Parameter | None = None

    def build(self, input_shapes: list[Shape]) -> None:
        width = input_shapes[0][-1] or 0
        if self.scale:
            self.gamma = self.add_weight("gamma", (width,), self.gamma_initializer)
        if self.center:
            self.beta = self.add_weight("beta", (width,), self.beta_initializer)
        self.width = width

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 1 or len(shapes[0]) < 2 or shapes[0][-1] is None:
            raise ValueError(f"{self.name} takes one input (batch, ..., width) of known width, got {shown(shapes)}")
        if self.built and shapes[0][-1] != self.width:
            raise ValueError(f"{self.name} takes inputs of width {self.width}, got shape {shapes[0]}")

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        x = inputs[0]
        rows = x.reshape(-1, self.width)
        y, statistics = call.buffer("y", rows.shape), call.buffer("statistics", (len(rows), 2))
        gamma, beta = (None if weight is None else weight.value for weight in (self.gamma, self.beta))
        _core.layer_norm_forward(rows, gamma, beta, self.epsilon, y, statistics)
        call.saved.update(rows=rows, statistics=statistics)
        return [y.reshape(x.shape)]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy = grads[0]
        if dy is None:
            return [None]
        rows = call.saved["rows"]
        accumulate = call.tape.accumulate(self.trainable_weights)
        dgamma, dbeta = (
            weight.grad if weight is not None and self.trainable else None for weight in (self.gamma, self.beta)
        )
        _core.layer_norm_backward(
            rows,
            None if self.gamma is None else self.gamma.value,
            call.saved["statistics"],
            dy.reshape(rows.shape),
            dy.reshape(rows.shape),
            dgamma,
            dbeta,
            call.tape.workspace,
            accumulate=accumulate,
        )
        return [dy]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "axis": -1,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
        }
