"""What SimpleRNN, GRU and LSTM have in common: one layer around the core's cell."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .. import _core, initializers
from ..arrays import check_rows
from ..checks import check_integer, check_rate
from ..seeding import check_seed
from ..tape import Call, Parameter, States, Tape
from ..typing import Array, Float, Mask, Shape
from .base import Layer
from .core import check_activation
from .regularization import Purpose, draw_dropout, draw_factors


class Recurrent(Layer):
    """What the three have in common: x (B, T, D) [, initial states (B, units)] -> outputs.

    Outputs: the last state (B, units), or with ``return_sequences`` all of them (B, T, units); with ``return_state``
    the final states follow as outputs of their own. A masked step passes the state on, and the previous output stands
    there, or zero with ``zero_output_for_mask``. ``go_backwards`` reads the sequence from its end and returns outputs
    (and their mask, which Keras leaves as it is) in that order. ``stateful`` carries the final state of row i of a
    batch to row i of the next, until ``reset_states()``.

    In training ``dropout`` drops inputs and ``recurrent_dropout`` the previous state where it enters the recurrent
    product, each with one mask for all steps and gates of a sequence (Gal and Ghahramani, 2016; Keras draws one for
    each gate). ``weight_drop`` (not in Keras) drops elements of the recurrent kernel, one draw a batch (Merity et al.,
    2018).
    """

    weight_options = ("kernel", "recurrent", "bias")

    kind: ClassVar[str]
    gates: ClassVar[int]
    supported_activations: ClassVar[tuple[str, ...]] = ("tanh",)
    reset_after: bool = True
    kernel: Parameter
    recurrent_kernel: Parameter

    def __init__(
        self,
        units: int,
        activation: str | None = "tanh",
        *,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = check_integer(f"{self.name}: units", units, 1)
        self.activation = check_activation(self.name, "activation", activation, self.supported_activations)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.dropout = check_rate(f"{self.name}: dropout", dropout)
        self.recurrent_dropout = check_rate(f"{self.name}: recurrent_dropout", recurrent_dropout)
        self.weight_drop = check_rate(f"{self.name}: weight_drop", weight_drop)
        self.seed = None if seed is None else check_seed(seed)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.zero_output_for_mask = zero_output_for_mask
        self.states: States = {}
        self.bias: Parameter | None = None

    @property
    def state_count(self) -> int:
        """Number of state arrays: h, and c for an LSTM."""
        return 2 if self.kind == "lstm" else 1

    def reset_states(self, rows: Any = None) -> None:
        """Forget the carried states: the next batch starts from zero, whatever its size; or zero some ``rows``."""
        if rows is None:
            self.states.clear()
        elif carried := self.states.get(self.name):
            picked = check_rows(self.name, rows, len(carried[0]))
            for state in carried:  # (B, units)
                state[picked] = 0

    def __call__(self, inputs: Any, *, initial_state: Any = None, training: bool = False, mask: Any = None) -> Any:
        """As for every layer; ``initial_state`` is one (B, units) tensor or array, or a list of one for each state."""
        return self.apply(with_states(inputs, initial_state), training=training, mask=mask)

    # Shapes ---------------------------------------------------------------------------------------------------------

    def build(self, input_shapes: list[Shape]) -> None:
        width = input_shapes[0][2] or 0
        columns = self.gates * self.units
        self.kernel = self.add_weight("kernel", (width, columns), self.kernel_initializer)
        shape = (self.units, columns)
        self.recurrent_kernel = self.add_weight("recurrent_kernel", shape, self.recurrent_initializer, "recurrent")
        if self.use_bias:
            self.bias = self.add_weight("bias", self.bias_shape(), self.initial_bias)
        self.cell = _core.Cell(self.kind, width, self.units, activation=self.activation, reset_after=self.reset_after)

    def bias_shape(self) -> tuple[int, ...]:
        """Shape of the bias."""
        return (self.gates * self.units,)

    def initial_bias(self, shape: Sequence[int]) -> Any:
        """Initial value of the bias."""
        return self.bias_initializer(shape)

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes[0]) != 3 or shapes[0][2] is None:
            raise ValueError(f"{self.name} takes a sequence (batch, time, width) of known width, got shape {shapes[0]}")
        if self.built and shapes[0][2] != self.kernel.shape[0]:
            raise ValueError(f"{self.name} takes inputs of width {self.kernel.shape[0]}, got shape {shapes[0]}")
        states = shapes[1:]
        if states and len(states) != self.state_count:
            raise ValueError(f"{self.name} has {self.state_count} initial states, got {len(states)}")
        for shape in states:
            if len(shape) != 2 or shape[1] != self.units:
                raise ValueError(f"{self.name}: initial_state must have shape (batch, {self.units}), got {shape}")

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        batch, time, _ = input_shapes[0]
        state: Shape = (batch, self.units)
        output: Shape = (batch, time, self.units) if self.return_sequences else state
        return [(shape, "float32") for shape in (output, *([state] * self.state_count * self.return_state))]

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        mask = call.mask if self.return_sequences else None
        if mask is not None and self.go_backwards:
            mask = _reversed(call, "mask", mask)
        return [mask] + [None] * (self.state_count * self.return_state)

    # Computation ----------------------------------------------------------------------------------------------------

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        x = self._dropped(call, inputs[0])
        steps, batch = x.shape[:2] if call.rows is None else call.rows.shape
        first, last = (steps, 0) if self.go_backwards else (0, steps)
        # h and, for an LSTM, c: every state from the initial to the final one.
        states = [call.buffer(f"state {i}", (steps + 1, batch, self.units)) for i in range(self.state_count)]
        for state, initial in zip(states, self._initial_states(call, inputs, batch), strict=True):
            state[first] = initial
        call.saved.update(x=x, states=states, recurrent_kernel=self._thinned_kernel(call))
        how = {"reverse": self.go_backwards, "rows": call.rows, "precision": call.tape.precision}
        call.saved["how"] = how | self._dropped_states(call, steps, batch)
        _core.recurrent_forward(
            self.cell,
            x,
            self.kernel.value,
            call.saved["recurrent_kernel"],
            None if self.bias is None else self.bias.value,
            states[0],
            states[1] if len(states) > 1 else None,
            call.buffer("saved", (self.cell.saved_size(steps, batch),)),
            call.mask,
            call.tape.workspace,
            **call.saved["how"],
        )
        finals = [state[last] for state in states]
        if self.stateful:
            self._carry(call, finals)
        output = self._sequence(call, states[0]) if self.return_sequences else finals[0]
        return [output, *finals] if self.return_state else [output]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        if all(grad is None for grad in grads):
            return [None] * len(call.wanted)
        x, states = call.saved["x"], call.saved["states"]
        steps, batch = x.shape[:2] if call.rows is None else call.rows.shape
        dy = self._sequence_gradient(call, grads[0]) if self.return_sequences else None
        finals = self._final_gradients(call, grads, batch)
        dx = self._input_gradient(call, x, grads[0]) if call.wanted[0] else None
        accumulate = call.tape.accumulate(self.trainable_weights)
        bias = self.bias if self.trainable else None
        drecurrent_kernel = self._recurrent_gradient(call, accumulate) if self.trainable else None
        _core.recurrent_backward(
            self.cell,
            x,
            self.kernel.value,
            call.saved["recurrent_kernel"],
            None if self.bias is None else self.bias.value,
            states[0],
            states[1] if len(states) > 1 else None,
            call.buffer("saved", (self.cell.saved_size(steps, batch),)),
            call.mask,
            dy,
            finals[0],
            finals[1] if len(finals) > 1 else None,
            dx,
            self.kernel.grad if self.trainable else None,
            drecurrent_kernel,
            None if bias is None else bias.grad,
            call.tape.workspace,
            accumulate=accumulate,
            **call.saved["how"],
        )
        if drecurrent_kernel is not None:
            self._add_thinned_gradient(call, drecurrent_kernel, accumulate)
        if dx is not None and self._drops(call.tape):
            self._drop(call, dx, dx)
        return [dx, *(self._initial_gradient(call, i, d) for i, d in enumerate(finals[: len(call.wanted) - 1]))]

    def _initial_states(self, call: Call, inputs: list[Array], batch: int) -> list[Any]:
        if len(inputs) > 1:
            return inputs[1:]
        carried = self._store(call).get(self.name) if self.stateful else None
        if carried is None:
            return [0.0] * self.state_count
        if carried[0].shape[0] != batch:
            raise ValueError(
                f"{self.name} is stateful and carries the state of {carried[0].shape[0]} rows, got a batch of {batch}; "
                "call reset_states() before another batch size"
            )
        return list(carried)

    def _store(self, call: Call) -> States:
        return self.states if call.tape.states is None else call.tape.states

    def _carry(self, call: Call, finals: list[Float]) -> None:
        store = self._store(call)
        if self.name not in store:
            store[self.name] = [np.empty_like(final) for final in finals]
        for carried, final in zip(store[self.name], finals, strict=True):
            carried[...] = final

    def _sequence(self, call: Call, h: Float) -> Float:
        """All outputs, (T, B, H), from all states."""
        output = _reversed(call, "output", h[:-1]) if self.go_backwards else h[1:]
        mask = self.masks(call, [])[0]
        if mask is not None and self.zero_output_for_mask:
            output = np.multiply(output, mask[..., None], out=call.buffer("output", output.shape))
        return output

    def _sequence_gradient(self, call: Call, dy: Float | None) -> Float | None:
        if dy is not None and self.go_backwards:
            dy = _reversed(call, "dy", dy)
        if dy is not None and call.mask is not None and self.zero_output_for_mask:
            dy *= call.mask[..., None]
        return dy

    def _final_gradients(self, call: Call, grads: list[Float | None], batch: int) -> list[Float]:
        """Gradients with respect to the final states: the sum of what every output that is a final state got."""
        finals = [call.buffer(f"final {i}", (batch, self.units)) for i in range(self.state_count)]
        for i, final in enumerate(finals):
            final.fill(0)
            if self.return_state and (grad := grads[1 + i]) is not None:
                final += grad
        if not self.return_sequences and grads[0] is not None:
            finals[0] += grads[0]
        return finals

    def _input_gradient(self, call: Call, x: Float, given: Float | None) -> Float:
        """Memory for dx: that of the gradient given, which is read before dx is written, where it is large enough."""
        # As much memory for any number of distinct rows, so that every step takes the same piece of the pool.
        room = x.size if call.rows is None else call.rows.size * x.shape[1]
        memory = given if given is not None and given.size >= room else call.gradient((room,))
        return memory.reshape(-1)[: x.size].reshape(x.shape)

    def _initial_gradient(self, call: Call, index: int, gradient: Float) -> Float | None:
        if not call.wanted[1 + index]:
            return None
        copied = call.gradient(gradient.shape)
        copied[...] = gradient
        return copied

    def takes_rows(self, tape: Tape) -> bool:
        return not self._drops(tape)

    def _drops(self, tape: Tape) -> bool:
        return self.dropout > 0 and tape.training

    def _dropped(self, call: Call, x: Float) -> Float:
        return self._drop(call, x, call.buffer("dropped", x.shape)) if self._drops(call.tape) else x

    # Where the recurrent product meets dropout -----------------------------------------------------------------------

    def _dropped_states(self, call: Call, steps: int, batch: int) -> dict[str, Any]:
        if self.recurrent_dropout == 0 or not call.tape.training:
            return {}
        shape = (batch, self.units)
        factors = draw_factors(call, "state factors", shape, self.recurrent_dropout, self.seed, Purpose.STATES)
        return {"state_factors": factors, "dropped_h": call.buffer("dropped_h", (steps, *shape))}

    def _thins(self, tape: Tape) -> bool:
        return self.weight_drop > 0 and tape.training

    def _thin(self, call: Call, x: Float, y: Float) -> Float:
        draw_dropout(call, x, y, self.weight_drop, self.seed, None, Purpose.WEIGHTS)
        return y

    def _thinned_kernel(self, call: Call) -> Float:
        kernel = self.recurrent_kernel.value
        return self._thin(call, kernel, call.buffer("thinned", kernel.shape)) if self._thins(call.tape) else kernel

    def _recurrent_gradient(self, call: Call, accumulate: bool) -> Float:
        """Where the core writes, or adds, the gradient of the kernel that it used."""
        if not self._thins(call.tape):
            return self.recurrent_kernel.grad
        gradient = call.buffer("thinned gradient", self.recurrent_kernel.shape)
        if accumulate:
            gradient.fill(0)
        return gradient

    def _add_thinned_gradient(self, call: Call, gradient: Float, accumulate: bool) -> None:
        if not self._thins(call.tape):
            return
        if accumulate:
            self.recurrent_kernel.grad[...] += self._thin(call, gradient, gradient)
        else:
            self._thin(call, gradient, self.recurrent_kernel.grad)

    def _drop(self, call: Call, x: Float, y: Float) -> Float:
        draw_dropout(call, x, y, self.dropout, self.seed, (1, *x.shape[1:]))
        return y

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("kernel_initializer", "recurrent_initializer", "bias_initializer"):
            config[key] = initializers.serialize(getattr(self, key))
        for key in ("units", "activation", "use_bias", "dropout", "recurrent_dropout", "weight_drop", "seed"):
            config[key] = getattr(self, key)
        for key in ("return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask"):
            config[key] = getattr(self, key)
        return config


def with_states(inputs: Any, initial_state: Any) -> list[Any]:
    """The inputs of a recurrent layer: the sequence (which may bring states in a list), then the initial states."""
    states = [] if initial_state is None else initial_state
    states = list(states) if isinstance(states, (list, tuple)) else [states]
    return (list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]) + states


def _reversed(call: Call, name: str, sequence: Array) -> Array:
    """The steps of ``sequence`` in the opposite order."""
    flipped = call.buffer(f"reversed {name}", sequence.shape, sequence.dtype)
    flipped[...] = sequence[::-1]
    return flipped
