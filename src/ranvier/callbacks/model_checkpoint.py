"""Saving the model while it learns."""

from __future__ import annotations

import os
import string
from typing import Any

from ranvier.callbacks.base import Logs
from ranvier.callbacks.monitor import Monitor
from ranvier.errors import ArgumentError, describe

__all__ = ["ModelCheckpoint"]


class ModelCheckpoint(Monitor):
    """Save the model after each epoch, or after each that is the best so far.

    Every file is written whole or not at all, so a run that is killed leaves the last complete one.

    Args:
        filepath: the file, ending in ``.safetensors``; ``{epoch}`` (from 1) and names of values may stand in it, as in
            ``"model-{epoch:03d}-{val_loss:.3f}.safetensors"``.
        monitor: name of the value that decides what is best.
        verbose: 1 prints a line for each file.
        save_best_only: save only when the value is better than ever before.
        mode: "min", "max" or "auto" (by the name).
        save_freq: "epoch", the only moment there is.
        initial_value_threshold: what the first value must beat; None for nothing.

    Raises:
        ArgumentError: an argument is out of range, or the path names a value that the logs do not have.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "best.safetensors")
        >>> model = rv.Sequential([rv.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> keep = rv.callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)
        >>> history = model.fit([[0.0]], [0.0], verbose=0, callbacks=[keep])
        >>> rv.load_model(path).predict([[1.0]], verbose=0).shape
        (1, 1)
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: str = "auto",
        save_freq: str = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode)
        if not isinstance(filepath, str | os.PathLike) or not os.fspath(filepath).endswith(".safetensors"):
            raise ArgumentError(
                f"ModelCheckpoint: expected filepath to be a path that ends in .safetensors, got {describe(filepath)}."
            )
        if save_freq != "epoch":
            raise ArgumentError(f"ModelCheckpoint: expected save_freq to be 'epoch', got {describe(save_freq)}.")
        self.filepath, self.verbose, self.save_best_only = os.fspath(filepath), verbose, bool(save_best_only)
        self.save_freq, self.initial_value_threshold = save_freq, initial_value_threshold
        self.best = initial_value_threshold

    def _path(self, epoch: int, logs: Logs) -> str:
        values: dict[str, Any] = {"epoch": epoch + 1, **(logs or {})}
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(self.filepath) if name is not None]
            unknown = [name for name in fields if name not in values]  # no attributes or items: only plain names
            if not unknown:
                return self.filepath.format(**values)
        except (ValueError, IndexError) as error:
            raise ArgumentError(f"ModelCheckpoint: filepath {self.filepath!r} cannot be filled in: {error}.") from None
        raise ArgumentError(
            f"ModelCheckpoint: filepath {self.filepath!r} names {', '.join(unknown)}. Known: {', '.join(values)}."
        )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Save, if it is time.

        Args:
            epoch: its number.
            logs: its values.
        """
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.better(value, self.best):
                return
            self.best = value
        path = self._path(epoch, logs)
        self.model.save(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")  # noqa: T201 - asked for by verbose
