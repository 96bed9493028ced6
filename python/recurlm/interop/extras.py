"""Libraries that come with an extra of the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needing(extra: str, what: str = "this format") -> Iterator[None]:
    """ImportError with one sentence where an import in this block does not find what ``extra`` brings."""
    try:
        yield
    except ImportError as error:
        missing = error.name or "a library"
        raise ImportError(f"{what} needs {missing}: pip install 'recurlm[{extra}]'") from None
