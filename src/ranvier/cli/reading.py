"""Reading a user's file of samples: NumPy arrays, tables, images in IDX form.

Every kind ends as an array in the shape the model takes, checked to be finite numbers. Nothing is ever unpickled.
"""

from __future__ import annotations

import csv
import math
import os
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier.data.idx import read_idx
from ranvier.errors import DataError, describe

__all__ = ["Table", "fit_shape", "read_classes", "read_samples"]

Array = np.ndarray[Any, Any]

_X_KEYS, _Y_KEYS = ("x_test", "x", "X", "data", "images", "features"), ("y_test", "y", "labels", "target", "classes")
_CLASS_COLUMNS = ("class", "label", "target", "species", "diagnosis", "y")
_MAX_CSV = 1 << 30  # bytes


class Table:
    """What a file holds: samples, and if it has them, their classes (as numbers or names).

    Args:
        x: the samples.
        y: the classes, or None.
        columns: names of the columns of ``x``, if the file names them.
    """

    def __init__(self, x: Array, y: Any = None, columns: Sequence[str] = ()):
        self.x, self.y, self.columns = x, y, tuple(columns)


def read_samples(path: str, features: Sequence[str] = (), count: int | None = None) -> Table:
    """Read a file of samples; its kind is told by its content and its name.

    Args:
        path: ``.npy``, ``.npz``, ``.csv`` (also ``.tsv`` and ``.txt``), or IDX, plain or compressed.
        features: names of the model's inputs; a table's columns of these names are taken, in this order.
        count: how many inputs the model takes, to tell a column of classes from a feature.

    Raises:
        DataError: no such file, of no known kind, damaged, or not made of finite numbers.
    """
    if not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "not a regular file" if os.path.lexists(path) else "no such file"
        raise DataError(f"{path}: {kind}. Expected a .npy, .npz, .csv or IDX file.")
    with open(path, "rb") as file:
        head = file.read(8)
    if not head:
        raise DataError(f"{path}: the file is empty.")
    if head.startswith(b"\x93NUMPY"):
        return Table(_numbers(path, _load_npy(path)))
    if head.startswith(b"PK\x03\x04"):
        return _read_npz(path)
    if head[:2] in (b"\x00\x00", b"\x1f\x8b"):
        return Table(read_idx(path))
    if path.lower().endswith((".csv", ".tsv", ".txt")):
        return _read_csv(path, tuple(features), count)
    raise DataError(f"{path}: not a NumPy (.npy, .npz), IDX or .csv file. Expected one of these.")


def _load_npy(path: str) -> Array:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read as a NumPy array: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """NumPy's words, without its advice to unpickle."""
    text = str(error).partition("\n")[0]
    return "it holds Python objects, which are never loaded." if "allow_pickle" in text else text


def _read_npz(path: str) -> Table:
    try:
        # NumPy leaves a file that it opened itself open when it is damaged.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = arrays.files
            key = next((name for name in _X_KEYS if name in names), names[0] if len(names) == 1 else None)
            if key is None:
                listed = ", ".join(names) or "nothing"
                raise DataError(f"{path}: expected an array called {' or '.join(_X_KEYS[:2])}; it holds {listed}.")
            truth = next((name for name in _Y_KEYS if name in names), None)
            x, y = arrays[key], None if truth is None else arrays[truth]
    except DataError:
        raise
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as NumPy arrays: {_reason(error)}") from None
    return Table(_numbers(path, x), y)


def _numbers(path: str, array: Array) -> Array:
    """``array`` if it is made of finite real numbers."""
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise DataError(f"{path}: expected real numbers, found {describe(array)}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{path}: {array[place]} at index {place}; expected finite numbers. Clean or fill them first.")
    return array


