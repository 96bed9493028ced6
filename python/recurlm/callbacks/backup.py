"""A run of ``fit`` that goes on, to the same bits, after the process was killed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checkpoint
from ..files import (
    DamagedFileError,
    read_json,
    read_safetensors,
    remove_folder,
    remove_leftovers,
    write_json,
    write_safetensors,
)
from ..typing import Array
from .base import Callback, Logs

if TYPE_CHECKING:
    from ..model_io import ModelState

_FORMAT_VERSION = 1
_ARRAY = "$array"  # {_ARRAY: name} stands in the JSON for an array of the safetensors file


class BackupAndRestore(Callback):
    """Backs a run of ``fit`` up; a call with the same arguments, in a new process, goes on where the backup was made.

    Kept are weights, optimizer, carried states, seed, running metrics, the History, what the other callbacks keep
    (``Callback.kept``) and the step: weights and History become those of a run without the interruption, bit for bit.
    (Keras keeps weights and the epoch.) An iterable in place of arrays must give the same batches in the same order
    once more, an iterator those of all epochs from the first on: batches that were done are drawn and passed over.

    Args:
        backup_dir: a folder for this run alone. Each backup is in it whole or not at all.
        save_freq: ``"epoch"``, or a number of steps after which there is a backup each time.
        double_checkpoint: keep the backup before the last one too, and go on from it where the last is damaged.
        delete_checkpoint: delete the backups once the run has ended.

    Raises (in ``fit``):
        ValueError: the backup is damaged, or of another model, number of steps or other callbacks.
    """

    last = True

    def __init__(
        self,
        backup_dir: str | Path,
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        if not str(backup_dir):
            raise ValueError("backup_dir must name a folder, got an empty string")
        if save_freq != "epoch" and not (type(save_freq) is int and save_freq > 0):
            raise ValueError(f"save_freq must be 'epoch' or a positive number of steps, got {save_freq!r}")
        self.backup_dir = Path(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint

    # What fit calls --------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._epoch = 0
        self._reapply: Path | None = None
        if not checkpoint.list_steps(self.backup_dir):
            self.backup_dir.mkdir(parents=True, exist_ok=True)  # now, not after hours, if it cannot be made
            return
        path = checkpoint.newest(self.backup_dir)
        try:
            self._restore(path)
        except DamagedFileError as error:
            older = checkpoint.list_steps(self.backup_dir)[:-1]
            if not (older and self.double_checkpoint):
                raise ValueError(f"{error}; delete {path} to start anew") from None
            remove_folder(path)
            path = checkpoint.path_of(self.backup_dir, older[-1])
            warnings.warn(f"{error}; going on from {path}", RuntimeWarning, stacklevel=2)
            self._restore(path)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch
        if self._reapply is not None:
            # The epoch had begun before: what callbacks have just done to begin it must not be done twice.
            self._restore(self._reapply)
            self._reapply = None

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        # Where training stops, the end of the epoch is near; a backup before it would not know.
        if self.save_freq != "epoch" and self.model.step % int(self.save_freq) == 0 and not self.model.stop_training:
            self._save(self._epoch, batch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch + 1, 0)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint:
            for step in checkpoint.list_steps(self.backup_dir):
                remove_folder(checkpoint.path_of(self.backup_dir, step))
            remove_leftovers(self.backup_dir)
            with suppress(OSError):  # it holds something else, or is gone
                self.backup_dir.rmdir()

    # The backup ------------------------------------------------------------------------------------------------------

    def _save(self, epoch: int, step: int) -> None:
        arrays, values = self.model.get_state()
        kept = dict(arrays)
        callbacks = {name: _take_arrays(callback.get_state(), name, kept) for name, callback in self._others().items()}
        fields = {
            "format_version": _FORMAT_VERSION,
            "epoch": epoch,
            "step": step,
            "steps": self.params.get("steps"),
            "stopped": self.model.stop_training,
            "model": values,
            "callbacks": callbacks,
        }

        def write(folder: Path) -> None:
            write_safetensors(folder / "backup.safetensors", kept)
            write_json(folder / "backup.json", fields)

        checkpoint.save(self.backup_dir, self.model.step, None, write, kept=1 + self.double_checkpoint)

    def _restore(self, path: Path) -> None:
        from ..model_io import ModelState  # which imports layers: callbacks are imported before

        fields, arrays = _read(path)
        try:
            start, states = (fields["epoch"], fields["step"]), dict(fields["callbacks"])
            if not all(type(number) is int and number >= 0 for number in start):
                raise DamagedFileError(f"{path / 'backup.json'} is damaged: there is no epoch and step {start}")
            self._check(path, fields["steps"], states)
            states = _put_arrays(states, arrays)
            of_callbacks = {name for name in arrays if name.startswith("callbacks/")}
            state = ModelState({n: a for n, a in arrays.items() if n not in of_callbacks}, dict(fields["model"]))
            self._apply(path, state, states)
            self.model.stop_training = bool(fields["stopped"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedFileError(f"{path / 'backup.json'} is damaged: {error!r}") from None
        self.listed.resumed = start
        self._reapply = path if start[1] else None

    def _check(self, path: Path, steps: int | None, states: Mapping[str, Any]) -> None:
        if steps != self.params.get("steps"):
            now = self.params.get("steps")
            raise ValueError(
                f"{path} is of a run with {steps} steps an epoch, got {now}: call fit with the same data and batch_size"
            )
        names = list(self._others())
        if sorted(states) != sorted(names):
            raise ValueError(
                f"{path} is of a run with the callbacks {', '.join(_shown(states))}, got {', '.join(_shown(names))}: "
                "call fit with the same"
            )

    def _apply(self, path: Path, state: ModelState, states: Mapping[str, Any]) -> None:
        try:
            self.model.set_state(state)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        for name, callback in self._others().items():
            callback.set_state(states[name])

    def _others(self) -> dict[str, Callback]:
        """Those that keep something, by class and number."""
        others: dict[str, Callback] = {}
        for callback in self.listed.callbacks:
            if callback is not self and callback.get_state():
                kind = f"callbacks/{type(callback).__name__}"
                others[f"{kind}.{sum(name.startswith(f'{kind}.') for name in others)}"] = callback
        return others


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    try:
        fields, arrays = read_json(path / "backup.json"), read_safetensors(path / "backup.safetensors")
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is no whole backup: there is no {error.filename}") from None
    if not isinstance(fields, dict):
        raise DamagedFileError(f"{path / 'backup.json'} is damaged: it is no object")
    if fields.get("format_version") != _FORMAT_VERSION:
        raise ValueError(
            f"{path} has format_version {fields.get('format_version')!r}; this version of recurlm reads "
            f"{_FORMAT_VERSION}: delete it to start anew"
        )
    return fields, arrays


def _shown(names: Any) -> list[str]:
    return sorted(name.split("/")[-1].split(".")[0] for name in names)


def _take_arrays(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """``value`` as JSON can hold it, its arrays in ``arrays`` under names that begin with ``name``."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _take_arrays(each, f"{name}.{key}", arrays) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_take_arrays(each, f"{name}.{i}", arrays) for i, each in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    kind = name.split("/")[-1]
    raise TypeError(f"{kind} keeps {value!r}, expected numbers, strings, None, arrays, lists and dicts by str of these")


def _put_arrays(value: Any, arrays: Mapping[str, Array]) -> Any:
    """The inverse of ``_take_arrays``."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _put_arrays(each, arrays) for key, each in value.items()}
    return [_put_arrays(each, arrays) for each in value] if isinstance(value, list) else value
