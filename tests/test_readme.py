"""Python blocks of the README and of documents run as they stand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


BLOCKS = python_blocks(README)
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


def test_the_documents_block(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = python_blocks(ROOT / "docs/interop.md")
    exec(compile(block, "docs/interop.md", "exec"), {"__name__": "document"})
    assert capsys.readouterr().out
