"""Train, evaluate and run recurrent language models on CPUs.

>>> import recurlm as rl
>>> lm = rl.LanguageModel(cell="lstm", units=64, layers=1, tokenizer="char")
"""

from typing import TYPE_CHECKING, Any

from . import callbacks, initializers, layers, losses, metrics, optimizers, utils
from ._core import get_num_threads, set_num_threads
from .layers import Input
from .model import Model
from .sequential import Sequential

if TYPE_CHECKING:
    from .language_model import LanguageModel

__version__ = "0.1.0"

__all__ = [
    "Input",
    "LanguageModel",
    "Model",
    "Sequential",
    "callbacks",
    "get_num_threads",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "set_num_threads",
    "utils",
]


def __getattr__(name: str) -> Any:
    # Text, files and progress bars cost time to import, which those who use layers only need not pay.
    if name == "LanguageModel":
        from .language_model import LanguageModel

        return LanguageModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
