"""Trying models: one after the other, or several at a time in processes that share the cores."""

from __future__ import annotations

import math
import multiprocessing
import signal
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import get_num_threads, set_num_threads
from ..callbacks import Callback
from ..checks import check_integer
from ..extras import needing
from ..language_model import LanguageModel
from ..language_model.parameters import FIT
from ..language_model.scoring import per_token
from ..seeding import check_seed
from ..text.corpus import Data, PathLike
from .space import Space, split_arguments
from .trials import Folder, Tuning

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna


def tune(
    data: Data,
    space: PathLike | Mapping[str, Any],
    out: PathLike,
    validation_data: Data | None = None,
    *,
    trials: int = 20,
    processes: int = 1,
    max_minutes: float | None = None,
    pruning: bool = True,
    seed: int = 0,
    resume: bool = False,
    verbose: bool = True,
) -> Tuning:
    """Train language models of a space of arguments and keep the one with the lowest validation loss.

    Arguments are drawn by a tree-structured Parzen estimator (Bergstra et al., 2011). A model that, after the second
    epoch or later, has a loss above the median of the earlier ones at that epoch is given up. Whatever ends a search,
    the trials that had ended are kept; one that was killed is tried once more when the search is resumed.

    Args:
        data: a file (``str`` or ``Path``), a list of ``Path`` read as one text, or a list of texts.
        space: what to try: a JSON file or its contents, see ``recurlm.tuning.space``.
        out: folder for the trials, the text as ids, and the best model, in ``best``.
        validation_data: held out; None holds out the last ``validation_split`` of ``data``, 0.1 unless the space has
            another.
        trials: how many in all, those of a resumed search included.
        processes: how many at a time; each gets its share of the threads.
        max_minutes: begin no trial later, and end those that run with their epoch, on the best model they have.
        pruning: give up models as said above.
        seed: what is drawn is a function of it, with one process and no time limit.
        resume: go on with the search in ``out``, on the same space and texts.
        verbose: a line on stderr for each trial.

    Raises:
        ImportError: Optuna is not installed.
        FileNotFoundError: a text, the space or the search to resume is missing.
        ValueError: an argument or an entry of the space is not possible, or no trial ended with a model.
        RuntimeError: a process of the search died.
        KeyboardInterrupt: Ctrl-C; the search can be resumed.
    """
    _require_optuna()
    chosen = Space.of(space)
    if validation_data is None and chosen.fixed.get("validation_split", FIT["validation_split"].default) == 0:
        raise ValueError("validation_split must be above 0, got 0: without validation_data losses are compared on it")
    check_integer("trials", trials, 1)
    threads = get_num_threads() // check_integer("processes", processes, 1)
    if threads == 0:
        raise ValueError(f"processes must be at most the {get_num_threads()} threads that may be used, got {processes}")
    if max_minutes is not None and not max_minutes > 0:
        raise ValueError(f"max_minutes must be positive, got {max_minutes}")
    folder = Folder(Path(out))
    with folder.open(chosen, data, validation_data, resume), _quiet():
        deadline = math.inf if max_minutes is None else time.time() + 60 * max_minutes
        work = _Work(folder.path, chosen, data, validation_data, deadline, pruning, processes, verbose)
        folder.recover(retry=True)
        ended, known = folder.count()
        seeds = [_seed_of(seed, known, process) for process in range(processes)]
        _run(work, seeds, max(0, trials - ended), threads)
        folder.recover(retry=False)
        return folder.result()


