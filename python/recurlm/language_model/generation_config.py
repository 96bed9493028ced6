"""How a model's texts are drawn where a call does not say: kept with the model, in generation_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .._core import Sampling
from ..checks import check_integer
from .generation import make_sampling

# What Hugging Face's file calls ours; the other names are the same. Its do_sample is our temperature of 0.
_THEIR_NAMES = {"max_tokens": "max_new_tokens"}
_OUR_NAMES = {theirs: ours for ours, theirs in _THEIR_NAMES.items()}
_MOST_CLASSES = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """What ``LanguageModel.generate`` does where its arguments are None; they are explained there.

    Raises:
        TypeError, ValueError: a value is not possible.

    >>> GenerationConfig(temperature=0.8).override(top_p=0.9, max_tokens=None)
    GenerationConfig(max_tokens=200, temperature=0.8, top_k=0, top_p=0.9, min_p=0.0, repetition_penalty=1.0, \
presence_penalty=0.0, frequency_penalty=0.0)
    """

    max_tokens: int = 200
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    def __post_init__(self) -> None:
        check_integer("max_tokens", self.max_tokens, 0)
        self.sampling(_MOST_CLASSES)

    def override(self, **given: Any) -> GenerationConfig:
        """With those of ``given`` that are not None."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def sampling(self, classes: int) -> Sampling:
        """How to draw one of ``classes``."""
        return make_sampling(classes, **{n: v for n, v in asdict(self).items() if n != "max_tokens"})

    def to_json(self) -> dict[str, Any]:
        """The contents of generation_config.json, under Hugging Face's names where it has the thing."""
        named = {_THEIR_NAMES.get(name, name): value for name, value in asdict(self).items()}
        return named | {"do_sample": self.temperature != 0}

    @classmethod
    def from_json(cls, saved: Any) -> GenerationConfig:
        """The inverse; what it does not know, as others write it, is not looked at.

        Raises:
            TypeError, ValueError: it is not a generation_config.json, or a value of it is not possible.
        """
        if not isinstance(saved, Mapping):
            raise ValueError("expected a JSON object")
        found = {_OUR_NAMES.get(name, name): value for name, value in saved.items() if value is not None}
        if found.get("do_sample") is False:
            found["temperature"] = 0
        return cls(**{field.name: found[field.name] for field in fields(cls) if field.name in found})
