"""What happens between the steps and epochs of ``fit``, with Keras's names, hooks and defaults."""

from .averaging import NonMonotonicTrigger, SwapEMAWeights
from .base import Callback, CallbackList, History
from .monitors import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from .progress import ProgressBar
from .simple import CSVLogger, LearningRateScheduler, TerminateOnNaN

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "NonMonotonicTrigger",
    "ProgressBar",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TerminateOnNaN",
]
