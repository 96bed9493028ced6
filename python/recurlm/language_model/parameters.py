"""What can be chosen about a language model: arguments of ``LanguageModel`` and of its ``fit``, with their defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .language_model import LanguageModel

# What belongs to one run rather than to what is chosen between runs.
_OF_A_RUN = {"self", "data", "validation_data", "corpus_dir", "checkpoint_dir", "checkpoint_every", "resume",
             "sample_every", "sample_prompt", "callbacks", "verbose"}  # fmt: skip


def _choices(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = inspect.signature(function).parameters
    return {name: parameter for name, parameter in found.items() if name not in _OF_A_RUN}


MODEL, FIT = _choices(LanguageModel.__init__), _choices(LanguageModel.fit)
