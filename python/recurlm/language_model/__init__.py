"""Language models: a ``Model`` of recurrent layers with a tokenizer beside it."""

from .generation_config import GenerationConfig
from .language_model import LanguageModel

__all__ = ["GenerationConfig", "LanguageModel"]
