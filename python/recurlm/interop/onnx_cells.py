"""The operators RNN, GRU and LSTM of ONNX as layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers import Bidirectional, Reverse
from ..layers.recurrent import Recurrent
from ..typing import Float
from .cells import CELLS, ONNX, CellRows
from .onnx_values import Tensor

_DEFAULTS = {"rnn": ["Tanh"], "gru": ["Sigmoid", "Tanh"], "lstm": ["Sigmoid", "Tanh", "Tanh"]}
_DIRECTIONS = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
_ACTIVATIONS = {"Tanh": "tanh", "Relu": "relu", "Sigmoid": "sigmoid"}


@dataclass(frozen=True)
class Operator:
    """What a node's attributes say; ``name`` is the node's."""

    kind: str
    name: str
    units: int
    backwards: list[bool]  # of each direction
    batch_first: bool
    activations: list[str]  # of each direction of an RNN
    reset_after: bool

    @classmethod
    def of(cls, kind: str, name: str, units: int, attributes: Mapping[str, Any]) -> Operator:
        """ValueError where an attribute asks for what our cells do not do."""
        direction = attributes.get("direction", b"forward").decode()
        if direction not in _DIRECTIONS:
            raise ValueError(f"{name}: unknown direction {direction!r}")
        backwards = _DIRECTIONS[direction]
        for attribute in ("clip", "activation_alpha", "activation_beta", "input_forget"):
            if attributes.get(attribute):
                raise ValueError(f"{name}: {attribute} is not supported")
        given = [each.decode() for each in attributes.get("activations", [])] or _DEFAULTS[kind] * len(backwards)
        fits = given == _DEFAULTS[kind] * len(backwards)
        if not fits and not (kind == "rnn" and set(given) <= set(_ACTIVATIONS) and len(given) == len(backwards)):
            raise ValueError(f"{name}: activations {', '.join(given)} are not supported")
        activations = [_ACTIVATIONS[each] for each in given] if kind == "rnn" else ["tanh"] * len(backwards)
        reset_after = bool(attributes.get("linear_before_reset", 0))
        batch_first = bool(attributes.get("layout", 0))
        if attributes.get("hidden_size", units) != units:
            raise ValueError(f"{name}: hidden_size is {attributes['hidden_size']}, the weights are of {units} units")
        return cls(kind, name, units, backwards, batch_first, activations, reset_after)

    @property
    def sequence_axes(self) -> str:
        return "BTD" if self.batch_first else "TBD"

    @property
    def state_axes(self) -> str:
        return "BSD" if self.batch_first else "SBD"

    @property
    def output_axes(self) -> str:
        return "BTSD" if self.batch_first else "TSBD"

    def rows(self, weights: list[Float]) -> list[CellRows]:
        """By direction, from W (S, G * H, D), R (S, G * H, H) and, if any, B (S, 2 * G * H).

        ValueError where shapes do not fit.
        """
        size = CELLS[self.kind].gates * self.units
        if any(len(array) != len(self.backwards) for array in weights) or any(b.size % 2 for b in weights[2:]):
            raise ValueError(f"{self.name}: W, R and B must be of {len(self.backwards)} directions")
        made = []
        for kernel, recurrent_kernel, *bias in zip(*map(np.float32, weights), strict=True):
            one, other = np.split(bias[0], 2) if bias else (None, None)
            rows = CellRows(kernel, recurrent_kernel, None if one is None or other is None else (one, other))
            rows.check(self.name)
            if len(kernel) != size or rows.units != self.units:
                raise ValueError(f"{self.name}: the weights are not those of {self.units} units")
            made.append(rows)
        return made

    def build(
        self, x: Any, lengths: str | None, rows: list[CellRows], initial: list[list[Any]], with_states: bool
    ) -> list[Tensor]:
        """Y and, ``with_states``, Y_h and Y_c; ``initial`` has the initial states of each direction, or is empty."""
        cells = [self._cell(*each, with_states) for each in zip(self.backwards, self.activations, rows, strict=True)]
        layer = cells[0] if len(cells) == 1 else Bidirectional(cells[0], None, backward_layer=cells[1])
        flat = [state for states in initial for state in states]
        results = layer(x, initial_state=flat or None)
        outputs = list(results) if isinstance(results, list) else [results]
        made = [layer] if isinstance(layer, Recurrent) else [layer.forward_layer, layer.backward_layer]
        for cell, each in zip(made, rows, strict=True):
            cell.set_weights(each.weights(cell, ONNX))
        sequences, states = outputs[: len(cells)], outputs[len(cells) :]
        if self.backwards == [True]:
            sequences = [Reverse()(sequences[0])]
        count = len(states) // len(cells)
        finals = [[states[i * count + k] for i in range(len(cells))] for k in range(count)]
        # Of a padded sequence the last step is padding, not the final state.
        last = finals[0] if finals and self.backwards == [False] and lengths is None else None
        tensors = [Tensor(sequences, self.output_axes, last, lengths)]
        return tensors + [Tensor(final, self.state_axes) for final in finals]

    def _cell(self, backwards: bool, activation: str, rows: CellRows, with_states: bool) -> Recurrent:
        options: dict[str, Any] = {"reset_after": self.reset_after} if self.kind == "gru" else {}
        return CELLS[self.kind](
            self.units,
            activation,
            use_bias=rows.biases is not None,
            kernel_initializer="zeros",
            recurrent_initializer="zeros",
            return_sequences=True,
            return_state=with_states,
            go_backwards=backwards,
            zero_output_for_mask=True,
            **options,
        )
