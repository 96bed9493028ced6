"""Input, Embedding, Dense, Masking."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import _core, initializers
from ..checks import check_integer, check_rate
from ..seeding import check_seed
from ..tape import Call, Parameter
from ..typing import Array, Float, Ids, Mask, Shape
from .base import Layer, Node, SymbolicTensor, shown
from .regularization import Purpose, draw_factors

ACTIVATIONS = ("linear", "tanh", "sigmoid", "relu", "gelu", "softmax")


def check_activation(layer: str, name: str, value: Any, supported: Sequence[str]) -> str:
    """An activation's name, None meaning linear; ValueError for one that ``layer`` does not have."""
    activation = "linear" if value is None else value
    if activation not in supported:
        raise ValueError(f"{layer}: {name} must be one of {', '.join(supported)}, got {value!r}")
    return str(activation)


def activate(call: Call, activation: str, x: Float) -> Float:
    """The activation's value, in place of x but for gelu, whose gradient needs x: it does not follow from the value."""
    y = call.buffer("activated", x.shape) if activation == "gelu" else x
    if activation != "linear":
        _core.activation_forward(activation, x, y)
    call.saved["activation"] = x
    return y


def activation_gradient(call: Call, activation: str, dy: Float) -> Float:
    """From the gradient of what ``activate`` gave to that of x, in place."""
    if activation != "linear":
        _core.activation_backward(activation, call.saved["activation"], dy, dy)
    return dy


class InputLayer(Layer):
    """Where data enters a graph."""

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(name=name or None, trainable=trainable)
        if (shape is None) == (batch_shape is None):
            raise ValueError("Input needs either shape (without the batch) or batch_shape")
        self.batch_shape: Shape = (batch_size, *shape) if shape is not None else tuple(batch_shape or ())
        if any(extent is not None and (not isinstance(extent, int) or extent < 1) for extent in self.batch_shape):
            raise ValueError(f"Input: extents of shape must be positive integers or None, got {self.batch_shape[1:]}")
        self.dtype = np.dtype(dtype or "float32").name
        self.built = True
        self.tensor = Node(self, []).outputs[0]

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        return [(self.batch_shape, self.dtype)]

    def get_config(self) -> dict[str, Any]:
        return {"batch_shape": list(self.batch_shape), "dtype": self.dtype, "name": self.name}


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
) -> SymbolicTensor:
    """A symbolic tensor that stands for a batch of arrays of ``shape``.

    What feeds an ``Embedding`` takes integer ids (batch, time); all else takes numbers: (batch, features) or
    (batch, time, features).

    >>> from recurlm import Input
    >>> Input(shape=(None,)).shape
    (None, None)
    """
    return InputLayer(shape, batch_size, dtype, batch_shape, name).tensor


