"""How much a server takes on."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..checks import check_integer, is_number


@dataclass(frozen=True)
class Limits:
    """What is more is refused, with a sentence.

    Args:
        streams: texts that are drawn side by side; one request may ask for as many.
        waiting: requests that wait for room among these.
        tokens: the most that the texts of a request may get together, and that its prompts, or the texts to score, may
            have.
        body: bytes of a request.
        seconds: from a request to its end; what has been drawn by then is the answer.
        cache: bytes of states of prompts that are kept, so that what goes on from one is not read again.
    """

    streams: int = 64
    waiting: int = 256
    tokens: int = 65536
    body: int = 1 << 20
    seconds: float = 120.0
    cache: int = 64 << 20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "seconds":
                if not is_number(value) or not 0 < value < 1e6:
                    raise ValueError(f"seconds must be above 0 and below 1e6, got {value!r}")
            else:
                check_integer(field.name, value, 0 if field.name in ("waiting", "cache") else 1)
