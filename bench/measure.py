"""Measure one configuration: equal answers first, then alternating rounds."""

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from bench import program
from bench.configs import Config, Ids
from bench.data import distinct_tokens
from bench.worker import Worker

AGREEMENT_STEPS = 4
AGREEMENT = 1e-3  # nats
PAUSE = 0.1  # seconds in which the threads of the program before fall asleep


@dataclass
class Measurement:
    """What one program did on one configuration."""

    program: str
    config: Config
    losses: list[float]
    distinct: float  # different tokens in a window
    peak_memory_mb: float | None = None
    tokens_per_second: list[float] = field(default_factory=list)  # one for each round

    @property
    def median(self) -> float:
        return statistics.median(self.tokens_per_second)

    @property
    def counted_gflops(self) -> float:
        """By the definition of the model: comparable between programs."""
        return self.median * self.config.counted_flops / self.config.tokens / 1e9

    @property
    def executed_gflops(self) -> float:
        """Of the products that this program really forms: comparable with the machine's peak."""
        flops = program.load(self.program).executed_flops(self.config, self.distinct)
        return self.median * flops / self.config.tokens / 1e9


def measure(
    config: Config, programs: Sequence[str], stream: Ids, *, threads: int, seconds: float, rounds: int
) -> list[Measurement]:
    """Run the programs in turn, never two at once. With ``rounds`` 0 only answers and memory are looked at.

    Raises RuntimeError if a program fails or if the losses of the first steps disagree.
    """
    distinct = distinct_tokens(stream, config)
    with ExitStack() as stack:
        turns: list[tuple[Worker, Measurement]] = []
        for name in programs:
            worker = stack.enter_context(closing(Worker(name, config, stream, threads)))
            turns.append((worker, Measurement(name, config, worker.losses(AGREEMENT_STEPS), distinct)))
        results = [result for _, result in turns]
        check_agreement(results)
        for round_ in range(rounds):
            for worker, result in turns if round_ % 2 == 0 else reversed(turns):
                time.sleep(PAUSE)
                result.tokens_per_second.append(worker.tokens_per_second(seconds))
        for worker, result in turns:
            result.peak_memory_mb = worker.peak_memory()
    return results


def check_agreement(results: Sequence[Measurement]) -> None:
    """Raise RuntimeError unless all programs, from identical weights and batches, report the same losses."""
    first = results[0]
    for other in results[1:]:
        for step, (expected, got) in enumerate(zip(first.losses, other.losses, strict=True), start=1):
            if not abs(got - expected) <= AGREEMENT:  # written so that NaN disagrees
                raise RuntimeError(
                    f"{first.config.name}: the loss of step {step} is {expected:.6f} in {first.program} "
                    f"but {got:.6f} in {other.program}; they must agree within {AGREEMENT:g}"
                )


def speed_up(result: Measurement, other: Measurement) -> float:
    """Median over rounds of ``result``'s speed over ``other``'s in the same round: the machine's drift cancels."""
    pairs = zip(result.tokens_per_second, other.tokens_per_second, strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)
