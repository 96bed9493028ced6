"""Kill training at random moments, resume, compare: ``python -m tests.endurance.kill [--rounds 200]``.

Each round starts ``recurlm train`` over a model that is there already, sends SIGKILL after a random time (as it reads
the text, in a step, a checkpoint, the final save), goes on with ``--resume``, and so on until a run ends by itself. At
any time the model in place must be the old or the new one, whole; at the end every file must have the bytes that a run
without interruption gives, and nothing else may be left. Processes are forked from one that has imported everything,
so that no kill is spent on what only reads.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from recurlm import LanguageModel, checkpoint
from recurlm.cli import main as recurlm
from tests.python import samples

_MODEL = ["--units", "12", "--layers", "2", "--dropout", "0.2"]
_RECIPE = ["--batch-size", "4", "--window", "16", "--epochs", "2", "--checkpoint-every", "3"]
_ERRORS = "errors.txt"
_LIMIT = 100  # processes a round
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["recurlm.cli"])


class Lost(AssertionError):
    """Something did not survive; the message says what."""


class Trial:
    """A run that was not interrupted, in ``folder``, and rounds of runs that are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._text = samples.text_file(folder, 40)
        self._old = folder / "old"
        samples.trained(["an older model"] * 20, epochs=1).save(self._old)
        self.seconds, self._expected = min((self._straight(folder / name) for name in "ab"), key=lambda run: run[0])
        self._models = [_model(self._old), _model(folder / "a" / "model")]

    def _straight(self, folder: Path) -> tuple[float, dict[str, bytes]]:
        """A run without interruption: how long it took (the first also starts the server), and what it wrote."""
        folder.mkdir()
        start = time.perf_counter()
        process = self._start(folder, resume=False)
        process.join()
        if process.exitcode:
            raise Lost((folder / _ERRORS).read_text())
        return time.perf_counter() - start, _contents(folder)

    def round(self, number: int) -> int:
        """Kill and resume until a run ends; the number of kills. The moments are a function of ``number``.

        Raises:
            Lost: a run failed, or ended with something else.
        """
        folder = self._folder / f"round-{number}"
        shutil.copytree(self._old, folder / "model")
        moments = random.Random(number)
        for kills in range(_LIMIT):
            process = self._start(folder, resume=bool(checkpoint.list_steps(folder / "model-checkpoints")))
            # Later ones live longer: the machine may have become slower since the first run.
            process.join(moments.uniform(0, 0.8 * self.seconds * (1 + kills / 4)))
            process.kill()  # unless it has ended
            process.join()
            if process.exitcode != -signal.SIGKILL:
                break
            self._check_model(folder)
        else:
            raise Lost(f"round {number}: no end after {_LIMIT} kills")
        if process.exitcode:
            said = (folder / _ERRORS).read_text()
            raise Lost(f"round {number}, after {kills} kills: exit code {process.exitcode}: {said}")
        self._compare(_contents(folder), f"round {number}, after {kills} kills")
        shutil.rmtree(folder)
        return kills

    def _start(self, folder: Path, resume: bool) -> multiprocessing.process.BaseProcess:
        arguments = [
            "train",
            str(self._text),
            "--out",
            str(folder / "model"),
            *_MODEL,
            *_RECIPE,
            *["--resume"] * resume,
        ]
        process = _SERVER.Process(target=_run, args=(arguments, folder / _ERRORS))
        process.start()
        return process

    def _check_model(self, folder: Path) -> None:
        LanguageModel.load(folder / "model")  # which also finishes a replacement that was begun
        if _model(folder / "model") not in self._models:
            raise Lost(f"{folder / 'model'} is neither the old nor the new model")

    def _compare(self, found: dict[str, bytes], where: str) -> None:
        if found.keys() != self._expected.keys():
            raise Lost(f"{where}: files differ: {sorted(found.keys() ^ self._expected.keys())}")
        for name, data in self._expected.items():
            if found[name] != data and not name.endswith(("training.json", "history.json")):  # these hold seconds
                raise Lost(f"{where}: {name} differs")


def _run(arguments: list[str], errors: Path) -> None:
    with errors.open("w") as file:
        sys.stdout = sys.stderr = file
        code = recurlm(arguments)
    sys.exit(code)


def _contents(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in found.items() if name.name != _ERRORS}


def _model(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def main() -> None:
    """Run the rounds; ``Lost`` ends them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    killed = 0
    with tempfile.TemporaryDirectory() as name:
        trial = Trial(Path(name))
        print(f"a run without interruption takes {trial.seconds:.1f} s", flush=True)
        for number in range(rounds):
            kills = trial.round(number)
            killed += kills
            print(f"round {number}: {kills} kills, the same bytes", flush=True)
    print(f"{rounds} rounds, {killed} kills, the same bytes in all")


if __name__ == "__main__":
    main()
