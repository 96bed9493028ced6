"""What happens between the steps and epochs of ``fit``, with Keras's names, hooks and defaults."""

from .averaging import NonMonotonicTrigger, SwapEMAWeights
from .backup import BackupAndRestore
from .base import Callback, CallbackList, History
from .monitors import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from .progress import ProgbarLogger
from .simple import CSVLogger, LambdaCallback, LearningRateScheduler, TerminateOnNaN
from .tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "NonMonotonicTrigger",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
