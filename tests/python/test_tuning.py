"""Searches: what is tried, what is kept, and what becomes of trials that were killed."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna")

from recurlm import LanguageModel, get_num_threads
from recurlm.cli import main
from recurlm.files import DamagedFileError
from recurlm.text import corpus
from recurlm.tuning import Space, Tuning, search, trials, tune
from recurlm.tuning.trials import Folder

from . import samples

SPACE: dict[str, Any] = {
    "units": {"type": "int", "low": 4, "high": 32, "log": True},
    "learning_rate": {"type": "float", "low": 0.001, "high": 0.05, "log": True},
    "cell": {"type": "categorical", "choices": ["lstm", "gru", "rnn"]},
    "epochs": 3,
    "batch_size": 4,
    "window": 16,
}
DATA = [samples.text(40)]


def run(folder: Path, **options: Any) -> Tuning:
    return tune(DATA, SPACE, folder, **{"trials": 3, "verbose": False} | options)


def outcome(found: Tuning) -> list[tuple[Any, ...]]:
    return [(trial.number, trial.state, trial.val_loss, trial.epochs, trial.parameters) for trial in found.trials]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    return run(tmp_path_factory.mktemp("tuning") / "out", trials=9)


# What is found ----------------------------------------------------------------------------------------------------


def test_the_best_model_is_kept(found: Tuning) -> None:
    complete = [trial for trial in found.trials if trial.state == "complete"]
    assert found.best == found.trials[0]
    assert found.best.val_loss == min(trial.val_loss or 9.0 for trial in complete)
    parameters = dict(found.best.parameters)
    rate = parameters.pop("learning_rate")
    lm = LanguageModel(**parameters)
    history = lm.fit(DATA, epochs=3, batch_size=4, window=16, learning_rate=rate, verbose=False)
    assert min(history["val_loss"]) == found.best.val_loss
    assert np.array_equal(LanguageModel.load(found.model).score(samples.LINES[:3]), lm.score(samples.LINES[:3]))


def test_the_text_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its vocabulary taken once, of the size that the space says."""
    written: list[Any] = []
    write_ids = corpus._write_ids

    def spy(*arguments: Any) -> None:
        written.append(arguments)
        write_ids(*arguments)

    monkeypatch.setattr(corpus, "_write_ids", spy)
    space = SPACE | {"tokenizer": {"kind": "word", "size": 9}, "window": 4, "epochs": 1}
    found = tune(DATA, space, tmp_path / "out", trials=2, verbose=False)
    assert len(written) == 1
    tokenizer = LanguageModel.load(found.model).tokenizer
    assert tokenizer.vocabulary_size == 9
    assert tokenizer.to_json() == (tmp_path / "out" / "tokenizer.json").read_text()
    tune(DATA, space, tmp_path / "out", trials=3, resume=True, verbose=False)
    assert len(written) == 1


@pytest.mark.parametrize(
    ("data", "held_out", "entries", "sentence"),
    [
        ([""], None, {}, "the text is empty"),
        (DATA, b"\xff", {"tokenizer": "word"}, "is not UTF-8 text"),
        (DATA, None, {"validation_split": 1e-9}, "must hold out at least one"),
    ],
)
def test_a_text_that_cannot_be_read_leaves_no_search(
    tmp_path: Path, data: list[str], held_out: bytes | None, entries: dict[str, Any], sentence: str
) -> None:
    path = tmp_path / "held_out"
    path.write_bytes(held_out or b"")
    with pytest.raises(ValueError, match=sentence):
        tune(data, SPACE | entries, tmp_path / "out", path if held_out else None, verbose=False)
    with pytest.raises(FileNotFoundError, match="no search"):
        run(tmp_path / "out", resume=True)
    assert run(tmp_path / "out", trials=1).best.number == 0


