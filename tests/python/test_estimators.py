"""scikit-learn's own checks of the estimators, and what they cannot know."""

import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from recurlm import LanguageModel, get_num_threads, layers
from recurlm.estimators import LanguageModelEstimator, SequenceClassifier
from recurlm.text.folds import BlockedKFold, DeduplicatedKFold
from recurlm.text.tokenizers import WordTokenizer

from . import samples

POOLING = {"last": (), "max": ("GlobalMaxPooling1D",), "mean": ("GlobalAveragePooling1D",)}


def small(**parameters: Any) -> SequenceClassifier:
    given = {"units": 8, "embedding_dim": 8, "epochs": 12, "learning_rate": 0.05, "random_state": 0} | parameters
    return SequenceClassifier(**given)


def task(size: int = 96, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Sentences, and the animal that the first word of them names."""
    rng = np.random.default_rng(seed)
    animals, fillers = ["cat", "dog", "owl"], ["a", "b", "c", "d"]
    chosen = rng.integers(3, size=size)
    texts = [" ".join([animals[k], *rng.choice(fillers, rng.integers(1, 6))]) for k in chosen]
    return texts, np.array(animals)[chosen]


def ids_of(texts: list[str]) -> list[list[int]]:
    words = sorted({word for text in texts for word in text.split()})
    return [[1 + words.index(word) for word in text.split()] for text in texts]


@pytest.fixture(scope="module")
def fitted() -> SequenceClassifier:
    return small().fit(*task())


# scikit-learn's checks --------------------------------------------------------------------------------------------


@parametrize_with_checks([small(epochs=12, batch_size=16, learning_rate=0.1)])  # type: ignore[untyped-decorator, unused-ignore]
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the checks themselves provoke
        check(estimator)


@pytest.mark.parametrize(
    "check",
    ["check_parameters_default_constructible", "check_no_attributes_set_in_init", "check_get_params_invariance",
     "check_set_params", "check_estimator_repr", "check_estimator_cloneable", "check_valid_tag_types"],
)  # fmt: skip
def test_scikit_learn_checks_that_need_no_array(check: str) -> None:
    """All others feed arrays of numbers, and a language model reads texts."""
    getattr(estimator_checks, check)("LanguageModelEstimator", LanguageModelEstimator())


# The classifier -----------------------------------------------------------------------------------------------------


def test_it_learns_texts_ids_and_numbers(fitted: SequenceClassifier) -> None:
    texts, labels = task(seed=1)
    assert fitted.score(texts, labels) == 1
    assert fitted.classes_.tolist() == ["cat", "dog", "owl"]
    sequences = ids_of(texts)
    assert small().fit(sequences, labels).score(sequences, labels) == 1
    numbers = np.stack([np.full(5, "cdo".index(label[0])) + np.linspace(0, 0.1, 5) for label in labels])
    assert small().fit(numbers, labels).score(numbers, labels) == 1
    vectors = np.stack([numbers, -numbers], axis=2)
    assert small().fit(vectors, labels).score(vectors, labels) == 1


def test_an_array_of_ids_is_padded_ids() -> None:
    sequences = ids_of(task()[0])
    padded = np.zeros((len(sequences), 9), int)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    one, other = small().fit(sequences, task()[1]), small().fit(padded, task()[1])
    assert np.array_equal(one.predict_proba(sequences), other.predict_proba(padded))


def test_a_text_alone_has_the_bits_it_has_beside_longer_ones(fitted: SequenceClassifier) -> None:
    texts, _ = task(40, seed=2)
    together = fitted.predict_proba([*texts, "a " * 50])
    assert np.array_equal(together[:40], np.concatenate([fitted.predict_proba([text]) for text in texts]))


def test_the_same_random_state_gives_the_same_bits() -> None:
    texts, labels = task()
    one, other = (small(word_dropout=0.2, patience=3, epochs=3).fit(texts, labels) for _ in range(2))
    assert np.array_equal(one.predict_proba(texts), other.predict_proba(texts))
    assert not np.array_equal(small(epochs=3, random_state=1).fit(texts, labels).predict_proba(texts),
                              small(epochs=3, random_state=0).fit(texts, labels).predict_proba(texts))  # fmt: skip


def test_early_stopping_keeps_the_best_weights() -> None:
    texts, labels = task(120)
    labels[::3] = np.roll(labels, 1)[::3]  # noise, which more epochs learn by heart
    stopped = small(units=32, epochs=60, patience=3, validation_fraction=0.25, batch_size=8, dropout=0.0)
    stopped.fit(texts, labels)
    losses = stopped.history_["val_loss"]
    assert len(losses) == stopped.n_iter_ == 1 + int(np.argmin(losses)) + 3 < 60
    again = clone(stopped).set_params(epochs=1 + int(np.argmin(losses))).fit(texts, labels)
    assert np.array_equal(again.predict_proba(texts), stopped.predict_proba(texts))


def test_what_is_held_out_has_a_share_of_each_class() -> None:
    classifier = small(patience=1, validation_fraction=0.25)
    targets = np.repeat([0, 1, 2], [40, 8, 1])
    rows = list(np.arange(49)[:, None])
    train, held_out = classifier._hold_out(rows, targets, np.random.RandomState(0))
    assert np.bincount(targets[held_out], minlength=3).tolist() == [10, 2, 0]
    assert sorted([*train, *held_out]) == list(range(49))
    with pytest.raises(ValueError, match=r"validation_fraction=0\.25 of 2 samples holds out none"):
        classifier._hold_out(rows[:2], np.array([0, 1]), np.random.RandomState(0))


def test_what_is_held_out_is_in_nothing_that_is_trained_on() -> None:
    rows = list(np.repeat(np.arange(20), 2)[:, None])
    targets = np.repeat([0, 1], 20)
    train, held_out = small(patience=1, validation_fraction=0.25)._hold_out(rows, targets, np.random.RandomState(0))
    assert len(held_out) < 10
    assert not {int(rows[i][0]) for i in train} & {int(rows[i][0]) for i in held_out}


def test_class_weights_move_the_decision() -> None:
    texts, labels = ["a b"] * 40, np.array(["yes", "no", "no", "no"] * 10)
    assert set(small().fit(texts, labels).predict(texts)) == {"no"}
    assert set(small(class_weight={"yes": 9, "no": 1}).fit(texts, labels).predict(texts)) == {"yes"}


def test_word_dropout_teaches_the_unknown_word() -> None:
    texts, labels = task()
    plain, dropping = (small(word_dropout=share).fit(texts, labels) for share in (0.0, 0.3))
    unknown = plain.reader_.unknown_id
    table = "embedding.embeddings"
    initial = [
        small(epochs=1, learning_rate=0.0, random_state=0)
        .fit(texts, labels)
        .model_.named_weights()[table]
        .value[unknown]
    ]
    assert np.array_equal(plain.model_.named_weights()[table].value[unknown], initial[0])
    assert not np.array_equal(dropping.model_.named_weights()[table].value[unknown], initial[0])
    assert np.isfinite(dropping.predict_proba(["zebra z"])).all()


def test_ids_that_fit_has_not_seen_are_unknown() -> None:
    classifier = small().fit([[1, 2], [3]] * 8, [0, 1] * 8)
    assert np.array_equal(classifier.predict_proba([[1, 4]]), classifier.predict_proba([[1, 900]]))


def test_an_empty_text_has_a_prediction(fitted: SequenceClassifier) -> None:
    assert np.isfinite(fitted.predict_proba(["", "cat a"])).all()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
def test_heads(pooling: str, bidirectional: bool) -> None:
    needed = POOLING[pooling] + (("Bidirectional",) if bidirectional else ())
    if not all(hasattr(layers, name) for name in needed):
        pytest.skip(f"recurlm.layers lacks one of {', '.join(needed)}")
    texts, labels = task()
    classifier = small(pooling=pooling, bidirectional=bidirectional, layers=2, epochs=15).fit(texts, labels)
    assert classifier.score(texts, labels) > 0.9
    alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
    assert np.array_equal(classifier.predict_proba(texts), alone)


@pytest.mark.parametrize("kind", ["texts", "ids", "numbers"])
def test_save_and_load(tmp_path: Path, kind: str, fitted: SequenceClassifier) -> None:
    texts, labels = task()
    X: Any = {"texts": texts, "ids": ids_of(texts), "numbers": np.random.default_rng(0).random((96, 4))}[kind]
    labelled = {"texts": labels, "ids": np.array([0, 1, 5] * 32), "numbers": np.arange(96) % 2 == 0}[kind]
    weights = {"ids": {0: 1.0, 1: 2.0, 5: 1.5}}.get(kind)
    classifier = fitted if kind == "texts" else small(epochs=1, class_weight=weights).fit(X, labelled)
    for _ in range(2):  # the second replaces the first
        classifier.save(tmp_path / "m")
    loaded = SequenceClassifier.load(tmp_path / "m")
    assert loaded.get_params() == classifier.get_params()
    assert np.array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    assert np.array_equal(loaded.predict(X), classifier.predict(X))
    assert loaded.history_ == classifier.history_


@pytest.mark.parametrize(("precision", "least"), [("bfloat16", 1.7), ("int8", 2.5)])
def test_saved_in_less_than_float32(tmp_path: Path, precision: Any, least: float) -> None:
    """The values are rounded, once: what was loaded saves to the same bytes."""
    texts, labels = task()
    classifier = small(units=32, embedding_dim=32, bidirectional=True).fit(texts, labels)
    classifier.save(tmp_path / "whole")
    classifier.save(tmp_path / "less", precision=precision)
    whole, less = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "less"))
    assert whole > least * less
    loaded = SequenceClassifier.load(tmp_path / "less")
    assert (loaded.predict(texts) == classifier.predict(texts)).mean() > 0.95
    assert not np.array_equal(loaded.predict_proba(texts), classifier.predict_proba(texts))
    loaded.save(tmp_path / "again")  # in the same precision
    saved = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("less", "again")]
    assert saved[0] == saved[1]
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, int8, got 'int4'"):
        loaded.save(tmp_path / "again", precision="int4")  # type: ignore[arg-type]


def test_what_is_saved_is_what_was_fitted(tmp_path: Path) -> None:
    """Not what the parameters have become since."""
    texts, labels = task()
    classifier = small(epochs=2).fit(texts, labels)
    expected = classifier.predict_proba(texts)
    classifier.set_params(units=9, pooling="max", cell="gru").save(tmp_path / "m")
    assert np.array_equal(SequenceClassifier.load(tmp_path / "m").predict_proba(texts), expected)


def test_infinities_become_what_json_has(tmp_path: Path) -> None:
    classifier = small(epochs=1, clipnorm=np.inf).fit(*task())
    classifier.history_["loss"] = [np.nan]
    classifier.save(tmp_path / "m")
    assert "NaN" not in (tmp_path / "m" / "config.json").read_text()
    loaded = SequenceClassifier.load(tmp_path / "m")
    assert loaded.clipnorm is None
    assert np.isnan(loaded.history_["loss"]).all()


def test_a_classifier_that_is_trained_is_not_saved(tmp_path: Path, fitted: SequenceClassifier) -> None:
    with ThreadPoolExecutor() as pool, fitted.model_.usage.training():
        refusal = pool.submit(fitted.save, tmp_path / "m").exception()
    assert "trained by another thread" in str(refusal)
    assert not (tmp_path / "m").exists()


def test_loading_what_is_no_classifier(tmp_path: Path, fitted: SequenceClassifier) -> None:
    with pytest.raises(FileNotFoundError):
        SequenceClassifier.load(tmp_path / "none")
    samples.trained(samples.LINES * 20, epochs=1).save(tmp_path / "lm")
    with pytest.raises(ValueError, match="is not a sequence classifier"):
        SequenceClassifier.load(tmp_path / "lm")
    with pytest.raises(ValueError, match="is not a model: choose another folder"):
        fitted.save(tmp_path / "lm")
    fitted.save(tmp_path / "m")
    with pytest.raises(ValueError, match="is not a language model: it is a SequenceClassifier"):
        LanguageModel.load(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"it has no tokenizer\.json"):
        SequenceClassifier.load(tmp_path / "m")


def test_a_pickle_predicts_the_same(fitted: SequenceClassifier) -> None:
    texts, _ = task(seed=3)
    other = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(other.predict_proba(texts), fitted.predict_proba(texts))


@pytest.mark.parametrize(
    ("parameters", "X", "sentence"),
    [
        ({"epochs": 0}, ["a"], "epochs must be an integer from 1 on, got 0"),
        ({"batch_size": 1.5}, ["a"], "batch_size must be an integer from 1 on, got 1.5"),
        ({"patience": 0}, ["a"], "patience must be an integer from 1 on, got 0"),
        ({"word_dropout": 1}, ["a"], "word_dropout must be at least 0 and below 1, got 1"),
        ({"monitor": "loss"}, ["a"], "monitor must be one of val_loss, val_accuracy, got 'loss'"),
        ({"validation_fraction": 0}, ["a"], "validation_fraction must be between 0 and 1, got 0"),
        ({"cell": "mlp"}, ["a"], "cell must be one of lstm, gru, rnn, got 'mlp'"),
        ({"pooling": "sum"}, ["a"], "pooling must be one of last, max, mean, got 'sum'"),
        ({"units": 0}, ["a"], "units must be an integer from 1 on, got 0"),
        ({"layers": 0}, ["a"], "layers must be an integer from 1 on, got 0"),
        ({"optimizer": "best"}, ["a"], "unknown optimizer 'best'"),
        ({"tokenizer": "emoji"}, ["a"], "tokenizer must be one of"),
        ({}, "a", "X must be a list of texts or sequences, got one str"),
        ({}, ["a", 1], "X must hold texts, as in fit, got int at 1"),
        ({}, [[1, 2], [3, -1]], r"X must hold ids from 0 \(padding\) to 2\*\*31 - 2, got -1 to 3 at 1"),
        ({}, [], "X must hold at least one sequence, got none"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(parameters: dict[str, Any], X: Any, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError), match=sentence):
        small(**parameters).fit(X if X != ["a"] else ["a"] * 4, [0, 1, 0, 1][: 4 if X == ["a"] else len(X)])


# The language model -----------------------------------------------------------------------------------------------


def lm_estimator(**parameters: Any) -> LanguageModelEstimator:
    given = {"units": 12, "epochs": 1, "batch_size": 4, "window": 8, "tokenizer": "byte", "seed": 3}
    return LanguageModelEstimator(**given | parameters)


def test_the_language_model_is_the_one_of_the_same_arguments() -> None:
    texts = samples.LINES * 10
    estimator = lm_estimator().fit(texts)
    lm = LanguageModel(units=12, tokenizer="byte", seed=3)
    lm.fit(texts, epochs=1, batch_size=4, window=8, verbose=False)
    assert estimator.score(texts) == -lm.evaluate(texts).loss
    assert estimator.perplexity(texts) == lm.perplexity(texts)
    assert np.array_equal(estimator.score_samples(texts), lm.score(texts))
    assert len(estimator.sample(3, random_state=1, max_tokens=5)) == 3
    assert estimator.sample(2, random_state=1) == estimator.sample(2, random_state=1)


def test_parameters_are_those_of_the_language_model() -> None:
    parameters = LanguageModelEstimator().get_params()
    assert parameters["units"] == 512
    assert parameters["window"] == 64
    assert parameters["verbose"] is False
    assert not {"self", "data", "checkpoint_dir", "resume", "callbacks"} & set(parameters)
    with pytest.raises(TypeError, match="has no parameter 'unit'"):
        LanguageModelEstimator(unit=3)


def test_a_tokenizer_given_stays_as_it_is() -> None:
    tokenizer = WordTokenizer()
    estimator = lm_estimator(tokenizer=tokenizer).fit(samples.LINES * 10)
    assert not tokenizer.trained
    assert estimator.language_model_.tokenizer.trained


@pytest.mark.parametrize(
    ("X", "sentence"),
    [("a text", "X must be a list of texts, got str"), ([], "at least one text"), (["a", 2], "got int at 1")],
)
def test_texts_are_checked(X: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        lm_estimator().fit(X)
    with pytest.raises(NotFittedError):
        lm_estimator().score(["a"])


# Model selection --------------------------------------------------------------------------------------------------


def test_cross_validation_and_pipelines() -> None:
    texts = [line + "\n" for line in samples.LINES * 6]
    scores = cross_val_score(lm_estimator(), texts, cv=BlockedKFold(3, gap=1))
    assert scores.shape == (3,)
    assert (scores < 0).all()
    X, y = task()
    pipeline = make_pipeline(FunctionTransformer(lambda texts: [text.upper() for text in texts]), small())
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.9
    assert pipeline.fit(X, y)[-1].reader_.tokenizer.tokens[3].isupper()


def test_grid_search_in_processes_is_the_same() -> None:
    X, y = task(48)
    grid = {"units": [4, 8], "word_dropout": [0.0, 0.5]}
    searches = []
    with parallel_config("loky", inner_max_num_threads=3):
        for n_jobs in (1, 2):
            search = GridSearchCV(small(epochs=2), grid, cv=DeduplicatedKFold(2, seed=0), n_jobs=n_jobs)
            searches.append(search.fit(X, y))
        # joblib tells its workers their share of the cores, and the core listens.
        assert Parallel(n_jobs=2)(delayed(get_num_threads)() for _ in range(2)) == [3, 3]
    for name in ("split0_test_score", "split1_test_score"):
        assert np.array_equal(searches[0].cv_results_[name], searches[1].cv_results_[name])
    assert np.array_equal(searches[0].predict_proba(X), searches[1].predict_proba(X))


@pytest.mark.parametrize("blocked", [False, True])
def test_scikit_learn_is_an_extra(blocked: bool) -> None:
    code = "import sys\n" + ("sys.modules['sklearn'] = None\n" if blocked else "")
    code += "import recurlm\nrecurlm.LanguageModel\nassert not any(n.startswith('sklearn.') for n in sys.modules)\n"
    code += "import recurlm.estimators\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode != 0) == blocked
    if blocked:
        last = done.stderr.strip().splitlines()[-1]
        assert last == "ImportError: recurlm.estimators needs sklearn: install recurlm with its extra [tune]"
