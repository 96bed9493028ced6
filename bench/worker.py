"""One program in a process of its own, so that its memory is its own and its idle threads disturb no other."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bench.tasks import Task

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RECURLM_NUM_THREADS",
    "NPROC",  # XLA sizes its pool by it
)


class Worker:
    """A child process that holds a task. RuntimeError tells the child's reason when it fails."""

    def __init__(self, name: str, build: Callable[[], Task], threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")  # a fork would inherit the parent's memory and thread pools
        self.connection, remote = context.Pipe()
        self.process = context.Process(target=serve, args=(remote, build), daemon=True)
        before = dict(os.environ)
        os.environ.update(library_settings(threads))  # inherited by the child, whose libraries read them on import
        self.process.start()
        os.environ.clear()
        os.environ.update(before)
        remote.close()
        self.receive()  # the task is built

    def ask(self, question: str, *arguments: float) -> Any:
        """The answer of a method of the task."""
        self.send(question, *arguments)
        return self.receive()

    def send(self, question: str, *arguments: float) -> None:
        self.connection.send((question, arguments))

    def receive(self) -> Any:
        try:
            answer = self.connection.recv()
        except EOFError:
            self.process.join()
            raise RuntimeError(f"{self.name} ended with exit code {self.process.exitcode}") from None
        if isinstance(answer, Exception):
            raise RuntimeError(f"{self.name} failed: {answer}")
        return answer

    def close(self) -> None:
        self.connection.close()
        self.process.join()


def serve(connection: Connection, build: Callable[[], Task]) -> None:
    """The child: build the task, then answer questions until the parent hangs up."""
    try:
        task = build()
        connection.send(None)
        while True:
            question, arguments = connection.recv()
            connection.send(getattr(task, question)(*arguments))
    except EOFError:
        pass
    except Exception as error:  # whatever it is, the parent reports it
        connection.send(RuntimeError(f"{type(error).__name__}: {error}"))  # not all exceptions can be sent themselves


def library_settings(threads: int) -> dict[str, str]:
    return dict.fromkeys(THREAD_VARIABLES, str(threads)) | {
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
