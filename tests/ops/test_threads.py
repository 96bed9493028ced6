"""Concurrent callers, the interpreter lock, and fork."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference.cases import CELLS, CellSpec, Float32, normal, recurrent_case


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = _core.get_num_threads()
    yield
    _core.set_num_threads(before)


def train_step(spec: CellSpec, workspace: _core.Workspace) -> list[Float32]:
    case = recurrent_case(spec, (4, 20, 33, 65), seed=1)
    run = calls.forward(case, workspace)
    states = [s.copy() for s in run.states]
    outputs = np.ascontiguousarray(states[0][1:]).reshape(80, 65)
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 300, 80, dtype=np.int32)
    loss = calls.projection_cross_entropy(outputs, normal(rng, 65, 300), None, targets, None, workspace=workspace)
    return [*states, *calls.backward(case, run, workspace).arrays().values(), loss.dx, loss.dkernel, loss.log_probs]


@pytest.mark.parametrize("spec", CELLS[:4], ids=str)
def test_concurrent_calls_give_the_same_bits(spec: CellSpec, threads: int) -> None:
    expected = train_step(spec, _core.Workspace())

    def worker(_: int) -> None:
        workspace = _core.Workspace()
        for _repeat in range(5):
            for actual, wanted in zip(train_step(spec, workspace), expected, strict=True):
                np.testing.assert_array_equal(actual, wanted)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(worker, range(4)))


def test_a_decoder_is_shared_between_threads(threads: int) -> None:
    rng = np.random.default_rng(3)
    case = recurrent_case(CELLS[0], (1, 1, 16, 64), seed=4)
    cell = (calls.core_cell(case.spec, 16, 64), case.kernel, case.recurrent_kernel, case.bias)
    decoder = _core.PackedModel(normal(rng, 200, 16), [cell], normal(rng, 64, 200), None)

    def generate(seed: int) -> tuple[bytes, bytes]:
        state = decoder.begin([np.arange(1, 3 + s, dtype=np.int32) for s in range(12)], seed)
        ids, log_probs = decoder.generate(state, 20, _core.Sampling())
        return ids.tobytes(), log_probs.tobytes()

    seeds = [1, 2, 3, 4] * 4
    expected = [generate(seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(generate, seeds)) == expected


def test_a_workspace_serves_one_call_at_a_time() -> None:
    """Whoever comes second is told so, rather than both computing with the other's scratch."""
    _core.set_num_threads(1)
    x, kernel = np.ones((2000, 1000), np.float32), np.ones((1000, 2000), np.float32)
    y, small, workspace = np.empty((2000, 2000), np.float32), np.ones((1, 1), np.float32), _core.Workspace()

    def attempt(x: Float32, kernel: Float32, y: Float32) -> str:
        try:
            _core.linear_forward(x, kernel, None, y, workspace)
        except RuntimeError as error:
            return str(error)
        return "accepted"

    def insist() -> None:
        while attempt(x, kernel, y) != "accepted":
            pass

    thread = threading.Thread(target=insist)
    thread.start()
    answers = set()
    while thread.is_alive():
        answers.add(attempt(small, small, small.copy()))
    thread.join()
    # Accepted: before the thread took the workspace, or after it gave it back.
    assert answers - {"accepted"} == {"this workspace is in use by another call"}
    assert (y == 1000.0).all()


def test_number_of_threads_may_change_while_calls_run() -> None:
    expected = train_step(CELLS[0], _core.Workspace())
    done = threading.Event()

    def worker() -> list[list[Float32]]:
        results = [train_step(CELLS[0], _core.Workspace()) for _ in range(10)]
        done.set()
        return results

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(worker)
        while not done.is_set() and not future.done():
            for count in (1, 3, 2):
                _core.set_num_threads(count)
                time.sleep(0.001)
        for result in future.result():
            for actual, wanted in zip(result, expected, strict=True):
                np.testing.assert_array_equal(actual, wanted)


def test_interpreter_runs_during_a_call() -> None:
    """Other Python threads get on with their work: this one notes the time, over and over, while another is inside one
    long product. With the lock held, no note could fall into the middle of the product."""
    _core.set_num_threads(1)
    x, kernel = np.ones((2000, 1500), np.float32), np.ones((1500, 2000), np.float32)
    y, workspace = np.empty((2000, 2000), np.float32), _core.Workspace()
    span: list[float] = []

    def multiply() -> None:
        span.append(time.perf_counter())
        _core.linear_forward(x, kernel, None, y, workspace)
        span.append(time.perf_counter())

    multiply()  # grows the workspace and touches its pages
    span.clear()
    thread = threading.Thread(target=multiply)
    thread.start()
    notes = []
    while thread.is_alive():
        notes.append(time.perf_counter())
    thread.join()
    begin, end = span
    middle = [n for n in notes if begin + 0.2 * (end - begin) < n < end - 0.2 * (end - begin)]
    assert len(middle) >= 1


FORK = """
import os, sys
import numpy as np
from recurlm import _core

_core.set_num_threads(2)

def product():
    rng = np.random.default_rng(1)
    x, kernel = (rng.standard_normal(s).astype(np.float32) for s in [(200, 300), (300, 400)])
    y = np.empty((200, 400), np.float32)
    _core.linear_forward(x, kernel, None, y, _core.Workspace())
    return y.tobytes()

before = product()
child = os.fork()
if child == 0:
    os._exit(0 if product() == before else 3)
_, status = os.waitpid(child, 0)
assert product() == before, "the parent's product changed"
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
def test_fork_after_use() -> None:
    """A child inherits no threads; a pool that does not know it would wait for them for ever (pytorch#17199)."""
    # -W ignore: Python 3.12 warns of fork in a process with threads, which is what is tested here.
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], timeout=60, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
