"""Event files for TensorBoard, written by its own library: neither needs TensorFlow."""

from __future__ import annotations

import json
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..extras import needing
from ..typing import Array, Float
from .base import Callback, Logs

if TYPE_CHECKING:
    from ..graph import Graph
    from ..layers.base import SymbolicTensor
    from ..model import Model

_BUCKETS = 30


class TensorBoard(Callback):
    """Writes what ``tensorboard --logdir log_dir`` shows, under Keras's names: runs ``train`` and ``validation``.

    After each epoch ``epoch_loss``, metrics and ``epoch_learning_rate``; after each evaluation its figures over steps.
    (Keras's images, profiles and embeddings are not there.)

    Args:
        histogram_freq: epochs between histograms of all weights; 0 for none.
        write_graph: show layers and how they are connected.
        write_steps_per_second: write these too.
        update_freq: ``"epoch"``, or a number of steps after which the running figures are written as ``batch_loss`` and
            so on; ``"batch"`` is 1.

    Raises:
        ImportError: the library tensorboard is missing.
    """

    kept = ("_steps",)

    def __init__(
        self,
        log_dir: str | Path = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
    ) -> None:
        if type(histogram_freq) is not int or histogram_freq < 0:
            raise ValueError(f"histogram_freq must be a whole number of epochs from 0 on, got {histogram_freq!r}")
        if update_freq not in ("epoch", "batch") and not (type(update_freq) is int and update_freq > 0):
            raise ValueError(f"update_freq must be 'epoch', 'batch' or a positive number of steps, got {update_freq!r}")
        _library("summary.writer.event_file_writer")  # missed now, not in training
        self.log_dir = Path(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._steps = 0  # of this run
        self._writers: dict[str, Any] = {}

    # What fit and evaluate call --------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._steps = 0
        if self.write_graph:
            self._write("train", _graph_summary(self.model), 0)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch_began, self._first_step = time.perf_counter(), self.model.step

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._batch_began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._steps += 1
        if self.update_freq == "epoch" or self._steps % int(self.update_freq):
            return
        figures = dict(logs or {})
        if self.write_steps_per_second:
            figures["steps_per_second"] = 1 / (time.perf_counter() - self._batch_began)
        self._write_scalars("train", "batch_{}", figures, self._steps)

    def on_test_end(self, logs: Logs | None = None) -> None:
        steps = self.model.optimizer.iterations
        self._write_scalars("validation", "evaluation_{}_vs_iterations", logs or {}, steps)
        if "epochs" not in self.params:  # an evaluation on its own: nothing follows
            self._close()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        figures = dict(logs or {})
        held_out = {name: figures.pop(name) for name in list(figures) if name.startswith("val_")}
        figures["learning_rate"] = self.model.optimizer.learning_rate
        if self.write_steps_per_second:
            seconds = time.perf_counter() - self._epoch_began
            figures["steps_per_second"] = (self.model.step - self._first_step) / seconds
        self._write_scalars("train", "epoch_{}", figures, epoch)
        if held_out:
            held_out = {name.removeprefix("val_"): value for name, value in held_out.items()}
            self._write_scalars("validation", "epoch_{}", held_out, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_histograms(epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._close()

    # Writing ---------------------------------------------------------------------------------------------------------

    def _write_scalars(self, run: str, pattern: str, figures: Logs, step: int) -> None:
        scalar_pb = _library("plugins.scalar.summary_v2").scalar_pb
        for name, value in figures.items():
            self._write(run, scalar_pb(pattern.format(name), float(value)), step)

    def _write_histograms(self, epoch: int) -> None:
        for layer in self.model.layers:
            for name, parameter in layer.named_weights().items():
                tag = f"{layer.name}/{name.replace('.', '/')}/histogram"
                self._write("train", _histogram_summary(tag, parameter.value), epoch)

    def _write(self, run: str, summary: Any, step: int) -> None:
        if run not in self._writers:
            writer = _library("summary.writer.event_file_writer").EventFileWriter
            self._writers[run] = writer(str(self.log_dir / run))
        event = _library("compat.proto.event_pb2").Event(wall_time=time.time(), step=step, summary=summary)
        self._writers[run].add_event(event)

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _library(module: str) -> Any:
    with needing("board", "TensorBoard"):
        return import_module(f"tensorboard.{module}")


def _summary(tag: str, tensor: Any, metadata: Any) -> Any:
    proto = _library("compat.proto.summary_pb2").Summary()
    proto.value.add(tag=tag, tensor=_library("util.tensor_util").make_tensor_proto(tensor), metadata=metadata)
    return proto


def _histogram_summary(tag: str, values: Float) -> Any:
    # TensorBoard's own function takes 30 times the memory of the values and more.
    metadata = _library("plugins.histogram.metadata").create_summary_metadata(None, None)
    return _summary(tag, _buckets(values), metadata)


def _buckets(values: Float) -> Array:
    """Left edges, right edges and counts, (_BUCKETS, 3); where all values are one, it is every edge."""
    if values.size == 0:
        return np.zeros((_BUCKETS, 3))
    low, high = float(values.min()), float(values.max())
    if low == high or not np.isfinite([low, high]).all():
        counts = np.zeros(_BUCKETS)
        counts[-1] = values.size
        return np.stack([np.full(_BUCKETS, low), np.full(_BUCKETS, high), counts], axis=1)
    found, edges = np.histogram(values, _BUCKETS, (low, high))
    return np.stack([edges[:-1], edges[1:], found.astype(np.float64)], axis=1)


def _graph_summary(model: Model) -> Any:
    metadata = _library("compat.proto.summary_pb2").SummaryMetadata()
    metadata.plugin_data.plugin_name = _library("plugins.graph.metadata").PLUGIN_NAME_KERAS_MODEL
    metadata.plugin_data.content = b"1"  # the version of the format
    return _summary("keras", json.dumps(_keras_config(model.name, model.graph)), metadata)


def _keras_config(name: str, graph: Graph) -> dict[str, Any]:
    """The graph as Keras writes it, without what TensorBoard does not read."""
    layers = []
    for layer in graph.layers:
        calls = [node for node in graph.nodes if node.layer is layer and node.inputs]
        inbound = [{"args": [_reference(tensor) for tensor in node.inputs]} for node in calls]
        config = {"name": layer.name, "dtype": "float32"}
        layers.append({"class_name": type(layer).__name__, "config": config, "inbound_nodes": inbound})
    ends = {
        key: [[tensor.node.layer.name, 0, tensor.index] for tensor in tensors]
        for key, tensors in (("input_layers", graph.inputs), ("output_layers", graph.outputs))
    }
    return {"class_name": "Functional", "config": {"name": name, "layers": layers, **ends}}


def _reference(tensor: SymbolicTensor) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [tensor.node.layer.name, 0, tensor.index]}}
