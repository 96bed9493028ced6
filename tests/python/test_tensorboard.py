import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model
from recurlm.callbacks import BackupAndRestore, Callback, TensorBoard
from recurlm.callbacks.tensorboard import _buckets
from recurlm.layers import LSTM, Dense

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

X = np.random.default_rng(0).standard_normal((20, 4, 3)).astype(np.float32)
Y = X.sum((1, 2))[:, None]


def build() -> Model:
    x = Input((4, 3), name="x")
    sequence, h, c = LSTM(4, name="a", return_sequences=True, return_state=True)(x)
    last = LSTM(4, name="b")(sequence, initial_state=[h, c])
    model = Model(x, Dense(1, name="out")(last), name="net", seed=1)
    model.compile("adam", "mse", metrics=["mae"])
    return model


def read(folder: Path) -> Any:
    events = accumulator.EventAccumulator(str(folder), size_guidance={accumulator.TENSORS: 0})
    events.Reload()
    return events


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.tensor_proto.float_val[0]) for event in read(folder).Tensors(tag)]


def test_tensorflow_is_not_needed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    build().fit(X, Y, verbose=0, callbacks=[TensorBoard(tmp_path, histogram_freq=1)])
    assert scalars(tmp_path / "train", "epoch_loss")


def test_epochs_are_written_as_keras_names_them(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, histogram_freq=2)
    model = build()
    history = model.fit(
        X, Y, batch_size=5, epochs=3, verbose=0, validation_data=(X, Y), callbacks=[board]
    ).history  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "validation"]
    for run, prefix in (("train", ""), ("validation", "val_")):
        for name in ("loss", "mae"):
            expected = [(epoch, np.float32(value)) for epoch, value in enumerate(history[prefix + name])]
            assert scalars(tmp_path / run, f"epoch_{name}") == expected
    assert scalars(tmp_path / "train", "epoch_learning_rate") == [(epoch, np.float32(0.001)) for epoch in range(3)]
    over_steps = scalars(tmp_path / "validation", "evaluation_loss_vs_iterations")
    assert over_steps == [(4 * (e + 1), np.float32(v)) for e, v in enumerate(history["val_loss"])]
    assert not [tag for tag in read(tmp_path / "train").Tags()["tensors"] if tag.startswith("batch_")]


def test_histograms_hold_the_weights(tmp_path: Path) -> None:
    model = build()
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[TensorBoard(tmp_path, histogram_freq=2)])
    events = read(tmp_path / "train")
    plugins = events.summary_metadata["out/kernel/histogram"].plugin_data.plugin_name
    assert plugins == "histograms"
    found = events.Tensors("out/kernel/histogram")
    assert [event.step for event in found] == [0, 2]
    from tensorboard.util.tensor_util import make_ndarray

    left, right, counts = make_ndarray(found[-1].tensor_proto).T
    kernel = model.get_layer("out").weights[0].value
    assert counts.sum() == kernel.size
    assert (left[0], right[-1]) == (kernel.min(), kernel.max())


def test_constant_empty_and_infinite_weights_have_histograms() -> None:
    for values in (np.full(7, 2.5, np.float32), np.array([1, np.inf], np.float32), np.empty(0, np.float32)):
        buckets = _buckets(values)
        assert buckets.shape == (30, 3)
        assert buckets[:, 2].sum() == values.size
    np.testing.assert_array_equal(_buckets(np.full(7, 2.5, np.float32))[-1], [2.5, 2.5, 7])


def test_steps_are_written_every_so_often(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, update_freq=3, write_steps_per_second=True, write_graph=False)
    build().fit(X, Y, batch_size=5, epochs=2, verbose=0, callbacks=[board])
    assert [step for step, _ in scalars(tmp_path / "train", "batch_loss")] == [3, 6]
    for tag in ("batch_steps_per_second", "epoch_steps_per_second"):
        assert all(value > 0 for _, value in scalars(tmp_path / "train", tag))
    assert "keras" not in read(tmp_path / "train").Tags()["tensors"]
    every = TensorBoard(tmp_path / "every", update_freq="batch")
    build().fit(X, Y, batch_size=5, verbose=0, callbacks=[every])
    assert [step for step, _ in scalars(tmp_path / "every" / "train", "batch_mae")] == [1, 2, 3, 4]


def test_the_graph_is_one_that_tensorboard_reads(tmp_path: Path) -> None:
    build().fit(X, Y, verbose=0, callbacks=[TensorBoard(tmp_path)])
    from tensorboard.plugins.graph.keras_util import keras_model_to_graph_def

    event = read(tmp_path / "train").Tensors("keras")[0]
    graph = keras_model_to_graph_def(json.loads(event.tensor_proto.string_val[0]))
    edges = {node.name: sorted(node.input) for node in graph.node}
    assert edges == {
        "net/x": [],
        "net/a": ["net/x"],
        "net/b": ["net/a", "net/a", "net/a"],
        "net/out": ["net/b"],
    }


def test_an_evaluation_on_its_own_is_written(tmp_path: Path) -> None:
    model = build()
    loss = model.evaluate(X, Y, verbose=0, callbacks=[TensorBoard(tmp_path)])[0]
    assert scalars(tmp_path / "validation", "evaluation_loss_vs_iterations") == [(0, np.float32(loss))]


def test_a_resumed_run_goes_on_counting_steps(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.model.step == 3:
                raise KeyboardInterrupt

    def run(*more: Callback) -> None:
        listed = [TensorBoard(tmp_path / "log", update_freq=1), BackupAndRestore(tmp_path / "backup", 2), *more]
        build().fit(X, Y, batch_size=5, verbose=0, callbacks=listed)

    with pytest.raises(KeyboardInterrupt):
        run(Stop())
    run()
    steps = {step for step, _ in scalars(tmp_path / "log" / "train", "batch_loss")}
    assert steps >= {3, 4}
    assert max(steps) == 4


def test_bad_frequencies_and_a_missing_library_are_named(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match="update_freq must be 'epoch', 'batch' or a positive number of steps, got 0"):
        TensorBoard(tmp_path, update_freq=0)
    with pytest.raises(ValueError, match="histogram_freq must be a whole number of epochs from 0 on, got -1"):
        TensorBoard(tmp_path, histogram_freq=-1)
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(ImportError, match=r"needs tensorboard: install recurlm with its extra \[board\]"):
        TensorBoard(tmp_path)
