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


def test_atis_intents(tmp_path: Path) -> None:
    """On sentences made up like those of the corpus."""
    verbs = {"flight": "show flights from", "airfare": "what does it cost from", "city": "where is"}
    sentences = [
        (f"{verb} {a} to {b}", " ".join(["O"] * len(verb.split()) + ["from", "O", "to"]), intent)
        for intent, verb in verbs.items()
        for a in "abcdef"
        for b in "uvwxyz"
    ]
    for number, part in enumerate(("train", "valid", "test")):
        folder = tmp_path / "data" / part
        folder.mkdir(parents=True)
        for column, name in enumerate(("seq.in", "seq.out", "label")):
            (folder / name).write_text("".join(f"{each[column]}\n" for each in sentences[number::3]), encoding="utf-8")
    options = ["--epochs", 2, "--members", 2, "--jobs", 1]
    lines = run("atis_intents.py", tmp_path / "data", "--out", tmp_path / "model", *options).splitlines()
    assert lines[0] == "72 sentences of 3 intents"
    assert sum(line.startswith("cross-validated accuracy") for line in lines) == 6
    assert any(line.startswith("test accuracy") and "of 36 (0 have" in line for line in lines)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["member-0", "member-1"]
