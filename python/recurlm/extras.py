"""Libraries that an extra of the package brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needing(extra: str, what: str = "this format") -> Iterator[None]:
    """ImportError with one sentence where an import in this block does not find what ``extra`` brings."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "a library").partition(".")[0]
        raise ImportError(f"{what} needs {missing}: install recurlm with its extra [{extra}]") from error
