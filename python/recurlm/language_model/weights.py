"""The weights of a language model: its network's, or narrow ones that only run; and either packed for the core."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from .. import _core, narrow
from ..model import Model
from ..precision import PRECISIONS, Matrix, Precision
from ..text.tokenizer import Tokenizer
from ..typing import Array, Float
from .architecture import EMBEDDING, Architecture
from .scoring import compile_model


@dataclass(frozen=True)
class RunningWeights:
    """Matrices in ``precision``, biases in float32, named as in the network."""

    precision: Precision
    named: Mapping[str, Matrix]

    def pack(self, architecture: Architecture) -> _core.PackedModel:
        """The packed network, which needs these arrays no longer."""
        named: Mapping[str, Any] = self.named
        cells: list[tuple[_core.Cell, Any, Any, Float]] = []
        for layer, width in enumerate(architecture.input_widths):
            name = f"{architecture.cell}_{layer}."
            cell = _core.Cell(architecture.cell, width, architecture.units)
            cells.append((cell, *(named[name + part] for part in ("kernel", "recurrent_kernel", "bias"))))
        kernel = named[EMBEDDING if architecture.tie_weights else "projection.kernel"]
        bias = named["projection.bias"]
        return _core.PackedModel(named[EMBEDDING], cells, kernel, bias, transposed=architecture.tie_weights)

    # Files -------------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Array]:
        """As they are written."""
        return narrow.to_arrays(self.named)

    @classmethod
    def from_arrays(cls, arrays: Iterable[tuple[str, Array]], precision: Precision) -> RunningWeights:
        """The inverse of ``arrays``, for what ``narrow.checked_arrays`` has passed."""
        return cls(precision, narrow.from_arrays(arrays))


class ModelWeights:
    """A network to train, made when it is first needed, or narrow weights instead of it.

    Args:
        architecture: of the network.
        tokenizer: has its vocabulary by then.
    """

    def __init__(self, architecture: Architecture, tokenizer: Tokenizer):
        self._architecture, self._tokenizer = architecture, tokenizer
        self._network: Model | None = None
        self._narrow: RunningWeights | None = None
        self._packed: tuple[int, _core.PackedModel] | None = None  # and the network's weights_version by then

    @property
    def precision(self) -> Precision:
        return "float32" if self._narrow is None else self._narrow.precision

    @property
    def network(self) -> Model:
        """ValueError where there is no vocabulary yet, or no network; MemoryError where it does not fit."""
        self.require_network()
        return self._network or self.make_network()

    @property
    def made(self) -> bool:
        """Whether there are any yet: those of a new network are a function of the architecture."""
        return self._network is not None or self._narrow is not None

    def require_network(self) -> None:
        """ValueError where the weights were quantized."""
        if self._narrow is not None:
            raise ValueError(
                f"a model quantized to {self.precision} can run but has no network to train: "
                "train the float32 one, then quantize it"
            )

    def make_network(self, initial: bool = True) -> Model:
        """A new network; without ``initial`` its weights are zero, to be loaded."""
        a, tokenizer = self._architecture, self._tokenizer
        self.require_vocabulary()
        try:
            self._network = a.build(tokenizer.vocabulary_size, initial)
        except MemoryError as error:
            sizes = f"units={a.units}, layers={a.layers} and {tokenizer.vocabulary_size:,} tokens"
            raise MemoryError(f"a network of {sizes} does not fit ({error})") from None
        compile_model(self._network)
        return self._network

    def require_vocabulary(self) -> None:
        """ValueError where the tokenizer has none yet."""
        if not self._tokenizer.trained:
            raise ValueError("the language model has no vocabulary yet: call fit first")

    def count(self) -> int:
        """How many there are; ValueError where there is no vocabulary yet."""
        self.require_vocabulary()
        return sum(math.prod(shape) for shape in self._architecture.shapes(self._tokenizer.vocabulary_size).values())

    def run_only(self, weights: RunningWeights) -> None:
        """Take narrow ``weights`` in place of a network."""
        self._narrow = weights

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While weights are read they do not change; RuntimeError if another thread trains."""
        with nullcontext() if self._narrow is not None else self.network.usage.reading():
            yield

    def running(self) -> RunningWeights:
        """As they are saved and packed; those in float32 are the network's own."""
        return self._narrow or RunningWeights("float32", self._values())

    def converted(self, precision: Precision) -> RunningWeights:
        """The network's weights in ``precision``, a narrow one; FloatingPointError where one is not finite."""
        if precision not in PRECISIONS[1:]:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS[1:])}, got {precision!r}")
        if self._narrow is not None:
            raise ValueError(f"the model is quantized to {self.precision} already: quantize the float32 one")
        with self.network.usage.reading():
            return RunningWeights(precision, narrow.narrowed(self._values(), precision))

    def readable(self) -> Model:
        """The network, or a new one that holds the values of narrow weights in float32."""
        return self.network if self._narrow is None else self.plain_copy()

    def plain_copy(self) -> Model:
        """A new network of these weights in float32, without what acts in training only."""
        self.require_vocabulary()
        network = self._architecture.plain().build(self._tokenizer.vocabulary_size, initial=False)
        with self.reading():
            named = self._values() if self._narrow is None else narrow.widened(self._narrow.named)
            for name, parameter in network.named_weights().items():
                parameter.assign(named[name])
        return network

    def packed(self) -> _core.PackedModel:
        """Packed for running, and kept until training changes them."""
        with self.reading():
            version = self.network.weights_version if self._narrow is None else 0
            if self._packed is None or self._packed[0] != version:
                self._packed = version, self.running().pack(self._architecture)
            return self._packed[1]

    def _values(self) -> dict[str, Float]:
        return {name: parameter.value for name, parameter in self.network.named_weights().items()}
