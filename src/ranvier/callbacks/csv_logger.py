"""The history as a table in a file, written while training goes on."""

from __future__ import annotations

import contextlib
import csv
import os
from typing import IO, Any

from ranvier.callbacks.base import Callback, Logs
from ranvier.errors import ArgumentError, SaveError, describe

__all__ = ["CSVLogger"]


class CSVLogger(Callback):
    """Write a row for each epoch to a CSV file: the epoch's number, then its values by name.

    Rows are flushed as they come, so the table of a run that was cut off holds every epoch that ended. Numbers are
    written with all their digits.

    Args:
        filename: the file.
        separator: what stands between values, one character.
        append: go on in an existing file instead of replacing it.

    Raises:
        ArgumentError: an argument is out of range, or the file cannot be written.

    Example:
        >>> import os, pathlib, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "history.csv")
        >>> model = rv.Sequential([rv.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit([[0.0]], [0.0], epochs=2, verbose=0, callbacks=[rv.callbacks.CSVLogger(path)])
        >>> pathlib.Path(path).read_text().split()[0]
        'epoch,loss'
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False):
        super().__init__()
        if not isinstance(filename, str | os.PathLike):
            raise ArgumentError(f"CSVLogger: expected filename to be a path, got {describe(filename)}.")
        if not isinstance(separator, str) or len(separator) != 1:
            raise ArgumentError(f"CSVLogger: expected separator to be one character, got {describe(separator)}.")
        self.filename, self.separator, self.append = os.fspath(filename), separator, bool(append)
        self._file: IO[str] | None = None
        self._keys: list[str] | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Open the file.

        Args:
            logs: nothing yet.
        """
        self._keys = None
        try:
            if self.append and os.path.exists(self.filename):
                with open(self.filename, encoding="utf-8", newline="") as file:
                    header = next(csv.reader(file, delimiter=self.separator), None)
                self._keys = header[1:] if header else None
            mode = "a" if self.append else "w"
            self._file = open(self.filename, mode, encoding="utf-8", newline="")  # noqa: SIM115 - open for the whole fit
        except OSError as error:
            raise ArgumentError(
                f"CSVLogger: {self.filename} cannot be written: {error.strerror or error}. Name a file in a folder "
                "that exists and is yours."
            ) from None

    def _write(self, row: list[Any]) -> None:
        assert self._file is not None
        csv.writer(self._file, delimiter=self.separator, lineterminator="\n").writerow(row)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write a row.

        Args:
            epoch: its number.
            logs: its values.

        Raises:
            SaveError: the row cannot be written, for example because the disk is full.
        """
        if self._file is None:
            return
        values = dict(logs or {})
        try:
            if self._keys is None:
                self._keys = list(values)
                self._write(["epoch", *self._keys])
            self._write([epoch, *(repr(float(values[k])) if k in values else "" for k in self._keys)])
            self._file.flush()
        except OSError as error:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):  # closing tries once more to write what is left
                file.close()
            raise SaveError(
                f"CSVLogger: epoch {epoch + 1} cannot be written to {self.filename}: {error.strerror or error}. Free "
                "some space, or name another file. The model keeps what it has learned."
            ) from None

    def on_train_end(self, logs: Logs = None) -> None:
        """Close the file.

        Args:
            logs: those of the last epoch.
        """
        if self._file is not None:
            self._file.close()
            self._file = None