class Embedding(Layer):
    """Rows of a table: ids (B, T) -> (B, T, output_dim), or (B,) -> (B, output_dim).

    ``mask_zero=True`` makes id 0 padding: the layers above skip those steps and the loss does not count them.
    ``dropout`` (not in Keras) drops whole ids in training: each is zero wherever it stands in the batch, with this
    probability (Gal and Ghahramani, 2016).
    """

    takes_ids: ClassVar[bool] = True
    weight_options = ("embeddings",)

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        mask_zero: bool = False,
        weights: Any = None,
        *,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dropout = check_rate(f"{self.name}: dropout", dropout)
        self.seed = None if seed is None else check_seed(seed)
        self.input_dim = check_integer(f"{self.name}: input_dim", input_dim, 1)
        self.output_dim = check_integer(f"{self.name}: output_dim", output_dim, 1)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.mask_zero = mask_zero
        self.embeddings = self.add_weight("embeddings", (input_dim, output_dim), self.embeddings_initializer)
        self.built = True
        if weights is not None:
            self.set_weights(weights if isinstance(weights, (list, tuple)) else [weights])

    def id_limit(self) -> int | None:
        return self.input_dim

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        return [((*input_shapes[0], self.output_dim), "float32")]

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 1 or len(shapes[0]) < 1:
            raise ValueError(f"{self.name} takes ids of shape (batch,) or (batch, time), got {shown(shapes)}")

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        if not self.mask_zero:
            return [None]
        return [np.not_equal(inputs[0], 0, out=call.buffer("mask", inputs[0].shape, np.bool_))]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        ids = inputs[0]
        y = call.buffer("y", (*ids.shape, self.output_dim))
        if call.distinct and ids.ndim == 2:
            ids = self._distinct(call, ids)
            y = y.reshape(-1, self.output_dim)[: len(ids)]
        else:
            call.saved["rows"] = None
        call.saved["ids"] = ids
        _core.embedding_forward(ids.reshape(-1), self.embeddings.value, y.reshape(-1, self.output_dim))
        self._drop_ids(call, y)
        return [y]

    def _drop_ids(self, call: Call, y: Array) -> None:
        """The rows of y, or of its gradient, times the factor of the id that each belongs to."""
        if self.dropout == 0 or not call.tape.training:
            return
        factors = draw_factors(call, "factors", (self.input_dim,), self.dropout, self.seed, Purpose.IDS)
        ids = call.saved["ids"].reshape(-1)
        each = np.take(factors, ids, out=call.buffer("each", ids.shape), mode="clip")
        rows = y.reshape(-1, self.output_dim)
        np.multiply(rows, each[:, None], out=rows)

    def _distinct(self, call: Call, ids: Ids) -> Ids:
        rows = call.saved["rows"] = call.buffer("rows", ids.shape, np.int32)
        distinct = call.buffer("distinct", (ids.size,), np.int32)
        workspace = call.tape.workspace
        count = _core.distinct_ids(ids.reshape(-1), self.input_dim, distinct, rows.reshape(-1), workspace)
        return distinct[:count]

    def rows(self, call: Call) -> Ids | None:
        rows: Ids | None = call.saved["rows"]
        return rows

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        if self.trainable and grads[0] is not None:
            rows = call.saved["ids"].reshape(-1)
            self._drop_ids(call, grads[0])
            call.tape.add_rows(self.embeddings, rows)
            _core.embedding_backward(rows, grads[0].reshape(-1, self.output_dim), self.embeddings.grad)
        return [None]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "mask_zero": self.mask_zero,
            "dropout": self.dropout,
            "seed": self.seed,
        }


class LinearGradients(NamedTuple):
    """Where a Dense layer's gradients go; None for what is frozen or absent."""

    kernel: Float | None
    bias: Float | None
    accumulate: bool


