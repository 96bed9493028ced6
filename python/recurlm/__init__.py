"""Train, evaluate and run recurrent language models on CPUs.

>>> import recurlm as rl
>>> lm = rl.LanguageModel(cell="lstm", units=64, layers=1, tokenizer="char")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import callbacks, constraints, initializers, layers, losses, metrics, optimizers, regularizers, utils
    from ._core import get_num_threads
    from .language_model import GenerationConfig, LanguageModel
    from .layers import Input
    from .model import Model
    from .sequential import Sequential

__version__ = "0.1.0"

__all__ = [
    "GenerationConfig",
    "Input",
    "LanguageModel",
    "Model",
    "Sequential",
    "callbacks",
    "constraints",
    "get_num_threads",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "regularizers",
    "set_num_threads",
    "utils",
]

_MODULE_OF = {
    "GenerationConfig": "language_model",
    "Input": "layers",
    "LanguageModel": "language_model",
    "Model": "model",
    "Sequential": "sequential",
    "get_num_threads": "_core",
}


def set_num_threads(threads: int) -> None:
    """Let computations use up to ``threads`` threads; results do not depend on it.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below 1, or more than there can be.
    """
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise TypeError(f"threads must be an integer, got {threads!r}")
    from . import _core

    _core.set_num_threads(threads)


def __getattr__(name: str) -> Any:
    # Loaded when first used: a program pays for what it uses, and the command can report a core that does not load.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{_MODULE_OF.get(name, name)}", __name__)
    return getattr(module, name) if name in _MODULE_OF else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
