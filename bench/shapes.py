"""Training steps of sizes that nobody tuned for.

GFLOP/s: 3 × 2 × multiplied weights × tokens; executed: what the program itself multiplies, of the fp32 peak.
"""

import argparse
from collections.abc import Iterator

from bench import train
from bench.configs import SHAPES
from bench.report import Result

CASES = SHAPES
QUICK_CASES = tuple(SHAPES)
PEERS = ("torch",)
SECONDS, QUICK_SECONDS = 1.0, 0.2
COLUMNS = train.COLUMNS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def results(options: argparse.Namespace) -> Iterator[Result]:
    names = train.contenders(options.versus, "float32")
    for threads in options.threads:
        for case in options.config:
            yield train.train(SHAPES[case], names, "float32", threads, options.seconds, options.rounds)
