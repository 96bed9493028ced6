"""``python -m bench``: training speed of recurlm, NumPy and PyTorch in one run. See README.md beside this file."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import report
from bench.configs import CONFIGS, QUICK
from bench.data import token_stream
from bench.measure import measure
from bench.peak import peak_gflops
from bench.program import PROGRAMS, installed

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RECURLM_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)  # inherited by the processes that measure
    facts = report.machine(options.threads)
    print(report.heading(facts))
    print(report.COLUMNS)
    document: dict[str, Any] = {"machine": facts, "seconds": options.seconds, "results": []}
    for name in options.config:
        if sys.stderr.isatty():
            print(f"{name} ...", end="\r", file=sys.stderr, flush=True)
        stream, source = token_stream(CONFIGS[name])
        peak = peak_gflops(options.threads)
        try:
            results = measure(
                CONFIGS[name],
                ["recurlm", *options.versus],
                stream,
                threads=options.threads,
                seconds=options.seconds,
                rounds=0 if options.memory else options.rounds,
            )
        except RuntimeError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        peak = max(peak, peak_gflops(options.threads))  # before and after, as the clock of a busy machine drifts
        print(report.rows(results, peak), flush=True)
        document["results"].append(report.as_json(results, source, peak))
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    peers = [name for name in PROGRAMS if name != "recurlm"]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--config", nargs="+", choices=CONFIGS, metavar="NAME", help=f"of {', '.join(CONFIGS)}")
    parser.add_argument("--versus", nargs="*", choices=peers, help="opponents (default: those that are installed)")
    parser.add_argument(
        "--threads", type=positive, default=len(os.sched_getaffinity(0)), help="default: the cores of this process"
    )
    parser.add_argument("--seconds", type=float, help="of one program's turn in a round (default 2)")
    parser.add_argument("--rounds", type=positive, help="rounds in which the programs take turns (default 5)")
    parser.add_argument("--quick", action="store_true", help=f"under 2 minutes: {', '.join(QUICK)} in short rounds")
    parser.add_argument("--memory", action="store_true", help="a few steps for the peak of memory, no times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to FILE")
    options = parser.parse_args(arguments)
    options.config = options.config or (list(QUICK) if options.quick else list(CONFIGS))
    options.seconds = options.seconds or (0.5 if options.quick else 2.0)
    options.rounds = options.rounds or (3 if options.quick else 5)
    if options.versus is None:
        options.versus = [name for name in peers if installed(name)]
    for name in options.versus:
        if not installed(name):
            parser.error(f"argument --versus: {name} is not installed in this environment")
    return options


def positive(text: str) -> int:
    """argparse turns ValueError into its own sentence."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
