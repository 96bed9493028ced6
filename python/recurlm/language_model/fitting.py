"""How a language model is trained: streams, limits, validation and checkpoints around ``Model.fit``."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import checkpoint
from ..callbacks import BackupAndRestore, Callback
from ..files import (
    DamagedFileError,
    read_json,
    read_safetensors,
    remove_leftovers,
    write_json,
    write_safetensors,
)
from ..model import Model
from ..model_io import ModelState
from ..text.batching import Streams, evaluation_streams
from ..text.corpus import PathLike, forget_corpora
from ..typing import Float
from . import storage
from .architecture import Architecture
from .generation_config import GenerationConfig
from .history import TrainingHistory
from .interruption import Interruption
from .options import FitOptions
from .position import Batches, Position
from .progress import Progress
from .scoring import NATS, per_token
from .sources import Sources

if TYPE_CHECKING:
    from .language_model import LanguageModel

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints go, and how often in steps."""

    folder: Path | None
    every: int

    @classmethod
    def at(cls, folder: PathLike | None, every: int, resume: bool) -> Checkpoints:
        """In ``folder``, which must hold some to resume from, and none of another run otherwise."""
        if every < 1:
            raise ValueError(f"checkpoint_every must be at least 1, got {every}")
        if folder is None:
            if resume:
                raise ValueError("resume needs checkpoint_dir, the folder of the checkpoints")
            return cls(None, every)
        if resume:
            checkpoint.newest(Path(folder))
        elif checkpoint.list_steps(Path(folder)):
            raise ValueError(
                f"{folder} holds checkpoints of an earlier run: resume it (command: --resume) to go on with it, "
                "or delete the folder to start anew"
            )
        return cls(Path(folder), every)

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """The folder while a run uses it: made now, not after hours, if it cannot be made.

        What no checkpoint needs goes at the end: ids of texts, and folders that were made for nothing.
        """
        if self.folder is None:
            yield
            return
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
            yield
        finally:
            with suppress(OSError):  # gone, or not to be written to
                forget_corpora(self.folder, self._keys(self.folder))
            for path in missing:
                with suppress(OSError):  # it is not empty
                    path.rmdir()

    @staticmethod
    def _keys(folder: Path) -> set[str]:
        """The keys of the corpora that the checkpoints go on with."""
        keys: set[str] = set()
        for step in checkpoint.list_steps(folder):
            with suppress(OSError, ValueError, KeyError, TypeError):  # damaged: its text would be encoded again
                training = read_json(checkpoint.path_of(folder, step) / "training.json")
                keys |= {training["corpus"], training["validation"]}
        return keys


def _check_run(options: FitOptions, streams: Streams, validated: bool) -> None:
    """ValueError where an option would have no effect on such a run."""
    for name, given in (
        ("early_stopping", options.early_stopping),
        ("optimizer nt-asgd", options.optimizer == "nt-asgd"),
    ):
        if given and not validated:
            raise ValueError(f"{name} needs validation: hold some text out")
    steps = options.count_epochs(streams) * streams.steps
    if options.accumulate > steps:
        raise ValueError(f"accumulate must be at most the {steps:,} steps of the run, got {options.accumulate}")