def test_a_search_stopped_while_it_reads_the_text_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = SPACE | {"tokenizer": {"kind": "word", "size": 9}, "window": 4, "epochs": 1}
    out, meanwhile = tmp_path / "out", []

    def stopped(path: Path, data: bytes) -> None:
        with pytest.raises(ValueError, match="holds an earlier search"):
            tune(DATA, SPACE, out, verbose=False)
        with pytest.raises(ValueError, match="another search is at work"):
            tune(DATA, space, out, resume=True, verbose=False)
        meanwhile.append(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trials, "atomic_write", stopped)
        with pytest.raises(KeyboardInterrupt):
            tune(DATA, space, out, trials=1, verbose=False)
    assert meanwhile == [out / "tokenizer.json"]
    assert tune(DATA, space, out, trials=1, resume=True, verbose=False).best.number == 0
    (out / "tokenizer.json").write_text("{")
    with pytest.raises(DamagedFileError, match=r"tokenizer\.json is damaged"):
        tune(DATA, space, out, trials=2, resume=True, verbose=False)


def test_numbers_of_numpy_are_taken_for_python_s(tmp_path: Path) -> None:
    units = {"type": "int", "low": np.int64(4), "high": np.int64(5)}
    found = tune(DATA, SPACE | {"units": units, "epochs": np.int64(1)}, tmp_path / "out", trials=1, verbose=False)
    assert found.best.epochs == 1


def test_those_that_lag_behind_are_given_up(found: Tuning, tmp_path: Path) -> None:
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    assert all(2 <= trial.epochs < 3 for trial in pruned)
    all_trained = run(tmp_path / "out", trials=9, pruning=False)
    assert {(trial.state, trial.epochs) for trial in all_trained.trials} == {("complete", 3)}


def test_a_search_is_a_function_of_its_seed(found: Tuning, tmp_path: Path) -> None:
    assert outcome(run(tmp_path / "a", trials=9)) == outcome(found)
    assert outcome(run(tmp_path / "b", trials=9, seed=1)) != outcome(found)


def test_a_resumed_search_goes_on(tmp_path: Path) -> None:
    first = run(tmp_path / "out", trials=2)
    assert outcome(run(tmp_path / "out", trials=2, resume=True)) == outcome(first)
    second = run(tmp_path / "out", trials=4, resume=True)
    assert sorted(trial.number for trial in second.trials) == [0, 1, 2, 3]
    assert all(each in outcome(second) for each in outcome(first))
    assert len({trial.parameters["learning_rate"] for trial in second.trials}) == 4


def test_processes_share_the_work(tmp_path: Path) -> None:
    if get_num_threads() < 2:
        pytest.skip("there is one thread")
    found = run(tmp_path / "out", processes=2, trials=4)
    assert [trial.state for trial in found.trials].count("complete") == 4
    best = min(trial.val_loss or 9.0 for trial in found.trials)
    history = LanguageModel.load(found.model).history
    assert history is not None
    assert min(history.epochs["val_loss"]) == found.best.val_loss == best


def test_the_best_trial_is_that_of_the_model_that_is_kept(tmp_path: Path) -> None:
    """Also where a process was killed between saving a model and telling of its trial."""
    found = run(tmp_path / "out", trials=3)
    worst = max(found.trials, key=lambda trial: trial.val_loss or 0.0)
    model, fit = {"units": 8}, {"epochs": 1}
    lm = LanguageModel(**model)
    lm.fit(["to be or not to be"] * 20, verbose=False, batch_size=2, window=8, **fit)
    assert lm.history is not None
    lm.history.epochs["val_loss"][:] = [worst.val_loss or 0.0]
    lm.save(found.model)
    assert run(tmp_path / "out", trials=3, resume=True).best.number == worst.number
    lm.history.epochs["val_loss"][:] = [0.125]
    lm.save(found.model)
    with pytest.raises(DamagedFileError, match="the model of no trial of this search"):
        run(tmp_path / "out", trials=3, resume=True)


