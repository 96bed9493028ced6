"""The network of a sequence classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import layers
from ..checks import check_integer
from ..language_model.architecture import CELLS
from ..layers import Dense, Dropout
from ..model import Model
from ..seeding import temporary_seed

if TYPE_CHECKING:
    from .sequence_classifier import SequenceClassifier

_POOLING = {"last": None, "max": "GlobalMaxPooling1D", "mean": "GlobalAveragePooling1D"}


def check_network(classifier: SequenceClassifier, tagged: bool) -> None:
    """ValueError where no such network can be built."""
    if classifier.cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {classifier.cell!r}")
    if classifier.pooling not in _POOLING:
        raise ValueError(f"pooling must be one of {', '.join(_POOLING)}, got {classifier.pooling!r}")
    depth = check_integer("SequenceClassifier: layers", classifier.layers, 1)
    if tagged and depth == 1 and classifier.pooling == "last":
        raise ValueError(
            "tags are of steps, and pooling='last' keeps one: pooling must be 'max' or 'mean', or layers 2"
        )


def build_network(classifier: SequenceClassifier, seed: int) -> Model:
    """The network that ``classifier`` describes, its weights a function of ``seed``; it has its reader and classes.

    Raises:
        ValueError: a parameter is not possible.
    """
    names, depth = classifier.tags_, classifier.layers
    check_network(classifier, tagged=names is not None)
    pooling = _POOLING[classifier.pooling]
    with temporary_seed(seed):
        inputs, x = classifier.reader_.entry(classifier.embedding_dim)
        for layer in range(depth):
            if layer or x is not inputs:  # numbers as they are given are not dropped
                x = _drop(classifier, x, layer)
            x = _recurrent(classifier, layer, return_sequences=layer < depth - 1 or pooling is not None)(x)
            if layer == 0 and names is not None:
                tags = Dense(len(names), "softmax", name="tags")(_drop(classifier, x, "tags"))
        if pooling is not None:
            x = getattr(layers, pooling)(name="pooling")(x)
        x = _drop(classifier, x, depth)
        classes = Dense(len(classifier.classes_), "softmax", name="classes")(x)
        return Model(inputs, classes if names is None else [classes, tags], seed=seed)


def built_by(classifier: SequenceClassifier) -> dict[str, Any]:
    """The parameters that decide what ``build_network`` builds."""
    return {
        "cell": classifier.cell, "units": classifier.units, "layers": classifier.layers,
        "bidirectional": bool(classifier.bidirectional), "pooling": classifier.pooling,
        "embedding_dim": classifier.embedding_dim, "dropout": classifier.dropout,
    }  # fmt: skip


def _recurrent(classifier: SequenceClassifier, layer: int, return_sequences: bool) -> Any:
    name = f"{classifier.cell}_{layer}"
    cell = CELLS[classifier.cell](classifier.units, return_sequences=return_sequences, name=name)
    return vars(layers)["Bidirectional"](cell, name=f"both_{name}") if classifier.bidirectional else cell


def _drop(classifier: SequenceClassifier, x: Any, place: int | str) -> Any:
    rate = classifier.dropout
    return x if rate == 0 else Dropout(rate, name=f"dropout_{place}")(x)
