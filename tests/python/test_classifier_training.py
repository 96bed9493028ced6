"""What a classifier is trained by: tags of steps beside the classes, samples made anew, weights of classes."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
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


def test_a_fit_that_is_refused_changes_nothing(fitted: SequenceClassifier) -> None:
    classifier, (texts, labels) = deepcopy(fitted), task(20, seed=3)
    expected = fitted.predict_proba(texts)
    for refused, sentence in (({"optimizer": "none"}, "none"), ({"layers": 1, "pooling": "last"}, "tags are of steps")):
        with pytest.raises(ValueError, match=sentence):
            classifier.set_params(**refused).fit(texts[:4], labels[:4], tags_of(texts[:4]))
    assert np.array_equal(classifier.predict_proba(texts), expected)
    assert all(same(classifier.predict_tags(texts), fitted.predict_tags(texts)))


def test_nothing_is_predicted_while_another_thread_trains(fitted: SequenceClassifier) -> None:
    with ThreadPoolExecutor() as pool, fitted.model_.usage.training():
        assert "trained by another thread" in str(pool.submit(fitted.predict_tags, ["cat a"]).exception())


@pytest.mark.parametrize("given", ["texts", "ids"])
def test_samples_made_anew_each_epoch(given: str) -> None:
    """What is held out, and what is predicted, stays as it is."""
    texts, labels = task(60)
    X = texts if given == "texts" else ids_of(texts)
    seen: list[Any] = []

    def turned(sequence: Any, tags: list[str], random: np.random.Generator) -> tuple[Any, list[str]]:
        seen.append((list(sequence), float(random.random())))
        rest = sequence.split() if given == "texts" else sequence
        return (" ".join(rest[::-1]) if given == "texts" else rest[::-1]), tags[::-1]

    classifier = tagger(epochs=2, patience=5, augment=turned).fit(X, labels, tags_of(texts))
    half, odd = divmod(len(seen), 2)
    assert not odd
    assert 54 <= half < 60  # a tenth is held out, but for what is in the rest too
    first, second = seen[:half], seen[half:]
    assert [each for each, _ in first] == [each for each, _ in second]
    assert [draw for _, draw in first] != [draw for _, draw in second]
    plain = tagger(epochs=2, patience=5).fit(X, labels, tags_of(texts))
    assert not np.array_equal(classifier.predict_proba(X), plain.predict_proba(X))


def test_augmenting_is_forgotten_by_a_file_and_told_where_it_is_wrong(tmp_path: Path) -> None:
    texts, labels = task()
    classifier = tagger(epochs=1, augment=lambda text, tags, _: (text, tags)).fit(texts, labels)
    classifier.save(tmp_path / "m")
    assert SequenceClassifier.load(tmp_path / "m").augment is None
    unchanged = tagger(epochs=1).fit(texts, labels)
    assert np.array_equal(classifier.predict_proba(texts), unchanged.predict_proba(texts))
    with pytest.raises(ValueError, match="of what augment returned: the tag 'other' is none of those"):
        tagger(augment=lambda text, tags, _: (text, ["other"] * len(tags))).fit(texts, labels, tags_of(texts))
    with pytest.raises(ValueError, match=r"of what augment returned: tags\[0\] must hold a tag for each of"):
        tagger(augment=lambda text, tags, _: (text, tags[1:])).fit(texts, labels, tags_of(texts))
    for returned in ("ab", None, ("a", ["x"], 3)):
        with pytest.raises(TypeError, match="augment must return a sequence and its tags, got"):
            tagger(augment=lambda *_, returned=returned: returned).fit(texts, labels, tags_of(texts))
    with pytest.raises(TypeError, match="augment must be a function, got 'swap'"):
        tagger(augment="swap").fit(texts, labels)


@pytest.mark.parametrize(
    "tags",
    [[{"x", "y"}, ["x", "y"]], [b"xy", ["x", "y"]], [None, ["x", "y"]], [[1, 2], ["x", "y"]], [[None, 1], [1, 2]],
     [[1.5, 2.0], [1.0, 2.0]], [[2**63, 1], [1, 2]], [[["x"], ["y"]], ["x", "y"]], [["x", "y"], "xy"], 5],
    ids=str,
)  # fmt: skip
def test_tags_are_all_texts_or_all_integers(tags: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a (sequence|list) of tags|texts or integers|all texts or all"):
        tagger().fit(["a b", "c d"], [0, 1], tags)


def test_class_weights_are_of_training_alone() -> None:
    """What is held out is measured as what is predicted is."""
    texts, labels = task(120)
    labels[::4] = np.roll(labels, 1)[::4]
    options = {"patience": 30, "epochs": 2, "validation_fraction": 0.25, "learning_rate": 1e-9}
    plain, weighted = (
        small(class_weight=w, **options).fit(texts, labels) for w in (None, {"cat": 9, "dog": 0, "owl": 1})
    )
    np.testing.assert_allclose(plain.history_["val_loss"], weighted.history_["val_loss"], rtol=1e-4)
    assert plain.history_["val_accuracy"] == weighted.history_["val_accuracy"]


def test_a_pickle_of_a_version_with_fewer_parameters(tmp_path: Path) -> None:
    fitted = small(epochs=1).fit(*task())
    state = fitted.__getstate__()
    old = SequenceClassifier.__new__(SequenceClassifier)
    new = {"schedule", "tag_weight", "augment", "tags_"}
    old.__setstate__({name: value for name, value in state.items() if name not in new})
    assert old.get_params() == fitted.get_params()
    old.save(tmp_path / "m")
    assert np.array_equal(old.predict_proba(["cat a"]), fitted.predict_proba(["cat a"]))


@pytest.mark.parametrize(
    ("tags", "parameters", "sentence"),
    [
        ([["x"]], {}, "tags must be given for each of 2 sequences, got 1"),
        ([["x", "y"], ["x"]], {}, r"tags\[1\] must hold a tag for each of 2 steps of X\[1\], got 1"),
        ([["x", "y"], ["x", "y"]], {"layers": 1}, "pooling must be 'max' or 'mean', or layers 2"),
        ([["x", "y"], ["x", "y"]], {"tag_weight": -1}, "tag_weight must be a number from 0 on, got -1"),
        ([["x", "y"], ["x", "y"]], {"schedule": "step"}, "schedule must be one of cosine, linear, constant"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(tags: Any, parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        tagger(**parameters).fit(["a b", "c d"], [0, 1], tags)