@dataclass(frozen=True)
class Dies:
    """A process that something kills."""

    def run(self, seed: int, left: Any, saving: Any) -> None:
        os._exit(9)


def test_a_process_that_died_is_told_of() -> None:
    with pytest.raises(RuntimeError, match="a process of the search ended with exit code 9; resume"):
        search._run(Dies(), [1, 2], 4, 1)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Spy:
    """Stands for the work of a process, and writes down how many threads it has."""

    path: Path

    def run(self, seed: int, left: Any, saving: Any) -> None:
        (self.path / str(seed)).write_text(str(get_num_threads()))


def test_each_process_has_its_share_of_the_threads(tmp_path: Path) -> None:
    spy: Any = Spy(tmp_path)
    search._run(spy, [10, 11], trials=0, threads=3)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"10": "3", "11": "3"}


# What ends it -----------------------------------------------------------------------------------------------------


def test_an_interrupted_trial_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole")
    fit = LanguageModel.fit
    calls: list[int] = []

    def interrupted(self: LanguageModel, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(self, *arguments, **options)

    monkeypatch.setattr(LanguageModel, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out")
    resumed = run(tmp_path / "out", resume=True)
    assert len(calls) == 4
    by_number = {trial.number: trial for trial in resumed.trials}
    assert by_number[1].error == "it was interrupted"
    second = {trial.number: trial for trial in whole.trials}[1]
    assert (by_number[2].parameters, by_number[2].val_loss) == (second.parameters, second.val_loss)
    assert [trial.state for trial in resumed.trials] == ["complete"] * 3 + ["failed"]


def test_a_trial_killed_twice_is_not_tried_again(tmp_path: Path) -> None:
    run(tmp_path / "out", trials=1)
    folder = Folder(tmp_path / "out")
    for _ in range(2):
        with search._quiet():
            Space.of(SPACE).suggest(folder.study().ask())
        folder.recover(retry=True)
    assert [trial.state.name for trial in folder.study().trials] == ["COMPLETE", "FAIL", "FAIL"]


def test_a_trial_killed_after_its_model_was_saved_has_ended(tmp_path: Path) -> None:
    run(tmp_path / "out", trials=1)
    folder = Folder(tmp_path / "out")
    lm = LanguageModel.load(folder.model)
    trial = folder.study().ask()
    Space.of(SPACE).suggest(trial)
    trial.report(0.01, 0)
    assert lm.history is not None
    lm.history.epochs["val_loss"][:] = [0.01]
    folder.keep(lm, 0.01)
    found = run(tmp_path / "out", trials=2, resume=True)
    assert [each.state for each in found.trials] == ["complete", "complete"]
    assert found.best.number == 1


def test_half_a_line_of_the_journal_does_no_harm(tmp_path: Path) -> None:
    first = run(tmp_path / "out", trials=1)
    with (tmp_path / "out" / "trials.journal").open("a") as file:
        file.write('{"op_code":4,"worker')
    assert outcome(run(tmp_path / "out", trials=1, resume=True)) == outcome(first)


def test_two_searches_do_not_mix(tmp_path: Path) -> None:
    run(tmp_path / "out", trials=1)
    with Folder(tmp_path / "out")._locked(), pytest.raises(ValueError, match="another search is at work"):
        run(tmp_path / "out", resume=True)


def test_time_ends_a_search_with_what_it_has(tmp_path: Path) -> None:
    found = tune(DATA, SPACE | {"epochs": 10_000}, tmp_path / "out", max_minutes=0.005, verbose=False)
    assert [trial.state for trial in found.trials] == ["complete"]
    assert 1 <= found.best.epochs < 10_000


def test_a_model_that_is_not_possible_fails_alone(tmp_path: Path) -> None:
    space = SPACE | {"tie_weights": {"type": "categorical", "choices": [False, True]}, "embedding_dim": 3}
    found = tune(DATA, space, tmp_path / "out", trials=6, verbose=False)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert {trial.parameters["tie_weights"] for trial in failed} == {True}
    assert all("tie_weights needs one width" in (trial.error or "") for trial in failed)
    assert {trial.parameters["tie_weights"] for trial in found.trials if trial.state != "failed"} == {False}


def test_a_model_that_diverges_is_given_up(tmp_path: Path) -> None:
    space = SPACE | {"learning_rate": {"type": "categorical", "choices": [1e30]}, "optimizer": "sgd", "clipnorm": None}
    with pytest.raises(ValueError, match=r"no trial ended with a model, of 1; the last error: epoch 1, step \d+: "):
        tune(DATA, space, tmp_path / "out", trials=1, verbose=False)
    assert [trial.state.name for trial in Folder(tmp_path / "out").study().trials] == ["PRUNED"]


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"trials": 0}, "trials must be"),
        ({"processes": 0}, "processes must be"),
        ({"processes": 5000}, "processes must be at most the [0-9]+ threads that may be used, got 5000"),
        ({"max_minutes": 0}, "max_minutes must be positive, got 0"),
        ({"resume": True}, "there is no search in"),
    ],
)
def test_bad_options_get_a_sentence(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="exists and is not empty"):
        run(tmp_path)
    run(tmp_path / "out", trials=1)
    with pytest.raises(ValueError, match="holds an earlier search: resume it"):
        run(tmp_path / "out")
    with pytest.raises(ValueError, match="holds a search with another texts"):
        tune([samples.text(41)], SPACE, tmp_path / "out", resume=True)
    with pytest.raises(ValueError, match="holds a search with another space"):
        tune(DATA, SPACE | {"epochs": 4}, tmp_path / "out", resume=True)


