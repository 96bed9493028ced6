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
# What transformers means by what its files leave out, where that is not what we mean.
_THEIR_DEFAULTS = {"do_sample": False, "top_k": 50}
_THEIR_MARKS = ("transformers_version", "_from_model_config")
_MOST_CLASSES = 2**31 - 1


@dataclass(kw_only=True)
class GenerationConfig:
    """What ``LanguageModel.generate`` does where its arguments are None; they are explained there.

    Raises:
        TypeError, ValueError: a value is not possible; also where one is assigned.

    >>> config = GenerationConfig(temperature=0.8)
    >>> config.top_p = 0.9
    >>> config.override(top_p=0.5, max_tokens=None)
    GenerationConfig(max_tokens=200, temperature=0.8, top_k=0, top_p=0.5, min_p=0.0, repetition_penalty=1.0, \
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

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dataclass_fields__:
            raise AttributeError(f"GenerationConfig has no {name!r}: it has {', '.join(self.__dataclass_fields__)}")
        if name == "max_tokens":
            check_integer(name, value, 0)
        else:
            make_sampling(_MOST_CLASSES, **{name: value})
        kind = type(getattr(GenerationConfig, name))  # no number of NumPy's, which JSON does not take
        super().__setattr__(name, kind(value))

    def override(self, **given: Any) -> GenerationConfig:
        """With those of ``given`` that are not None."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def sampling(self, classes: int) -> Sampling:
        """How to draw one of ``classes``."""
        return make_sampling(classes, **{n: v for n, v in asdict(self).items() if n != "max_tokens"})

    def config(self) -> dict[str, Any]:
        """The contents of generation_config.json, under Hugging Face's names where it has the thing."""
        named = {_THEIR_NAMES.get(name, name): value for name, value in asdict(self).items()}
        return named | {"do_sample": self.temperature != 0}

    @classmethod
    def from_config(cls, saved: Any) -> GenerationConfig:
        """The inverse; what it does not know, as transformers writes it, is not looked at.

        Raises:
            TypeError, ValueError: it is not a generation_config.json, or a value of it is not possible.
        """
        if not isinstance(saved, Mapping):
            raise ValueError("expected a JSON object")
        given = {name: value for name, value in saved.items() if value is not None}
        if any(mark in given for mark in _THEIR_MARKS):
            given = _THEIR_DEFAULTS | given
        if type(given.get("do_sample", True)) is not bool:
            raise TypeError(f"do_sample must be true or false, got {given['do_sample']!r}")
        if given.get("do_sample") is False:
            given["temperature"] = 0
        names = {field.name: _THEIR_NAMES.get(field.name, field.name) for field in fields(cls)}
        return cls(**{ours: given[theirs] for ours, theirs in names.items() if theirs in given})
