"""The examples run."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_attention_language_model(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 60, encoding="utf-8")
    lines = run("attention_language_model.py", text, "--steps", 5).splitlines()
    assert lines[0].startswith("2,700 characters, 28 different")
    assert lines[1].startswith("step 5: training loss")
    # A model that knows nothing has a loss of ln 28.
    assert 0.5 < float(lines[2].removeprefix("validation loss ")) < 3.5
    assert len(lines[3]) == 401
