"""The most that this machine multiplies, fp32: the best time of one large product, by whoever is faster at it."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np

SIZE = 1536  # three matrices of 9 MB: large enough for full panels, small enough for most L3 caches


def peak_gflops(seconds: float = 0.5) -> float:
    """Measured in a fresh process: what it started is gone before a program takes its turn."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(best_product, seconds).result()


def best_product(seconds: float) -> float:
    """GFLOP/s of the better of recurlm's and NumPy's product, the number of threads being that of the environment."""
    from recurlm import _core

    rng = np.random.default_rng(0)
    a, b = rng.random((2, SIZE, SIZE), dtype=np.float32)
    c = np.empty_like(a)
    workspace = _core.Workspace()
    products: list[Callable[[], object]] = [
        lambda: _core.linear_forward(a, b, None, c, workspace),
        lambda: np.matmul(a, b, out=c),
    ]
    return 2 * SIZE**3 / min(best_time(product, seconds) for product in products) / 1e9


def best_time(call: Callable[[], object], seconds: float) -> float:
    """The shortest of the calls that fit into ``seconds``."""
    best = float("inf")
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        call()
        best = min(best, time.perf_counter() - start)
    return best
