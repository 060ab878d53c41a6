"""Stopping without an error when the loss is no longer a number."""

from __future__ import annotations

from ranvier.callbacks.base import Callback

__all__ = ["TerminateOnNaN"]


class TerminateOnNaN(Callback):
    """Make ``fit`` return, with a warning, when the loss is NaN or infinite.

    ``fit`` always stops at such a step and keeps the weights from before it; without this callback it raises
    :class:`ranvier.errors.NonFiniteError`, with it it warns and returns the history, whose ``stopped_by`` is "nan".

    Example:
        >>> import warnings
        >>> model = rv.Sequential([rv.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     history = model.fit([[0.0]], [float("inf")], verbose=0, callbacks=[rv.callbacks.TerminateOnNaN()])
        >>> history.stopped_by
        'nan'
    """
