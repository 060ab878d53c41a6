"""What a callback is: an object whose methods ``fit``, ``evaluate`` and ``predict`` call at certain moments.

Epochs cost nothing to watch. Whoever defines ``on_train_batch_begin`` or ``on_train_batch_end`` asks for every batch:
then each step is a native call of its own, which small models feel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ranvier.errors import ArgumentError, describe

__all__ = ["Callback", "CallbackList"]

Logs = Mapping[str, float] | None


class Callback:
    """Base of all callbacks. Define the methods you need; ``self.model`` is the model, ``self.params`` its fit.

    ``params`` holds ``epochs``, ``steps`` (per epoch), ``samples``, ``batch_size`` and ``verbose``. Set
    ``self.model.stop_training = True`` to stop after the present epoch.

    Example:
        >>> class Shout(rv.callbacks.Callback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         print("epoch", epoch, sorted(logs))
        >>> model = rv.Sequential([rv.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit([[0.0], [1.0]], [0.0, 1.0], verbose=0, callbacks=[Shout()])
        epoch 0 ['loss']
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        """Called first, with the model.

        Args:
            model: the model that is trained or used.
        """
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Called second, with the facts of this fit.

        Args:
            params: see the class.
        """
        self.params = dict(params)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Before the first epoch.

        Args:
            logs: nothing yet.
        """

    def on_train_end(self, logs: Logs = None) -> None:
        """After the last epoch, also when training stopped early.

        Args:
            logs: those of the last epoch.
        """

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Before an epoch.

        Args:
            epoch: its number, from 0.
            logs: nothing yet.
        """

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """After an epoch and its validation.

        Args:
            epoch: its number, from 0.
            logs: loss and metrics of the epoch; those of the validation data are called ``val_...``.
        """

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before a step.

        Args:
            batch: its number in the epoch, from 0.
            logs: nothing yet.
        """

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After a step.

        Args:
            batch: its number in the epoch, from 0.
            logs: loss and metrics over the epoch so far.
        """

    def on_test_begin(self, logs: Logs = None) -> None:
        """Before an evaluation, also that of validation data.

        Args:
            logs: nothing yet.
        """

    def on_test_end(self, logs: Logs = None) -> None:
        """After an evaluation.

        Args:
            logs: loss and metrics.
        """

    def on_predict_begin(self, logs: Logs = None) -> None:
        """Before a prediction.

        Args:
            logs: nothing.
        """

    def on_predict_end(self, logs: Logs = None) -> None:
        """After a prediction.

        Args:
            logs: nothing.
        """

    @property
    def wants_batches(self) -> bool:
        """Whether every single step has to be reported."""
        names = ("on_train_batch_begin", "on_train_batch_end")
        return any(getattr(type(self), name) is not getattr(Callback, name) for name in names)


class CallbackList:
    """Several callbacks as one.

    Args:
        callbacks: the callbacks, in the order in which they are called; one alone is taken as a list of one.
        model: the model they watch.
        **params: the facts of this fit.

    Raises:
        ArgumentError: something in the list is no callback.
    """

    def __init__(self, callbacks: Any, model: Any, **params: Any):
        if callbacks is None:
            given: list[Any] = []
        elif isinstance(callbacks, Callback):
            given = [callbacks]
        elif isinstance(callbacks, Iterable) and not isinstance(callbacks, str | Mapping):
            given = list(callbacks)
        else:
            given = [callbacks]
        for callback in given:
            if isinstance(callback, type) or not callable(getattr(callback, "on_epoch_end", None)):
                hint = f" Make an object of it: {callback.__name__}()." if isinstance(callback, type) else ""
                raise ArgumentError(
                    f"callbacks: expected objects derived from Callback, got {describe(callback)}.{hint}"
                )
        self.callbacks: list[Any] = given
        for callback in given:
            callback.set_model(model)
            callback.set_params(params)

    @property
    def wants_batches(self) -> bool:
        """Whether any of them asks for every step."""
        return any(getattr(c, "wants_batches", True) for c in self.callbacks)

    def call(self, method: str, *args: Any) -> None:
        """Call a method of all.

        Args:
            method: its name, for example ``on_epoch_end``.
            *args: passed on.
        """
        for callback in self.callbacks:
            getattr(callback, method)(*args)
