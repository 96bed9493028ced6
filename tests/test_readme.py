"""The README's Python blocks run as they stand."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
TEXT = "ROMEO: to be or not to be, that is the question.\n" * 150


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("block", BLOCKS, ids=["language model", "layers", "training", "choosing"])
def test_block(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("input.txt", "held_out.txt"):
        Path(name).write_text(TEXT, encoding="utf-8")
    exec(compile(block, str(README), "exec"), {"__name__": "readme"})
    if "bard" in block:
        assert Path("bard/model.safetensors").exists()
        assert capsys.readouterr().out
