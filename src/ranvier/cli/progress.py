"""Progress of a training run: a line that is rewritten on a terminal, about ten lines elsewhere.

It watches epochs only, so the steps of an epoch stay one native call.
"""

from __future__ import annotations

import time
from typing import Any

from ranvier.callbacks import Callback
from ranvier.cli.console import Console

__all__ = ["Progress", "duration"]

_LINES = 10  # permanent lines for a whole run


class Progress(Callback):
    """Prints what each epoch brought, and keeps the times.

    Args:
        console: where to.
        epochs: how many there will be.

    Attributes:
        epoch_seconds: what each epoch's training took (its test not counted); the first includes compiling.
        history: values by name, one for each epoch that was finished.
    """

    def __init__(self, console: Console, epochs: int):
        super().__init__()
        self.console, self.epochs = console, epochs
        self.epoch_seconds: list[float] = []
        self.history: dict[str, list[float]] = {}
        self._every = max(1, -(-epochs // _LINES))
        self._begun = self._epoch_begun = self._trained = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        """Say that the step is being compiled."""
        self._begun = time.perf_counter()
        self._live("compiling the training step")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock of the epoch."""
        self._epoch_begun = time.perf_counter()
        self._trained = 0.0

    def on_test_begin(self, logs: Any = None) -> None:
        """The epoch's training is over, its test begins."""
        self._trained = self._trained or time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Print the epoch, or rewrite the line."""
        now = time.perf_counter()
        self.epoch_seconds.append((self._trained or now) - self._epoch_begun)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        done = epoch + 1
        line = f"epoch {done:>{len(str(self.epochs))}}/{self.epochs}  {_values(logs or {})}"
        if done == 1 or done % self._every == 0 or done == self.epochs:
            self._live("")
            self.console.talk(line)
        if done < self.epochs:
            left = (now - self._begun) / done * (self.epochs - done)
            shown = [f"{100 * value:.1f} % right" for name, value in (logs or {}).items() if name == "val_accuracy"]
            self._live("  ".join([f"{self._bar(done)} epoch {done}/{self.epochs}", *shown, f"{duration(left)} left"]))

    def on_train_end(self, logs: Any = None) -> None:
        """Leave the line empty for what follows."""
        self._live("")

    def _bar(self, done: int) -> str:
        full = 20 * done // self.epochs
        return "█" * full + "░" * (20 - full)

    def _live(self, text: str) -> None:
        if self.console.live:
            shown = self.console.readable(text)[: self.console.width - 1]
            print(f"\r\x1b[K{shown}", end="", file=self.console.stream, flush=True)


def _values(logs: Any) -> str:
    """Loss and accuracy of an epoch in words; ``val_`` values are those of the test part."""
    parts = []
    for name, value in logs.items():
        shown = name.replace("val_", "test ").replace("_", " ")
        number = f"{100 * value:5.1f} %" if "accuracy" in name else f"{value:.4f}"
        parts.append(f"{shown} {number}")
    return "   ".join(parts)


def duration(seconds: float) -> str:
    """A length of time in the unit that fits: ``12.3 µs``, ``1.52 s``, ``2 min 5 s``."""
    if seconds >= 60:
        whole = round(seconds)
        return f"{whole // 60} min {whole % 60} s"
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e6:.2g} µs"
