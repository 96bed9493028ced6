"""Trials on disk: who may add to them, what was killed, which is the best.

A folder of a search holds ``tuning.json`` (what is tried, on which text), ``trials.journal`` (Optuna's log, JSON
lines), ``tokenizer.json`` and the text as ids, which all models share, ``lock``, and ``best``, the best model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import DamagedFileError, atomic_write, read_json, remove_leftovers, write_json
from ..language_model import LanguageModel
from ..language_model.parameters import FIT
from ..language_model.sources import read_sources
from ..language_model.storage import read_history
from ..locks import lock
from ..text import tokenizers
from ..text.corpus import Data, Texts
from ..text.tokenizer import Tokenizer
from .space import Space

if TYPE_CHECKING:
    import optuna

FORMAT_VERSION = 2
_KILLED = "it was interrupted"


@dataclass(frozen=True)
class Trial:
    """One model that was tried.

    Attributes:
        number: from 0 on.
        state: ``"complete"``, ``"pruned"`` (worse than the others were by then, or diverged) or ``"failed"``.
        val_loss: the lowest validation loss in nats for each token; None where there was no validation.
        epochs: validations.
        seconds: how long it took.
        parameters: what was drawn for it.
        error: why it failed or diverged, or None.
    """

    number: int
    state: str
    val_loss: float | None
    epochs: int
    seconds: float | None
    parameters: dict[str, Any]
    error: str | None


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        model: the folder of the best model, for ``LanguageModel.load``.
        best: its trial.
        trials: all that have ended, the best first.
    """

    model: Path
    best: Trial
    trials: list[Trial]


