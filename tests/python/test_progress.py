import io
import itertools
import os
import re
from contextlib import closing

import pytest

from recurlm.language_model.progress import Progress

COLUMNS = 80


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def shown(self) -> list[str]:
        """What was written since the last call, line by line and refresh by refresh, without codes for the cursor."""
        written = self.getvalue()
        self.seek(0)
        self.truncate()
        return [line.rstrip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", written))]


@pytest.mark.parametrize(
    ("epoch", "loss", "rate"),
    [(0, 0.5, 100), (99, 9.2103, 1_234_567), (99, 800.0, 45_463), (11, 3.0162, 863_628)],
)
def test_lines_fit_and_the_bar_stays_one(monkeypatch: pytest.MonkeyPatch, epoch: int, loss: float, rate: int) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("os.get_terminal_size", lambda descriptor: os.terminal_size((COLUMNS, 24)))
    seconds = itertools.count()  # of a clock that ticks when read: the time left is the longest that is shown
    monkeypatch.setattr("recurlm.language_model.progress.time.perf_counter", lambda: float(next(seconds)))
    with closing(Progress(True, None, lambda: "")) as progress:
        progress.begin(0)
        progress._tokens, progress._training_seconds = rate * 1000, 1000.0
        progress.step(0, loss, 1e-7)
        (bar,) = (line for line in terminal.shown() if line.endswith(" left"))
        assert bar.endswith(", 99:59:59 left")
        assert len(bar) <= COLUMNS
        assert bar.index("| loss ") - bar.index("|") > 6
        progress.validate()
        assert any(line.endswith("| validating") for line in terminal.shown())
        progress.epoch(epoch, {"loss": loss, "val_loss": loss})
        (line,) = (line for line in terminal.shown() if line.startswith("epoch"))
        assert f"validation {loss:.4f}, perplexity " in line
        assert len(line) <= COLUMNS
