"""What ``python -m bench ... --json`` writes, with figures that are easy to follow."""

from typing import Any

from bench import report
from bench.configs import Config
from bench.measure import Measurement
from bench.programs import Contender

CONFIG = Config("small", "char", vocabulary=10, embedding=4, units=8, layers=1, batch=2, steps=5)
RATES = {"recurlm": [200.0, 300.0, 220.0], "torch": [100.0, 100.0, 200.0]}


def measurement(name: str, rates: list[float], **facts: Any) -> Measurement:
    return Measurement(Contender.named(name), [1.0], facts={"peak_memory_mb": 64.0} | facts, tokens_per_second=rates)


def document(verb: str, *results: report.Result) -> dict[str, Any]:
    versions = {"recurlm": "1.2", "torch": None}
    machine = {"processor": "CPU", "cores": 1, "isa": "avx2", "python": "3.11", "versions": versions}
    limits = {"1": {"peak_gflops": 100.0, "read_bandwidth": {"8": 20.0, "256": 10.0}}}
    return {"verb": verb, "machine": machine, "limits": limits, "results": list(results)}
