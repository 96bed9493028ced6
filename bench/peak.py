"""What the machine can do at most: fp32 fused multiply-adds on registers alone."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def peak_gflops(threads: int, seconds: float = 0.5) -> float:
    """Measured in a fresh process: what it started is gone before a program takes its turn."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(measure_peak, seconds, threads).result()


def measure_peak(seconds: float, threads: int) -> float:
    from recurlm import _core

    return _core.measure_peak(seconds, threads)
