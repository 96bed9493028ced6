"""What the C library says of texts and sequences is what the classifier in Python says."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from recurlm.estimators import SequenceClassifier
from tests.fixtures import write
from tests.python import samples

from .library import DAMAGED_FILE, INVALID_ARGUMENT, IO_ERROR, NOT_FINITE, UNKNOWN_TEXT, Classifier, Failure, call

TEXTS = samples.LINES * 12
LABELS = np.array(["cat", "dog", "hat", "letter"] * 12)
# Of one length and of many, empty, of words that fit has not seen, more than a batch.
ASKED = [
    "the cat",
    "a dog ran after the hat",
    "",
    "zebra zebra",
    *samples.LINES,
    *(" ".join(["cat"] * n) for n in range(40)),
]

# In float32 and bfloat16 both sides form the same products in the same order.
TOLERANCE = 1e-5
# In int8 the library rounds activations too, by at most half a percent of the greatest, in each of forty steps, through
# which a simple RNN carries it. Measured: 0.005, 0.005 and 0.2.
INT8_TOLERANCES = {"lstm": 0.02, "gru": 0.02, "rnn": 0.3}


def fitted(X: Any, y: Any, **parameters: Any) -> SequenceClassifier:
    options = {"units": 20, "embedding_dim": 12, "epochs": 6, "learning_rate": 1e-2, "random_state": 1}
    return SequenceClassifier(**options | parameters).fit(X, y)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
@pytest.mark.parametrize(
    ("cell", "bidirectional", "layers"),
    [("lstm", True, 1), ("gru", True, 2), ("rnn", True, 3), ("lstm", False, 2), ("gru", False, 1)],
)
def test_texts(cell: str, bidirectional: bool, layers: int, pooling: str, precision: Any, tmp_path: Path) -> None:
    classifier = fitted(TEXTS, LABELS, cell=cell, bidirectional=bidirectional, layers=layers, pooling=pooling)
    classifier.save(tmp_path / "model", precision=precision)
    library, asked = Classifier(tmp_path / "model"), ASKED
    assert library.labels == list(classifier.classes_)
    found, expected = library.classify(asked), SequenceClassifier.load(tmp_path / "model").predict_log_proba(asked)
    tolerance = INT8_TOLERANCES[cell] if precision == "int8" else TOLERANCE
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    for text, row in zip(asked[:9], found, strict=False):
        np.testing.assert_array_equal(library.classify([text])[0], row)  # alone, the same bits


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_one_that_learned_tags_too(precision: Any, tmp_path: Path) -> None:
    classifier = SequenceClassifier(units=20, layers=2, pooling="max", epochs=2, random_state=1)
    classifier.fit(TEXTS, LABELS, [[word[0] for word in text.split()] for text in TEXTS])
    classifier.save(tmp_path / "model", precision=precision)
    expected = SequenceClassifier.load(tmp_path / "model").predict_log_proba(ASKED)
    tolerance = INT8_TOLERANCES["lstm"] if precision == "int8" else TOLERANCE
    np.testing.assert_allclose(Classifier(tmp_path / "model").classify(ASKED), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("tokenizer", ["char", "byte", "word", "bpe"])
def test_every_tokenizer(tokenizer: str, tmp_path: Path) -> None:
    classifier = fitted(TEXTS, LABELS, tokenizer=tokenizer, bidirectional=True)
    classifier.save(tmp_path / "model")
    asked = ["the cat", "", "a dog ran", "\u00e9"]
    found = Classifier(tmp_path / "model").classify(asked)
    np.testing.assert_allclose(found, classifier.predict_log_proba(asked), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_ids(bidirectional: bool, pooling: str, tmp_path: Path) -> None:
    """With padding within, ids that fit has not seen, and labels that are numbers."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 9, size=rng.integers(1, 12)).tolist() for _ in range(40)]
    classifier = fitted(rows, [sum(row) % 3 for row in rows], bidirectional=bidirectional, pooling=pooling)
    classifier.save(tmp_path / "model")
    library = Classifier(tmp_path / "model")
    assert (library.labels, library.reads_texts) == (["0", "1", "2"], False)
    asked = [*rows, [], [0], [3, 0, 0, 5], [0, 4], [1000, 2], [2**31 - 2]]
    found = library.classify_ids(asked)
    np.testing.assert_allclose(found, classifier.predict_log_proba(asked), rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(library.classify_ids([asked[-4]])[0], found[-4])
    assert library.classify_ids([]).shape == (0, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "model"
    fitted(TEXTS, LABELS, epochs=1, tokenizer="char").save(path)
    return path


def refused(status: int, sentence: str, run: Callable[[], object]) -> None:
    with pytest.raises(Failure, match=sentence) as failure:
        run()
    assert failure.value.status == status


def test_what_is_not_possible_has_a_sentence(folder: Path, tmp_path: Path) -> None:
    library = Classifier(folder)
    assert library.reads_texts
    refused(UNKNOWN_TEXT, "Z", lambda: library.classify(["Zebra"]))
    refused(INVALID_ARGUMENT, "no such class", lambda: library.label(4))
    refused(INVALID_ARGUMENT, "reads texts", lambda: library.classify_ids([[1]]))
    refused(IO_ERROR, "No such file", lambda: Classifier(tmp_path / "none"))
    fitted([[1, 2], [2, 1]] * 4, [0, 1] * 4, epochs=1).save(tmp_path / "ids")
    refused(INVALID_ARGUMENT, "reads ids", lambda: Classifier(tmp_path / "ids").classify(["a"]))
    refused(INVALID_ARGUMENT, "negative", lambda: Classifier(tmp_path / "ids").classify_ids([[-1]]))
    fitted(np.ones((8, 3)), [0, 1] * 4, epochs=1).save(tmp_path / "numbers")
    refused(DAMAGED_FILE, "numbers runs in Python only", lambda: Classifier(tmp_path / "numbers"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "language_model"}, "is a kind that another function opens"),
        ({"format_version": 2}, "format_version|integer from 1 to 1"),
        ({"classes": {"dtype": "str", "values": []}}, "no classes"),
        ({"classes": {"dtype": "str", "values": ["a", "b"]}}, "classes.kernel.*another shape"),
        ({"classes": {"dtype": "str", "values": [None] * 4}}, "expected a number"),
        ({"input": {"kind": "ids", "arguments": {}}}, "limit"),
        ({"parameters": {}}, "cell"),
        ({"precision": "int4"}, "int4"),
        ({"precision": "int8"}, "embedding.embeddings.*another shape or type"),
    ],
)
def test_damaged_configurations(folder: Path, tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    damaged = tmp_path / "model"
    damaged.mkdir()
    for path in folder.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    config = json.loads((damaged / "config.json").read_text(encoding="utf-8"))
    (damaged / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    refused(DAMAGED_FILE, sentence, lambda: Classifier(damaged))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
def test_weights_that_are_no_numbers(pooling: str, bidirectional: bool, tmp_path: Path) -> None:
    """Of a word amid a text; what lies beside it is as it was."""
    classifier = fitted(TEXTS, LABELS, epochs=1, pooling=pooling, bidirectional=bidirectional)
    vectors = classifier.model_.named_weights()["embedding.embeddings"]
    vectors.assign(
        np.where(np.arange(len(vectors.value))[:, None] == _symbol(classifier, "sat"), np.nan, vectors.value)
    )
    classifier.save(tmp_path / "model")
    library = Classifier(tmp_path / "model")
    assert np.isfinite(library.classify(["the cat"])).all()
    refused(NOT_FINITE, "not finite", lambda: library.classify(["the cat", "the cat sat on"]))
    with pytest.raises(FloatingPointError, match=r"embedding\.embeddings is not finite"):
        classifier.save(tmp_path / "model", precision="int8")
    assert Classifier(tmp_path / "model").labels == library.labels


def _symbol(classifier: SequenceClassifier, word: str) -> int:
    return int(classifier.reader_.read(classifier, [word])[0][0])


def test_long_sequences(tmp_path: Path) -> None:
    """More steps than go side by side, and one that is alone; on one thread and on three."""
    rng = np.random.default_rng(1)
    rows = [rng.integers(1, 9, size=size).tolist() for size in (9000, 3000, 3000, 700, 5)]
    classifier = fitted([row[:9] for row in rows], [0, 1, 0, 1, 1], bidirectional=True, pooling="max")
    classifier.save(tmp_path / "model")
    library = Classifier(tmp_path / "model")
    found = library.classify_ids(rows)
    np.testing.assert_allclose(found, classifier.predict_log_proba(rows), rtol=0, atol=TOLERANCE)
    try:
        for threads in (1, 3):
            call("set_threads", threads)
            np.testing.assert_array_equal(library.classify_ids(rows), found)
    finally:
        call("set_threads", 2)


def test_labels_may_hold_anything(tmp_path: Path) -> None:
    labels = ["a\0b", "a\0c", "", "\u00e9 \U0001f63a"]
    fitted(TEXTS[:4], labels, epochs=1).save(tmp_path / "texts")
    assert Classifier(tmp_path / "texts").labels == sorted(labels)
    fitted(TEXTS[:4], [True, False] * 2, epochs=1, clipnorm=np.inf, bidirectional=1).save(tmp_path / "truths")
    assert Classifier(tmp_path / "truths").labels == ["false", "true"]
    fitted(TEXTS[:4], [2.0, -1.0] * 2, epochs=1).save(tmp_path / "numbers")
    assert Classifier(tmp_path / "numbers").labels == ["-1.0", "2.0"]


def test_pairs_of_lengths_make_no_difference(folder: Path) -> None:
    """Padding beside a text changes nothing of it."""
    library = Classifier(folder)
    alone = {text: library.classify([text])[0] for text in ("a", "cat", "the cat sat on the mat")}
    for pair in itertools.permutations(alone, 2):
        for text, row in zip(pair, library.classify(list(pair)), strict=True):
            np.testing.assert_array_equal(row, alone[text])


FIXTURES = sorted((Path(__file__).parents[1] / "fixtures").glob("version_*"))


@pytest.mark.parametrize("version", FIXTURES, ids=lambda path: path.name)
def test_classifiers_of_every_format_version(version: Path) -> None:
    expected = json.loads((version / "expected.json").read_text())["classifier"]
    np.testing.assert_allclose(Classifier(version / "classifier").classify(write.PROBES), expected, atol=TOLERANCE)
