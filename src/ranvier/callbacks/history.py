"""The history of a fit: loss and metrics, epoch by epoch."""

from __future__ import annotations

from ranvier.callbacks.base import Callback, Logs

__all__ = ["History"]


class History(Callback):
    """What ``fit`` returns.

    Attributes:
        history: a list for each of ``loss``, the metrics, ``val_loss``, ..., with one value for each epoch.
        epoch: the numbers of the epochs, from 0.
        params: the facts of this fit: epochs, steps, samples, batch_size.
        stopped_by: why training ended before the last epoch: ``"interrupt"`` (Ctrl-C), ``"callback"``, ``"nan"``; or
            None.

    Example:
        >>> model = rv.Sequential([rv.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit([[0.0], [1.0]], [0.0, 1.0], epochs=3, verbose=0)
        >>> history.epoch, list(history.history), len(history.history["loss"])
        ([0, 1, 2], ['loss'], 3)
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.stopped_by: str | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget an earlier fit.

        Args:
            logs: nothing yet.
        """
        self.history, self.epoch, self.stopped_by = {}, [], None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write the epoch down.

        Args:
            epoch: its number.
            logs: its values.
        """
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