def _run(work: _Work, seeds: list[int], trials: int, threads: int) -> None:
    """So many trials, by a process for each of ``seeds``, or by this one if there is one."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold, without the threads
    left, saving = context.Value("i", trials), context.Lock()
    if len(seeds) == 1:
        work.run(seeds[0], left, saving)
        return
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    workers = [context.Process(target=_work_in_process, args=(work, seed, left, saving, threads)) for seed in seeds]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        codes = [worker.exitcode for worker in workers if worker.exitcode]
        if codes:
            raise RuntimeError(f"a process of the search ended with exit code {codes[0]}; resume the search to go on")
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
        for worker in workers:
            if worker.pid is not None and worker.is_alive():
                worker.terminate()
                worker.join()


def _seed_of(seed: int, known: int, process: int) -> int:
    """Of a sampler that begins after ``known`` trials: resumed, it must not draw the same again."""
    return int(np.random.SeedSequence([check_seed(seed), known, process]).generate_state(1)[0])


def _work_in_process(work: _Work, seed: int, left: Any, saving: Any, threads: int) -> None:
    set_num_threads(threads)
    try:
        with _quiet():
            work.run(seed, left, saving)
    except KeyboardInterrupt:  # Ctrl-C reaches all processes, and the first of them tells
        sys.exit(130)


@dataclass(frozen=True)
class _Work:
    """What every process of a search does."""

    path: Path
    space: Space
    data: Data
    validation_data: Data | None
    deadline: float
    pruning: bool
    processes: int
    verbose: bool

    def run(self, seed: int, left: Any, saving: Any) -> None:
        """Try models as long as ``left`` counts some and there is time; ``saving`` is held to save one."""
        import optuna

        folder = Folder(self.path)
        pruner = optuna.pruners.MedianPruner(n_warmup_steps=1) if self.pruning else optuna.pruners.NopPruner()
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=self.processes > 1)
        study = folder.study(sampler, pruner)
        while time.time() < self.deadline and _take(left):
            trial = study.ask()
            self._try(study, trial, folder, saving)
            if self.verbose:
                _tell(study, trial.number)

    def _try(self, study: optuna.Study, trial: optuna.Trial, folder: Folder, saving: Any) -> None:
        from optuna import TrialPruned
        from optuna.trial import TrialState

        try:
            model, fit = split_arguments(self.space.suggest(trial))
            lm = LanguageModel(**model | {"tokenizer": folder.tokenizer()})
            given = {"corpus_dir": folder.path, "callbacks": [_Watch(trial, self.deadline)], "verbose": False}
            history = lm.fit(self.data, self.validation_data, **given, **fit)
        except TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except FloatingPointError as error:  # the sampler has to learn that this was no good
            trial.set_user_attr("error", str(error))
            study.tell(trial, state=TrialState.PRUNED)
        except (ValueError, MemoryError, OSError) as error:
            trial.set_user_attr("error", str(error) or type(error).__name__)
            study.tell(trial, state=TrialState.FAIL)
        else:
            loss = min(history["val_loss"])
            with saving:
                folder.keep(lm, loss)
            study.tell(trial, loss)


class _Watch(Callback):
    """Reports validation losses, and ends the training that is given up, has no time left or nobody waits for."""

    def __init__(self, trial: optuna.Trial, deadline: float):
        self._trial, self._deadline = trial, deadline

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        from optuna import TrialPruned

        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            sys.exit(1)
        self._trial.report(per_token(logs or {})["val_loss"], epoch)
        if time.time() >= self._deadline:
            self.model.stop_training = True
        elif self._trial.should_prune():
            raise TrialPruned


def _take(left: Any) -> bool:
    """One trial of those that are left, if there are any."""
    with left.get_lock():
        left.value -= 1
        return bool(left.value >= 0)


def _tell(study: optuna.Study, number: int) -> None:
    frozen = study.get_trials(deepcopy=False)[number]
    losses, drawn = frozen.intermediate_values.values(), frozen.params.items()
    loss = f"validation {min(losses):.4f}" if losses else frozen.user_attrs.get("error", "no validation")
    arguments = ", ".join(f"{name}={show(value)}" for name, value in drawn)
    print(f"trial {number} {frozen.state.name.lower()}: {loss} ({arguments})", file=sys.stderr, flush=True)


def show(value: Any) -> str:
    """A value in a table or a line."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _require_optuna() -> None:
    with needing("tune", "tuning"):
        import optuna  # noqa: F401


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Optuna logs of every trial."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
