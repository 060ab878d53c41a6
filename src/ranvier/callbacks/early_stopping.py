"""Stopping when a value no longer gets better."""

from __future__ import annotations

from typing import Any

from ranvier.callbacks.base import Logs
from ranvier.callbacks.monitor import Monitor, count

__all__ = ["EarlyStopping"]


class EarlyStopping(Monitor):
    """Stop training when the watched value has not improved for a number of epochs.

    Args:
        monitor: name of the value: "val_loss", "loss", "val_accuracy", ....
        min_delta: a smaller change does not count as better.
        patience: how many epochs without improvement are allowed.
        verbose: 1 prints a line when training stops.
        mode: "min", "max" or "auto" (by the name).
        baseline: the value that must be beaten first; None for none.
        restore_best_weights: at the end, go back to the weights of the best epoch.
        start_from_epoch: epochs before this one are not watched.

    Attributes:
        best: the best value; None before the first.
        best_epoch: the epoch it came from.
        stopped_epoch: the epoch training stopped at; 0 if it did not.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> stop = rv.callbacks.EarlyStopping("loss", patience=2)
        >>> model = rv.Sequential([rv.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> len(model.fit([[0.0]], [0.0], epochs=50, verbose=0, callbacks=[stop]).epoch)
        3
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience = count("EarlyStopping", "patience", patience)
        self.start_from_epoch = count("EarlyStopping", "start_from_epoch", start_from_epoch)
        self.verbose, self.baseline, self.restore_best_weights = verbose, baseline, bool(restore_best_weights)
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch, self.stopped_epoch, self.wait = 0, 0, 0
        self._weights: list[Any] | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget an earlier fit.

        Args:
            logs: nothing yet.
        """
        self._forget()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Compare, and stop if need be.

        Args:
            epoch: its number.
            logs: its values.
        """
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self._weights is None:
            self._weights = self.model.get_weights()
        self.wait += 1
        if self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self._weights = self.model.get_weights()
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        """Say so, and put the best weights back.

        Args:
            logs: those of the last epoch.
        """
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")  # noqa: T201 - asked for by verbose
        if self.restore_best_weights and self._weights is not None:
            if self.verbose:
                print(f"Restoring the weights of epoch {self.best_epoch + 1}")  # noqa: T201 - asked for by verbose
            self.model.set_weights(self._weights)
