"""The architecture, checked: who includes whom, where threads live, what kernels export, how large files are."""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recurlm import _core

ROOT = Path(__file__).parent.parent
LADDER = ["base", "files", "text", "cpu", "kernels", "ops", "infer", "capi", "bindings"]
STUBS = sorted((ROOT / "python/recurlm/_core").glob("*.pyi"))
MAX_LINES = 400
MAX_FUNCTION_LINES = 40


def sources(folder: str, *suffixes: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes)


def test_a_folder_includes_only_folders_above_it() -> None:
    for path in sources("csrc", ".h", ".cc"):
        room = LADDER.index(path.parent.name)
        for included in re.findall(r'#include "([a-z]+)/', path.read_text()):
            assert LADDER.index(included) <= room, f"{path.relative_to(ROOT)} includes {included}/"


def test_kernel_headers_include_nothing_with_inline_code() -> None:
    allowed = re.compile(r"^(immintrin\.h|arm_neon\.h|cstdint|base/types\.h|kernels/.*\.h)$")
    for path in sources("csrc/kernels", ".h"):
        for included in re.findall(r'#include [<"]([^>"]+)[>"]', path.read_text()):
            assert allowed.match(included), f"{path.name} includes {included}"


def test_openmp_stays_in_cpu() -> None:
    users = {
        path.parent.name for path in sources("csrc", ".h", ".cc") if re.search(r"#pragma omp|omp\.h", path.read_text())
    }
    assert users == {"cpu"}


def test_kernel_objects_export_one_table() -> None:
    """A weak symbol compiled for AVX-512 could replace the baseline copy of the same inline function at link time."""
    objects = sorted((ROOT / "build").rglob("kernels.cc.o"))
    if not objects or shutil.which("nm") is None:
        pytest.skip("no object files of the kernels here (a wheel's tests), or no nm")
    for path in objects:
        lines = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True).stdout.splitlines()
        symbols = [line.split(maxsplit=2) for line in lines if not line.startswith(" ")]
        weak = [name for _, kind, name in symbols if kind in "wWvVu"]
        exported = [name for _, kind, name in symbols if kind.isupper() and not re.search(r"(a|t|ub)san", name)]
        assert not weak, f"{path}: {weak}"
        assert len(exported) == 1, f"{path}: {exported}"
        assert exported[0].endswith("_table")


@pytest.mark.parametrize("folder", ["csrc", "python", "tests", "bench"])
def test_files_stay_short(folder: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources(folder, ".h", ".cc", ".py", ".pyi")}
    assert not {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > MAX_LINES}


def stub_parameters(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    return [a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs] if a.arg != "self"]


def stub_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """``name`` or ``Class.name`` of everything that is called, constructors included; properties are left out."""
    for path in STUBS:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from (
                    (f"{node.name}.{item.name}", item)
                    for item in node.body
                    if isinstance(item, ast.FunctionDef) and not item.decorator_list
                )


def compiled_parameters(name: str) -> list[str]:
    owner, _, method = name.rpartition(".")
    function = getattr(getattr(_core, owner), method) if owner else getattr(_core, name)
    signature = function.__doc__.splitlines()[0].split(" -> ")[0]
    names = re.findall(r"[(,]\s*([a-z_0-9A-Z]+):", signature)
    return [n for n in names if n not in ("self", "arg0") or not owner]


def test_the_stub_has_the_parameters_of_the_extension() -> None:
    for name, function in stub_functions():
        assert compiled_parameters(name) == stub_parameters(function), name


def test_the_stub_names_all_of_the_extension() -> None:
    stub = {name.split(".")[0] for name, _ in stub_functions()} | {"DecodingState"}
    assert {name for name in dir(_core) if not name.startswith("_")} == stub


def function_lengths(path: Path) -> Iterator[tuple[str, int]]:
    """Lines of each function without its docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1 - docstring


@pytest.mark.parametrize("folder", ["python", "bench"])
def test_functions_stay_short(folder: str) -> None:
    lengths = [item for path in sources(folder, ".py") for item in function_lengths(path)]
    assert not [f"{name}: {length} lines" for name, length in lengths if length > MAX_FUNCTION_LINES]
