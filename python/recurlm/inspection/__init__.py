"""How a language model reads a text: surprise, rivals and hidden units at every token, and a page that shows them."""

from .analysis import Inspection, inspect_text
from .page import render_page

__all__ = ["Inspection", "inspect_text", "render_page"]
