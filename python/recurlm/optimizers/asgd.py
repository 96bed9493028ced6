"""Averaged stochastic gradient descent."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..checks import check_factor, check_optional_integer
from ..tape import Parameter
from .averaging import Averages
from .base import Optimizer, Rate


class ASGD(Optimizer):
    """Gradient descent that keeps the mean of the weights of all steps after ``t0`` (Polyak and Juditsky, 1992).

    As in PyTorch, the step after ``t`` updates uses the rate ``learning_rate / (1 + lambd * learning_rate * t) **
    alpha`` and takes the part ``rate * lambd`` off each weight; up to update ``t0`` the average is the weights. ``t0``
    None waits for ``start_averaging``, which the callback ``NonMonotonicTrigger`` calls (NT-ASGD, Merity et al., 2018).

    The average is used as that of ``use_ema`` is: when ``fit`` ends, and by the callback ``SwapEMAWeights``.
    """

    kind = "sgd"

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: int | None = 1_000_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, {}, **kwargs)
        if self.use_ema:
            raise ValueError("ASGD keeps an average of its own: use_ema cannot be set")
        self.lambd, self.alpha = check_factor("lambd", lambd), check_factor("alpha", alpha)
        self.t0 = check_optional_integer("t0", t0, 0)
        # What NonMonotonicTrigger has seen, here so that it is saved and a resumed run goes on with it.
        self.checks: list[float] = []
        self.averages = Averages()

    def start_averaging(self) -> None:
        """Average from the next step on, unless that began already."""
        if not self.averaging:
            self.t0 = self.iterations

    @property
    def averaging(self) -> bool:
        """Whether averaging has begun."""
        return self.t0 is not None and self.iterations >= self.t0

    def _rate_of_update(self, rate: float) -> float:
        return float(rate / (1 + self.lambd * rate * self.iterations) ** self.alpha)

    def _decay(self, parameter: Parameter) -> float:
        return super()._decay(parameter) + self.lambd

    def _rests(self) -> bool:
        return True

    def _weight_in_average(self) -> float:
        if self.t0 is None or self.iterations <= self.t0:
            return 1.0
        updated = (self.steps + 1) % (self.gradient_accumulation_steps or 1) == 0
        return 1 / (self.iterations - self.t0) if updated else 0.0

    def get_state(self) -> dict[str, Any]:
        return super().get_state() | {"t0": self.t0, "checks": list(self.checks)}

    def check_state(self, state: Mapping[str, Any]) -> None:
        super().check_state(state)
        if not {"t0", "checks"} <= set(state):
            raise ValueError(f"the state is not that of ASGD, or damaged: {state!r}")
        check_optional_integer("the state is damaged: t0", state["t0"], 0)
        checks = state["checks"]
        if not (isinstance(checks, list) and all(isinstance(check, (int, float)) for check in checks)):
            raise ValueError(f"the state is damaged: checks must be numbers, got {checks!r}")

    def set_state(self, state: Mapping[str, Any], var_list: Iterable[Parameter]) -> None:
        super().set_state(state, var_list)
        self.t0, self.checks = state["t0"], list(state["checks"])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"lambd": self.lambd, "alpha": self.alpha, "t0": self.t0}
