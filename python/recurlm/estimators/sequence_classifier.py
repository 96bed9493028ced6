"""A recurrent classifier of texts, sequences of ids, or series of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.validation import check_is_fitted

from .. import optimizers
from ..callbacks import EarlyStopping
from ..checks import check_integer, check_rate, is_number
from ..language_model.schedule import SCHEDULES
from ..optimizers import schedules
from ..precision import Precision
from ..text.corpus import PathLike
from ..text.tokenizer import Tokenizer
from ..typing import Array, Float, Ids
from . import storage
from .batches import Batches, Renewal, TrainingBatches
from .inputs import Rows, TextReader, learn
from .network import build_network, built_by, check_network
from .targets import Targets, read_labels, read_tags

Doubles = npt.NDArray[np.float64]

Augment = Callable[[Any, Any, np.random.Generator], tuple[Any, Any]]

_MONITORED = ("val_loss", "val_accuracy")


class SequenceClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Embedding, recurrent layers, dropout, softmax over the classes; scikit-learn's interface.

    Where ``fit`` is given ``tags`` of the steps, the first layer learns to tell them while all learn the classes: of
    what words mean that has more to say than one label of a sentence (Søgaard and Goldberg, 2016, "Deep multi-task
    learning with low level tasks supervised at lower layers").

    X is one of

    - a list or 1-D array of texts;
    - a list of sequences of ids, or an integer array (samples, time): 0 is padding, ids above those that ``fit`` has
      seen are one unknown id;
    - an array (samples, time) of real numbers, read one a step, or (samples, time, width) of vectors, without an
      embedding.

    Args:
        tokenizer: for texts: ``"word"``, ``"char"``, ``"byte"``, ``"bpe"`` or a ``Tokenizer``, which learns its
            vocabulary in ``fit`` unless it has one.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        units: width of each recurrent layer, in each direction.
        layers: recurrent layers, one on the other.
        bidirectional: read sequences from both ends.
        pooling: what the softmax sees of the last layer: its ``"last"`` state, or of each unit the ``"max"`` or the
            ``"mean"`` over the steps.
        embedding_dim: width of a token's vector.
        dropout: share of values dropped after the embedding, between layers and before the softmax.
        word_dropout: share of tokens that training replaces by the unknown one, which so learns what to stand for (a
            character that ``fit`` has not seen is refused all the same).
        augment: a function (sequence, tags, random) that makes of each training sample the (sequence, tags) to learn
            in this epoch, by ``random``, a ``numpy.random.Generator``: a text as it was given, or an array; tags are
            None where there are none. None: each stays as it is. It is not saved.
        optimizer: name of one of ``recurlm.optimizers``.
        learning_rate: of the optimizer; None: its own default.
        schedule: ``"constant"``, or it falls to 0 over all epochs, ``"cosine"`` or ``"linear"``.
        weight_decay: decoupled, relative to the learning rate; None: the optimizer's default.
        clipnorm: largest global norm of the gradient; None: any.
        epochs: passes over the data, at most.
        patience: hold out ``validation_fraction`` of each class, but for what is in the rest too, end after so many
            epochs without a better ``monitor`` and keep the best weights; None: train on everything for all epochs.
        monitor: ``"val_loss"`` or ``"val_accuracy"``, of the classes.
        tag_weight: weight of the tags in the loss, where there are any.
        class_weight: weight of each class in the loss: a dict, or ``"balanced"``; None: 1.
        random_state: decides initial weights, order, dropout and what is held out.
        verbose: of ``Model.fit``.

    Attributes:
        classes_: the labels, sorted.
        tags_: the tags, sorted; where ``fit`` was given some.
        model_: the ``Model``, whose second output is of the tags.
        built_by_: the parameters that it was built by.
        precision_: of the weights in the file that it was loaded from, or float32.
        history_: its figures by name, epoch by epoch.
        n_iter_: epochs trained.
        n_features_in_: columns of an array of numbers.
    """

    precision_: Precision
    tags_: Array | None = None

    def __init__(
        self, tokenizer: str | Tokenizer = "word", cell: str = "lstm", units: int = 128, layers: int = 1,
        bidirectional: bool = False, pooling: str = "last", embedding_dim: int = 128, dropout: float = 0.2,
        word_dropout: float = 0.0, augment: Augment | None = None, optimizer: str = "adam",
        learning_rate: float | None = None, schedule: str = "constant", weight_decay: float | None = None,
        clipnorm: float | None = 1.0, epochs: int = 10, batch_size: int = 32, patience: int | None = None,
        validation_fraction: float = 0.1, monitor: str = "val_loss", tag_weight: float = 1.0,
        class_weight: Mapping[Any, float] | str | None = None, random_state: Any = None, verbose: int = 0,
    ):  # fmt: skip
        self.tokenizer, self.cell, self.units, self.layers = tokenizer, cell, units, layers
        self.bidirectional, self.pooling, self.embedding_dim = bidirectional, pooling, embedding_dim
        self.dropout, self.word_dropout, self.augment = dropout, word_dropout, augment
        self.optimizer, self.learning_rate, self.schedule = optimizer, learning_rate, schedule
        self.weight_decay, self.clipnorm = weight_decay, clipnorm
        self.epochs, self.batch_size = epochs, batch_size
        self.patience, self.validation_fraction, self.monitor = patience, validation_fraction, monitor
        self.tag_weight, self.class_weight = tag_weight, class_weight
        self.random_state, self.verbose = random_state, verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.three_d_array = True
        return tags

    # Training ----------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, tags: Any = None) -> SequenceClassifier:
        """Train on sequences X and their labels y.

        Args:
            tags: for each sequence one of each step, texts or integers, or None. Steps are tokens as the tokenizer cuts
                a text into them, where a line ends too. They need two layers, or the pooling ``"max"`` or ``"mean"``.
                ``GridSearchCV`` and others pass them on: ``search.fit(X, y, tags=tags)``.

        Raises:
            TypeError, ValueError: X, y or a parameter is not possible; the sentence says which.
            FloatingPointError: the loss or a gradient is no longer finite.
        """
        self._check_parameters()
        check_network(self, tagged=tags is not None)
        # A tokenizer learns its vocabulary in place, and a parameter must stay as it was given.
        reader, rows = learn(self, X, deepcopy(self.tokenizer))
        labels = read_labels(rows, y)
        classes, codes = np.unique(labels, return_inverse=True)
        names, tag_codes = (None, None) if tags is None else read_tags(reader, rows, tags)
        targets = Targets(codes.astype(np.int32), tag_codes, self._sample_weights(labels, classes))
        random = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        train, held_out = self._hold_out(rows, targets.classes, random)
        optimizer = self._make_optimizer(self.epochs * -(-len(train) // self.batch_size))
        # Nothing is refused from here on: what was fitted before is replaced as a whole.
        self.reader_, self.classes_, self.tags_ = reader, classes, names
        self.built_by_, self.precision_ = built_by(self), "float32"
        self.model_ = build_network(self, seed)
        self._compile(optimizer)
        samples = list(X) if isinstance(reader, TextReader) else rows
        batches = TrainingBatches(
            reader, [rows[i] for i in train], targets.select(train), self.batch_size, seed=seed,
            word_dropout=self.word_dropout, extra=self._extra,
            renewed=self._renewal([(samples[i], None if tags is None else tags[i]) for i in train], seed),
        )  # fmt: skip
        self._train(batches, [rows[i] for i in held_out], targets.select(held_out))
        return self

    def _renewal(self, samples: list[tuple[Any, Any]], seed: int) -> Renewal | None:
        """Training samples as they are in an epoch."""
        if (augment := self.augment) is None:
            return None

        def renewed(epoch: int) -> tuple[Rows, list[Ids] | None]:
            random = np.random.default_rng([seed, epoch, 1])
            sequences, tags = zip(*(_pair(augment(*sample, random)) for sample in samples), strict=True)
            try:
                rows = self.reader_.read(self, list(sequences))
                return rows, None if self.tags_ is None else read_tags(self.reader_, rows, tags, self.tags_)[1]
            except (TypeError, ValueError) as error:
                raise type(error)(f"of what augment returned: {error}") from None

        return renewed

    def _train(self, batches: TrainingBatches, held_out: Rows, targets: Targets) -> None:
        validation = self._batches(held_out, replace(targets, weights=None)) if held_out else None
        monitor = self.monitor if self.tags_ is None else self.monitor.replace("val_", "val_classes_")
        stopping = EarlyStopping(monitor, patience=self.patience or 0, restore_best_weights=True)
        history = self.model_.fit(
            batches, epochs=self.epochs, validation_data=validation, shuffle=False, verbose=self.verbose,
            callbacks=[] if validation is None else [stopping],
        )  # fmt: skip
        self.history_, self.n_iter_ = history.history, len(history.epoch)

    def _compile(self, optimizer: optimizers.Optimizer) -> None:
        metrics, tagged = ["accuracy"], self.tags_ is not None
        self.model_.compile(
            optimizer,
            "sparse_categorical_crossentropy",
            loss_weights={"classes": 1.0, "tags": self.tag_weight} if tagged else None,
            metrics={"classes": metrics} if tagged else metrics,
        )

    def _check_parameters(self) -> None:
        """What no layer or optimizer would find."""
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value is None and name == "patience":
                continue
            check_integer(name, value, 1)
        check_rate("word_dropout", self.word_dropout)
        if self.augment is not None and not callable(self.augment):
            raise TypeError(f"augment must be a function, got {self.augment!r}")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be between 0 and 1, got {self.validation_fraction!r}")
        if self.monitor not in _MONITORED:
            raise ValueError(f"monitor must be one of {', '.join(_MONITORED)}, got {self.monitor!r}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        if not is_number(self.tag_weight) or not self.tag_weight >= 0:
            raise ValueError(f"tag_weight must be a number from 0 on, got {self.tag_weight!r}")

    def _make_optimizer(self, steps: int) -> optimizers.Optimizer:
        if not isinstance(self.optimizer, str):
            raise TypeError(f"optimizer must be a name, got {self.optimizer!r}")
        made = optimizers.get(self.optimizer)
        given = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        config = made.get_config() | {name: value for name, value in given.items() if value is not None}
        optimizer = type(made).from_config(config | {"global_clipnorm": self.clipnorm})
        rate = float(optimizer.learning_rate)
        if self.schedule == "cosine":
            optimizer.learning_rate = schedules.CosineDecay(rate, steps)
        elif self.schedule == "linear":
            optimizer.learning_rate = schedules.PolynomialDecay(rate, steps, end_learning_rate=0.0)
        return optimizer

    def _hold_out(self, rows: Rows, targets: Ids, random: np.random.RandomState) -> tuple[Array, Array]:
        """Places to train on, and those of ``validation_fraction`` of each class, rounded, to validate on.

        What is equal to a row of the first goes there too: it would tell nothing.
        """
        if self.patience is None:
            return np.arange(len(targets)), np.arange(0)
        order = random.permutation(len(targets))
        order = order[np.argsort(targets[order], kind="stable")]
        counts = np.bincount(targets)
        rank = np.arange(len(targets)) - np.repeat(np.cumsum(counts) - counts, counts)
        wanted = np.minimum(np.rint(counts * self.validation_fraction), counts - 1)
        held_out = rank < np.repeat(wanted, counts)
        known = {rows[i].tobytes() for i in order[~held_out]}
        held_out &= np.array([rows[i].tobytes() not in known for i in order])
        if not held_out.any():
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {len(targets)} samples holds out none of any "
                "class (what is equal stays together)"
            )
        return order[~held_out], order[held_out]

    def _sample_weights(self, labels: Array, classes: Array) -> Float | None:
        if self.class_weight is None:
            return None
        by_class: Array = compute_class_weight(self.class_weight, classes=classes, y=labels)
        return by_class[np.searchsorted(classes, labels)].astype(np.float32)

    # Prediction --------------------------------------------------------------------------------------------------

    def predict_proba(self, X: Any) -> Float:
        """Probability of each class: (samples, classes), the columns in the order of ``classes_``."""
        check_is_fitted(self)
        rows = self.reader_.read(self, X)
        probabilities: Float = np.empty((len(rows), len(self.classes_)), np.float32)
        for places, (classes, *_) in self._outputs(rows):
            probabilities[places] = classes
        return probabilities

    def predict_log_proba(self, X: Any) -> Doubles:
        """``log(predict_proba(X))``; what float32 cannot tell from 0 has the log of its least positive number."""
        probabilities = self.predict_proba(X).astype(np.float64)
        logs: Doubles = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
        return logs

    def decision_function(self, X: Any) -> Doubles:
        """``predict_log_proba(X)``, or for two classes the log-odds (samples,) of the second."""
        logs = self.predict_log_proba(X)
        return logs[:, 1] - logs[:, 0] if len(self.classes_) == 2 else logs

    def predict(self, X: Any) -> Array:
        """The most probable label of each sequence."""
        probabilities = self.predict_proba(X)  # first: it says so where nothing was fitted
        labels: Array = self.classes_[np.argmax(probabilities, axis=1)]
        return labels

    def predict_tags(self, X: Any) -> list[Array]:
        """The most probable tag of each step of each sequence.

        Raises:
            ValueError: ``fit`` was given no tags.
        """
        check_is_fitted(self)
        if self.tags_ is None:
            raise ValueError("this classifier learned no tags: give fit some")
        rows = self.reader_.read(self, X)
        tags: list[Array] = [self.tags_[:0]] * len(rows)
        for places, (_, of_steps) in self._outputs(rows):
            for place, best in zip(places, np.argmax(of_steps, axis=-1), strict=True):
                tags[place] = self.tags_[best[: len(rows[place])]]
        return tags

    def _outputs(self, rows: Rows) -> Iterator[tuple[Array, list[Float]]]:
        """Of each batch the places of its rows, and what the network says of them."""
        batches = self._batches(rows)
        for number, (x,) in enumerate(batches):
            found = self.model_.predict_on_batch(x)
            start = number * self.batch_size
            yield batches.order[start : start + self.batch_size], found if isinstance(found, list) else [found]

    def _batches(self, rows: Rows, targets: Targets | None = None) -> Batches:
        if not len(rows):
            raise ValueError("X must hold at least one sequence, got none")
        return Batches(self.reader_, rows, targets, self.batch_size, self._extra)

    @property
    def _extra(self) -> int:
        """Steps of padding for every row: the largest output of a backward layer is not below that of padding, zero.

        Where the longest row of a batch had none, what it gives would depend on the rows beside it.
        """
        built = getattr(self, "built_by_", None) or built_by(self)  # parameters may have become others since
        return int(built["bidirectional"] and built["pooling"] == "max")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a pickle, perhaps by a version that had fewer parameters."""
        defaults = {name: value.default for name, value in signature(type(self)).parameters.items()}
        super().__setstate__(defaults | state)

    # Files -------------------------------------------------------------------------------------------------------

    def save(self, folder: PathLike, *, precision: Precision | None = None) -> None:
        """Save the fitted classifier in ``folder``, in place of one that is there; it is whole at any moment.

        Args:
            precision: ``"bfloat16"`` or ``"int8"`` take a half or a quarter of the bytes; the C library multiplies them
                as they are, Python reads them as float32. None: that of the file it was loaded from, or float32.

        Raises:
            ValueError: ``folder`` holds something else, or a label or parameter is nothing that JSON can hold.
            FloatingPointError: a weight is not finite.
        """
        check_is_fitted(self)
        before: Precision = getattr(self, "precision_", "float32")  # none in pickles of earlier versions
        storage.save(self, Path(folder), before if precision is None else precision)

    @classmethod
    def load(cls, folder: PathLike) -> SequenceClassifier:
        """The classifier that ``save`` wrote, to predict; ``fit`` starts anew.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it is not a sequence classifier, or a file of it is damaged.
        """
        classifier: SequenceClassifier = storage.load(cls, Path(folder))
        return classifier


def _pair(returned: Any) -> tuple[Any, Any]:
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(f"augment must return a sequence and its tags, got {returned!r}")
    return returned
