"""Why a loss or a gradient is not finite: looked for only after it happened, so that steps that are pay nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .data import Batch
from .heads import Target
from .layers.recurrent import Recurrent
from .tape import States, Tape
from .typing import Array, Mask

if TYPE_CHECKING:
    from .model import Model

_SHOWN = 5  # samples, at most


def explain(model: Model, tape: Tape, batch: Batch, numbers: Array | None) -> str:
    """The cause, to follow a colon: samples of the data, else the first layer, else the first gradient; or nothing.

    Args:
        tape: as the step left it.
        numbers: for each sample of the batch, which it is of the data; None where the batch was made elsewhere.
    """
    cause = broken_weight(model) or _in_data(model, batch, numbers)
    cause = cause or _in_outputs(model, tape, batch, numbers) or _in_gradients(model)
    return f": {cause}" if cause else ""


def broken_weight(model: Model) -> str:
    """Finite gradients of the step before can make an update overflow: the weight that did, or nothing."""
    for name, parameter in model.named_weights().items():
        if not np.isfinite(parameter.value).all():
            return f"{name} is not finite since an earlier update: lower the learning rate or clip the gradients"
    return ""


def _in_data(model: Model, batch: Batch, numbers: Array | None) -> str:
    names, found = model.names, list[str]()
    for name, array in zip(names.inputs, batch.x, strict=True):
        found += _of_samples(_title("x", "input", name, names.inputs), _broken(array), numbers)
    for name, target in zip(names.outputs, batch.targets, strict=False):
        found += _of_samples(_title("y", "output", name, names.outputs), _broken_labels(target), numbers)
        if target.sample_weight is not None:
            title = _title("sample_weight", "output", name, names.outputs)
            found += _of_samples(title, _broken(target.sample_weight), numbers)
    return ", ".join(found)


def _title(what: str, kind: str, name: str, names: list[str]) -> str:
    return f"{what} of {kind} {name!r}" if len(names) > 1 else what


def _broken(array: Array) -> Mask:
    """Where ``array`` is not finite, or would not be as float32."""
    if array.dtype.kind not in "fc":
        return np.zeros(array.shape, bool)
    with np.errstate(over="ignore"):
        finite: Mask = np.isfinite(array.astype(np.float32))
    return ~finite


def _broken_labels(target: Target) -> Mask:
    """Those at which nobody looks, because their weight is 0, may be anything."""
    broken, weight = _broken(target.y_true), target.sample_weight
    if weight is None or weight.shape != broken.shape[: weight.ndim]:
        return broken
    seen: Mask = broken & (weight != 0).reshape(weight.shape + (1,) * (broken.ndim - weight.ndim))
    return seen


def _of_samples(what: str, broken: Mask, numbers: Array | None) -> list[str]:
    """A phrase for the samples, along the first axis, in which something is broken; none if nothing is."""
    rows = np.flatnonzero(broken.reshape(len(broken), -1).any(axis=1))
    if not rows.size:
        return []
    shown = rows if numbers is None else np.sort(numbers[rows])
    listed = ", ".join(map(str, shown[:_SHOWN])) + (f" and {rows.size - _SHOWN} more" if rows.size > _SHOWN else "")
    within = " of the batch" if numbers is None else ""
    return [f"{what} is not finite in sample{'s' if rows.size > 1 else ''} {listed}{within}"]


def _in_outputs(model: Model, tape: Tape, batch: Batch, numbers: Array | None) -> str:
    """The first layer with an output that is not finite, by running forward again."""
    # Projections that are fused with a loss have no output.
    skipped = [head.node for head in model.compiled.heads if head.projection is not None]
    before, tape.states = tape.states, _copied(model, tape.states)
    try:
        values = model.graph.forward(tape, batch.x, skipped).values
    finally:
        tape.states = before
    for tensor, value in values.items():
        broken = ~np.isfinite(value)
        if broken.any():
            title = f"the output of {tensor.node.layer.name}"
            per_sample = value.ndim > 1 and value.shape[-2] == batch.size  # time-major
            return (
                _of_samples(title, np.moveaxis(broken, -2, 0), numbers)[0] if per_sample else f"{title} is not finite"
            )
    return ""


def _copied(model: Model, states: States | None) -> States:
    """What stateful layers start from, in copies, which a forward pass may overwrite."""
    carried: Any = states
    if carried is None:
        inside = (inner for layer in model.layers for inner in layer.flatten())
        recurrent = [layer for layer in inside if isinstance(layer, Recurrent)]
        carried = {name: arrays for layer in recurrent for name, arrays in layer.states.items()}
    return {name: [array.copy() for array in arrays] for name, arrays in carried.items()}


def _in_gradients(model: Model) -> str:
    """The first on the way back."""
    trainable = set(model.trainable_weights)
    for name, parameter in reversed(model.named_weights().items()):
        if parameter in trainable and not np.isfinite(parameter.grad).all():
            return f"on the way back first in {name}"
    return ""
