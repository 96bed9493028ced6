"""Training steps: truncated back-propagation, state carried, Adam with global-norm clipping.

GFLOP/s: 3 × 2 × multiplied weights × tokens; executed: what the program itself multiplies, of the fp32 peak.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from bench import programs, report
from bench.configs import CONFIGS, QUICK, Config
from bench.data import token_stream
from bench.measure import Builders, measure
from bench.probes import peak_gflops
from bench.programs import Contender
from bench.report import MEMORY, SPEED_UP, SPREAD, TOKENS, Column, Entry, Result
from bench.tasks import Training

CASES: Mapping[str, Config] = CONFIGS
QUICK_CASES: Sequence[str] = QUICK
PEERS = programs.PEERS["training"]
WITH_ATTENTION = ("recurlm", "torch")
SECONDS, QUICK_SECONDS = 2.0, 0.5
COLUMNS = (
    TOKENS,
    SPREAD,
    Column("GFLOP/s", 8, lambda _, program: f"{program['counted_gflops']:.0f}"),
    Column("executed", 8, lambda _, program: f"{program['executed_gflops']:.0f}"),
    Column("of peak", 7, lambda case, program: f"{program['executed_gflops'] / case['peak_gflops']:.0%}"),
    MEMORY,
    SPEED_UP,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--memory", action="store_true", help="a few steps for the peak of memory, no times")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16: recurlm's and PyTorch's (autocast) beside recurlm's float32",
    )


def results(options: argparse.Namespace) -> Iterator[Result]:
    names = contenders(options.versus, options.dtype)
    for threads in options.threads:
        for name in options.config:
            rounds = 0 if options.memory else options.rounds
            config = CASES[name]
            able = [n for n in names if config.cell != "attention" or n.program in WITH_ATTENTION]
            yield train(config, able, options.dtype, threads, options.seconds, rounds)


def contenders(peers: Sequence[str], dtype: str) -> list[Contender]:
    """recurlm first, then its opponents; of those only PyTorch trains in other precisions."""
    if dtype == "float32":
        return [Contender("recurlm"), *map(Contender.named, peers)]
    if left_out := [peer for peer in peers if peer != "torch"]:
        print(f"bench: left out: {', '.join(left_out)}, which do not train in {dtype} here", file=sys.stderr)
    others = [Contender(peer, dtype) for peer in peers if peer == "torch"]
    return [Contender("recurlm"), Contender("recurlm", dtype), *others]


def train(config: Config, names: Sequence[Contender], dtype: str, threads: int, seconds: float, rounds: int) -> Result:
    stream, text = token_stream(config)
    builders: Builders = {name: partial(Training, name, config, stream, threads) for name in names}
    peak = peak_gflops(threads)
    measured = measure(builders, threads=threads, seconds=seconds, rounds=rounds)
    peak = max(peak, peak_gflops(threads))  # before and after, as the clock of a busy machine drifts
    rivals = {name.name: Contender("recurlm", dtype).name for name in names}
    entries = {name: with_flops(program, config) for name, program in report.entries(measured, rivals).items()}
    return report.result(config.name, config, threads, entries, text=text, peak_gflops=peak)


def with_flops(program: Entry, config: Config) -> Entry:
    """Counted by the definition of the model, to compare programs; executed, to compare with the machine's peak."""
    if "tokens_per_second" not in program:
        return program
    steps = program["tokens_per_second"] / config.tokens
    return program | {
        "counted_gflops": steps * config.counted_flops / 1e9,
        "executed_gflops": steps * program["executed_flops"] / 1e9,
    }
