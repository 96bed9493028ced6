"""A server for one language model: completions as OpenAI's API has them, scores, metrics, a page.

``Limits`` needs nothing; the rest comes with the extra ``[serve]``.
"""

from typing import TYPE_CHECKING, Any

from .limits import Limits

if TYPE_CHECKING:
    from .app import make_app
    from .run import serve

__all__ = ["Limits", "make_app", "serve"]


def __getattr__(name: str) -> Any:
    if name == "make_app":
        from .app import make_app

        return make_app
    if name == "serve":
        from .run import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
