"""Without the extras' libraries everything else works, and what needs one says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import samples

# The libraries of extras, and what they bring: as if none were installed.
WITHOUT = """
import sys
LIBRARIES = ("tokenizers matplotlib tensorboard sklearn optuna h5py onnx fastapi starlette pydantic uvicorn anyio "
             "prometheus_client openai httpx").split()
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in LIBRARIES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
from recurlm.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"COLUMNS": "200"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("extras")
    samples.trained(samples.text_file(path), epochs=1).save(path / "m")
    return path / "m"


def test_the_command_needs_none_of_them(folder: Path) -> None:
    for arguments in (
        ["--version"],
        ["--help"],
        ["info", folder],
        ["generate", folder, "--seed", 1],
        ["pack", folder, "--out", folder.with_name("p")],
    ):
        result = run(*arguments)
        assert (result.returncode, result.stderr) == (0, ""), arguments


@pytest.mark.parametrize(("verb", "extra"), [("serve", "serve"), ("plot", "plot")])
def test_what_needs_one_says_so(folder: Path, verb: str, extra: str) -> None:
    result = run(verb, folder)
    assert result.returncode == 1
    assert result.stderr.startswith("recurlm: error: ")
    assert f"install recurlm with its extra [{extra}]" in result.stderr
    assert result.stderr.count("\n") == 1
