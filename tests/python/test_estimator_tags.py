"""A classifier that learns the tags of steps beside the class of a sequence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from recurlm.estimators import SequenceClassifier

from .test_estimators import ids_of, small, task


def tags_of(texts: list[str]) -> list[list[str]]:
    """The first word is an animal; of the others, how far it is since the last "a"."""
    tags = []
    for text in texts:
        since, own = 0, ["animal"]
        for word in text.split()[1:]:
            since = 0 if word == "a" else since + 1
            own.append("none" if since == len(own) else str(since))
        tags.append(own)
    return tags


def tagger(**parameters: Any) -> SequenceClassifier:
    return small(**{"cell": "gru", "layers": 2, "epochs": 30, "units": 24, "dropout": 0.0} | parameters)


@pytest.fixture(scope="module")
def fitted() -> SequenceClassifier:
    texts, labels = task(256)
    return tagger(bidirectional=True, pooling="max", schedule="cosine").fit(texts, labels, tags_of(texts))


def same(one: list[Any], other: list[Any]) -> list[bool]:
    return [list(a) == list(b) for a, b in zip(one, other, strict=True)]


def test_it_tells_both(fitted: SequenceClassifier) -> None:
    texts, labels = task(64, seed=1)
    assert fitted.score(texts, labels) == 1
    assert np.mean(same(fitted.predict_tags(texts), tags_of(texts))) > 0.9
    assert fitted.tags_ is not None
    assert {"animal", "none", "0"} < set(fitted.tags_.tolist())
    assert {"classes_loss", "tags_loss", "classes_accuracy"} < set(fitted.history_)


def test_tags_of_a_text_alone_and_beside_others(fitted: SequenceClassifier) -> None:
    texts = [*task(20, seed=2)[0], "", "cat " * 70]
    together = fitted.predict_tags(texts)
    assert [len(own) for own in together] == [len(text.split()) for text in texts]
    assert all(same(together, [fitted.predict_tags([text])[0] for text in texts]))


def test_tags_change_what_is_learned() -> None:
    """Not where they weigh nothing, of the classes."""
    texts, labels = task()
    plain, with_tags = (tagger(epochs=2).fit(texts, labels, given) for given in (None, tags_of(texts)))
    assert not np.array_equal(plain.predict_proba(texts), with_tags.predict_proba(texts))
    weightless = tagger(epochs=2, tag_weight=0.0).fit(texts, labels, tags_of(texts))
    before = tagger(epochs=2, tag_weight=0.0).fit(texts, labels, [own[::-1] for own in tags_of(texts)])
    assert np.array_equal(weightless.predict_proba(texts), before.predict_proba(texts))


@pytest.mark.parametrize("precision", [None, "int8"])
def test_saved_and_loaded(tmp_path: Path, fitted: SequenceClassifier, precision: Any) -> None:
    texts = task(64, seed=1)[0]
    fitted.save(tmp_path / "m", precision=precision)
    loaded = SequenceClassifier.load(tmp_path / "m")
    assert np.mean(same(loaded.predict_tags(texts), fitted.predict_tags(texts))) > (0.8 if precision else 0.999)
    if precision is None:
        assert np.array_equal(loaded.predict_proba(texts), fitted.predict_proba(texts))


def test_a_search_passes_tags_on() -> None:
    texts, labels = task()
    search = GridSearchCV(tagger(epochs=4), {"schedule": ["constant", "linear"]}, cv=2)
    search.fit(texts, labels, tags=tags_of(texts))
    assert search.best_estimator_.tags_ is not None


def test_early_stopping_looks_at_the_classes() -> None:
    texts, labels = task(120)
    stopped = tagger(epochs=40, patience=2, monitor="val_accuracy").fit(texts, labels, tags_of(texts))
    assert stopped.n_iter_ < 40
    assert max(stopped.history_["val_classes_accuracy"][:-2]) == max(stopped.history_["val_classes_accuracy"])


def test_ids_padded_or_not_and_numbers() -> None:
    """Tags of padding are not looked at."""
    texts, labels = task(40)
    ids, tags = ids_of(texts), tags_of(texts)
    width = max(map(len, ids))
    padded = np.array([row + [0] * (width - len(row)) for row in ids])
    one = tagger(epochs=2).fit(ids, labels, tags)
    other = tagger(epochs=2).fit(padded, labels, [own + ["?"] * (width - len(own)) for own in tags])
    assert other.tags_ is not None
    assert "?" not in other.tags_
    assert np.array_equal(one.predict_proba(ids), other.predict_proba(padded))
    numbers = tagger(epochs=1).fit(padded.astype(np.float32), labels, padded % 3)
    assert [own.shape for own in numbers.predict_tags(padded[:2].astype(np.float32))] == [(width,), (width,)]


def test_a_fit_without_tags_forgets_those_of_the_last() -> None:
    texts, labels = task()
    classifier = tagger(epochs=1).fit(texts, labels, tags_of(texts)).fit(texts, labels)
    with pytest.raises(ValueError, match="this classifier learned no tags"):
        classifier.predict_tags(texts)


@pytest.mark.parametrize(
    ("tags", "parameters", "sentence"),
    [
        ([["x"]], {}, "tags must be given for each of 2 sequences, got 1"),
        ([["x", "y"], ["x"]], {}, r"tags\[1\] must hold a tag for each of 2 steps, got 1"),
        ([["x", "y"], "xy"], {}, r"tags\[1\] must hold a tag for each of 2 steps, got one str"),
        ([["x", "y"], ["x", "y"]], {"layers": 1}, "pooling must be 'max' or 'mean', or layers 2"),
        ([["x", "y"], ["x", "y"]], {"tag_weight": -1}, "tag_weight must be a number from 0 on, got -1"),
        ([["x", "y"], ["x", "y"]], {"schedule": "step"}, "schedule must be one of cosine, linear, constant"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(tags: Any, parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        tagger(**parameters).fit(["a b", "c d"], [0, 1], tags)