def _read_csv(path: str, features: tuple[str, ...], count: int | None) -> Table:
    if os.path.getsize(path) > _MAX_CSV:
        raise DataError(f"{path}: larger than {_MAX_CSV >> 30} GiB. Convert it to .npy first.")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text in UTF-8 (byte {error.start:,}). Save it as UTF-8.") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count) if any(mark in first for mark in ",;\t") else " "
    reader = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    try:
        stripped = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
        rows = [(line, cells) for line, cells in stripped if any(cells)]
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}.") from None
    if not rows:
        raise DataError(f"{path}: holds no rows.")
    header: list[str] = []
    if not any(_is_number(cell) for cell in rows[0][1]):
        header = rows.pop(0)[1]
    if not rows:
        raise DataError(f"{path}: holds a header but no rows.")
    return _table(path, header, rows, features, count)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _table(
    path: str, header: list[str], rows: list[tuple[int, list[str]]], features: tuple[str, ...], count: int | None
) -> Table:
    """Cells as numbers; which columns are features and which is the class follows from names, then from places."""
    width = len(header or rows[0][1])
    for line, cells in rows:
        if len(cells) != width:
            raise DataError(f"{path}: line {line} has {len(cells)} columns, expected {width} as in the first line.")
    if features and header and set(features) <= set(header):
        chosen = [header.index(name) for name in features]
    else:
        chosen = [i for i in range(width) if not (header and header[i].lower() in _CLASS_COLUMNS)]
        if count is not None and len(chosen) == width == count + 1:
            chosen = chosen[:-1]  # one column more than the model has inputs: the last is the class
    named = [i for i, name in enumerate(header) if name.lower() in _CLASS_COLUMNS and i not in chosen]
    rest = named or [i for i in range(width) if i not in chosen][-1:]
    values = np.empty((len(rows), len(chosen)), np.float32)
    for index, (line, cells) in enumerate(rows):
        for place, column in enumerate(chosen):
            values[index, place] = _cell(path, line, column, cells[column], header)
    y = [cells[rest[0]] for _, cells in rows] if rest else None
    return Table(values, y, [header[i] for i in chosen] if header else ())


def _cell(path: str, line: int, column: int, cell: str, header: list[str]) -> float:
    value = float(cell) if _is_number(cell) else math.nan
    if not math.isfinite(value):
        name = f" ({header[column]})" if header else ""
        shown = repr(cell) if cell else "nothing"
        raise DataError(f"{path}: line {line}, column {column + 1}{name}: expected a finite number, found {shown}.")
    return value


def fit_shape(path: str, x: Array, shape: Sequence[int | None]) -> Array:
    """Samples in the shape the model takes: one sample alone becomes a batch, flat samples are folded.

    Args:
        path: for messages.
        x: what the file holds.
        shape: of one sample, from the model.

    Raises:
        DataError: it does not fit, or holds no samples.
    """
    want = tuple(shape)
    told = " × ".join("any" if n is None else str(n) for n in want)
    size = math.prod(n for n in want if n is not None)
    if not x.size:
        raise DataError(f"{path}: holds no samples: shape {x.shape}.")
    for candidate in (x, x[None], x[..., 0] if x.ndim == len(want) + 2 and x.shape[-1] == 1 else x):
        sizes = candidate.shape[1:]
        if len(sizes) == len(want) and all(n in (None, m) for n, m in zip(want, sizes, strict=True)):
            return candidate
    if None not in want and x.ndim <= 2 and x.shape[-1] == size:
        return x.reshape(-1, *want)
    if None not in want and x.ndim > 1 and math.prod(x.shape[1:]) == size and len(want) == 1:
        return x.reshape(len(x), size)
    raise DataError(
        f"{path}: the model takes samples of {told} numbers, it holds {describe(x)}. "
        f"Expected shape (samples, {', '.join('any' if n is None else str(n) for n in want)})."
    )


def read_classes(path: str, y: Any, names: Sequence[str], classes: int, samples: int) -> Array:
    """True classes as numbers, from numbers or from class names.

    Args:
        path: for messages.
        y: numbers or texts.
        names: the classes' names, or empty.
        classes: how many classes the model knows.
        samples: how many samples there are.

    Raises:
        DataError: another number of classes than samples, or something that is no class.
    """
    listed = np.asarray(y)
    if listed.ndim == 2 and listed.shape[1] == 1:
        listed = listed[:, 0]
    if listed.ndim != 1 or len(listed) != samples:
        raise DataError(f"{path}: expected one class for each of {samples:,} samples, found {describe(listed)}.")
    known = {name: index for index, name in enumerate(names)}
    out = np.empty(samples, np.int64)
    for row, entry in enumerate(listed.tolist()):
        number = known.get(entry, -1) if isinstance(entry, str) else -1
        if number < 0 and not isinstance(entry, bool):
            try:
                number = int(entry) if float(entry) == int(float(entry)) else -1
            except (ValueError, TypeError, OverflowError):
                number = -1
        if not 0 <= number < classes:
            told = f" or one of {', '.join(names[:12])}" if names else ""
            raise DataError(f"{path}: row {row}: expected a class from 0 to {classes - 1}{told}; found {entry!r}.")
        out[row] = number
    return out
