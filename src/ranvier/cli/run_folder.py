"""Run folders: everything a training run leaves behind, written all or nothing, and read back with care.

==================  =================================================================
``model.safetensors``  weights, structure and input signature
``history.csv``     loss and metrics, one row for each epoch
``settings.json``   what was trained how: the data, its classes, the network, the seed
``environment.json``  on what it ran
``results.json``    how good it became
``report.html``     all of it to look at
==================  =================================================================

A folder is filled under a hidden name beside its place and renamed when it is complete, so that a run folder with a
model in it is whole. An existing folder is never replaced.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranvier.cli.console import plain_data
from ranvier.errors import DataError, FileFormatError

__all__ = ["MODEL_FILE", "REPORT_FILE", "Run", "RunWriter", "history_csv", "open_run"]

MODEL_FILE, HISTORY_FILE, REPORT_FILE = "model.safetensors", "history.csv", "report.html"
SETTINGS_FILE, ENVIRONMENT_FILE, RESULTS_FILE = "settings.json", "environment.json", "results.json"
_MAX_SETTINGS = 16 << 20  # bytes; a settings file is a few kilobytes


class RunWriter:
    """A run folder in the making. Use as ``with RunWriter(...) as folder: ... folder.commit()``.

    Making one already claims a place for it, so that a folder that cannot be written is noticed before training.

    Args:
        name: of what is trained; the default place is ``runs/<name>-<time>``.
        out: another place.

    Raises:
        DataError: something is there already, or the place cannot be written.
    """

    def __init__(self, name: str, out: str | None = None):
        self._chosen = out is not None
        self.path = os.path.normpath(out) if out else _free(os.path.join("runs", f"{name}-{_stamp()}"))
        if _occupied(self.path):
            raise DataError(f"{self.path} exists already and is not replaced. Choose another folder with --out.")
        parent = os.path.dirname(os.path.abspath(self.path))
        self._made = _missing(parent)
        self.partial = os.path.join(parent, f".{os.path.basename(self.path)}.partial-{secrets.token_hex(4)}")
        try:
            os.makedirs(parent, exist_ok=True)
            os.mkdir(self.partial)
        except OSError as error:
            self.discard()
            raise DataError(
                f"the run folder {self.path} cannot be made: {error.strerror or error}. "
                "Choose a place you may write to with --out."
            ) from None

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.discard()  # after a commit there is nothing left to discard

    def file(self, name: str) -> str:
        """The path to write one of the files to."""
        return os.path.join(self.partial, name)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one of the JSON files."""
        text = json.dumps(plain_data(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        self.write_text(name, text)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file in UTF-8."""
        from ranvier.data.atomic import atomic_write

        with atomic_write(self.file(name)) as file:
            file.write(text.encode("utf-8"))

    def commit(self) -> str:
        """Give the finished folder its name; returns its path."""
        while True:
            try:
                os.rename(self.partial, self.path)
                return self.path
            except OSError as error:
                if not _occupied(self.path):
                    raise DataError(f"the run folder {self.path} cannot be made: {error.strerror or error}.") from None
                if self._chosen:
                    raise DataError(
                        f"{self.path} appeared while training and is not replaced. Choose another folder with --out."
                    ) from None
                self.path = _free(self.path)

    def discard(self) -> None:
        """Remove what is unfinished, and folders that were made for it and are still empty."""
        shutil.rmtree(self.partial, ignore_errors=True)
        for folder in self._made:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _stamp() -> str:
    return time.strftime("%Y%m%d-%H%M%S")


def _occupied(path: str) -> bool:
    """Whether something is there that a rename must not replace (an empty folder may be)."""
    if os.path.isdir(path) and not os.path.islink(path):
        try:
            return bool(os.listdir(path))
        except OSError:
            return True
    return os.path.lexists(path)


def _free(path: str) -> str:
    """``path``, or with the first number behind it that is not taken."""
    candidate, number = path, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = f"{path}-{number}"
    return candidate


def _missing(folder: str) -> list[str]:
    """The folders on the way to ``folder`` that do not exist, innermost first."""
    found = []
    while not os.path.lexists(folder):
        found.append(folder)
        folder = os.path.dirname(folder)
    return found


def history_csv(history: Mapping[str, Sequence[float]]) -> str:
    """The history as CSV text: a row for each epoch, numbers in full precision."""
    length = max((len(values) for values in history.values()), default=0)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["epoch", *history])
    for index in range(length):
        values = (v[index] if index < len(v) else None for v in history.values())
        writer.writerow([index + 1, *("" if v is None else repr(float(v)) for v in values)])
    return out.getvalue()


@dataclass(frozen=True)
class Run:
    """A trained network and what is known about it.

    Attributes:
        path: what the user named.
        model_file: where the model is.
        class_names: names of the classes, or empty if unknown.
        feature_names: names of the inputs, or empty.
        data: name of the data set it was trained on, or empty.
        settings: all of settings.json.
    """

    path: str
    model_file: str
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    data: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def number(self, name: str, default: int) -> int:
        """A whole number of at least 1 from the settings, or the default."""
        value = self.settings.get(name)
        fine = isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31
        return int(value) if fine else default  # type: ignore[arg-type]

    def load(self) -> Any:
        """The model.

        Raises:
            FileFormatError: the file is damaged or no model.
        """
        from ranvier.models import load_model

        return load_model(self.model_file)


def open_run(path: str) -> Run:
    """A run folder, or a model file by itself.

    Args:
        path: the folder that ``ranvier train`` wrote, or a ``.safetensors`` file.

    Raises:
        DataError: there is no such thing.
        FileFormatError: the folder's settings are damaged.
    """
    if os.path.isfile(path):
        return Run(path, path)
    if not os.path.isdir(path):
        raise DataError(f"{path}: no such run folder. `ranvier train digits` makes one and prints its name.")
    model_file = os.path.join(path, MODEL_FILE)
    if not os.path.isfile(model_file):
        inside = sorted(name for name in os.listdir(path) if os.path.isfile(os.path.join(path, name, MODEL_FILE)))
        hint = f" Did you mean {os.path.join(path, inside[-1])}?" if inside else ""
        raise DataError(f"{path}: not a run folder: it holds no {MODEL_FILE}.{hint}")
    settings = _read_settings(os.path.join(path, SETTINGS_FILE))
    return Run(
        path,
        model_file,
        _names(settings, "class_names", path),
        _names(settings, "feature_names", path),
        str(settings.get("data", "")),
        settings,
    )


def _read_settings(path: str) -> dict[str, Any]:
    """The settings file as a dictionary; empty if there is none."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_SETTINGS + 1)
    except FileNotFoundError:
        return {}
    if len(text) > _MAX_SETTINGS:
        raise FileFormatError(f"{path}: larger than {_MAX_SETTINGS >> 20} MiB; this is no settings file of Ranvier.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: damaged: {error}. Delete it to use the model without its names.") from None
    if not isinstance(value, dict):
        raise FileFormatError(f"{path}: expected a JSON object, found {type(value).__name__}.")
    return value


def _names(settings: Mapping[str, Any], key: str, path: str) -> tuple[str, ...]:
    value = settings.get(key, [])
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise FileFormatError(f"{os.path.join(path, SETTINGS_FILE)}: {key} must be a list of names.")
    return tuple(value)
