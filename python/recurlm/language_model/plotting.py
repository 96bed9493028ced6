"""The curves of a training, drawn by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..extras import needing
from ..files import atomic_path
from .history import TrainingHistory
from .progress import show_perplexity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
# Okabe and Ito's blue and vermilion, which those see apart who do not see all colours.
_TRAINING, _VALIDATION, _RATE = "#0072B2", "#D55E00", "#595959"


def plot_history(history: TrainingHistory, title: str = "Training") -> Figure:
    """Losses of training and validation over steps, the best epoch marked, above the learning rate.

    Raises:
        ImportError: the library matplotlib is missing.
        ValueError: not an epoch, nor a step, has been trained.
    """
    with needing("plot", "a plot"):
        from matplotlib.figure import Figure
    if not history.epochs.get("loss") and not history.curve.losses:
        raise ValueError("there is nothing to plot: no step was trained")
    figure = Figure(figsize=(9, 6), layout="constrained")
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    figure.suptitle(title, fontsize=14, fontweight="bold")
    losses.set_title(_summary(history), fontsize=10, color=_RATE)
    _draw_losses(losses, history)
    _draw_rates(rates, history)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)  # it hides no curve there
    return figure


def save_plot(history: TrainingHistory, path: Path, title: str) -> None:
    """Draw into a file, whole or not at all; ValueError unless its name ends in one of ``FORMATS``."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"out must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, got {path.name!r}")
    figure = plot_history(history, title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _ends(history: TrainingHistory) -> list[float]:
    """Where epochs end: in steps, or in epochs where the steps are not known."""
    count, steps = len(history.epochs.get("loss", [])), history.epochs.get("steps", [])
    return list(steps) if len(steps) == count else [float(epoch + 1) for epoch in range(count)]


def _in_steps(history: TrainingHistory) -> bool:
    return len(history.epochs.get("steps", [])) == len(history.epochs.get("loss", []))


def _draw_losses(axes: Any, history: TrainingHistory) -> None:
    ends, curve = _ends(history), history.curve
    if _in_steps(history) and curve.losses:
        label = "training, each step" if curve.stride == 1 else f"training, mean of {curve.stride} steps"
        axes.plot(curve.steps, curve.losses, color=_TRAINING, alpha=0.4, linewidth=1, label=label)
    if ends:
        axes.plot(ends, history.epochs["loss"], "o-", color=_TRAINING, markersize=4, label="training, mean of an epoch")
    validation = history.epochs.get("val_loss", [])
    if validation and len(validation) == len(ends):
        axes.plot(ends, validation, "s-", color=_VALIDATION, markersize=4, label="validation")
        _mark_best(axes, history, ends)
    axes.set_ylabel("loss (nats per token)")
    axes.grid(alpha=0.3)


def _mark_best(axes: Any, history: TrainingHistory, ends: list[float]) -> None:
    best = history.best_epoch
    if best is None:
        return
    loss = history.epochs["val_loss"][best]
    label = f"best: epoch {best + 1}, {loss:.4f} (perplexity {show_perplexity(loss)})"
    axes.axvline(ends[best], color=_VALIDATION, linestyle=":", linewidth=1)
    style: dict[str, Any] = {"marker": "*", "markersize": 15, "linestyle": "none", "markeredgecolor": "black"}
    axes.plot([ends[best]], [loss], color=_VALIDATION, label=label, zorder=5, **style)


def _draw_rates(axes: Any, history: TrainingHistory) -> None:
    if _in_steps(history) and history.curve.losses:
        axes.plot(history.curve.steps, history.curve.learning_rates, color=_RATE)
    elif rates := history.epochs.get("learning_rate"):
        axes.plot(_ends(history)[-len(rates) :], rates, color=_RATE)
    axes.set_ylabel("learning rate")
    axes.set_xlabel("optimiser steps" if _in_steps(history) else "epochs")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _summary(history: TrainingHistory) -> str:
    epochs = history.epochs
    count = len(epochs.get("loss", []))
    parts = [f"{count} epoch{'' if count == 1 else 's'}"]
    for name, unit in (("steps", "steps"), ("tokens", "tokens"), ("seconds", "seconds")):
        if values := epochs.get(name):
            parts.append(f"{values[-1]:,.0f} {unit}")
    return ", ".join(parts)