class Dense(Layer):
    """``activation(x @ kernel + bias)`` at every position; activation: linear, tanh, sigmoid, relu, gelu or softmax.

    ``tied_to`` (not in Keras) takes an ``Embedding`` whose table, transposed, is the kernel: ``units`` must be its
    ``input_dim``, the input width its ``output_dim``, and ``weights`` holds the bias alone.
    """

    weight_options = ("kernel", "bias")

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        tied_to: Embedding | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = check_integer(f"{self.name}: units", units, 1)
        self.activation = check_activation(self.name, "activation", activation, ACTIVATIONS)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.tied_to = tied_to
        if tied_to is not None and (not isinstance(tied_to, Embedding) or tied_to.input_dim != units):
            raise ValueError(f"{self.name}: tied_to must be an Embedding with input_dim {units}, got {tied_to!r}")
        of_kernel = [getattr(self, f"kernel_{what}") for what in ("regularizer", "constraint")]
        if tied_to is not None and of_kernel != [None, None]:
            raise ValueError(f"{self.name}: what is asked of the kernel belongs to {tied_to.name}, whose table it is")
        self.kernel: Parameter
        self.bias: Parameter | None = None

    @property
    def transposed(self) -> bool:
        """Whether the kernel is (units, D), as it is when tied."""
        return self.tied_to is not None

    @property
    def learns(self) -> bool:
        return super().learns or (self.tied_to is not None and self.tied_to.trainable)

    def build(self, input_shapes: list[Shape]) -> None:
        width = input_shapes[0][-1]
        if self.tied_to is None:
            self.kernel = self.add_weight("kernel", (width or 0, self.units), self.kernel_initializer)
        else:
            self.kernel = self.tied_to.embeddings
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.units,), self.bias_initializer)

    def check_inputs(self, shapes: list[Shape]) -> None:
        width = shapes[0][-1] if shapes[0] else None
        if len(shapes) != 1 or len(shapes[0]) < 2 or width is None:
            raise ValueError(f"{self.name} takes one input of known width, (batch, [time,] width), got {shown(shapes)}")
        expected = self.tied_to.output_dim if self.tied_to else self.kernel.shape[0] if self.built else width
        if width != expected:
            raise ValueError(f"{self.name} takes inputs of width {expected}, got shape {shapes[0]}")

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        return [((*input_shapes[0][:-1], self.units), "float32")]

    def linear(self, call: Call, x: Array) -> Float:
        """The logits: the layer without its activation."""
        rows = x.reshape(-1, x.shape[-1])
        y = call.buffer("y", (rows.shape[0], self.units))
        bias = None if self.bias is None else self.bias.value
        tape = call.tape
        _core.linear_forward(
            rows, self.kernel.value, bias, y, tape.workspace, transposed=self.transposed, precision=tape.precision
        )
        call.saved["x"] = x
        return y.reshape(*x.shape[:-1], self.units)

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        return [activate(call, self.activation, self.linear(call, inputs[0]))]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy = grads[0]
        return [None if dy is None else self.linear_backward(call, activation_gradient(call, self.activation, dy))]

    def linear_backward(self, call: Call, dy: Float) -> Float | None:
        """From the gradient of the logits to that of the input."""
        x = call.saved["x"]
        dx = call.gradient(x.shape) if call.wanted[0] else None
        target = self.open_gradients(call)
        width = x.shape[-1]
        _core.linear_backward(
            x.reshape(-1, width),
            self.kernel.value,
            dy.reshape(-1, self.units),
            None if dx is None else dx.reshape(-1, width),
            target.kernel,
            target.bias,
            call.tape.workspace,
            transposed=self.transposed,
            accumulate=target.accumulate,
            precision=call.tape.precision,
        )
        return dx

    def open_gradients(self, call: Call) -> LinearGradients:
        """Announce to the tape that the gradients of the layer are about to be written."""
        kernel = self.kernel if (self.tied_to or self).trainable else None
        bias = self.bias if self.trainable else None
        accumulate = call.tape.accumulate([parameter for parameter in (kernel, bias) if parameter is not None])
        return LinearGradients(None if kernel is None else kernel.grad, None if bias is None else bias.grad, accumulate)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "tied_to": self.tied_to and self.tied_to.name,
        }


class Masking(Layer):
    """Steps whose features all equal ``mask_value`` are padding: zero here, skipped above, not counted by the loss."""

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = mask_value

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) != 1 or len(shapes[0]) < 3:
            raise ValueError(f"{self.name} takes one input (batch, time, features), got {shown(shapes)}")

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        return [call.saved["mask"]]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        x = inputs[0]
        present = call.buffer("present", x.shape, np.bool_)
        np.not_equal(x, np.float32(self.mask_value), out=present)
        mask = call.saved["mask"] = np.any(present, axis=-1, out=call.buffer("mask", x.shape[:-1], np.bool_))
        return [np.multiply(x, mask[..., None], out=call.buffer("y", x.shape))]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy = grads[0]
        return [None if dy is None else np.multiply(dy, call.saved["mask"][..., None], out=dy)]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"mask_value": self.mask_value}
