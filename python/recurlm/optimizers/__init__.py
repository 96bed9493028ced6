"""Optimizers, with Keras's names, arguments and defaults: rules of the core, which updates all parameters in one pass.

>>> from recurlm import optimizers
>>> optimizers.Adam(learning_rate=1e-3, global_clipnorm=5.0).learning_rate
0.001
"""

from typing import Any

from ..naming import resolve
from . import schedules
from .asgd import ASGD
from .base import Optimizer
from .rules import SGD, Adagrad, Adam, AdamW, Lion, RMSprop

__all__ = ["ASGD", "SGD", "Adagrad", "Adam", "AdamW", "Lion", "Optimizer", "RMSprop", "get", "schedules", "serialize"]

_CLASSES = {cls.__name__: cls for cls in (SGD, ASGD, RMSprop, Adagrad, Adam, AdamW, Lion)}


def get(identifier: Any) -> Optimizer:
    """An optimizer from its name in any case, its serialized form, or itself."""
    if isinstance(identifier, str):
        identifier = next((name for name in _CLASSES if name.lower() == identifier.lower()), identifier)
    if isinstance(identifier, dict) and identifier.get("class_name") in _CLASSES:
        return _CLASSES[identifier["class_name"]].from_config(identifier["config"])
    found = identifier if isinstance(identifier, Optimizer) else resolve("optimizer", identifier, _CLASSES)
    if not isinstance(found, Optimizer):
        raise TypeError(f"optimizer must be a name or an object of recurlm.optimizers, got {identifier!r}")
    return found


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """``{"class_name", "config"}``."""
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}
