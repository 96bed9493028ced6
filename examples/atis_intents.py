"""What does a traveller want? Intents of the ATIS sentences, by recurrent classifiers chosen by cross-validation.

    python examples/atis_intents.py DATA --out atis-model

DATA holds the folders train, valid and test, each with seq.in (a sentence a line), seq.out (a tag for each of its
words) and label (its intent), as Goo et al. (2018, "Slot-gated modeling for joint slot filling and intent prediction")
distribute the corpus of Hemphill et al. (1990). Intents are learned beside the tags, in sentences that have other names
in each epoch. The search ends each training early; what it chooses is then trained on all sentences for as many epochs,
from several initial weights, and the probabilities are averaged. A few test sentences have labels, most of two intents
joined by '#', that training lacks: they count as errors.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from recurlm.estimators import SequenceClassifier
from recurlm.text.folds import DeduplicatedKFold, normalized

SWAPPED = 0.5  # share of names
GRID = {"cell": ["gru", "lstm"], "dropout": [0.3, 0.4, 0.5]}


class Corpus(NamedTuple):
    """Sentences, the tags of their words, and their intents."""

    sentences: list[str]
    tags: list[list[str]]
    intents: list[str]

    def __add__(self, other: Corpus) -> Corpus:  # type: ignore[override]
        return Corpus(*(own + more for own, more in zip(self, other, strict=True)))


def read(folder: Path) -> Corpus:
    sentences, tags, intents = (
        (folder / name).read_text(encoding="utf-8").splitlines() for name in ("seq.in", "seq.out", "label")
    )
    if not len(sentences) == len(tags) == len(intents):
        raise ValueError(f"{folder} has {len(sentences)} sentences, {len(tags)} of tags and {len(intents)} labels")
    return Corpus(
        [plain(each) for each in sentences], [each.split() for each in tags], [each.strip() for each in intents]
    )


def plain(sentence: str) -> str:
    """Which flight it is does not matter, nor how many fares: rare words become such as are known."""
    return " ".join(map(singular, re.sub(r"\d", "0", sentence).split()))


def singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith("ss"):
        return word
    return word[:-3] + "y" if word.endswith("ies") else word[:-1]


def names(tags: list[str]) -> Iterator[tuple[slice, str]]:
    """Where names stand, what a tag B-... begins and I-... go on with, and of what kind and how many words they are."""
    begin = None
    for place, tag in enumerate([*tags, "O"]):
        if begin is not None and not tag.startswith("I-"):
            kind = tags[begin][2:].rpartition(".")[2]  # city_name of B-fromloc.city_name: whatever it is for
            yield slice(begin, place), f"{kind} {place - begin}"
            begin = None
        if tag.startswith("B-"):
            begin = place


class Swap:
    """Sentences with other names in them: a city for a city, an airline for an airline. Their tags stay."""

    def __init__(self, corpus: Corpus):
        known = defaultdict(set)
        for sentence, tags in zip(corpus.sentences, corpus.tags, strict=True):
            words = sentence.split()
            for place, kind in names(tags):
                known[kind].add(tuple(words[place]))
        self._known = {kind: sorted(of_kind) for kind, of_kind in known.items()}

    def __call__(self, sentence: str, tags: list[str], random: np.random.Generator) -> tuple[str, list[str]]:
        words = sentence.split()
        for place, kind in names(tags):
            if random.random() < SWAPPED:
                words[place] = self._known[kind][random.integers(len(self._known[kind]))]
        return " ".join(words), tags


def search(corpus: Corpus, epochs: int, jobs: int) -> GridSearchCV:
    """The grid, by cross-validation that keeps repeated sentences in one fold; of the best also how long it trains."""
    classifier = SequenceClassifier(
        units=64,
        layers=2,
        bidirectional=True,
        pooling="max",
        embedding_dim=128,
        word_dropout=0.05,
        augment=Swap(corpus),
        optimizer="adamw",
        learning_rate=3e-3,
        schedule="cosine",
        weight_decay=0.01,
        epochs=epochs,
        batch_size=16,
        patience=5,
        monitor="val_loss",
        random_state=0,
    )
    folds = DeduplicatedKFold(3, normalize=normalized, seed=0)
    return GridSearchCV(classifier, GRID, cv=folds, n_jobs=jobs).fit(corpus.sentences, corpus.intents, tags=corpus.tags)


def train(chosen: SequenceClassifier, members: int, corpus: Corpus) -> list[SequenceClassifier]:
    """Classifiers like it, nothing held out any more, each from other weights."""
    alike = [
        clone(chosen).set_params(patience=None, epochs=chosen.n_iter_, random_state=seed) for seed in range(members)
    ]
    return [each.fit(corpus.sentences, corpus.intents, tags=corpus.tags) for each in alike]


def report(classifiers: list[SequenceClassifier], corpus: Corpus) -> None:
    """Accuracy on all test sentences, what cannot be right, and what was confused."""
    intents = np.array(corpus.intents)
    probabilities = [each.predict_proba(corpus.sentences) for each in classifiers]
    known = classifiers[0].classes_
    alone = [int((known[each.argmax(axis=1)] == intents).sum()) for each in probabilities]
    predicted = known[np.mean(probabilities, axis=0).argmax(axis=1)]
    right = predicted == intents
    unseen = sum(intent not in known for intent in intents)
    print(f"test accuracy {right.mean():.4f}: {right.sum()} of {len(right)} ({unseen} have a label unseen in training)")
    print(f"each alone: {', '.join(map(str, alone))}")
    confused = Counter(zip(intents[~right].tolist(), predicted[~right].tolist(), strict=True))
    for (intent, taken_for), count in confused.most_common(5):
        print(f"  {count:3} {intent} taken for {taken_for}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn the intents of the ATIS sentences.")
    parser.add_argument("data", type=Path, help="folder with train, valid and test")
    parser.add_argument("--out", type=Path, default=Path("atis-model"), help="where to save the classifiers")
    parser.add_argument("--epochs", type=int, default=20, help="at most")
    parser.add_argument("--members", type=int, default=5, help="classifiers whose probabilities are averaged")
    parser.add_argument("--jobs", type=int, default=2, help="processes of the search; they share the cores")
    arguments = parser.parse_args()

    corpus = read(arguments.data / "train") + read(arguments.data / "valid")
    print(f"{len(corpus.sentences)} sentences of {len(set(corpus.intents))} intents")
    start = time.perf_counter()
    found = search(corpus, arguments.epochs, arguments.jobs)
    for parameters, score in zip(found.cv_results_["params"], found.cv_results_["mean_test_score"], strict=True):
        print(f"cross-validated accuracy {score:.4f} {parameters}")
    best = found.best_estimator_
    print(f"chosen in {time.perf_counter() - start:.0f} s; trained for {best.n_iter_} epochs")
    folders = [arguments.out / f"member-{number}" for number in range(arguments.members)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    for classifier, folder in zip(train(best, len(folders), corpus), folders, strict=True):
        classifier.save(folder)
    print(f"saved in {arguments.out} after {time.perf_counter() - start:.0f} s")
    report([SequenceClassifier.load(folder) for folder in folders], read(arguments.data / "test"))


if __name__ == "__main__":
    main()
