"""MultiHeadAttention."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _core, initializers
from ..checks import check_integer, check_optional_integer
from ..tape import Call, Parameter
from ..typing import Array, Float, Mask, Shape
from .attention import Attending


class _Projection(NamedTuple):
    """A linear map to or from heads: kernel (D, N, K) or (N, K, D)."""

    name: str
    kernel: Parameter
    bias: Parameter | None

    def forward(self, call: Call, x: Float) -> Float:
        """x (T, B, inputs) -> (T, B, outputs)."""
        rows = x.reshape(-1, x.shape[2])
        kernel = self.kernel.value.reshape(x.shape[2], -1)
        bias = None if self.bias is None else self.bias.value.reshape(-1)
        y = call.buffer(self.name, (len(rows), kernel.shape[1]))
        tape = call.tape
        _core.linear_forward(rows, kernel, bias, y, tape.workspace, precision=tape.precision)
        call.saved[self.name] = rows
        return y.reshape(*x.shape[:2], -1)

    def backward(self, call: Call, dy: Float, dx: Float | None, learns: bool) -> None:
        """dy and dx (T, B, *); where ``learns``, gradients of the parameters are written too."""
        rows, tape = call.saved[self.name], call.tape
        width = rows.shape[1]
        parameters = [parameter for parameter in (self.kernel, self.bias) if parameter is not None]
        accumulate = learns and tape.accumulate(parameters)
        _core.linear_backward(
            rows,
            self.kernel.value.reshape(width, -1),
            dy.reshape(len(rows), -1),
            None if dx is None else dx.reshape(rows.shape),
            self.kernel.grad.reshape(width, -1) if learns else None,
            self.bias.grad.reshape(-1) if learns and self.bias is not None else None,
            tape.workspace,
            accumulate=accumulate,
            precision=tape.precision,
        )


class MultiHeadAttention(Attending):
    """Attention of several heads on projections of the inputs (Vaswani et al., 2017) -> (B, T, output_shape).

    ``value_dim`` is ``key_dim`` by default, ``output_shape`` the width of the query. Weights: kernel (D, num_heads,
    key_dim) and bias (num_heads, key_dim) of query, key and value, then kernel (num_heads, value_dim, output_shape) and
    bias of the output.

    >>> import numpy as np
    >>> from recurlm.layers import MultiHeadAttention
    >>> x = np.zeros((2, 5, 8), np.float32)
    >>> MultiHeadAttention(num_heads=2, key_dim=4)(x, x, use_causal_mask=True).shape
    (2, 5, 8)
    """

    weight_options = ("kernel", "bias")

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: Sequence[int] | None = None,
        sliding_window: None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dropout, seed, **kwargs)
        axes = None if attention_axes in (None, [1], (1,)) else attention_axes  # over time is what there is
        unsupported = {"attention_axes": axes, "sliding_window": sliding_window, "use_gate": use_gate}
        unsupported["flash_attention"] = flash_attention
        for name, value in unsupported.items():
            if value:
                raise ValueError(f"{self.name}: {name} is not supported, got {value!r}")
        self.num_heads = check_integer(f"{self.name}: num_heads", num_heads, 1)
        self.key_dim = check_integer(f"{self.name}: key_dim", key_dim, 1)
        self.value_dim = check_optional_integer(f"{self.name}: value_dim", value_dim, 1) or self.key_dim
        one = output_shape is None or isinstance(output_shape, (int, np.integer))
        widths: list[Any] = [output_shape] if one else list(output_shape)  # type: ignore[arg-type]
        if len(widths) != 1:
            raise ValueError(f"{self.name}: output_shape must be one width, got {output_shape!r}")
        self.output_width = check_optional_integer(f"{self.name}: output_shape", widths[0], 1)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def __call__(  # type: ignore[override]
        self,
        query: Any,
        value: Any,
        key: Any = None,
        *,
        attention_mask: None = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
        mask: Any = None,
    ) -> Any:
        """``key`` is ``value`` by default; ``mask``, for arrays, is a list with a mask or None for each input."""
        if attention_mask is not None:
            raise ValueError(f"{self.name}: attention_mask is not supported; masks come from the inputs")
        inputs = [query, value] if key is None else [query, value, key]
        return self.attend_to(inputs, mask, training, return_attention_scores, use_causal_mask)

    def build(self, input_shapes: list[Shape]) -> None:
        query, value, key = (shape[2] or 0 for shape in (input_shapes[0], input_shapes[1], input_shapes[-1]))
        self.widths = query, value, key
        keys, values = (self.num_heads, self.key_dim), (self.num_heads, self.value_dim)
        output = self.output_width or query
        self._query = self._project("query", (query,), keys)
        self._key = self._project("key", (key,), keys)
        self._value = self._project("value", (value,), values)
        self._output = self._project("attention_output", values, (output,))

    def _project(self, name: str, inputs: tuple[int, ...], bias_shape: tuple[int, ...]) -> _Projection:
        matrix = math.prod(inputs), math.prod(bias_shape)  # whose extents are the fans of an initializer

        def initial(shape: Sequence[int]) -> Float:
            return np.asarray(self.kernel_initializer(matrix), np.float32).reshape(shape)

        kernel = self.add_weight(f"{name}.kernel", (*inputs, *bias_shape), initial, "kernel")
        bias = self.add_weight(f"{name}.bias", bias_shape, self.bias_initializer, "bias") if self.use_bias else None
        return _Projection(name, kernel, bias)

    def check_inputs(self, shapes: list[Shape]) -> None:
        super().check_inputs(shapes)
        widths = shapes[0][2], shapes[1][2], shapes[-1][2]
        if self.built and widths != self.widths:
            raise ValueError(f"{self.name} takes query, value and key of widths {self.widths}, got {widths}")

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        return [((*input_shapes[0][:2], self.output_width or input_shapes[0][2]), "float32")]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        query = self._query.forward(call, inputs[0])
        key, value = self._key.forward(call, inputs[-1]), self._value.forward(call, inputs[1])
        masks = call.mask, _both(call, call.masks[1:])
        heads = {"heads": self.num_heads, "scale": self.key_dim**-0.5}
        return [self._output.forward(call, self.attend(call, query, key, value, masks, **heads))]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy, learns = grads[0], self.trainable
        if dy is None:
            return [None] * len(call.wanted)
        arrays = dict(zip(("query", "key", "value"), call.saved["attention"][0], strict=False))
        doutput = call.buffer("doutput", (*arrays["query"].shape[:2], self.num_heads * self.value_dim))
        self._output.backward(call, dy, doutput, learns)
        gradients = [call.buffer(f"d{name}", array.shape) for name, array in arrays.items()]
        self.attend_backward(call, doutput, gradients)
        inputs: list[Float | None] = []
        wanted = call.wanted[0], call.wanted[-1], call.wanted[1]
        for projection, gradient, want in zip((self._query, self._key, self._value), gradients, wanted, strict=True):
            rows = call.saved[projection.name]
            inputs.append(call.gradient((*gradient.shape[:2], rows.shape[1])) if want else None)
            projection.backward(call, gradient, inputs[-1], learns)
        dquery, dkey, dvalue = inputs
        if len(call.wanted) == 3:
            return [dquery, dvalue, dkey]
        if dvalue is not None and dkey is not None:
            dvalue += dkey
            call.tape.give(dkey)
        return [dquery, dvalue]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {"output_shape": self.output_width}
        for key in ("kernel_initializer", "bias_initializer"):
            config[key] = initializers.serialize(getattr(self, key))
        return config | {key: getattr(self, key) for key in ("num_heads", "key_dim", "value_dim", "use_bias")}


def _both(call: Call, masks: list[Mask | None]) -> Mask | None:
    """Where both value and key, if it has one of its own, are there."""
    given = [mask for mask in masks if mask is not None]
    if len(given) < 2:
        return given[0] if given else None
    both: Mask = np.logical_and(given[0], given[1], out=call.buffer("key mask", given[0].shape, np.bool_))
    return both