class Folder:
    """The folder of a search."""

    def __init__(self, path: Path):
        self.path, self.model = path, path / "best"
        self._identity, self._journal = path / "tuning.json", path / "trials.journal"
        self._tokenizer, self._lock = path / "tokenizer.json", path / "lock"

    @contextmanager
    def open(self, space: Space, data: Data, validation_data: Data | None, resume: bool) -> Iterator[None]:
        """Begin a search here, or go on with it, and keep others out.

        Raises:
            ValueError: the folder holds something else, a search of another space or text, or one that is at work; a
                text is empty or not UTF-8, or holds out nothing.
            FileNotFoundError: there is no search to go on with, or a text is missing.
        """
        held_out = None if validation_data is None else _fingerprint(validation_data, "validation_data")
        texts = [_fingerprint(data, "data"), held_out]
        identity = {"format_version": FORMAT_VERSION, "space": space.config(), "texts": texts}
        self._check_folder(resume)
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._check_folder(resume)
            if resume:
                self._check_identity(identity)
                self._prepare(space, data, validation_data)
            else:
                self._begin(identity, space, data, validation_data)
            yield

    def _check_folder(self, resume: bool) -> None:
        begun = self._identity.is_file()
        if resume and not begun:
            raise FileNotFoundError(f"there is no search in {self.path} to resume")
        if begun and not resume:
            raise ValueError(
                f"{self.path} holds an earlier search: resume it (command: --resume), or choose another folder"
            )
        if not begun and self.path.exists() and any(path != self._lock for path in self.path.iterdir()):
            raise ValueError(f"{self.path} exists and is not empty: choose another folder")

    def _check_identity(self, identity: dict[str, Any]) -> None:
        found = read_json(self._identity)
        for name, wanted in identity.items():
            if not isinstance(found, dict) or found.get(name) != wanted:
                raise ValueError(f"{self.path} holds a search with another {name}: resume with the same")

    def _begin(self, identity: dict[str, Any], space: Space, data: Data, validation_data: Data | None) -> None:
        """Stopped, it can be resumed; after an error the folder counts as empty."""
        write_json(self._identity, identity)
        try:
            self._prepare(space, data, validation_data)
        except Exception:
            for path in self.path.iterdir():
                if path != self._lock:
                    path.unlink()
            raise

    def _prepare(self, space: Space, data: Data, validation_data: Data | None) -> None:
        """Give the tokenizer its vocabulary and encode the texts, unless that was done before."""
        remove_leftovers(self.path)
        made = self._tokenizer.exists()
        split = space.fixed.get("validation_split", FIT["validation_split"].default)
        tokenizer = self.tokenizer() if made else space.make_tokenizer()
        read_sources(tokenizer, data, validation_data, split, self.path)
        if not made:
            atomic_write(self._tokenizer, tokenizer.to_json().encode())

    def tokenizer(self) -> Tokenizer:
        """That of every model, with its vocabulary."""
        try:
            return tokenizers.from_json(self._tokenizer.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DamagedFileError(f"{self._tokenizer} is damaged: {error}") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """While a search is at work here; ValueError where another one is."""
        self._lock.touch()
        with ExitStack() as stack:
            try:
                stack.enter_context(lock(self._lock, alone=True, wait=False))
            except BlockingIOError:
                raise ValueError(f"another search is at work in {self.path}: wait until it ends") from None
            yield

    def study(self, sampler: Any = None, pruner: Any = None) -> optuna.Study:
        """Optuna's study of the journal."""
        import optuna
        from optuna.storages.journal import JournalFileBackend

        lock: Any = _JournalLock(self._journal)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(self._journal), lock_obj=lock))
        return optuna.create_study(
            study_name="recurlm", storage=storage, sampler=sampler, pruner=pruner, load_if_exists=True
        )

    def recover(self, retry: bool) -> None:
        """Close the trials of processes that died, and line them up to be tried again, once; while none is at work."""
        from optuna.trial import TrialState

        self._cut_torn_line()
        study = self.study()
        best = self.best()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if best is not None and best[0] == trial.number:  # its model was saved: nothing but this was missing
                study.tell(trial.number, best[1])
                continue
            study.tell(trial.number, state=TrialState.FAIL)
            if retry and trial.params and "retries" not in trial.user_attrs:
                study.enqueue_trial(trial.params, user_attrs={"retries": trial.number})

    def _cut_torn_line(self) -> None:
        """A process that died amid a write may have left half a line, which would spoil the next."""
        if self._journal.exists():
            with self._journal.open("rb+") as file:
                data = file.read()
                file.truncate(data.rfind(b"\n") + 1)

    def count(self) -> tuple[int, int]:
        """How many trials have ended, but for those that were killed; and how many there are at all."""
        trials = self.study().get_trials(deepcopy=False)
        ended = [trial for trial in map(_trial, (t for t in trials if t.state.is_finished())) if trial.error != _KILLED]
        return len(ended), len(trials)

    def best(self) -> tuple[int, float] | None:
        """Number and validation loss of the trial whose model is kept: that of the loss in the model's own history.

        Kept anywhere else, they and the model could come to differ when a process is killed.
        """
        if not self.model.is_dir():
            return None
        loss = min(read_history(self.model).epochs["val_loss"])
        for trial in self.study().get_trials(deepcopy=False):
            if loss in trial.intermediate_values.values():
                return trial.number, loss
        raise DamagedFileError(f"{self.model} holds the model of no trial of this search")

    def keep(self, lm: LanguageModel, val_loss: float) -> None:
        """Save the model of a trial if it is the best so far. One process at a time."""
        best = self.best()
        if best is None or val_loss < best[1]:
            lm.save(self.model)

    def result(self) -> Tuning:
        """What was found so far; ValueError where no trial ended well."""
        trials = [_trial(each) for each in self.study().get_trials(deepcopy=False) if each.state.is_finished()]
        best = self.best()
        if best is None:
            errors = [trial.error for trial in trials if trial.error]
            why = f"; the last error: {errors[-1]}" if errors else ""
            raise ValueError(f"no trial ended with a model, of {len(trials)}{why}")
        trials.sort(key=lambda trial: (_RANK[trial.state], trial.val_loss or 0.0, trial.number))
        (winner,) = [trial for trial in trials if trial.number == best[0]]
        return Tuning(self.model, winner, trials)


_RANK = {"complete": 0, "pruned": 1, "failed": 2}
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def _trial(frozen: optuna.trial.FrozenTrial) -> Trial:
    losses = frozen.intermediate_values.values()
    seconds = None if frozen.duration is None else frozen.duration.total_seconds()
    state, error = _STATES[frozen.state.name], frozen.user_attrs.get("error")
    if state == "failed" and error is None:
        error = _KILLED
    return Trial(frozen.number, state, min(losses, default=None), len(losses), seconds, dict(frozen.params), error)


def _fingerprint(data: Data, name: str) -> str:
    """Stands for the texts."""
    texts = Texts.of(data, name)
    digest = hashlib.sha256()
    for text in texts.each("surrogateescape"):
        digest.update(b"\xff" if texts.separate else b"\xfe")
        for chunk in text:
            digest.update(chunk.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:24]


class _JournalLock:
    """Optuna's lock on its journal, but one that ends with the process that holds it."""

    def __init__(self, path: Path):
        self._path, self._held = path, ExitStack()

    def acquire(self) -> bool:
        self._held.enter_context(lock(self._path, alone=True))
        return True

    def release(self) -> None:
        self._held.close()
