"""Measure the programs of one case: equal answers first, then alternating rounds."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from bench.programs import Contender
from bench.tasks import Task
from bench.worker import Worker

Builders = Mapping[Contender, Callable[[], Task]]

AGREEMENT = {"float32": 1e-3, "bfloat16": 2e-2, "int8": 1e-1}  # nats
PAUSE = 0.1  # seconds in which the threads of the program before fall asleep


@dataclass
class Measurement:
    """What one program did in one case."""

    contender: Contender
    answers: list[float]
    largest_difference: float = 0.0  # of its answers from those of the first program
    facts: dict[str, Any] = field(default_factory=dict)  # see ``Task.facts``
    tokens_per_second: list[float] = field(default_factory=list)  # one for each round

    @property
    def name(self) -> str:
        return self.contender.name


def measure(builders: Builders, *, threads: int, seconds: float, rounds: int) -> list[Measurement]:
    """Run the programs in turn, never two at once. With ``rounds`` 0 only answers and facts are looked at.

    Raises RuntimeError if a program fails or if the answers disagree.
    """
    with ExitStack() as stack:
        turns: list[tuple[Worker, Measurement]] = []
        for contender, build in builders.items():
            if started := start(contender, build, threads):
                stack.enter_context(closing(started[0]))
                turns.append(started)
        results = [result for _, result in turns]
        check_agreement(results)
        for round_ in range(rounds):
            for worker, result in turns if round_ % 2 == 0 else reversed(turns):
                time.sleep(PAUSE)
                result.tokens_per_second.append(worker.ask("tokens_per_second", seconds))
        for worker, result in turns:
            result.facts = worker.ask("facts")
    return results


def start(contender: Contender, build: Callable[[], Task], threads: int) -> tuple[Worker, Measurement] | None:
    """None, and a sentence, where the machine or the library has no such precision."""
    try:
        worker = Worker(contender.name, build, threads)
        return worker, Measurement(contender, worker.ask("answers"))
    except RuntimeError as error:
        if contender.dtype == "float32":
            raise
        print(f"bench: left out: {error}", file=sys.stderr)
        return None


def check_agreement(results: Sequence[Measurement]) -> None:
    """Raise RuntimeError unless all programs answer as the first does, as far as their precisions go."""
    first = results[0]
    for other in results[1:]:
        tolerance = AGREEMENT[other.contender.dtype]
        # Only float32 promises the ids that stand at the end of a generation's answers.
        for n, (expected, got) in enumerate(zip(first.answers, other.answers, strict=False), start=1):
            difference = abs(got - expected)
            if not difference <= tolerance:  # written so that NaN disagrees
                raise RuntimeError(
                    f"answer {n} is {expected:.6f} in {first.name} but {got:.6f} in {other.name}; "
                    f"they must agree within {tolerance:g}"
                )
            other.largest_difference = max(other.largest_difference, difference)


def speed_ups(result: Measurement, other: Measurement) -> list[float]:
    """``result``'s speed over ``other``'s in each round: the machine's drift cancels, and the median is reported."""
    pairs = zip(result.tokens_per_second, other.tokens_per_second, strict=True)
    return [mine / theirs for mine, theirs in pairs]
