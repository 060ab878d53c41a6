"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ranvier.callbacks.base import Callback
from ranvier.errors import ArgumentError, describe

__all__ = ["LambdaCallback"]

_METHODS = (
    "on_epoch_begin", "on_epoch_end", "on_train_begin", "on_train_end", "on_train_batch_begin", "on_train_batch_end",
    "on_test_begin", "on_test_end", "on_predict_begin", "on_predict_end",
)  # fmt: skip


class LambdaCallback(Callback):
    """A callback made of functions, for a line or two without a class.

    Args:
        on_epoch_begin: function of (epoch, logs), or None.
        on_epoch_end: function of (epoch, logs).
        on_train_begin: function of (logs).
        on_train_end: function of (logs).
        on_train_batch_begin: function of (batch, logs).
        on_train_batch_end: function of (batch, logs).
        **others: functions for the other methods of :class:`Callback`.

    Raises:
        ArgumentError: no function, or no such method.

    Example:
        >>> losses = []
        >>> keep = rv.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(logs["loss"]))
        >>> model = rv.Sequential([rv.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit([[0.0]], [0.0], epochs=2, verbose=0, callbacks=[keep])
        >>> len(losses)
        2
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **others: Callable[..., Any] | None,
    ):
        super().__init__()
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **others,
        }
        for name, function in given.items():
            if name not in _METHODS:
                raise ArgumentError(f"LambdaCallback: unknown method {name!r}. Known: {', '.join(_METHODS)}.")
            if function is None:
                continue
            if not callable(function):
                raise ArgumentError(f"LambdaCallback: expected {name} to be a function, got {describe(function)}.")
            setattr(self, name, function)

    @property
    def wants_batches(self) -> bool:
        """Whether a function for batches was given."""
        return any(name in vars(self) for name in ("on_train_batch_begin", "on_train_batch_end"))
