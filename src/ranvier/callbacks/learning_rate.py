"""Changing the learning rate between epochs: by a function, or when a value no longer gets better."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ranvier.callbacks.base import Callback, Logs
from ranvier.callbacks.monitor import Monitor, count
from ranvier.errors import ArgumentError, describe

__all__ = ["LearningRateScheduler", "ReduceLROnPlateau"]


def _rate(model: Any) -> float:
    return float(model.optimizer.learning_rate)


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch.

    Args:
        schedule: function of (epoch, learning rate) that returns the new learning rate.
        verbose: 1 prints a line for each epoch.

    Raises:
        ArgumentError: not a function, or it returned no learning rate.

    Example:
        >>> model = rv.Sequential([rv.layers.Dense(1)])
        >>> model.compile(rv.optimizers.SGD(0.1), "mse")
        >>> half = rv.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        >>> history = model.fit([[0.0]], [0.0], epochs=2, verbose=0, callbacks=[half])
        >>> round(float(model.optimizer.learning_rate), 6)
        0.025
    """

    def __init__(self, schedule: Callable[[int, float], float], verbose: int = 0):
        super().__init__()
        if not callable(schedule):
            raise ArgumentError(
                f"LearningRateScheduler: expected schedule to be a function of (epoch, learning rate), got "
                f"{describe(schedule)}."
            )
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Set the learning rate.

        Args:
            epoch: its number.
            logs: nothing yet.
        """
        rate = float(self.schedule(epoch, _rate(self.model)))
        self.model.optimizer.learning_rate = rate
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {rate:g}")  # noqa: T201 - asked for by verbose


class ReduceLROnPlateau(Monitor):
    """Lower the learning rate when the watched value has not improved for a number of epochs.

    Args:
        monitor: name of the value.
        factor: the new learning rate is this times the old one; between 0 and 1.
        patience: how many epochs without improvement are allowed.
        verbose: 1 prints a line for each change.
        mode: "min", "max" or "auto" (by the name).
        min_delta: a smaller change does not count as better.
        cooldown: epochs after a change during which nothing is counted.
        min_lr: the learning rate never goes below this.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> model = rv.Sequential([rv.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile(rv.optimizers.SGD(0.1), "mse")
        >>> lower = rv.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1)
        >>> history = model.fit([[0.0]], [0.0], epochs=2, verbose=0, callbacks=[lower])
        >>> round(float(model.optimizer.learning_rate), 6)
        0.05
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode, min_delta)
        for name, value, low, high in (("factor", factor, 0, 1), ("min_lr", min_lr, 0, math.inf)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
                raise ArgumentError(
                    f"ReduceLROnPlateau: expected {name} to be a number of at least {low} and below {high}, got "
                    f"{describe(value)}."
                )
        self.factor, self.min_lr, self.verbose = float(factor), float(min_lr), verbose
        self.patience = count("ReduceLROnPlateau", "patience", patience)
        self.cooldown = count("ReduceLROnPlateau", "cooldown", cooldown)
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.wait, self.cooldown_counter = 0, 0

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget an earlier fit.

        Args:
            logs: nothing yet.
        """
        self._forget()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Compare, and lower the learning rate if need be.

        Args:
            epoch: its number.
            logs: its values.
        """
        value = self.value(logs)
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            old = _rate(self.model)
            if self.wait >= self.patience and old > self.min_lr:
                new = max(old * self.factor, self.min_lr)
                self.model.optimizer.learning_rate = new
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"Epoch {epoch + 1}: learning rate lowered to {new:g}")  # noqa: T201 - asked for
