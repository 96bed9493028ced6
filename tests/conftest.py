"""Fixtures that every test may use: instruction set, number of threads, real data."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from recurlm import _core

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(params=_core.supported_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that this machine has, in turn."""
    before = _core.get_isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


@pytest.fixture(params=[1, 2, 7], ids="{}-threads".format)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Serial; a divisor of most sizes; more than most machines in CI have, and a divisor of few sizes."""
    before = _core.get_num_threads()
    _core.set_num_threads(request.param)
    yield request.param
    _core.set_num_threads(before)


@pytest.fixture(scope="session")
def data_path() -> Path:
    """The folder of real data: $RECURLM_DATA, or shared/data beside the repository."""
    path = Path(os.environ.get("RECURLM_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data at {path} (set RECURLM_DATA)")
    return path
