"""Results as JSON for programs and as lines for whoever waits for them."""

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bench.configs import Config
from bench.measure import Measurement, speed_ups

Entry = dict[str, Any]
"""One program in one case; what the JSON holds of it."""
Result = dict[str, Any]
"""One case: its name, configuration, threads, limits of the machine, and an ``Entry`` for each of its programs."""

LIBRARIES = ("recurlm", "numpy", "torch", "keras", "tensorflow-cpu", "tensorflow", "jax", "onnxruntime")


def machine() -> dict[str, Any]:
    """What was measured on, and with."""
    from recurlm import _core

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "isa": _core.get_isa(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: installed_version(name) for name in LIBRARIES},
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


def describe(facts: Mapping[str, Any]) -> str:
    """``machine`` in a line."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
    cores = f"{facts['cores']} core{'s' * (facts['cores'] != 1)}"
    return f"{facts['processor']}, {cores}, {facts['isa']}; Python {facts['python']}, {versions}"


def result(case: str, config: Config, threads: int, programs: Mapping[str, Entry], **more: Any) -> Result:
    return {"case": case, "config": asdict(config), "threads": threads, **more, "programs": dict(programs)}


def entries(results: Sequence[Measurement], rivals: Mapping[str, str] | None = None) -> dict[str, Entry]:
    """By the program's name. Each is compared with recurlm in its own precision unless ``rivals`` names another."""
    by_name = {result.name: result for result in results}
    found = {}
    for name, measurement in by_name.items():
        rival = by_name.get((rivals or {}).get(name, measurement.contender.rival))
        found[name] = entry(measurement, None if rival is measurement else rival)
    return found


def entry(measurement: Measurement, rival: Measurement | None) -> Entry:
    facts: Entry = {**measurement.facts, "largest_difference": measurement.largest_difference}
    if measurement.tokens_per_second:
        facts |= rates(measurement.tokens_per_second)
        if rival:
            rounds = speed_ups(rival, measurement)
            facts |= {"recurlm_speed_up": statistics.median(rounds), "recurlm_speed_up_rounds": rounds}
    return facts


def rates(tokens_per_second: Sequence[float]) -> Entry:
    quartiles = np.percentile(tokens_per_second, (25, 75))
    return {
        "tokens_per_second": statistics.median(tokens_per_second),
        "tokens_per_second_quartiles": quartiles.tolist(),
        "tokens_per_second_rounds": list(tokens_per_second),
    }


def microseconds(program: Entry) -> list[float]:
    """A token, of each round."""
    return [1e6 / rate for rate in program["tokens_per_second_rounds"]]


@dataclass(frozen=True)
class Column:
    """``text`` gives the cell of a program in a case; what is not known leaves it empty."""

    title: str
    width: int
    text: Callable[[Result, Entry], str]

    def cell(self, case: Result, program: Entry) -> str:
        try:
            return self.text(case, program)
        except (KeyError, TypeError):  # not measured, or None where the system does not say
            return ""


def heading(columns: Sequence[Column]) -> str:
    return f"{'case':<{CASE}} {'program':<{NAME}} " + " ".join(f"{c.title:>{c.width}}" for c in columns)


def lines(case: Result, columns: Sequence[Column]) -> str:
    """A line for each program."""
    return "\n".join(
        f"{case['case']:<{CASE}} {name:<{NAME}} "
        + " ".join(f"{column.cell(case, program):>{column.width}}" for column in columns)
        for name, program in case["programs"].items()
    )


CASE, NAME = 27, 16


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    return f"({min(values):{form}}–{max(values):{form}})"


TOKENS = Column("tokens/s", 10, lambda _, program: f"{program['tokens_per_second']:,.0f}")
SPREAD = Column("(min–max)", 21, lambda _, program: spread(program["tokens_per_second_rounds"]))
SPEED_UP = Column("recurlm is", 10, lambda _, program: f"{program['recurlm_speed_up']:.2f} x")
MEMORY = Column("peak MB", 8, lambda _, program: f"{program['peak_memory_mb']:,.0f}")
