"""How much memory it takes to train on a text that is larger: ``python -m tests.endurance.memory [--megabytes 2000]``.

A text of words after Zipf's law with ever new ones among them is written to a temporary folder, ``recurlm train`` is
run on it with a character and with a word model, and its peak is held against a limit that does not depend on the text.
Resident memory is what the kernel counts: pages of mapped files included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

LIMIT_MB = 600
_WORDS = 50_000  # of Zipf's law
_NEW = 0.05  # of all words: numbers, names, slips of the pen
_LETTERS = 6  # of a word
_BLOCK = 600_000  # words at a time

MODELS = {
    "char": ["--tokenizer", "char"],
    "word": ["--tokenizer", "word", "--vocabulary-size", "10000"],
}


class Peak(NamedTuple):
    """What a process took at most."""

    seconds: float
    resident_mb: float
    anonymous_mb: float  # without pages of files, which the kernel can take back at any time


def write_text(path: Path, megabytes: int) -> None:
    """A text of that size, the same at every call."""
    rng = np.random.default_rng(1)
    frequencies = 1 / np.arange(1, _WORDS + 1)
    frequencies /= frequencies.sum()
    text = np.full((_BLOCK, _LETTERS + 1), ord(" "), np.uint8)
    text[11::12, -1] = ord("\n")
    with path.open("wb") as file:
        while file.tell() < megabytes * 1_000_000:
            words = rng.choice(_WORDS, _BLOCK, p=frequencies)
            new = rng.random(_BLOCK) < _NEW
            words[new] = rng.integers(_WORDS, 26**_LETTERS, new.sum())
            text[:, :-1] = words[:, None] // 26 ** np.arange(_LETTERS) % 26 + ord("a")
            file.write(text.tobytes())


def train(text: Path, kind: str, steps: int, folder: Path) -> Peak:
    """Train a small model for ``steps``; what that took.

    Raises:
        RuntimeError: the command failed; what it said.
    """
    arguments = ["--units", "64", "--batch-size", "32", "--window", "64", "--max-tokens", str(steps * 32 * 64)]
    command = [sys.executable, "-m", "recurlm", "train", str(text), "--out", str(folder / kind), *MODELS[kind]]
    start = time.perf_counter()
    held_out = ["--validation-split", "0.001"]  # all of a tenth would be validated for hours
    with (folder / f"{kind}.log").open("w+") as log:
        process = subprocess.Popen([*command, *arguments, *held_out], stdout=log, stderr=log)
        watch = _watch(process)
        process.wait()
        watch.join()
        log.seek(0)
        if process.returncode:
            raise RuntimeError(log.read())
    return Peak(time.perf_counter() - start, watch.resident / 1024, watch.anonymous / 1024)


class _Watch(threading.Thread):
    """Reads what memory a process takes until it ends, at most, in kB.

    What the kernel tells when it has ended includes the process that started it, before it became another.
    """

    def __init__(self, status: Path) -> None:
        super().__init__()
        self.status = status
        self.resident = self.anonymous = 0

    def run(self) -> None:
        while True:
            try:
                fields = dict(line.split(":", 1) for line in self.status.read_text().splitlines())
            except OSError:
                return
            if "RssAnon" not in fields:  # it has ended
                return
            self.anonymous = max(self.anonymous, int(fields["RssAnon"].split()[0]))
            self.resident = int(fields["VmHWM"].split()[0])
            time.sleep(0.05)


def _watch(process: subprocess.Popen[bytes]) -> _Watch:
    watch = _Watch(Path(f"/proc/{process.pid}/status"))
    watch.start()
    return watch


def main() -> int:
    """Print what each kind of model took; the exit code tells whether all stayed below the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    within = True
    with tempfile.TemporaryDirectory() as name:
        text = Path(name) / "text.txt"
        write_text(text, arguments.megabytes)
        for kind in MODELS:
            peak = train(text, kind, arguments.steps, Path(name))
            within = within and peak.resident_mb <= LIMIT_MB
            print(
                f"{kind}: {text.stat().st_size / 1e6:,.0f} MB of text, {arguments.steps} steps, {peak.seconds:.0f} s, "
                f"at most {peak.resident_mb:.0f} MB resident, {peak.anonymous_mb:.0f} MB of them of no file",
                flush=True,
            )
    return 0 if within else 1


if __name__ == "__main__":
    raise SystemExit(main())
