"""A server for one language model: completions as OpenAI's API has them, scores, metrics, a page."""

from .app import make_app
from .limits import Limits
from .run import serve

__all__ = ["Limits", "make_app", "serve"]
