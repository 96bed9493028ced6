"""A language model as an estimator of the density of texts."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..language_model import LanguageModel
from ..language_model.parameters import FIT, MODEL

_VERBOSE = inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=False)
_PARAMETERS = {**MODEL, **FIT, "verbose": _VERBOSE}


class LanguageModelEstimator(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """A ``LanguageModel`` with scikit-learn's interface; X is a list, or a 1-D array, of texts.

    Its parameters are those of ``LanguageModel`` and of ``LanguageModel.fit``, with their defaults but for ``verbose``,
    which is off. What belongs to one run is left out: checkpoints, samples, callbacks.

    A character tokenizer refuses texts with characters that ``fit`` has not seen. For cross-validation give it all of
    them, ``tokenizer=CharTokenizer(characters)``, or use ``"byte"``.

    Attributes:
        language_model_: the ``LanguageModel``.
        history_: what ``LanguageModel.fit`` returned.

    >>> from recurlm.estimators import LanguageModelEstimator
    >>> texts = ["to be or not to be"] * 20
    >>> estimator = LanguageModelEstimator(units=8, epochs=1, batch_size=2, window=8, tokenizer="byte").fit(texts)
    >>> estimator.score(texts) < 0 < estimator.perplexity(texts)
    True
    """

    def __init__(self, **parameters: Any) -> None:
        for name in parameters.keys() - self.__init__.__signature__.parameters.keys():  # type: ignore[misc]
            raise TypeError(f"LanguageModelEstimator has no parameter {name!r}")
        for name, parameter in _PARAMETERS.items():
            setattr(self, name, parameters.get(name, parameter.default))

    # scikit-learn reads the parameters here; taken from there, they and their defaults cannot come to differ.
    __init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in _PARAMETERS.values()),
        ]
    )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array = True, True, False
        return tags

    def fit(self, X: Sequence[str], y: Any = None) -> LanguageModelEstimator:
        """Train on texts, of which the last ``validation_split`` is held out to choose the best weights.

        Raises:
            TypeError: X is no list of texts.
            ValueError: a parameter is not possible, or the texts are too short; see ``LanguageModel.fit``.
        """
        texts = check_texts(X)
        # A tokenizer learns its vocabulary in place, and a parameter must stay as it was given.
        lm = LanguageModel(**{name: deepcopy(getattr(self, name)) for name in MODEL})
        self.history_ = lm.fit(texts, verbose=self.verbose, **{name: getattr(self, name) for name in FIT})
        self.language_model_ = lm
        return self

    def score(self, X: Sequence[str], y: Any = None) -> float:
        """Mean log-probability of a token, in nats: higher is better. The ends of texts are not counted.

        It compares models of one vocabulary: of different tokens the fewer would seem the better.
        """
        check_is_fitted(self)
        return -float(self.language_model_.evaluate(check_texts(X)).loss)

    def perplexity(self, X: Sequence[str]) -> float:
        """``exp(-score(X))``."""
        check_is_fitted(self)
        return float(self.language_model_.perplexity(check_texts(X)))

    def score_samples(self, X: Sequence[str]) -> npt.NDArray[np.float64]:
        """Log-probability of each text, in nats: (texts,)."""
        check_is_fitted(self)
        return self.language_model_.score(check_texts(X))

    def sample(self, n_samples: int = 1, random_state: Any = None, **options: Any) -> list[str]:
        """Texts drawn from the model; ``options`` are those of ``LanguageModel.generate``."""
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return self.language_model_.generate(samples=n_samples, seed=seed, **options)


def check_texts(X: Any) -> list[str]:
    """X as a list; TypeError or ValueError unless it holds texts."""
    if isinstance(X, str) or not hasattr(X, "__len__"):
        raise TypeError(f"X must be a list of texts, got {type(X).__name__}")
    texts = list(X)
    if not texts:
        raise ValueError("X must hold at least one text, got none")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"X must hold texts, got {type(text).__name__} at {i}")
    return [str(text) for text in texts]
