"""What does a traveller want? Intents of the ATIS sentences, by a recurrent classifier chosen by cross-validation.

    python examples/atis_intents.py DATA --out atis-model

DATA holds the folders train, valid and test, each with seq.in (a sentence a line) and label (its intent), as Goo et al.
(2018, "Slot-gated modeling for joint slot filling and intent prediction") distribute the corpus of Hemphill et al.
(1990). A few test sentences have labels, most of two intents joined by '#', that training lacks: they count as errors.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.model_selection import GridSearchCV

from recurlm.estimators import SequenceClassifier
from recurlm.text.folds import DeduplicatedKFold, normalized

GRID = {"cell": ["gru", "lstm"], "word_dropout": [0.0, 0.05]}


def read(folder: Path) -> tuple[list[str], list[str]]:
    """Sentences, their digits all one, and their intents."""
    sentences, intents = (
        [line.strip() for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        for name in ("seq.in", "label")
    )
    sentences = [re.sub(r"\d", "0", sentence) for sentence in sentences]  # which flight it is does not matter
    if len(sentences) != len(intents):
        raise ValueError(f"{folder} has {len(sentences)} sentences and {len(intents)} labels")
    return sentences, intents


def search(sentences: list[str], intents: list[str], epochs: int, jobs: int) -> GridSearchCV:
    """The grid, by cross-validation that keeps repeated sentences in one fold; the best is trained on everything."""
    classifier = SequenceClassifier(
        units=64,
        bidirectional=True,
        pooling="max",
        embedding_dim=128,
        dropout=0.3,
        learning_rate=3e-3,
        epochs=epochs,
        patience=6,
        monitor="val_accuracy",
        random_state=0,
    )
    folds = DeduplicatedKFold(3, normalize=normalized, seed=0)
    return GridSearchCV(classifier, GRID, cv=folds, n_jobs=jobs).fit(sentences, intents)


def report(classifier: SequenceClassifier, sentences: list[str], intents: list[str]) -> None:
    """Accuracy on all test sentences, what cannot be right, and what was confused."""
    predicted = classifier.predict(sentences)
    right = predicted == np.array(intents)
    unseen = sum(intent not in classifier.classes_ for intent in intents)
    print(f"test accuracy {right.mean():.4f}: {right.sum()} of {len(right)} ({unseen} have a label unseen in training)")
    confused = Counter(zip(np.array(intents)[~right].tolist(), predicted[~right].tolist(), strict=True))
    for (intent, taken_for), count in confused.most_common(5):
        print(f"  {count:3} {intent} taken for {taken_for}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn the intents of the ATIS sentences.")
    parser.add_argument("data", type=Path, help="folder with train, valid and test")
    parser.add_argument("--out", type=Path, default=Path("atis-model"), help="where to save the classifier")
    parser.add_argument("--epochs", type=int, default=25, help="at most")
    parser.add_argument("--jobs", type=int, default=2, help="processes of the search; they share the cores")
    arguments = parser.parse_args()

    train, valid = read(arguments.data / "train"), read(arguments.data / "valid")
    sentences, intents = train[0] + valid[0], train[1] + valid[1]
    print(f"{len(sentences)} sentences of {len(set(intents))} intents")
    start = time.perf_counter()
    found = search(sentences, intents, arguments.epochs, arguments.jobs)
    for parameters, score in zip(found.cv_results_["params"], found.cv_results_["mean_test_score"], strict=True):
        print(f"cross-validated accuracy {score:.4f} {parameters}")
    best = found.best_estimator_
    print(f"chosen and trained for {best.n_iter_} epochs in {time.perf_counter() - start:.0f} s")
    best.save(arguments.out)
    report(SequenceClassifier.load(arguments.out), *read(arguments.data / "test"))
    print(f"saved in {arguments.out}")


if __name__ == "__main__":
    main()
