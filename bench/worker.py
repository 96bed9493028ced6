"""One program in a process of its own, so that its memory is its own and its idle threads disturb no other."""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench import program
from bench.configs import Config, Ids, initial_weights
from bench.data import windows


class Worker:
    """A child process that holds a program ready to train. RuntimeError tells the child's reason when it fails."""

    def __init__(self, name: str, config: Config, stream: Ids, threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")  # a fork would inherit the parent's memory and thread pools
        self.connection, remote = context.Pipe()
        self.process = context.Process(target=serve, args=(remote, name, config, stream, threads), daemon=True)
        self.process.start()
        remote.close()
        self.receive()  # the program is built

    def losses(self, steps: int) -> list[float]:
        """The losses of the next ``steps`` training steps."""
        return list(self.ask("losses", steps))

    def tokens_per_second(self, seconds: float) -> float:
        """Train for ``seconds``, one step at least."""
        return float(self.ask("tokens_per_second", seconds))

    def peak_memory(self) -> float | None:
        """Megabytes of resident memory at their highest; None where the system does not say."""
        peak: float | None = self.ask("peak_memory", None)
        return peak

    def close(self) -> None:
        self.connection.close()
        self.process.join()

    def ask(self, question: str, argument: float | None) -> Any:
        self.connection.send((question, argument))
        return self.receive()

    def receive(self) -> Any:
        try:
            answer = self.connection.recv()
        except EOFError:
            self.process.join()
            raise RuntimeError(f"{self.name} ended with exit code {self.process.exitcode}") from None
        if isinstance(answer, Exception):
            raise RuntimeError(f"{self.name} failed: {type(answer).__name__}: {answer}")
        return answer


def serve(connection: Connection, name: str, config: Config, stream: Ids, threads: int) -> None:
    """The child: build the program, then answer questions until the parent hangs up."""
    try:
        step = program.load(name).build(config, initial_weights(config), threads)
        batches = windows(stream, config)
        connection.send("ready")
        while True:
            question, argument = connection.recv()
            if question == "losses":
                connection.send([step(*next(batches)) for _ in range(argument)])
            elif question == "tokens_per_second":
                connection.send(train(step, batches, argument) * config.tokens)
            else:
                connection.send(resident_peak())
    except EOFError:
        pass
    except Exception as error:  # whatever it is, the parent reports it
        connection.send(error)


def train(step: program.Step, batches: Iterator[tuple[Ids, Ids]], seconds: float) -> float:
    """Steps a second, over ``seconds`` and at least one step."""
    count, elapsed = 0, 0.0
    start = time.perf_counter()
    while count == 0 or elapsed < seconds:
        step(*next(batches))
        count += 1
        elapsed = time.perf_counter() - start
    return count / elapsed


def resident_peak() -> float | None:
    """VmHWM, in MB (1e6 bytes). ``ru_maxrss`` would do, but a child inherits its parent's."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) * 1024 / 1e6
