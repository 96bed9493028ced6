"""What the machine can do at most: fused multiply-adds on registers alone, and reading weights over and over."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

SECONDS = 0.5
WORKING_SETS = (0.5, 8, 256)  # megabytes: about what a core's L2, a shared L3 and only the main memory hold


def peak_gflops(threads: int) -> float:
    return in_a_fresh_process(measure_peak, threads)


def read_bandwidth(megabytes: float, threads: int) -> float:
    """GB/s at which so many megabytes (1e6 bytes) can be read again and again, from the caches where they fit."""
    return in_a_fresh_process(measure_bandwidth, megabytes, threads)


def limits(threads: int) -> dict[str, Any]:
    """The roofs under which everything runs with so many threads."""
    bandwidths = {f"{megabytes:g}": read_bandwidth(megabytes, threads) for megabytes in WORKING_SETS}
    return {"peak_gflops": peak_gflops(threads), "read_bandwidth": bandwidths}


def in_a_fresh_process(probe: Callable[..., float], *arguments: float) -> float:
    """What the probe started is gone before a program takes its turn."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(probe, *arguments).result()


def measure_peak(threads: int) -> float:
    from recurlm import _core

    return _core.measure_peak(SECONDS, threads)


def measure_bandwidth(megabytes: float, threads: int) -> float:
    from recurlm import _core

    return _core.measure_bandwidth(megabytes, SECONDS, threads)
