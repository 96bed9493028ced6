import copy
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, LanguageModel, Model, checkpoint, files, optimizers
from recurlm.layers import GRU, LSTM, Dense, Dropout, Embedding, Masking, SimpleRNN
from recurlm.model_io import ModelState
from recurlm.optimizers import schedules
from recurlm.text.tokenizers import CharTokenizer
from tests.python.models import ids, normal

RNG = np.random.default_rng(29)
V = 9


def everything() -> Model:
    tokens, features = Input((None,), name="tokens"), Input((None, 3), name="features")
    table = Embedding(V, 4, mask_zero=True)
    x = Dropout(0.3, noise_shape=(None, 1, None))(table(tokens))
    x, h, c = LSTM(4, return_sequences=True, return_state=True, dropout=0.1)(x)
    y, g = GRU(4, return_state=True, stateful=True, name="memory")(Masking()(features))
    x = LSTM(4, return_sequences=True)(x, initial_state=[h, c])
    shared = Dense(4, "tanh")
    model = Model(
        [tokens, features],
        [Dense(V, "softmax", tied_to=table)(shared(x)), SimpleRNN(2)(shared(features_of(features))), shared(y), g],
    )
    model.compile(
        optimizers.Adam(schedules.CosineDecay(0.01, 50)),
        ["sparse_categorical_crossentropy", "mse", "mse", "mae"],
        metrics=[["accuracy"], None, ["mse"], None],
    )
    return model


def features_of(features: Any) -> Any:
    return Dense(4)(features)


def batch() -> tuple[list[np.ndarray], list[np.ndarray]]:
    x = [ids(RNG, V, 5, 6), normal(RNG, 5, 4, 3)]
    return x, [ids(RNG, V, 5, 6), normal(RNG, 5, 2), normal(RNG, 5, 4), normal(RNG, 5, 4)]


def test_a_loaded_model_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    model, (x, y) = everything(), batch()
    model.fit(x, y, verbose=0, epochs=2, batch_size=5)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert model.layers[0].name == loaded.layers[0].name
    assert list(model.named_weights()) == list(loaded.named_weights())
    for m in (model, loaded):
        m.fit(x, y, verbose=0, epochs=4, initial_epoch=2, batch_size=5)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.optimizer.iterations == 4
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        *("config.json", "model.safetensors", "training.safetensors")
    ]


def test_a_layer_may_be_tied_to_one_that_comes_after_it(tmp_path: Path) -> None:
    features, tokens = Input((4,)), Input(())
    table = Embedding(V, 4)
    deep = Dense(2)(Dense(3)(Dense(V, "tanh", tied_to=table)(features)))
    model = Model([features, tokens], [deep, table(tokens)])
    assert model.layers.index(table) > model.layers.index(deep.node.inputs[0].node.inputs[0].node.layer)
    model.save(tmp_path / "model")
    x = [normal(RNG, 3, 4), ids(RNG, V, 3)]
    for a, b in zip(model.predict(x, verbose=0), Model.load(tmp_path / "model").predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_travel_between_models_built_alike(tmp_path: Path) -> None:
    first, second = everything(), everything()
    first.save_weights(tmp_path / "w.safetensors")
    second.load_weights(tmp_path / "w.safetensors")
    x, _ = batch()
    for a, b in zip(first.predict(x, verbose=0), second.predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)
    tokens = Input((None,))
    other = Model(tokens, LSTM(3)(Embedding(V, 4)(tokens)))
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"w\.safetensors is not of this model: it has 'dense\.bias'"):
        other.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(other.get_weights()[0], before[0])


def saved(folder: Path) -> Path:
    x = Input((3,))
    model = Model(x, Dense(2, name="dense")(x))
    model.save(folder)
    return folder


