"""Language models: a ``Model`` of recurrent layers with a tokenizer beside it."""

from .language_model import LanguageModel

__all__ = ["LanguageModel"]
