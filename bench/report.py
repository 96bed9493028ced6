"""Results as a table for people and as JSON for programs."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import Measurement, speed_up

COLUMNS = (
    f"{'configuration':<15} {'program':<8} {'tokens/s':>9} {'(min–max)':>19} {'GFLOP/s':>8} {'executed':>9} "
    f"{'of peak':>8} {'peak MB':>8} {'recurlm is':>11}"
)


def machine(threads: int) -> dict[str, Any]:
    """What was measured on, and with."""
    from recurlm import _core

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "isa": _core.get_isa(),
        "python": platform.python_version(),
        "versions": {name: installed_version(name) for name in ("recurlm", "numpy", "torch")},
    }


def processor() -> str:
    """The processor's name; /proc knows more of it than the platform module."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def heading(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
    return (
        f"{facts['processor']}, {facts['threads']} of {facts['cores']} cores, {facts['isa']}; "
        f"Python {facts['python']}, {versions}\n"
        "One training step: truncated back-propagation, state carried, Adam with global-norm clipping, fp32.\n"
        "GFLOP/s: 3 × 2 × multiplied weights × tokens; executed: what the program itself multiplies.\n"
    )


def rows(results: Sequence[Measurement], peak: float) -> str:
    """A line for each program of one configuration and one for the machine. Without rounds, only memory is told."""
    limit = f"{results[0].config.name:<15} {'(peak)':<8} {'':>9} {'':>19} {'':>8} {peak:>9.0f}"
    return "\n".join([*(row(result, results[0], peak) for result in results), limit])


def row(result: Measurement, first: Measurement, peak: float) -> str:
    memory = f"{result.peak_memory_mb:,.0f}" if result.peak_memory_mb else "?"
    name = f"{result.config.name:<15} {result.program:<8}"
    if not result.tokens_per_second:
        return f"{name} {'':>9} {'':>19} {'':>8} {'':>9} {'':>8} {memory:>8}"
    spread = f"({min(result.tokens_per_second):,.0f}–{max(result.tokens_per_second):,.0f})"
    ratio = "" if result is first else f"{speed_up(first, result):.2f} x"
    return (
        f"{name} {result.median:>9,.0f} {spread:>19} {result.counted_gflops:>8.0f} {result.executed_gflops:>9.0f} "
        f"{result.executed_gflops / peak:>8.0%} {memory:>8} {ratio:>11}"
    )


def as_json(results: Sequence[Measurement], source: str, peak: float) -> dict[str, Any]:
    """One configuration with all its programs."""
    config = results[0].config
    programs = {}
    for result in results:
        entry: dict[str, Any] = {"losses": result.losses, "peak_memory_mb": result.peak_memory_mb}
        if result.tokens_per_second:
            low, high = np.percentile(result.tokens_per_second, (25, 75))
            entry |= {
                "tokens_per_second": result.median,
                "tokens_per_second_quartiles": [float(low), float(high)],
                "tokens_per_second_rounds": result.tokens_per_second,
                "counted_gflops": result.counted_gflops,
                "executed_gflops": result.executed_gflops,
                "executed_fraction_of_peak": result.executed_gflops / peak,
                "recurlm_speed_up": speed_up(results[0], result),
            }
        programs[result.program] = entry
    return {"config": asdict(config), "text": source, "peak_gflops": peak, "programs": programs}
