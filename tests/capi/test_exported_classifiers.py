"""Networks that classify sequences, or their steps, exported for the C library: it says what Model.predict says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, Model, layers
from recurlm.cli import main
from recurlm.interop import export_classifier
from recurlm.layers import Bidirectional, Dense, Dropout, Embedding, TimeDistributed

from .library import DAMAGED_FILE, INVALID_ARGUMENT, Classifier, Failure

SYMBOLS, CLASSES = 13, 4
CELLS: dict[str, Any] = {"lstm": layers.LSTM, "gru": layers.GRU, "rnn": layers.SimpleRNN}
POOLING: dict[str, Any] = {"max": layers.GlobalMaxPooling1D, "mean": layers.GlobalAveragePooling1D}
TOLERANCE = 1e-5  # of log-probabilities: the same products in the same order


def network(
    cell: str = "lstm", both: bool = True, depth: int = 1, end: str = "steps", mask_zero: bool = True, **options: Any
) -> Model:
    """With weights far from their initial ones: biases are not zero."""
    ids = Input((None,), dtype="int32")
    x = Dropout(0.2)(Embedding(SYMBOLS, 6, mask_zero=mask_zero)(ids))
    for place in range(depth):
        sequences = place < depth - 1 or end != "last"
        made = CELLS[cell](7, return_sequences=sequences, **options)
        x = (Bidirectional(made) if both else made)(x)
    x = POOLING[end]()(x) if end in POOLING else x
    dense = Dense(CLASSES, activation="softmax")
    model = Model(ids, (TimeDistributed(dense) if end == "steps" and depth == 2 else dense)(x))
    rng = np.random.default_rng(depth)
    model.set_weights([rng.normal(scale=0.5, size=weight.shape) for weight in model.get_weights()])
    return model


def predicted(model: Model, rows: list[list[int]]) -> list[Any]:
    """Each row alone."""
    return [np.log(model.predict(np.array([row], np.int32), verbose=0)[0]) for row in rows]


ROWS = [[1, 2, 3], [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1], [5], [3, 1, 4, 1, 5, 9, 2, 6]]
WITH_ZEROS = [*ROWS, [0, 3, 0, 4, 0], [0], [7, 7, 0, 0]]


@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("end", ["steps", "last", "max", "mean"])
@pytest.mark.parametrize(
    ("cell", "both", "depth"),
    [("lstm", True, 2), ("gru", True, 1), ("rnn", True, 3), ("lstm", False, 1), ("gru", False, 2)],
)
def test_networks(cell: str, both: bool, depth: int, end: str, mask_zero: bool, tmp_path: Path) -> None:
    model = network(cell, both, depth, end, mask_zero)
    export_classifier(model, tmp_path / "m", labels=["a", "b", "c", "d"])
    library = Classifier(tmp_path / "m")
    assert (library.labels, library.classifies_steps) == (["a", "b", "c", "d"], end == "steps")
    # Where masked steps count in the maximum, one stands behind every sequence: alone it has none.
    rows = ROWS if end == "max" and mask_zero else WITH_ZEROS
    asked = [[*row, 0] for row in rows] if end == "max" and mask_zero else rows
    expected = predicted(model, asked)
    found = library.classify_ids(rows)
    np.testing.assert_allclose(found, np.concatenate(expected).reshape(found.shape), rtol=0, atol=TOLERANCE)
    place = len(rows[0]) if end == "steps" else 1
    np.testing.assert_array_equal(library.classify_ids(rows[:1]), found[:place])  # alone, the same bits


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_less_than_float32(precision: Any, tmp_path: Path) -> None:
    model = network("gru", depth=2)
    export_classifier(model, tmp_path / "m", precision=precision)
    library = Classifier(tmp_path / "m")
    assert library.labels == ["0", "1", "2", "3"]
    found, expected = library.classify_ids(ROWS), np.concatenate(predicted(model, ROWS))
    assert 1e-6 < np.abs(found - expected).max() < 0.2  # weights of half a percent


def test_cells_without_biases_and_tied_weights(tmp_path: Path) -> None:
    ids = Input((None,), dtype="int32")
    embedding = Embedding(SYMBOLS, 6)
    x = layers.GRU(6, return_sequences=True, use_bias=False)(embedding(ids))
    model = Model(ids, Dense(SYMBOLS, activation="softmax", use_bias=False, tied_to=embedding)(x))
    export_classifier(model, tmp_path / "m")
    found = Classifier(tmp_path / "m").classify_ids(ROWS)
    np.testing.assert_allclose(found, np.concatenate(predicted(model, ROWS)), rtol=0, atol=TOLERANCE)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network()
    model.save(tmp_path / "saved")
    for _ in range(2):  # the second replaces the first
        assert main(["pack", str(tmp_path / "saved"), "--out", str(tmp_path / "m")]) == 0
    assert "MB of packed weights, for the C library" in capsys.readouterr().out
    found = Classifier(tmp_path / "m").classify_ids(ROWS)
    np.testing.assert_allclose(found, np.concatenate(predicted(model, ROWS)), rtol=0, atol=TOLERANCE)


def test_what_is_not_possible_has_a_sentence(tmp_path: Path) -> None:
    export_classifier(network(end="last"), tmp_path / "m")
    library = Classifier(tmp_path / "m")
    for rows, sentence in [([[1], [SYMBOLS]], "below the number"), ([[-1]], "negative"), ([[1], []], "not be empty")]:
        with pytest.raises(Failure, match=sentence) as failure:
            library.classify_ids(rows)
        assert failure.value.status == INVALID_ARGUMENT
    (tmp_path / "m" / "model.safetensors").write_bytes(b"")
    with pytest.raises(Failure, match=r"model\.safetensors") as failure:
        Classifier(tmp_path / "m")
    assert failure.value.status == DAMAGED_FILE


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: network("rnn", activation="relu"), "must have the activation tanh"),
        (lambda: network("gru", reset_after=False), "reset_after=True"),
        (lambda: chain(layers.LSTM(5, return_sequences=True), layers.LSTM(6)), "of one kind, width and direction"),
        (lambda: chain(layers.LSTM(5), Dense(2), dense=Dense(3)), "got a Dense"),
        (lambda: chain(layers.LSTM(5), dense=Dense(3, activation="sigmoid")), "softmax or no activation, got sigmoid"),
        (lambda: chain(Bidirectional(layers.LSTM(5), merge_mode="sum")), "merge_mode must be concat"),
    ],
)
def test_networks_that_the_library_cannot_run(model: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        export_classifier(model(), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def chain(*inner: Any, dense: Any = None) -> Model:
    ids = Input((None,), dtype="int32")
    x = Embedding(SYMBOLS, 6)(ids)
    for layer in inner:
        x = layer(x)
    return Model(ids, (dense or Dense(2, activation="softmax"))(x))


def test_bad_arguments(tmp_path: Path) -> None:
    model = network()
    with pytest.raises(ValueError, match="labels must be 4 texts, one for each class, got"):
        export_classifier(model, tmp_path / "m", labels=["a"])
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, int8"):
        export_classifier(model, tmp_path / "m", precision="int4")  # type: ignore[arg-type]
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match="is not a model: choose another folder"):
        export_classifier(model, tmp_path / "m")