class Run(Callback):
    """One run of training, told by ``Model.fit`` what happens."""

    def __init__(
        self, lm: LanguageModel, options: FitOptions, sources: Sources, checkpoints: Checkpoints, progress: Progress
    ):
        super().__init__()
        self._lm, self._options, self._sources = lm, options, sources
        self._checkpoints, self._progress = checkpoints, progress
        bos_id, window = lm.tokenizer.bos_id, options.window
        augmentation = options.make_augmentation(lm.tokenizer, sources.train, lm.architecture.seed)
        self._streams = sources.streams(bos_id, options.batch_size, window, augmentation)
        held_out = sources.held_out
        _check_run(options, self._streams, held_out is not None)
        self._validation = None if held_out is None else Batches(evaluation_streams(held_out, bos_id, window))
        self._batches = self._reading = Batches(self._streams)  # to train on; what is read at the moment
        self._schedule = options.make_schedule(self._streams)
        self._interruption = Interruption(self._tell_interruption)
        self._position = Position()
        self._best_weights: list[Float] | None = None
        self._started = 0.0
        self._rate = 0.0  # of this step, before it is scaled by the length of its window
        self._seen = (0.0, 0.0)  # see _counted_nats, before this step

    def fit(self, callbacks: Sequence[Callback], resume: bool) -> dict[str, list[float]]:
        """Train until a limit, patience or Ctrl-C ends it, and leave the best weights in the model; the history.

        With ``resume`` it goes on from the newest checkpoint; a run that had ended does not train again, unless its
        limits were raised.

        Raises:
            FileNotFoundError: there is no checkpoint to resume from.
            ValueError: it was made with another text, model or recipe, or is damaged.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after the step was finished and a checkpoint saved.
        """
        if any(isinstance(callback, BackupAndRestore) for callback in callbacks):
            raise ValueError("BackupAndRestore is for Model.fit: here checkpoint_dir and resume do the same")
        if resume and self._checkpoints.folder is not None:
            self._resume(self._checkpoints.folder)
        self._streams = self._streams.at_epoch(self._position.epoch)
        self._lm.history = TrainingHistory(self._position.history, self._position.curve)  # which grow
        self._started = time.perf_counter() - self._position.seconds
        self._progress.begin(self._done())
        tokens, vocabulary = len(self._streams.ids), self._lm.tokenizer.vocabulary_size
        self._progress.say(f"{tokens:,} tokens of {vocabulary:,} kinds, {self._network.count_params():,} parameters")
        if self._position.steps:
            self._progress.say(f"going on from step {self._position.steps:,}, in epoch {self._position.epoch + 1}")
        if self._done() >= 1 or self._impatient():
            self._progress.say("this run has ended: raise its limits (epochs, for one) to train on")
        else:
            try:
                self._train(callbacks)
            except FloatingPointError as error:
                self._keep_best()
                raise FloatingPointError(f"{error}; {self._reading.place()}") from None
        self._keep_best()
        self._warn_of_divergence()
        return self._position.history

    def _warn_of_divergence(self) -> None:
        losses = self._position.history.get("val_loss", [])
        if losses and min(losses) > 2 * math.log(self._lm.tokenizer.vocabulary_size):
            message = "the model predicts worse than even guesses: training has diverged, lower the learning rate"
            warnings.warn(message, stacklevel=4)

    def _keep_best(self) -> None:
        if self._best_weights is not None:
            self._network.set_weights(self._best_weights)

    def _train(self, callbacks: Sequence[Callback]) -> None:
        with self._interruption:
            self._batches = Batches(self._streams, self._position.epoch, self._position.window)
            self._network.fit(
                self._batches,
                epochs=self._options.count_epochs(self._streams),
                validation_data=self._validation,
                initial_epoch=self._position.epoch,
                initial_step=self._position.window,
                shuffle=False,
                verbose=0,
                callbacks=[*self._options.make_triggers(), self, *callbacks],
            )

    # What Model.fit calls ----------------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._streams = self._streams.at_epoch(epoch)
        self._reading = self._batches
        if self._position.window == 0:
            self._network.reset_states()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._network.reset_states(self._streams.opening(self._position.window))
        self._rate = self._schedule.learning_rate(self._position.steps, self._done())
        self._seen = self._counted_nats()
        if self._options.ema is not None:
            # A short history first: what the weights were in the beginning would else stay in the average for long.
            n = self._position.steps
            self._network.optimizer.ema_momentum = min(self._options.ema, (1 + n) / (10 + n))
        self._network.optimizer.learning_rate = self._rate * self._streams.relative_length(self._position.window)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        position, before = self._position, self._tokens()
        position.window += 1
        position.steps += 1
        position.seconds = time.perf_counter() - self._started
        position.curve.add(self._nats_of_step(), self._rate)
        done = self._done()
        self._progress.step(self._tokens() - before, per_token(logs or {})["loss"], done)
        if done >= 1:
            self._network.stop_training = True
        if done >= 1 or position.window == self._streams.steps:
            return  # validation follows; saved before it, the run would have ended without
        if self._interruption.pending or position.steps % self._checkpoints.every == 0:
            self._save()
        if self._interruption.pending:
            self._interruption.stop()

    def _counted_nats(self) -> tuple[float, float]:
        """Sum and number of the losses of tokens in this epoch, without penalties and what smoothing costs."""
        (metric,) = [metric for metric in self._network.compiled.metrics if metric.name == NATS]
        total, count = metric.state
        return total, count

    def _nats_of_step(self) -> float:
        (total, count), (total_before, count_before) = self._counted_nats(), self._seen
        return (total - total_before) / (count - count_before)

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._progress.validate()
        self._use_averages()
        if self._validation is not None:
            self._reading = self._validation

    def _use_averages(self) -> None:
        """Where the optimizer keeps averages of the weights, they are the weights until the next step."""
        network = self._network
        if network.optimizer.averages is not None:
            with network.usage.training():
                network.optimizer.use_averages(network.trainable_weights)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._use_averages()
        position, logs = self._position, per_token(logs or {})
        logs |= {
            "tokens_per_second": self._progress.tokens_per_second,
            "learning_rate": self._rate,
            "steps": position.steps,
            "tokens": self._tokens(),
            "seconds": position.seconds,
        }
        for name, value in logs.items():
            position.history.setdefault(name, []).append(float(value))
        if "val_loss" in logs and self._since_best() == 0:
            position.best_step = position.steps
            self._best_weights = self._network.get_weights()
        if self._impatient():
            self._network.stop_training = True
        if position.window == self._streams.steps:
            position.epoch, position.window = epoch + 1, 0
        self._progress.epoch(epoch, logs)
        self._save()
        if self._interruption.pending:
            self._interruption.stop()

    def _tell_interruption(self) -> None:
        saved = " and a checkpoint; Ctrl-C again stops at once and saves nothing" if self._checkpoints.folder else ""
        self._progress.say(f"stopping after this step{saved}")

    @property
    def _network(self) -> Model:
        return self._lm.model

    def _tokens(self) -> int:
        """Tokens read in all epochs."""
        return self._position.epoch * self._streams.tokens + self._streams.tokens_before(self._position.window)

    def _done(self) -> float:
        tokens = self._tokens()
        return self._schedule.progress(tokens / self._options.step_tokens, tokens, self._position.seconds)

    def _since_best(self) -> int:
        """Validations since the one with the lowest loss."""
        losses = self._position.history.get("val_loss", [])
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0

    def _impatient(self) -> bool:
        patience = self._options.early_stopping
        return patience is not None and self._since_best() >= patience

    # Checkpoints -------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        if self._checkpoints.folder is not None:
            checkpoint.save(self._checkpoints.folder, self._position.steps, self._position.best_step, self._write)

    def _write(self, folder: Path) -> None:
        storage.write(self._lm, folder)
        state = self._network.get_state()
        arrays = {name: array for name, array in state.arrays.items() if not name.startswith("weights/")}
        write_safetensors(folder / "training.safetensors", arrays)
        training = {
            "format_version": FORMAT_VERSION,
            "corpus": self._sources.key,
            "validation": self._sources.validation_key,
            "options": asdict(self._options),
            "position": asdict(self._position),
            "state": state.values,
        }
        write_json(folder / "training.json", training)

    def _resume(self, folder: Path) -> None:
        path = checkpoint.newest(folder)
        try:
            self._restore(path)
        except DamagedFileError as error:
            older = checkpoint.list_steps(folder)[:-1]
            instead = f"go on from {checkpoint.path_of(folder, older[-1])}" if older else "start anew"
            raise ValueError(f"{error}; delete {path} to {instead}") from None
        if self._position.best_step is not None:
            best = dict(storage.iterate_weights(self._lm, checkpoint.path_of(folder, self._position.best_step)))
            self._best_weights = [best[name] for name in self._network.named_weights()]
        checkpoint.tidy(folder, self._position.best_step)

    def _restore(self, path: Path) -> None:
        training = read_json(path / "training.json")
        try:
            if training["format_version"] != FORMAT_VERSION:
                raise ValueError(f"{path} has format_version {training['format_version']}, expected {FORMAT_VERSION}")
            if training["corpus"] != self._sources.key:
                raise ValueError(f"{path} was made with another text or tokenizer: resume with the same")
            # Which weights are the best was decided on the one, and could not be compared with the other.
            if training["validation"] != self._sources.validation_key:
                raise ValueError(
                    f"{path} was made with another validation_data or validation_split: resume with the same"
                )
            self._options.check_same(training["options"])
            self._check_config(path)
            weights = {f"weights/{name}": array for name, array in storage.iterate_weights(self._lm, path)}
            arrays = weights | read_safetensors(path / "training.safetensors")
            self._network.set_state(ModelState(arrays, training["state"]))
            self._position = self._read_position(path, training["position"])
            if self._lm.generation_config == GenerationConfig():
                self._lm.generation_config = storage.read_generation(path)
        except (KeyError, TypeError) as error:
            raise DamagedFileError(f"{path / 'training.json'} is damaged: {error!r}") from None

    def _read_position(self, path: Path, fields: Any) -> Position:
        try:
            return Position.restore(fields, self._streams)
        except ValueError as error:
            raise DamagedFileError(f"{path / 'training.json'} is damaged: {error}") from None

    def _check_config(self, path: Path) -> None:
        later = {field.name: field.default for field in fields(Architecture) if field.default is not MISSING}
        before, now = later | storage.read_config(path), storage.config(self._lm)
        for name, value in before.items():
            if value != now[name]:
                raise ValueError(f"{path} was made with {name}={value}, got {now[name]}: resume with the same model")
