"""Generation: one token at a time, batch 1, greedy; what a step may cost is what reading its weights costs.

MB read: weights for one token. GB/s: how fast the machine reads so many bytes again and again. x limit: time over
bytes / bandwidth.
"""

import argparse
from collections.abc import Iterator
from functools import partial

from bench import programs, report
from bench.configs import CONFIGS, GENERATED, QUICK_GENERATED, Config
from bench.data import token_stream
from bench.measure import Builders, measure
from bench.probes import read_bandwidth
from bench.programs import Contender
from bench.report import SPEED_UP, Column, Entry, Result, microseconds, spread
from bench.tasks import Generation

CASES = {name: CONFIGS[name] for name in GENERATED}
QUICK_CASES = QUICK_GENERATED
PEERS = programs.PEERS["generation"]
SECONDS, QUICK_SECONDS = 0.5, 0.1
PRECISIONS = ("float32", "bfloat16", "int8")
COLUMNS = (
    Column("threads", 7, lambda case, _: f"{case['threads']}"),
    Column("µs/token", 9, lambda _, program: f"{program['microseconds']:,.1f}"),
    Column("(min–max)", 19, lambda _, program: spread(microseconds(program), ",.1f")),
    Column("MB read", 8, lambda _, program: f"{program['read_bytes'] / 1e6:.2f}"),
    Column("GB/s", 5, lambda _, program: f"{program['read_bandwidth']:.0f}"),
    Column("x limit", 7, lambda _, program: f"{program['times_limit']:.2f}"),
    SPEED_UP,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="recurlm's precisions (default: all)"
    )


def results(options: argparse.Namespace) -> Iterator[Result]:
    names = [*(Contender("recurlm", dtype) for dtype in options.dtype), *map(Contender.named, options.versus)]
    for threads in options.threads:
        for case in options.config:
            yield generate(CASES[case], names, threads, options.seconds, options.rounds)


def generate(config: Config, names: list[Contender], threads: int, seconds: float, rounds: int) -> Result:
    stream, text = token_stream(config)
    builders: Builders = {name: partial(Generation, name, config, stream, threads) for name in names}
    measured = measure(builders, threads=threads, seconds=seconds, rounds=rounds)
    entries = report.entries(measured)
    sizes = {program["read_bytes"] for program in entries.values()}
    bandwidths = {size: read_bandwidth(size / 1e6, threads) for size in sizes}
    entries = {name: with_limit(program, bandwidths[program["read_bytes"]]) for name, program in entries.items()}
    return report.result(config.name, config, threads, entries, text=text)


def with_limit(program: Entry, bandwidth: float) -> Entry:
    """``bandwidth`` in GB/s, of the program's bytes and threads."""
    time = 1e6 / program["tokens_per_second"]
    limit = program["read_bytes"] / bandwidth / 1e3  # microseconds
    return program | {"microseconds": time, "read_bandwidth": bandwidth, "times_limit": time / limit}
