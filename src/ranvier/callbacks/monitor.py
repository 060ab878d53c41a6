"""What callbacks that watch one value share: finding it in the logs and knowing what is better."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ranvier.callbacks.base import Callback, Logs
from ranvier.errors import ArgumentError, describe

__all__ = ["Monitor"]

# Names of values that grow as a model gets better; all others are taken for losses.
_GROWING = ("acc", "auc", "precision", "recall", "r2", "f1", "top_k", "iou", "cosine_similarity")


class Monitor(Callback):
    """Base of callbacks that watch one value of the logs.

    Args:
        monitor: its name.
        mode: "min", "max" or "auto" (by the name).
        min_delta: a smaller change does not count as better.

    Raises:
        ArgumentError: an argument is out of range.
    """

    def __init__(self, monitor: str = "val_loss", mode: str = "auto", min_delta: float = 0.0):
        super().__init__()
        who = type(self).__name__
        if not isinstance(monitor, str):
            raise ArgumentError(f"{who}: expected monitor to be the name of a loss or metric, got {describe(monitor)}.")
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(f"{who}: expected mode to be 'auto', 'min' or 'max', got {describe(mode)}.")
        if isinstance(min_delta, bool) or not isinstance(min_delta, int | float) or not math.isfinite(min_delta):
            raise ArgumentError(f"{who}: expected min_delta to be a finite number, got {describe(min_delta)}.")
        self.monitor, self.mode, self.min_delta = monitor, mode, abs(float(min_delta))
        name = monitor.removeprefix("val_")
        growing = not name.endswith("loss") and any(name.startswith(g) or f"_{g}" in name for g in _GROWING)
        self.direction = {"min": -1, "max": 1, "auto": 1 if growing else -1}[mode]
        self._warned = False

    def value(self, logs: Logs) -> float | None:
        """The watched value, or None (with one warning) when the logs have none.

        Args:
            logs: of an epoch.
        """
        found = (logs or {}).get(self.monitor)
        if found is None and not self._warned:
            self._warned = True
            known = ", ".join(logs or {}) or "nothing"
            hint = " Give fit validation data." if self.monitor.startswith("val_") else ""
            warnings.warn(
                f"{type(self).__name__}: there is no {self.monitor!r} to watch, only {known}.{hint}", stacklevel=2
            )
        return None if found is None else float(found)

    def better(self, value: float, best: float | None) -> bool:
        """Whether ``value`` is better than ``best`` by more than ``min_delta``. NaN never is.

        Args:
            value: a value.
            best: the best so far, or None.
        """
        if math.isnan(value):
            return False
        return best is None or self.direction * (value - best) > self.min_delta


def count(who: str, name: str, value: Any) -> int:
    """``value`` if it is an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ArgumentError(f"{who}: expected {name} to be an integer of at least 0, got {describe(value)}.")
    return value
