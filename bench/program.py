"""What every measured program offers: a module with ``build`` and ``executed_flops``, chosen by name."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from bench.configs import Config, Float, Ids

Step = Callable[[Ids, Ids], float]
"""ids, targets (B, T) -> mean loss. State is carried from call to call; the weights are updated after the loss."""

PROGRAMS = ("recurlm", "numpy", "torch")


class Program(Protocol):
    """A module ``bench.<name>_program``."""

    def build(self, config: Config, weights: list[Float], threads: int) -> Step:
        """A training step that starts from ``weights`` (see ``configs.initial_weights``) and a zero state."""

    def executed_flops(self, config: Config, distinct: float) -> float:
        """Floating-point operations of the products that one step really forms.

        A window has ``distinct`` different tokens, on average.
        """


def installed(name: str) -> bool:
    return find_spec(name) is not None


def load(name: str) -> Program:
    return cast(Program, import_module(f"bench.{name}_program"))
