"""What one call on a model writes. Layers hold parameters only, so that calls cannot disturb each other."""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from .constraints import Constraint
from .precision import TrainingPrecision
from .regularizers import Regularizer
from .typing import Array, Float, Ids, Mask

States = dict[str, list[Float]]


class Parameter:
    """A trainable array, written in place; ``grad`` is allocated when first needed, ``version`` counts the writes.

    A regularizer adds to the loss, a constraint is imposed after every update.
    """

    def __init__(
        self, name: str, value: Float, regularizer: Regularizer | None = None, constraint: Constraint | None = None
    ) -> None:
        self.name = name
        self.regularizer = regularizer
        self.constraint = constraint
        self.value = np.asarray(value, np.float32, order="C")
        self.version = 0
        self.grad_is_zero = True
        self._grad: Float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``value``."""
        return self.value.shape

    @property
    def grad(self) -> Float:
        """The gradient of the step in progress; means nothing between steps."""
        if self._grad is None:
            self._grad = np.zeros_like(self.value)
        return self._grad

    def assign(self, value: Array) -> None:
        """Copy ``value``, of the same shape, in."""
        self.value[...] = value
        self.version += 1

    def __repr__(self) -> str:
        return f"<Parameter {self.name} {self.shape}>"


class Call:
    """The memory of one node of a graph on one tape; reused by every later call of that node."""

    def __init__(self, tape: "Tape", index: int) -> None:
        self.tape = tape
        self.index = index
        self.masks: list[Mask | None] = []  # of the inputs, (T, B)
        # Where the first input is (R, D), distinct rows only: (T, B), which of them stands at each position.
        self.rows: Ids | None = None
        self.distinct = False  # whether the output may be distinct rows
        self.wanted: list[bool] = []  # for each input, whether its gradient is needed
        self.arguments: Mapping[str, Any] = {}  # of the node, beside its inputs
        self.saved: dict[str, Any] = {}
        self._flat: dict[str, Array] = {}
        self._children: dict[str, Call] = {}

    @property
    def mask(self) -> Mask | None:
        """The mask of the first input."""
        return self.masks[0] if self.masks else None

    def buffer(self, name: str, shape: Sequence[int], dtype: npt.DTypeLike = np.float32) -> Array:
        """Uninitialised memory that later calls asking for ``name`` get again; grows, never shrinks."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size or flat.dtype != dtype:
            self._flat[name] = flat = np.empty(size, dtype)
        return flat[:size].reshape(shape)

    def gradient(self, shape: Sequence[int]) -> Float:
        """Uninitialised memory for a gradient that is handed upstream; the graph returns it to the tape."""
        return self.tape.take(shape)

    def child(self, name: str) -> "Call":
        """The memory of a layer inside the layer of the node."""
        if name not in self._children:
            # The index is a stream of random numbers too: below its lower 24 bits, the node's, the path within it.
            path = zlib.crc32(name.encode(), self.index >> 24) & 0xFFFFFF
            self._children[name] = Call(self.tape, self.index & 0xFFFFFF | path << 24)
        return self._children[name]


class Tape:
    """One call at a time. ``states`` replaces the carried states of stateful layers where it is given."""

    def __init__(self) -> None:
        self.workspace = _core.Workspace()
        self.training = False
        self.precision: TrainingPrecision = "float32"  # of the operands of products
        self.seed = 0
        self.step = 0
        self.states: States | None = None
        self.written: dict[Parameter, list[Ids] | None] = {}
        self._calls: dict[int, Call] = {}
        self._free: list[Float] = []

    def call(self, index: int) -> Call:
        """The memory of node ``index``."""
        if index not in self._calls:
            self._calls[index] = Call(self, index)
        return self._calls[index]

    def take(self, shape: Sequence[int]) -> Float:
        """Memory from the pool: the smallest free buffer that is large enough."""
        size = math.prod(shape)
        fitting = [flat for flat in self._free if flat.size >= size]
        if fitting:
            flat = min(fitting, key=lambda candidate: candidate.size)
            self._free = [other for other in self._free if other is not flat]
        else:
            flat = np.empty(size, np.float32)
        return flat[:size].reshape(shape)

    def give(self, array: Float) -> None:
        """Return what ``take`` gave; nobody may read it afterwards."""
        base = array.base
        if isinstance(base, np.ndarray) and not any(base is flat for flat in self._free):
            self._free.append(base)

    def recycle(self, given: Iterable[Float | None], passed: Iterable[Float | None]) -> None:
        """Return the gradients that a layer was given, but for memory that it passed on."""
        kept = [dx.base for dx in passed if dx is not None]
        for dy in given:
            if dy is not None and not any(dy.base is base for base in kept):
                self.give(dy)

    def accumulate(self, parameters: Sequence[Parameter]) -> bool:
        """Whether a layer about to write gradients of all ``parameters`` must add to what an earlier one wrote."""
        added = any(parameter in self.written for parameter in parameters)
        for parameter in parameters:
            if added and parameter not in self.written:
                parameter.grad.fill(0)
            self.written[parameter] = None
        return added

    def add_rows(self, parameter: Parameter, ids: Ids) -> None:
        """Announce that rows ``ids`` of a gradient will be added to, so that only these need zeroing after the step."""
        if parameter not in self.written:
            if not parameter.grad_is_zero:
                parameter.grad.fill(0)
            self.written[parameter] = [ids]
        elif (rows := self.written[parameter]) is not None:
            rows.append(ids)

    def rows_of(self, parameter: Parameter) -> Ids | None:
        """The distinct rows of its gradient that were written; None where that may be most of them, or all."""
        rows = self.written[parameter]
        if rows is None or sum(ids.size for ids in rows) > parameter.shape[0] // 2:
            return None
        ids = rows[0] if len(rows) == 1 else np.concatenate(rows)
        distinct, places = np.empty_like(ids), np.empty_like(ids)
        return distinct[: _core.distinct_ids(ids, parameter.shape[0], distinct, places, self.workspace)]

    @contextmanager
    def gradients(self) -> Iterator[None]:
        """While this is open, ``written`` holds the parameters that have a gradient in this step."""
        self.written.clear()
        try:
            yield
        finally:
            for parameter, rows in self.written.items():
                for ids in rows or ():
                    _core.zero_rows(ids, parameter.grad)
                parameter.grad_is_zero = rows is not None
            self.written.clear()
