"""English prose that needs no download: what Python's standard library says about itself."""

from __future__ import annotations

import ast
import random
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

_ENOUGH = 300_000
_SKIPPED = {"site-packages", "test", "tests", "idlelib", "lib2to3"}


def build() -> str:
    """Paragraphs of the language reference and of docstrings, each once, in a fixed random order.

    Raises:
        ValueError: this Python was installed without them.
    """
    paragraphs = list(dict.fromkeys(p for text in (*_topics(), *_docstrings()) for p in _prose(text)))
    # Mixed, so that what is held out at the end is of the same kind as the rest.
    random.Random(0).shuffle(paragraphs)
    text = "\n\n".join(paragraphs) + "\n"
    if len(text) < _ENOUGH:
        raise ValueError("this Python has no documentation to learn from: give a text file, as in `recurlm demo FILE`")
    return text


def _topics() -> Iterator[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return
    yield from topics.values()


def _docstrings() -> Iterator[str]:
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted([*library.glob("*.py"), *library.glob("*/*.py")]):
        if _SKIPPED.isdisjoint(path.relative_to(library).parts):
            yield from _docstrings_of(path)


def _docstrings_of(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in sources that are not ours
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.get_docstring(node) or ""


def _prose(text: str) -> Iterator[str]:
    """Paragraphs that are sentences, on one line each: no code, tables, headings or sessions."""
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        if (
            paragraph.strip("\n")[:1].isupper()
            and line[-1] in ".!?:"
            and len(line) >= 40
            and line.isascii()
            and ">>>" not in line
        ):
            yield line
