"""Callbacks: objects that watch training, and may change or stop it. Names and arguments follow Keras 3."""

from ranvier.callbacks.base import Callback, CallbackList
from ranvier.callbacks.csv_logger import CSVLogger
from ranvier.callbacks.early_stopping import EarlyStopping
from ranvier.callbacks.history import History
from ranvier.callbacks.lambda_callback import LambdaCallback
from ranvier.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from ranvier.callbacks.model_checkpoint import ModelCheckpoint
from ranvier.callbacks.monitor import Monitor
from ranvier.callbacks.terminate_on_nan import TerminateOnNaN

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "Monitor",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]
