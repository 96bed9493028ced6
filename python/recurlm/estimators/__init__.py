"""scikit-learn estimators: cross-validation, grid search and pipelines for what this package trains.

>>> from recurlm.estimators import SequenceClassifier
>>> texts, labels = ["good film", "fine film", "bad film", "poor film"] * 8, ["yes", "yes", "no", "no"] * 8
>>> classifier = SequenceClassifier(units=8, embedding_dim=8, learning_rate=0.05, random_state=0).fit(texts, labels)
>>> classifier.predict(["a fine film"]).tolist()
['yes']

Tags of the words may be learned beside the class of a text, and training texts made anew in each epoch:

>>> tags = [["good", "what"] if label == "yes" else ["bad", "what"] for label in labels]
>>> def swap(text, tags, random):
...     return text.replace("film", str(random.choice(["film", "book"]))), tags
>>> tagger = SequenceClassifier(units=8, layers=2, learning_rate=0.05, augment=swap, random_state=0)
>>> tagger.fit(texts, labels, tags=tags).predict_tags(["good book"])[0].tolist()
['good', 'what']
"""

from ..extras import needing

with needing("tune", "recurlm.estimators"):
    import sklearn as _sklearn  # noqa: F401

from .language_model import LanguageModelEstimator
from .sequence_classifier import SequenceClassifier

__all__ = ["LanguageModelEstimator", "SequenceClassifier"]
