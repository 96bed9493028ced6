"""Files of Keras, made by hand: damaged ones, and those that point elsewhere. Keras is not needed."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from recurlm import Input, Model  # noqa: E402
from recurlm.interop import load_keras, load_keras_weights, save_keras_weights  # noqa: E402
from recurlm.layers import LSTM, Dense, Embedding  # noqa: E402

V, D, H = 7, 3, 4
MUTATIONS = 200

LAYERS: list[dict[str, Any]] = [
    {"class_name": "InputLayer", "config": {"batch_shape": [None, None], "dtype": "int32", "name": "ids"}},
    {"class_name": "Embedding", "config": {"name": "table", "input_dim": V, "output_dim": D}},
    {"class_name": "LSTM", "config": {"name": "cell", "units": H, "return_sequences": True}},
    {"class_name": "Dense", "config": {"name": "top", "units": V, "activation": "softmax"}},
]


def small(layers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "small", "layers": layers}}


CONFIG = small(LAYERS)


def our_model(seed: int = 1) -> Model:
    ids = Input((None,), dtype="int32")
    model = Model(ids, Dense(V, "softmax")(LSTM(H, return_sequences=True)(Embedding(V, D)(ids))))
    rng = np.random.default_rng(seed)
    model.set_weights([rng.standard_normal(w.shape, np.float32) for w in model.weights])
    return model


def weights_file(folder: Path, model: Model | None = None) -> Path:
    path = folder / "small.weights.h5"
    save_keras_weights(model or our_model(), path)
    return path


def keras_file(folder: Path, config: Any = CONFIG, weights: bytes | None = None) -> Path:
    path = folder / "small.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", weights_file(folder).read_bytes() if weights is None else weights)
    return path


def test_a_model_made_by_hand(tmp_path: Path) -> None:
    model, expected = load_keras(keras_file(tmp_path)), our_model()
    ids = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(model.predict(ids, verbose=0), expected.predict(ids, verbose=0))
    assert [layer.name for layer in model.layers][-3:] == ["table", "cell", "top"]


def test_weights_go_to_a_file_and_come_back(tmp_path: Path) -> None:
    model, other = our_model(1), our_model(2)
    load_keras_weights(other, weights_file(tmp_path, model))
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config.json is damaged"),
        ("[]", "is damaged, or no file of Keras 3"),
        ({"class_name": "Custom", "config": {}}, "expected a Sequential or Functional model of Keras 3, got a Custom"),
        ({"class_name": "Sequential", "config": {"name": "small"}}, "no file of Keras 3 .KeyError: 'layers'"),
        (
            {
                **CONFIG,
                "config": {"name": "small", "layers": [*LAYERS, {"class_name": "Lambda", "config": {"name": "f"}}]},
            },
            "layer 'f' of class Lambda: unknown layer 'Lambda'",
        ),
        (
            {
                **CONFIG,
                "config": {"name": "s", "layers": [*LAYERS[:3], {"class_name": "Dense", "config": {"units": 3}}]},
            },
            r"expected \(4, 3\) in layers/dense/vars/0, got shape \(4, 7\)",
        ),
        (
            {**CONFIG, "config": {"name": "s", "layers": LAYERS[:3]}},
            "has layers/dense/vars/0, for which the model has no",
        ),
    ],
)
def test_a_config_that_is_none_is_named(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_keras(keras_file(tmp_path, config))


def test_a_graph_that_turns_in_a_circle_is_refused(tmp_path: Path) -> None:
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["d", 0, 0]}}
    call = [{"args": [tensor], "kwargs": {}}]
    dense = {"module": "keras.layers", "class_name": "Dense", "name": "d", "inbound_nodes": call}
    inside = {"name": "m", "layers": [{**dense, "config": {"name": "d", "units": 2}}]}
    inside |= {"input_layers": [["d", 0, 0]], "output_layers": [["d", 0, 0]]}
    with pytest.raises(ValueError, match="is damaged, or no file of Keras 3"):
        load_keras(keras_file(tmp_path, {"class_name": "Functional", "config": inside}))


def _missing(file: Any) -> None:
    del file["layers/lstm/cell/vars/1"]


def _of_another_shape(file: Any) -> None:
    del file["layers/lstm/cell/vars/1"]
    file["layers/lstm/cell/vars/1"] = np.zeros((2, 2))


def _text(file: Any) -> None:
    del file["layers/lstm/cell/vars/1"]
    file["layers/lstm/cell/vars/1"] = np.full((H, 4 * H), b"x")


@pytest.mark.parametrize("change", [_missing, _of_another_shape, _text])
def test_weights_that_do_not_fit_change_nothing(tmp_path: Path, change: Callable[[Any], None]) -> None:
    path, model = weights_file(tmp_path), our_model(2)
    with h5py.File(path, "a") as file:
        change(file)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"layers/lstm/cell/vars/1|could not convert"):
        load_keras_weights(model, path)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def _linked(file: Any, secret: Path) -> None:
    file["layers/dense/vars/1"] = h5py.ExternalLink(str(secret), "layers/dense/vars/1")


def _stored_elsewhere(file: Any, secret: Path) -> None:
    file.create_dataset("layers/dense/vars/1", (V,), "f4", external=[(str(secret), 0, V * 4)])


def _virtual(file: Any, secret: Path) -> None:
    layout = h5py.VirtualLayout((V,), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "layers/dense/vars/1", (V,))
    file.create_virtual_dataset("layers/dense/vars/1", layout)


@pytest.mark.parametrize("point", [_linked, _stored_elsewhere, _virtual])
def test_other_files_are_not_opened(tmp_path: Path, point: Callable[[Any, Path], None]) -> None:
    secret = tmp_path / "secret.h5"
    save_keras_weights(our_model(5), secret)
    path, model = weights_file(tmp_path), our_model(2)
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars/1"]
        point(file, secret)
    with pytest.raises(ValueError, match=r"expected \(7,\) in layers/dense/vars/1, got nothing|stands in another file"):
        load_keras_weights(model, path)


def _changed(whole: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(whole)
    for place in rng.integers(0, len(whole), rng.integers(1, 9)):
        changed[place] = rng.integers(256)
    return bytes(changed[: rng.integers(len(whole) // 2, len(whole) + 1)] if rng.random() < 0.3 else changed)


def _sentence(read: Callable[[Path], Any], path: Path) -> str:
    """Why a file was refused; nothing where what was changed is no part of its structure."""
    try:
        read(path)
    except ValueError as error:
        return str(error)
    return ""


def test_strange_bytes_are_refused_in_one_sentence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = our_model()
    whole = {"m.keras": keras_file(tmp_path).read_bytes(), "m.weights.h5": weights_file(tmp_path).read_bytes()}
    for name, read in (("m.keras", load_keras), ("m.weights.h5", lambda path: load_keras_weights(model, path))):
        path = tmp_path / name
        sentences = []
        for _ in range(MUTATIONS):
            path.write_bytes(_changed(whole[name], rng))
            sentences.append(_sentence(read, path))
        assert any(sentences)
        assert not any("\n" in sentence for sentence in sentences)


def test_files_that_are_no_files_of_keras(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_keras(tmp_path / "none.keras")
    with pytest.raises(FileNotFoundError):
        load_keras_weights(our_model(), tmp_path / "none.weights.h5")
    path = tmp_path / "text"
    path.write_text("no zip")
    with pytest.raises(ValueError, match="is damaged, or no file of Keras 3"):
        load_keras(path)
    with pytest.raises(ValueError, match="is damaged, or no file of Keras 3"):
        load_keras_weights(our_model(), path)
    with pytest.raises(ValueError, match="is damaged, or no file of Keras 3"):
        load_keras(keras_file(tmp_path, weights=b"none"))


def test_a_compressed_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(CONFIG))
        archive.writestr("model.weights.h5", bytes(1 << 20))
    with pytest.raises(ValueError, match="is compressed, which Keras's files are not"):
        load_keras(path)


def test_tied_layers_are_not_for_keras(tmp_path: Path) -> None:
    ids = Input((None,), dtype="int32")
    table = Embedding(V, H, name="table")
    model = Model(ids, Dense(V, tied_to=table, name="top")(LSTM(H, return_sequences=True)(table(ids))))
    with pytest.raises(ValueError, match="top is tied to table: Keras has no such layer"):
        save_keras_weights(model, tmp_path / "x.weights.h5")
    assert not list(tmp_path.iterdir())
