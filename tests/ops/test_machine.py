"""Instruction set and number of threads: what is chosen at import, what may be set, and what is refused."""

import os
import subprocess
import sys

import pytest

from recurlm import _core

REPORT = "from recurlm import _core; print(_core.get_isa(), _core.get_num_threads())"


def imported(**variables: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that imports the core with these environment variables and no others of its own."""
    ours = {"RECURLM_ISA", "RECURLM_NUM_THREADS", "OMP_NUM_THREADS"}
    env = {name: value for name, value in os.environ.items() if name not in ours} | variables
    return subprocess.run([sys.executable, "-c", REPORT], env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", _core.supported_isas())
def test_isa_from_the_environment(name: str) -> None:
    assert imported(RECURLM_ISA=name).stdout.split()[0] == name


def test_best_isa_and_every_core_by_default() -> None:
    # Ascending, so the best stands last.
    assert imported().stdout.split() == [_core.supported_isas()[-1], str(_core.available_cores())]


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({"OMP_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "3,2"}, "3"),  # one number for each level of nesting
        ({"OMP_NUM_THREADS": "100000"}, str(max(64, 4 * _core.available_cores()))),  # meant for other programs
        ({"RECURLM_NUM_THREADS": "5"}, "5"),
        ({"RECURLM_NUM_THREADS": "5", "OMP_NUM_THREADS": "3"}, "5"),
    ],
    ids=str,
)
def test_threads_from_the_environment(variables: dict[str, str], threads: str) -> None:
    assert imported(**variables).stdout.split()[1] == threads


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECURLM_ISA", "altivec"),
        ("RECURLM_NUM_THREADS", "two"),
        ("RECURLM_NUM_THREADS", "0"),
        ("OMP_NUM_THREADS", "-1"),
    ],
)
def test_a_bad_variable_stops_the_import(name: str, value: str) -> None:
    """Not some later call, and not silently."""
    result = imported(**{name: value})
    assert result.returncode != 0
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"'{value}'" in last


def test_set_isa() -> None:
    before = _core.get_isa()
    for name in _core.supported_isas():
        _core.set_isa(name)
        assert _core.get_isa() == name
    _core.set_isa(before)
    with pytest.raises(ValueError, match="altivec"):
        _core.set_isa("altivec")
    assert _core.get_isa() == before


def test_set_num_threads() -> None:
    before = _core.get_num_threads()
    for bad in (0, -1):
        with pytest.raises(ValueError, match=f"threads.*{bad}"):
            _core.set_num_threads(bad)
    with pytest.raises(TypeError):
        _core.set_num_threads("two")  # type: ignore[arg-type]
    assert _core.get_num_threads() == before
    _core.set_num_threads(3)
    assert _core.get_num_threads() == 3
    _core.set_num_threads(before)


def test_measure_bandwidth() -> None:
    """In GB/s: no machine reads slower than 0.1, and no core as fast as 10,000."""
    for megabytes, threads in [(0.05, 1), (0.05, 2), (20.0, 1), (20.0, 2)]:
        assert 0.1 < _core.measure_bandwidth(megabytes, 0.02, threads) < 10_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0.0, 0.01, 1), r"megabytes must be from 0\.01 to 100000, not 0\.0"),
        ((0.009, 0.01, 1), r"megabytes must be from 0\.01 to 100000, not 0\.009"),
        ((1e6, 0.01, 1), "megabytes must be from .*not 1000000"),
        ((float("nan"), 0.01, 1), "megabytes must be from .*not nan"),
        ((1.0, 0.0, 1), "seconds must be above 0 .*not 0"),
        ((1.0, -1.0, 1), "seconds must be above 0 .*not -1"),
        ((1.0, float("nan"), 1), "seconds must be above 0 .*not nan"),
        ((1.0, 0.01, 0), "threads must be from 1 to .*not 0"),
        ((1.0, 0.01, -1), "threads must be from 1 to .*not -1"),
        ((1.0, 0.01, 10**6), "threads must be from 1 to .*not 1000000"),
    ],
    ids=str,
)
def test_bad_measurements(arguments: tuple[float, float, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        _core.measure_bandwidth(*arguments)
    if "megabytes" not in sentence:
        with pytest.raises(ValueError, match=sentence):
            _core.measure_peak(*arguments[1:])


QUIET = """
import socket
def refuse(*_, **__):
    raise AssertionError("a socket was opened")
socket.socket = refuse
import os, recurlm
from recurlm import LanguageModel, _core, layers, losses, optimizers
print(len(os.listdir("/proc/self/task")))
"""


def test_importing_starts_no_threads_and_touches_no_network() -> None:
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # NumPy's own would start some
    result = subprocess.run([sys.executable, "-c", QUIET], env=env, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("1\n", "")
