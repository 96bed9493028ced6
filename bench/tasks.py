"""What a measured process does over and over: a training step, tokens of a stream, the scores of some texts."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from bench.configs import Config, Ids, initial_weights, running_weights
from bench.data import distinct_tokens, windows
from bench.programs import Contender, Generator, Scorer, Step

AGREEMENT_STEPS = 4
PROMPTS, PROMPT_TOKENS = 16, 8
GREEDY_TOKENS = 16
CHUNK = 32  # tokens that ``LanguageModel.generate`` draws in one call of the core


class Task(ABC):
    """Built in the process that is measured."""

    tokens: int
    """Of one ``run``."""

    @abstractmethod
    def answers(self) -> list[float]:
        """What every program must find alike before any is timed."""

    @abstractmethod
    def run(self) -> None: ...

    def tokens_per_second(self, seconds: float) -> float:
        """Over ``seconds``, one run at least."""
        count, elapsed = 0, 0.0
        start = time.perf_counter()
        while count == 0 or elapsed < seconds:
            self.run()
            count += 1
            elapsed = time.perf_counter() - start
        return count * self.tokens / elapsed

    def facts(self) -> dict[str, float | None]:
        """What is known of the process besides its times."""
        return {"peak_memory_mb": resident_peak()}


class Training(Task):
    """Steps on consecutive windows of a text."""

    def __init__(self, contender: Contender, config: Config, stream: Ids, threads: int) -> None:
        self.step: Step = contender.build("training", config, initial_weights(config), threads)
        self.batches = windows(stream, config)
        self.tokens = config.tokens
        self.executed_flops = contender.executed_flops(config, distinct_tokens(stream, config))

    def answers(self) -> list[float]:
        """The losses of the first steps."""
        return [self.step(*batch) for batch in islice(self.batches, AGREEMENT_STEPS)]

    def run(self) -> None:
        self.step(*next(self.batches))

    def facts(self) -> dict[str, float | None]:
        return super().facts() | {"executed_flops": self.executed_flops}


class Generation(Task):
    """Greedy tokens, one at a time."""

    tokens = CHUNK

    def __init__(self, contender: Contender, config: Config, stream: Ids, threads: int) -> None:
        self.generator: Generator = contender.build("generation", config, running_weights(config), threads)
        self.prompts = stream[: PROMPTS * PROMPT_TOKENS].reshape(PROMPTS, PROMPT_TOKENS)
        self.exact = contender.dtype == "float32"

    def answers(self) -> list[float]:
        """How probable the likeliest token after each prompt is; in float32, also the ids that follow the last one."""
        log_probabilities = [self.generator.log_probability(prompt) for prompt in self.prompts]
        self.generator.begin(self.prompts[-1])
        ids = self.generator.generate(GREEDY_TOKENS)
        return [*log_probabilities, *map(float, ids if self.exact else ())]

    def run(self) -> None:
        self.generator.generate(CHUNK)

    def facts(self) -> dict[str, float | None]:
        return super().facts() | {"read_bytes": self.generator.read_bytes}


class Scoring(Task):
    """Log-probabilities of all texts at once."""

    def __init__(self, contender: Contender, config: Config, texts: Sequence[Ids], threads: int) -> None:
        self.score: Scorer = contender.build("scoring", config, running_weights(config), texts, threads)
        self.tokens = sum(map(len, texts))

    def answers(self) -> list[float]:
        return [float(log_probability) for log_probability in self.score()]

    def run(self) -> None:
        self.score()


def resident_peak() -> float | None:
    """VmHWM, in MB (1e6 bytes). ``ru_maxrss`` would do, but a child inherits its parent's."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) * 1024 / 1e6
