"""The measured programs: modules ``<program>_<task>``, whose ``build`` gives a ``Step``, ``Generator`` or ``Scorer``.

All start from the same weights, in the order and layout of Keras's ``get_weights``. A training module whose products
are not those that the model's definition counts says in ``executed_flops`` what a step really forms.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from bench.configs import Config, Ids

Step = Callable[[Ids, Ids], float]
"""ids, targets (B, T) -> mean loss. State is carried from call to call; the weights are updated after the loss."""

Scorer = Callable[[], npt.NDArray[np.float32]]
"""Log-probability of every token of the texts it was built with, (N,), text after text."""

PEERS = {
    "training": ("numpy", "torch", "keras", "jax"),
    "generation": ("torch", "torch-int8", "onnxruntime"),
    "scoring": ("torch",),
}
NEEDS = {"keras": ("keras", "tensorflow"), "jax": ("jax",), "onnxruntime": ("onnx", "onnxruntime")}
TRIAL_SECONDS = 0.1


class Generator(Protocol):
    """Greedy decoding of one stream."""

    read_bytes: int
    """Of weights that one token needs."""

    def begin(self, prompt: Ids) -> None:
        """Read the prompt from the zero state; ``generate`` goes on after it."""

    def generate(self, count: int) -> Ids:
        """The next ``count`` ids."""

    def log_probability(self, prompt: Ids) -> float:
        """Of the token that ``generate`` would draw first after ``prompt``."""


@dataclass(frozen=True)
class Contender:
    """A program in one precision. Its name is ``torch-int8`` and the like; without a precision, float32."""

    program: str
    dtype: str = "float32"

    @property
    def name(self) -> str:
        return self.program if self.dtype == "float32" else f"{self.program}-{self.dtype}"

    @classmethod
    def named(cls, name: str) -> "Contender":
        return cls(*name.split("-"))

    @property
    def rival(self) -> str:
        """recurlm in the same precision."""
        return Contender("recurlm", self.dtype).name

    def build(self, task: str, config: Config, *arguments: Any) -> Any:
        return self.module(task).build(config, *arguments, dtype=self.dtype)

    def executed_flops(self, config: Config, distinct: float) -> float:
        """Of the products that one training step forms on a window of so many ``distinct`` tokens, on average."""
        own = getattr(self.module("training"), "executed_flops", None)
        return float(own(config, distinct)) if own else config.counted_flops

    def module(self, task: str) -> ModuleType:
        return import_module(f"bench.programs.{self.program}_{task}")


def installed(name: str) -> bool:
    program = Contender.named(name).program
    return all(find_spec(module) is not None for module in NEEDS.get(program, (program,)))


T = TypeVar("T")


def fastest(variants: Iterable[T], run: Callable[[T], object]) -> T:
    """Which of a program's settings to measure with."""
    return min(variants, key=lambda variant: least_time(lambda: run(variant)))


def least_time(run: Callable[[], object]) -> float:
    """Of two runs and more, as the first warms up; but where that takes long, it is a measure of its own."""
    times: list[float] = []
    while sum(times) < TRIAL_SECONDS or (len(times) < 2 and times[0] < 5 * TRIAL_SECONDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
