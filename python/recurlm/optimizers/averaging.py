"""Averages of weights over the steps of training, and the weights' being swapped for them."""

from collections.abc import Iterable, Sequence

from .. import _core
from ..tape import Parameter
from ..typing import Float


class Averages:
    """A running mean of each weight. While ``swapped``, the weights are the averages, and the other way round."""

    def __init__(self) -> None:
        self._means: dict[Parameter, Float] = {}
        self.swapped: list[Parameter] = []

    def of(self, parameter: Parameter) -> Float:
        """The average of ``parameter``, which starts as a copy of it."""
        if parameter not in self._means:
            self._means[parameter] = parameter.value.copy()
        return self._means[parameter]

    def update(self, parameters: Sequence[Parameter], weight: float) -> None:
        """Move the averages towards the weights, by the part ``weight`` of the distance."""
        _core.update_means([parameter.value for parameter in parameters], [self.of(p) for p in parameters], weight)

    def swap_in(self, parameters: Iterable[Parameter]) -> None:
        """Exchange weights and averages, unless they are."""
        if not self.swapped:
            self.swapped = list(parameters)
            self._exchange()

    def swap_out(self) -> None:
        """The inverse of ``swap_in``."""
        if self.swapped:
            self._exchange()
            self.swapped = []

    def _exchange(self) -> None:
        for parameter in self.swapped:
            mean = self.of(parameter)
            weights = parameter.value.copy()
            parameter.assign(mean)
            mean[...] = weights

    def overwrite(self, parameters: Iterable[Parameter]) -> None:
        """Make the averages the weights, for good."""
        self.swap_out()
        for parameter in parameters:
            parameter.assign(self.of(parameter))
