"""Names: snake case as Keras derives it, automatic names of layers, and objects looked up by name."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

_counts: Counter[str] = Counter()


def snake_case(name: str) -> str:
    """``SimpleRNN`` -> ``simple_rnn``, ``LSTM`` -> ``lstm``."""
    name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name).lower()


def automatic_name(class_name: str) -> str:
    """``lstm``, ``lstm_1``, ... in the order of construction in this process."""
    base = snake_case(class_name)
    _counts[base] += 1
    return base if _counts[base] == 1 else f"{base}_{_counts[base] - 1}"


def resolve(kind: str, identifier: Any, classes: Mapping[str, Callable[..., Any]]) -> Any:
    """What ``identifier`` means: a name in either case, ``{"class_name", "config"}``, a class, or an object itself."""
    if isinstance(identifier, str):
        by_name = {snake_case(name): cls for name, cls in classes.items()} | dict(classes)
        if identifier not in by_name and snake_case(identifier) not in by_name:
            raise ValueError(f"unknown {kind} {identifier!r}; known are {', '.join(sorted(classes))}")
        return (by_name.get(identifier) or by_name[snake_case(identifier)])()
    if isinstance(identifier, Mapping):
        name = str(identifier.get("class_name"))
        if name not in classes:
            raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(sorted(classes))}")
        return classes[name](**identifier.get("config", {}))
    if isinstance(identifier, type):
        return identifier()
    if callable(identifier):
        return identifier
    raise TypeError(f"{kind} must be a name, an object of recurlm or a callable, got {identifier!r}")
