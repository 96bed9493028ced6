"""The tutorial's Python blocks run in order, its asserts hold, and it prints what it shows."""

import re
from pathlib import Path
from typing import Any

import pytest

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.md"
TEXT = TUTORIAL.read_text(encoding="utf-8")
# A block of code and, where the next one is marked `text`, what it prints.
BLOCKS = re.findall(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", TEXT, re.DOTALL | re.MULTILINE)


def test_every_block_was_found() -> None:
    assert len(BLOCKS) == len(re.findall("^```python$", TEXT, re.MULTILINE)) > 20
    assert sum(bool(printed) for _, printed in BLOCKS) == len(re.findall("^```text$", TEXT, re.MULTILINE)) >= 3


def test_the_blocks_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "tutorial"}
    for code, printed in BLOCKS:
        line = TEXT[: TEXT.index(code)].count("\n")
        exec(compile("\n" * line + code, str(TUTORIAL), "exec"), namespace)
        shown = capsys.readouterr().out
        if printed:
            assert shown == printed, f"the block at line {line}"
    assert Path("python-docs/model.safetensors").exists()
