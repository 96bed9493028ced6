"""Scoring: the log-probability of every token of many texts, forward only, each text from the zero state.

GFLOP/s: 2 × multiplied weights × tokens, of the fp32 peak.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bench import programs, report
from bench.configs import CONFIGS, SCORED, Config, Ids
from bench.data import line_ids, token_stream, windows
from bench.measure import Builders, measure
from bench.probes import peak_gflops
from bench.programs import Contender
from bench.report import SPEED_UP, SPREAD, TOKENS, Column, Result
from bench.tasks import Scoring

LINES = 256  # texts of a case of unequal lengths
CASES = {name: CONFIGS[name] for name in SCORED} | {
    f"{name}-lines": replace(CONFIGS[name], name=f"{name}-lines") for name in ("char-512x2",)
}
QUICK_CASES = ("char-512x2", "ptb-medium", "char-512x2-lines")
PEERS = programs.PEERS["scoring"]
SECONDS, QUICK_SECONDS = 1.0, 0.2
COLUMNS = (
    TOKENS,
    SPREAD,
    Column("GFLOP/s", 8, lambda _, program: f"{program['counted_gflops']:.0f}"),
    Column("of peak", 7, lambda case, program: f"{program['counted_gflops'] / case['peak_gflops']:.0%}"),
    SPEED_UP,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def results(options: argparse.Namespace) -> Iterator[Result]:
    names = [Contender("recurlm"), *map(Contender.named, options.versus)]
    for threads in options.threads:
        for case in options.config:
            yield score(CASES[case], names, threads, options.seconds, options.rounds)


def score(config: Config, names: list[Contender], threads: int, seconds: float, rounds: int) -> Result:
    texts, source = texts_of(config)
    builders: Builders = {name: partial(Scoring, name, config, texts, threads) for name in names}
    peak = peak_gflops(threads)
    measured = measure(builders, threads=threads, seconds=seconds, rounds=rounds)
    peak = max(peak, peak_gflops(threads))
    entries = {
        name: program | {"counted_gflops": program["tokens_per_second"] * config.forward_flops / config.tokens / 1e9}
        for name, program in report.entries(measured).items()
    }
    return report.result(config.name, config, threads, entries, text=source, texts=len(texts), peak_gflops=peak)


def texts_of(config: Config) -> tuple[list[Ids], str]:
    """The batch and lengths of a training window, so that nobody's padding counts, or else the lines of a corpus."""
    stream, source = token_stream(config)
    if config.name.endswith("-lines"):
        return line_ids(config)[:LINES], source
    ids, _ = next(windows(stream, config))
    return list(ids), source
