"""Short runs of the programs of tests/endurance, and what goes with them; long ones with RECURLM_ENDURANCE=1."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from recurlm import LanguageModel, checkpoint
from recurlm.callbacks import Callback
from recurlm.text import corpus, tokenizers
from recurlm.text.batching import Streams
from recurlm.text.corpus import Texts, build_corpus
from recurlm.text.tokenizers import ByteTokenizer, WordTokenizer
from tests.endurance import kill, memory
from tests.python import samples

LONG = "RECURLM_ENDURANCE" in os.environ


def test_killed_runs_end_with_the_same_bytes(tmp_path: Path) -> None:
    trial = kill.Trial(tmp_path)
    kills = sum(trial.round(number) for number in range(200 if LONG else 2))
    assert kills > 0


@pytest.mark.skipif(not LONG, reason="2 GB of text; set RECURLM_ENDURANCE")
@pytest.mark.parametrize("kind", list(memory.MODELS))
def test_two_gigabytes_of_text_train_within_the_limit(tmp_path: Path, kind: str) -> None:
    memory.write_text(tmp_path / "text.txt", 2000)
    peak = memory.train(tmp_path / "text.txt", kind, 300, tmp_path)
    assert peak.resident_mb <= memory.LIMIT_MB


def test_resident_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    """Around the place of each of 32 streams the kernel maps up to 2 MB, which both texts are large enough for.

    The second has 120 MB more of ids.
    """
    peaks = []
    for megabytes in (60, 120):
        folder = tmp_path / str(megabytes)
        folder.mkdir()
        memory.write_text(folder / "text.txt", megabytes)
        peaks.append(memory.train(folder / "text.txt", "char", 20, folder).resident_mb)
    assert peaks[1] - peaks[0] < 10


def test_pages_that_were_read_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mapped_kb() -> int:
        lines = Path("/proc/self/smaps").read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if ".bin" in line and str(tmp_path) in line)
        return int(next(line for line in lines[at:] if line.startswith("Rss:")).split()[1])

    if not Path("/proc/self/smaps").exists():
        pytest.skip("only Linux tells how much of a map is in memory")
    ids = build_corpus(Texts.of(["x" * 16_000_000]), ByteTokenizer(), tmp_path).ids
    monkeypatch.setattr("recurlm.text.batching._MAPPED_BYTES", 1 << 20)
    expected = np.array(ids[:64])
    most = max(mapped_kb() for step, _ in enumerate(Streams(ids, 256, 1, 10_000).windows()) if step % 50 == 0)
    assert most < 8_000  # all of it is 32,000; the kernel maps up to 2,048 around what is read
    np.testing.assert_array_equal(ids[:64], expected)
    corpus.release(np.zeros(3, np.uint16))  # not mapped: nothing to let go


def test_rare_words_are_forgotten_and_frequent_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizers, "_MOST_COUNTED", 1000)
    chunks = [
        " ".join(["often", "often", *(f"w{i}" for i in range(n, n + 300)), "again "]) for n in range(0, 9000, 300)
    ]
    counted = []
    real = tokenizers._frequent_half
    monkeypatch.setattr(tokenizers, "_frequent_half", lambda counts: counted.append(len(counts)) or real(counts))
    tokenizer = WordTokenizer(size=5)
    tokenizer.train([chunks])
    assert tokenizer.tokens[3:] == ["often", "again"]
    assert counted
    assert max(counted) <= 1000 + 302
    counted.clear()
    everything = WordTokenizer()
    everything.train([chunks])
    assert (counted, everything.vocabulary_size) == ([], 3 + 2 + 9000)


def test_sigterm_saves_says_where_and_exits_with_143(tmp_path: Path) -> None:
    source = samples.text_file(tmp_path, 60)
    command = [sys.executable, "-m", "recurlm", "train", source, "--out", tmp_path / "m", "--units", "12"]
    command += ["--batch-size", "4", "--window", "16", "--epochs", "100000", "--checkpoint-every", "100000000"]
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not checkpoint.list_steps(tmp_path / "m-checkpoints") and time.monotonic() < deadline:
            time.sleep(0.05)  # until the first epoch has ended
        before = checkpoint.list_steps(tmp_path / "m-checkpoints")[-1]
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    where = checkpoint.newest(tmp_path / "m-checkpoints")
    assert checkpoint.list_steps(tmp_path / "m-checkpoints")[-1] >= before
    assert f"recurlm: terminated; saved in {where}, repeat the command with --resume to go on" in errors
    assert "Traceback" not in errors
    LanguageModel.load(where)


class Terminate(Callback):
    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        if batch == 5:
            signal.raise_signal(signal.SIGTERM)


def test_sigterm_in_python_ends_in_a_step_that_is_whole_and_resumes(tmp_path: Path) -> None:
    source = samples.text_file(tmp_path, 20)

    def fit(**options: object) -> LanguageModel:
        lm = LanguageModel(units=6, seed=2)
        lm.fit(source, epochs=1, **samples.RECIPE | options)  # type: ignore[arg-type]
        return lm

    with pytest.raises(SystemExit) as caught:
        fit(checkpoint_dir=tmp_path / "c", callbacks=[Terminate()])
    assert caught.value.code == 143
    assert checkpoint.list_steps(tmp_path / "c") == [6]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert samples.weight_bytes(fit(checkpoint_dir=tmp_path / "c", resume=True)) == samples.weight_bytes(fit())


def test_a_program_that_handles_sigterm_itself_goes_on_to_do_so(tmp_path: Path) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        LanguageModel(units=6).fit(
            samples.text_file(tmp_path, 20),
            epochs=1,
            callbacks=[Terminate()],
            **samples.RECIPE,  # type: ignore[arg-type]
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
