"""Optimisers."""

from collections.abc import Sequence
from typing import final

from ._types import Double, Float, Ids

@final
class UpdateRule:
    """One optimiser step's rule and hyperparameters; Keras's formulas.

    ``kind`` and its slots (moments) per parameter, all float32 of the parameter's shape, zero at the start: sgd: []
    or, with momentum, [velocity]; rmsprop: [mean_square] + [momentum if momentum] + [mean_gradient if centered];
    adagrad: [accumulator]; adam: [m, v] + [v_max if amsgrad]; lion: [momentum]. weight_decay is decoupled (AdamW and
    all others, as in Keras).
    """

    def __init__(
        self,
        kind: str,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        rho: float = 0.9,
        centered: bool = False,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        amsgrad: bool = False,
        epsilon: float = 1e-7,
        clip_value: float = 0.0,
    ) -> None: ...
    @property
    def slots(self) -> int: ...

def squared_norms(gradients: Sequence[Float], rows: Sequence[Ids | None] | None = None) -> Double:
    """Squared Euclidean norm of each gradient, in double, over fixed blocks of 4,096 elements; (len(gradients),).

    ``rows``: for each, the distinct rows that are not zero, or None where any may be.
    """

def apply_update(
    rule: UpdateRule,
    step: int,
    learning_rate: float,
    parameters: Sequence[Float],
    gradients: Sequence[Float],
    slots: Sequence[Sequence[Float]],
    scales: Double,
    weight_decays: Double,
    rows: Sequence[Ids | None] | None = None,
) -> None:
    """Update all parameters, or only the distinct ``rows`` of one, in one pass. ``step`` counts from 1.

    ``scales`` (one for each parameter) multiply the gradients first (that is how norm clipping is applied), then
    ``clip_value`` clips. Gradients are left as they are.
    """

def update_means(values: Sequence[Float], means: Sequence[Float], weight: float) -> None:
    """``mean += weight * (value - mean)`` for each pair of one shape, in one pass; 1 copies the values exactly.

    ``weight`` is from 0 to 1. A mean that is its value stays as it is.
    """