def test_there_must_be_something_to_validate_on(tmp_path: Path) -> None:
    space = SPACE | {"validation_split": 0}
    with pytest.raises(ValueError, match="validation_split must be above 0, got 0"):
        tune(DATA, space, tmp_path / "out")
    assert tune(DATA, space, tmp_path / "out", DATA, trials=1, verbose=False).best.val_loss


# The command ------------------------------------------------------------------------------------------------------


def test_help_states_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["tune", "--help"])
    assert "models to try in all (default: 20)" in " ".join(capsys.readouterr().out.split())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    source = samples.text_file(tmp_path, 40)
    command = ["tune", str(source), "--space", str(tmp_path / "space.json"), "--out", str(tmp_path / "out")]
    assert main([*command, "--trials", "2"]) == 0
    captured = capsys.readouterr()
    rows = captured.out.splitlines()
    assert rows[0].split() == ["trial", "state", "val_loss", "epochs", "seconds", "units", "learning_rate", "cell"]
    assert len(rows) == 4
    assert rows[-1].endswith(f"saved in {tmp_path / 'out' / 'best'}")
    assert captured.err.count("complete: validation") == 2
    assert main(command) == 1
    assert "resume it (command: --resume), or choose another folder" in capsys.readouterr().err
    assert main([*command, "--trials", "3", "--resume", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["trials"]) == 3
    assert result["best"] == result["trials"][0]
    assert LanguageModel.load(result["model"]).architecture.units == result["best"]["parameters"]["units"]


@pytest.mark.parametrize("blocked", [False, True])
def test_optuna_is_an_extra(blocked: bool, tmp_path: Path) -> None:
    code = "import sys\n" + ("sys.modules['optuna'] = None\n" if blocked else "")
    code += "from recurlm.tuning import tune\nassert sys.modules.get('optuna') is None\n"
    code += f"tune(['a b'], {{'units': {{'type': 'int', 'low': 1, 'high': 0}}}}, {str(tmp_path / 'out')!r})\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    last = done.stderr.strip().splitlines()[-1]
    missing = "ImportError: tuning needs optuna: install recurlm with its extra [tune]"
    assert last == (
        missing if blocked else "ValueError: key 'units': low must be at most high, and both finite, got 1 and 0"
    )
