"""An inspection as one HTML page that needs nothing else: no network, no library."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from ..language_model.progress import show_perplexity
from .analysis import Inspection

_LEAST_SCALE = 4.0  # nats at the dark end of the scale, if a hundredth of the tokens do not surprise more


def render_page(inspection: Inspection, title: str, units: Sequence[tuple[int, int]] = ()) -> str:
    """The page: the text coloured by surprise, or by the activation of one of ``units``, (layer, index) each.

    Without ``units`` these are a few of those of largest variance. ValueError where there is no such unit.
    """
    data = _data(inspection, units or inspection.units_of_largest_variance())
    parts = {
        "title": html.escape(title),
        "facts": html.escape(
            f"{len(inspection.ids):,} tokens, {inspection.loss:.4f} nats per token, "
            f"perplexity {show_perplexity(inspection.loss)}"
        ),
        "text": "".join(f"<span>{html.escape(_shown(piece))}</span>" for piece in inspection.pieces),
        # "</script>" or "<!--" within a token must not end the data.
        "data": json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c"),
    }
    template = (files(__package__) / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _data(inspection: Inspection, units: Sequence[tuple[int, int]]) -> dict[str, Any]:
    names = inspection.tokenizer.tokens
    used, places = np.unique(np.concatenate([inspection.top_ids.ravel(), inspection.ids]), return_inverse=True)
    places = places.reshape(-1)  # NumPy 2.0 gave it another shape
    tops = inspection.top_ids.size
    nats = -inspection.log_probs.astype(np.float64)
    return {
        "names": [_shown(names[i]).replace(" ", "␣").rstrip("\n") for i in used.tolist()],
        "tokens": places[tops:].tolist(),
        "nats": [round(value, 3) for value in nats.tolist()],
        "scale": max(_LEAST_SCALE, float(np.ceil(np.quantile(nats, 0.99)))),
        "ranks": inspection.ranks.tolist(),
        "size": inspection.tokenizer.vocabulary_size,
        "width": inspection.top_ids.shape[1],
        "tops": places[:tops].tolist(),
        "probs": [float(f"{value:.3g}") for value in inspection.top_probs.ravel().tolist()],
        "units": [_unit(inspection, layer, unit) for layer, unit in units],
    }


def _unit(inspection: Inspection, layer: int, unit: int) -> dict[str, Any]:
    values = inspection.activations(layer, unit)
    return {
        "name": f"layer {layer}, unit {unit} (variance {values.var():.3f})",
        "values": [round(value, 2) for value in values.tolist()],
    }


def _shown(piece: str) -> str:
    """``piece`` with signs for what cannot be seen, such as the bytes before the last of a character."""
    if not piece:
        return "·"
    return re.sub(r"[\x00-\x1f\x7f]", _sign, piece)


def _sign(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\n":
        return "↵\n"
    return "␡" if character == "\x7f" else chr(0x2400 + ord(character))
