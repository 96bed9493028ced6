"""scikit-learn estimators: cross-validation, grid search and pipelines for what this package trains.

>>> from recurlm.estimators import SequenceClassifier
>>> texts, labels = ["good film", "fine film", "bad film", "poor film"] * 8, ["yes", "yes", "no", "no"] * 8
>>> classifier = SequenceClassifier(units=8, embedding_dim=8, learning_rate=0.05, random_state=0).fit(texts, labels)
>>> classifier.predict(["a fine film"]).tolist()
['yes']
"""

from ..extras import needing

with needing("tune", "recurlm.estimators"):
    import sklearn as _sklearn  # noqa: F401

from .language_model import LanguageModelEstimator
from .sequence_classifier import SequenceClassifier

__all__ = ["LanguageModelEstimator", "SequenceClassifier"]
