"""SimpleRNN, GRU and LSTM, with Keras's arguments, weights and gate order."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .core import check_activation
from .recurrent import Recurrent


class SimpleRNN(Recurrent):
    """``h = activation(x W + prev_h U + b)``; activation: tanh, relu, sigmoid or linear.

    >>> import numpy as np
    >>> from recurlm.layers import SimpleRNN
    >>> SimpleRNN(4)(np.zeros((2, 3, 5), np.float32)).shape
    (2, 4)
    """

    kind, gates = "rnn", 1
    supported_activations = ("tanh", "relu", "sigmoid", "linear")


class _Gated(Recurrent):
    """A cell whose gates are sigmoids."""

    def __init__(
        self, units: int, activation: str | None = "tanh", recurrent_activation: str | None = "sigmoid", **kwargs: Any
    ) -> None:
        super().__init__(units, activation, **kwargs)
        self.recurrent_activation = check_activation(
            self.name, "recurrent_activation", recurrent_activation, ("sigmoid",)
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"recurrent_activation": self.recurrent_activation}


class GRU(_Gated):
    """Gated recurrent unit (Cho et al., 2014); gates z r n. ``reset_after`` applies r after the recurrent product.

    The bias is (2, 3 * units), for input and recurrence, with ``reset_after``; else (3 * units,).
    """

    kind, gates = "gru", 3

    def __init__(
        self,
        units: int,
        activation: str | None = "tanh",
        recurrent_activation: str | None = "sigmoid",
        *,
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, **kwargs)
        self.reset_after = reset_after

    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"reset_after": self.reset_after}


class LSTM(_Gated):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997) with a forget gate; gates i f g o.

    ``unit_forget_bias`` starts the forget gate's bias at one.
    """

    kind, gates = "lstm", 4

    def __init__(
        self,
        units: int,
        activation: str | None = "tanh",
        recurrent_activation: str | None = "sigmoid",
        *,
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, **kwargs)
        self.unit_forget_bias = unit_forget_bias

    def initial_bias(self, shape: Sequence[int]) -> Any:
        bias = np.array(self.bias_initializer(shape), np.float32)
        if self.unit_forget_bias:
            bias[self.units : 2 * self.units] = 1
        return bias

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"unit_forget_bias": self.unit_forget_bias}
