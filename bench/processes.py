"""Two processes that train at once, each with all the threads, beside one alone.

Together: tokens/s of both. Of alone: the median over rounds of together / alone.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial

from bench import report
from bench.configs import CONFIGS, Config
from bench.data import token_stream
from bench.measure import PAUSE, Measurement, check_agreement
from bench.programs import Contender
from bench.report import TOKENS, Column, Entry, Result, spread
from bench.tasks import Training
from bench.worker import Worker

CASES = {name: CONFIGS[name] for name in ("char-128", "ptb-medium")}
QUICK_CASES = tuple(CASES)
PEERS = ("torch",)
SECONDS, QUICK_SECONDS = 2.0, 0.5
COLUMNS = (
    TOKENS,
    Column("together", 10, lambda _, program: f"{program['together']['tokens_per_second']:,.0f}"),
    Column("(min–max)", 19, lambda _, program: spread(program["together"]["tokens_per_second_rounds"])),
    Column("of alone", 8, lambda _, program: f"{program['of_alone']:.1%}"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def results(options: argparse.Namespace) -> Iterator[Result]:
    names = [Contender("recurlm"), *map(Contender.named, options.versus)]
    for threads in options.threads:
        for case in options.config:
            yield processes(CASES[case], names, threads, options.seconds, options.rounds)


def processes(config: Config, names: list[Contender], threads: int, seconds: float, rounds: int) -> Result:
    stream, text = token_stream(config)
    with ExitStack() as stack:

        def start(name: Contender) -> Worker:
            build = partial(Training, name, config, stream, threads)
            return stack.enter_context(closing(Worker(name.name, build, threads)))

        pairs = {name: (start(name), start(name)) for name in names}
        check_agreement([Measurement(name, worker.ask("answers")) for name, pair in pairs.items() for worker in pair])
        alone: dict[str, list[float]] = {name.name: [] for name in names}
        together: dict[str, list[float]] = {name.name: [] for name in names}
        for _ in range(rounds):
            for name, pair in pairs.items():
                time.sleep(PAUSE)
                alone[name.name].append(pair[0].ask("tokens_per_second", seconds))
                time.sleep(PAUSE)
                together[name.name].append(at_once(pair, seconds))
    entries = {name: entry(alone[name], together[name]) for name in alone}
    return report.result(config.name, config, threads, entries, text=text)


def at_once(pair: tuple[Worker, Worker], seconds: float) -> float:
    for worker in pair:
        worker.send("tokens_per_second", seconds)
    return sum(float(worker.receive()) for worker in pair)


def entry(alone: list[float], together: list[float]) -> Entry:
    of_alone = statistics.median(both / one for both, one in zip(together, alone, strict=True))
    return report.rates(alone) | {"together": report.rates(together), "of_alone": of_alone}