@pytest.mark.parametrize("size", [0, 7, 20, 100])
def test_truncated_weights_are_one_clear_error(tmp_path: Path, size: int) -> None:
    path = saved(tmp_path / "model") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: it is not a valid safetensors file"):
        Model.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c["model"]["layers"][1]["config"].update(units=3),
            "dense.bias must be float32|dense.kernel must be",
        ),
        (lambda c: c["model"]["layers"][1].update(class_name="os.system"), "unknown layer 'os.system'"),
        (lambda c: c["model"]["nodes"][1].update(inputs=[[7, 0]]), "the architecture is damaged"),
        (lambda c: c["model"].pop("nodes"), "the architecture is damaged: KeyError 'nodes'"),
        (lambda c: c.pop("model"), "config.json is damaged"),
        (lambda c: c.update(format_version=99), "has format_version 99; this version of recurlm reads up to 1"),
        (lambda c: c.clear(), "is not the configuration of a saved model"),
    ],
)
def test_edited_configurations_are_one_clear_error(tmp_path: Path, edit: Any, message: str) -> None:
    path = saved(tmp_path / "model") / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        Model.load(tmp_path / "model")
    path.write_text(json.dumps(config)[:-9] if config else "{")
    with pytest.raises(ValueError, match=r"config\.json is damaged: it is not valid JSON"):
        Model.load(tmp_path / "model")


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Model.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"holds no saved model: it has no config\.json"):
        Model.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file, expected the folder of a saved model"):
        Model.load(tmp_path / "file")
    with pytest.raises(FileExistsError, match="is a file; a folder cannot take its place"):
        saved(tmp_path / "file")
    (saved(tmp_path / "model") / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        Model.load(tmp_path / "model")


def test_what_cannot_be_saved_is_said(tmp_path: Path) -> None:
    x = Input((3,))
    model = Model(x, Dense(2, kernel_initializer=lambda shape: np.ones(shape))(x))
    with pytest.raises(ValueError, match=r"only the initializers of recurlm\.initializers can be saved"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    named = Model(x, Dense(2)(x))
    named.compile("sgd", "mse", metrics=[lambda y_true, y_pred: 0])
    with pytest.raises(ValueError, match="only with metrics given by name"):
        named.save(tmp_path / "model")


class Crash(Exception):
    pass


@pytest.mark.parametrize("rename", [0, 1, 2])
def test_a_crash_at_any_rename_leaves_a_whole_model(
    tmp_path: Path, rename: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the machine stopped there: nothing after the crash runs, not even the clean-up."""
    folder = saved(tmp_path / "model")
    old = Model.load(folder).get_weights()[0]
    x = Input((3,))
    new = Model(x, Dense(2, name="dense")(x))
    real, remove, calls = os.rename, files._remove, 0

    def crashing(a: Any, b: Any) -> None:
        nonlocal calls
        if calls >= rename:
            raise Crash
        calls += 1
        real(a, b)

    monkeypatch.setattr(files.os, "rename", crashing)
    monkeypatch.setattr(files, "_remove", lambda path: None if path.parent == tmp_path else remove(path))
    if rename < 2:
        with pytest.raises(Crash):
            new.save(folder)
    else:
        new.save(folder)
    monkeypatch.undo()
    loaded = Model.load(folder).get_weights()[0]
    np.testing.assert_array_equal(loaded, old if rename < 2 else new.get_weights()[0])
    saved(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def write_half(path: Path) -> None:
    with files.atomic_file(path) as file:
        file.write(b"half")
        raise Crash


def fill_half(path: Path) -> None:
    with files.replace_folder(path) as folder:
        (folder / "part").write_text("half")
        raise Crash


def test_atomic_files_are_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.atomic_write(path, b"old")
    with pytest.raises(Crash):
        write_half(path)
    assert path.read_bytes() == b"old"
    with pytest.raises(Crash):
        fill_half(tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@contextmanager
def writer(code: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that waits for ever amid writing."""
    block = "print('in', flush=True)\n    time.sleep(600)"
    code = f"import sys, time\nfrom recurlm import files\nwith files.{code}:\n    {block}"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("code", ["replace_folder(sys.argv[1])", "atomic_path(sys.argv[1])"])
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path, code: str) -> None:
    other = saved(tmp_path / "other")

    def temporary() -> list[str]:
        return [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]

    with writer(code, tmp_path / "model") as process:
        assert len(temporary()) == 1
        saved(tmp_path / "model")
        Model.load(tmp_path / "model")
        assert len(temporary()) == 1
        process.kill()
        process.wait(30)
        saved(other)
        assert len(temporary()) == 1  # it is of another name
        Model.load(tmp_path / "model")
        assert temporary() == []


def test_checkpoints_and_stored_ids_that_a_killed_process_left_are_removed(tmp_path: Path) -> None:
    for name in ("step-3", "tokens-0.bin"):
        with writer("atomic_path(sys.argv[1])", tmp_path / name):
            pass
    assert len(list(tmp_path.iterdir())) == 2
    checkpoint.save(tmp_path, 7, None, lambda folder: None)
    assert [path.name for path in tmp_path.iterdir()] == ["step-7"]


def test_disk_full_keeps_the_previous_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path / "model")
    before = Model.load(folder).get_weights()[0]

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        saved(folder)
    monkeypatch.undo()
    np.testing.assert_array_equal(Model.load(folder).get_weights()[0], before)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "present", [{"thesis.txt": "years"}, {"config.json": "{}", "app.js": "x"}, {"config.json": "["}]
)
def test_folders_that_are_no_model_are_kept(tmp_path: Path, present: dict[str, str]) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    for name, text in present.items():
        (folder / name).write_text(text)
    with pytest.raises(ValueError, match="home exists and is not a model: choose another folder"):
        saved(folder)
    with pytest.raises(ValueError, match="home exists and is not a model: choose another folder"):
        LanguageModel(units=2).save(folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == present


def test_a_model_with_other_files_or_of_another_kind_is_kept(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    with pytest.raises(ValueError, match="exists and is not a model"):
        LanguageModel(units=2).save(folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt, which is no part of a model"):
        saved(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    Model.load(saved(tmp_path / "empty"))


@pytest.mark.parametrize("path", ["", ".", "..", "sub/.."])
def test_the_current_folder_is_not_replaced(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="is or contains the current folder"):
        saved(path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is or contains the current folder"):
        LanguageModel(units=2).save(path)
    assert (tmp_path / "here" / "sub").is_dir()


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "model")
    for _ in range(3):
        saved(link)
        Model.load(link)
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["disk", "link", "model"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]


def test_a_file_is_written_through_a_link_and_a_folder_is_named(tmp_path: Path) -> None:
    model, link = Model.load(saved(tmp_path / "model")), tmp_path / "link.safetensors"
    link.symlink_to(tmp_path / "weights.safetensors")
    model.save_weights(link)
    assert link.is_symlink()
    model.load_weights(tmp_path / "weights.safetensors")
    with pytest.raises(IsADirectoryError, match="model is a folder, expected the name of a file"):
        model.save_weights(tmp_path / "model")


def test_readers_and_writers_of_one_folder_do_not_meet(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    # A loader in another process, as long as there is input.
    code = (
        "import select, sys, recurlm\n"
        "print('ready', flush=True)\n"
        "while not select.select([sys.stdin], [], [], 0)[0]:\n"
        "    recurlm.Model.load(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"ready\n"
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            saved(folder)
        _, errors = reader.communicate(b"stop\n", timeout=60)
    assert (reader.returncode, errors) == (0, b"")


@pytest.mark.parametrize("other", [Model.load, saved])
def test_others_wait_while_a_folder_is_replaced(
    tmp_path: Path, other: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "model")
    real, done = os.rename, []
    thread = threading.Thread(target=lambda: done.append(other(folder)))

    def slow(a: Any, b: Any) -> None:
        real(a, b)
        if not thread.ident:  # after the first of two renames there is no folder
            thread.start()
            time.sleep(0.2)
            assert not done

    monkeypatch.setattr(files.os, "rename", slow)
    saved(folder)
    thread.join(30)
    assert len(done) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    x = Input((None, 3))
    model = Model(x, Dense(2)(LSTM(4, stateful=True, name="memory")(x)))
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(normal(RNG, 4, 5, 3), normal(RNG, 4, 2), verbose=0)
    good = model.get_state()
    arrays = {name: array + 1 for name, array in good.arrays.items()}
    before = copy.deepcopy(good)
    wrong: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({}, {"metrics": {"sums": [1.0], "metrics": []}}, "metrics are not those"),
        ({}, {"metrics": {"sums": good.values["metrics"]["sums"], "metrics": [[1.0]]}}, "metrics are not those"),
        ({}, {"metrics": None}, "saved metrics are damaged"),
        ({}, {"step": "3"}, "step must be an integer from 0 on, got '3'"),
        ({}, {"seed": -1}, "seed must be an integer"),
        ({}, {"learning_rate": float("nan")}, "learning_rate must be a finite number or None, got nan"),
        ({"states/memory.0": np.zeros((4, 5), np.float32)}, {}, r"memory carries \(batch, 4\), got \(4, 5\)"),
    ]
    for extra, values, message in wrong:
        with pytest.raises(ValueError, match=message):
            model.set_state(ModelState(arrays | extra, good.values | values))
        now = model.get_state()
        assert now.values == before.values
        for name, array in before.arrays.items():
            np.testing.assert_array_equal(now.arrays[name], array)


def test_a_language_model_is_not_saved_while_another_thread_trains_it(tmp_path: Path) -> None:
    lm, errors = language_model(), []

    def save() -> None:
        try:
            lm.save(tmp_path / "lm")
        except RuntimeError as error:
            errors.append(str(error))

    with lm.model.usage.training():
        lm.save(tmp_path / "own")  # as from a callback
        thread = threading.Thread(target=save)
        thread.start()
        thread.join()
    assert errors == ["the model is being trained by another thread; wait until fit returns"]
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def language_model() -> LanguageModel:
    tokenizer = CharTokenizer()
    tokenizer.train(["abc"])
    return LanguageModel(units=2, tokenizer=tokenizer)


def test_a_tokenizer_nested_too_deep_is_one_clear_error(tmp_path: Path) -> None:
    language_model().save(tmp_path / "lm")
    (tmp_path / "lm" / "tokenizer.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged"):
        LanguageModel.load(tmp_path / "lm")
