"""What ``fit`` and ``evaluate`` print: a bar that is redrawn on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, describe

__all__ = ["Progress", "checked_verbose", "line"]

REDRAW_SECONDS = 0.1
WIDTH = 24


def checked_verbose(who: str, verbose: Any) -> int:
    """0 for silence, 1 for a bar, 2 for lines."""
    if isinstance(verbose, str) and verbose == "auto":
        return 1
    if isinstance(verbose, bool):
        return int(verbose)
    if not isinstance(verbose, int) or verbose not in (0, 1, 2):
        raise ArgumentError(f"{who}: expected verbose to be 'auto', 0, 1 or 2, got {describe(verbose)}.")
    return verbose


def duration(seconds: float) -> str:
    """A time as people read it.

    Example:
        >>> from ranvier.models.progress import duration
        >>> duration(0.0042), duration(4.2), duration(125), duration(7325)
        ('4 ms', '4.2 s', '2:05', '2:02:05')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def number(value: Any) -> str:
    """A value of the logs as people read it."""
    if isinstance(value, np.ndarray):
        return f"array{value.shape}"
    return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.4e}"


def values(logs: Mapping[str, Any]) -> str:
    """Loss and metrics in one line."""
    return "".join(f" - {name}: {number(value)}" for name, value in logs.items())


def speed(samples: float, seconds: float) -> str:
    """Samples per second."""
    return f"{samples / max(seconds, 1e-9):,.0f} samples/s"


def write(text: str) -> None:
    """Print at once. A terminal that has gone away does not end training."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        pass


def line(what: str, seconds: float, samples: int, logs: Mapping[str, Any]) -> None:
    """One line about work that is done."""
    write(f"{what} - {duration(seconds)} - {speed(samples, seconds)}{values(logs)}\n")


class Progress:
    """The progress of one fit.

    Args:
        verbose: 0, 1 or 2.
        epochs: number of the last epoch.
        samples: samples of an epoch.
        batch_size: samples of a step.
    """

    def __init__(self, verbose: int, epochs: int, samples: int, batch_size: int):
        terminal = getattr(sys.stdout, "isatty", lambda: False)()
        self.bar = verbose == 1 and terminal
        self.lines = verbose > 0
        self.epochs, self.samples, self.batch_size = epochs, samples, batch_size
        self.steps = -(-samples // batch_size)
        self._start = self._drawn = time.perf_counter()
        self._epoch, self._width = 0, 0

    def begin(self, epoch: int) -> None:
        """An epoch begins."""
        self._epoch = epoch
        self._start = self._drawn = time.perf_counter()

    def step(self, done: int, compiled: Any) -> None:
        """So many steps of the epoch are done. Loss and metrics are only fetched when they are drawn."""
        if not self.bar:
            return
        now = time.perf_counter()
        if now - self._drawn < REDRAW_SECONDS or done >= self.steps:
            return
        self._drawn = now
        used = now - self._start
        full = WIDTH * done // self.steps
        bar = "=" * full + ">" * (full < WIDTH) + "." * (WIDTH - full - 1)
        samples = min(done * self.batch_size, self.samples)
        rest = used / done * (self.steps - done) + used / done * self.steps * (self.epochs - self._epoch - 1)
        self._draw(
            f"Epoch {self._epoch + 1}/{self.epochs} [{bar}] {done}/{self.steps} - {speed(samples, used)} - "
            f"{duration(rest)} left{values(compiled.results())}"
        )

    def _draw(self, text: str) -> None:
        padding = " " * max(self._width - len(text), 0)
        self._width = len(text)
        write(f"\r{text}{padding}")

    def end(self, logs: Mapping[str, Any]) -> None:
        """An epoch is over."""
        if not self.lines:
            return
        used = time.perf_counter() - self._start
        text = f"Epoch {self._epoch + 1}/{self.epochs} - {duration(used)} - {speed(self.samples, used)}{values(logs)}"
        if self.bar:
            self._draw(text)
            self._width = 0
            write("\n")
        else:
            write(text + "\n")

    def close(self) -> None:
        """Training is over: what was drawn half-way stays as a line of its own."""
        if self.bar and self._width:
            self._width = 0
            write("\n")
