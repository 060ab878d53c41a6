"""From what users have (arrays, lists, tables, tensors) to what compiled steps read: checked, contiguous NumPy arrays.

Everything is refused here, before anything has happened: wrong kinds of data, empty axes, lengths that differ, labels
that are no classes, targets that do not fit the output. Tables (pandas, polars) are recognised by their methods; no
such package is imported.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from ranvier.dtypes import DType
from ranvier.errors import ArgumentError, DataError, DTypeError, ShapeError, describe, user_line
from ranvier.tensor import Tensor

__all__ = ["Data", "as_inputs", "as_targets", "as_weights", "check_finite", "checked_count", "class_weights"]


class Data(NamedTuple):
    """Samples, targets and weights (or None), row by row."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None

    @property
    def rows(self) -> int:
        """The number of samples."""
        return len(self.x)

    def part(self, start: int, stop: int) -> Data:
        """Some of the rows."""
        weights = None if self.weights is None else self.weights[start:stop]
        return Data(self.x[start:stop], self.y[start:stop], weights)


def checked_count(who: str, name: str, value: Any, low: int = 1) -> int:
    """``value`` if it is an integer of at least ``low``; an error that says so otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        kind = "a positive integer" if low == 1 else f"an integer of at least {low}"
        hint = ""
        if isinstance(value, str) and value.isdecimal():
            hint = f" Write {name}={value} without quotes."
        raise ArgumentError(f"{who}: expected {name} to be {kind}, got {describe(value)}.{hint}")
    return int(value)


def warn(message: str) -> None:
    """Warn, blaming the user's own line."""
    file, line = user_line(2) or ("ranvier", 0)
    warnings.warn_explicit(message, UserWarning, file, line)


# -- reading ------------------------------------------------------------------------------------------------------


def column_names(value: Any) -> list[str] | None:
    """The columns of a table, None for all else."""
    columns = getattr(value, "columns", None)
    if columns is None or not hasattr(value, "to_numpy"):
        return None
    return [str(name) for name in columns]


def _column(names: list[str] | None, index: tuple[int, ...]) -> str:
    """How to call the place ``index`` of a sample."""
    if not index:
        return "the data"
    if len(index) == 1:
        return f"column {names[index[0]]!r}" if names and index[0] < len(names) else f"column {index[0]}"
    return f"position {tuple(index)} of the samples"


def _to_array(who: str, name: str, value: Any) -> np.ndarray:
    """Any array-like as a NumPy array of numbers."""
    if value is None:
        raise ArgumentError(f"{who}: expected {name} to be an array, got None.")
    if isinstance(value, dict):
        keys = ", ".join(map(repr, list(value)[:3])) + (", ..." if len(value) > 3 else "")
        raise DTypeError(
            f"{who}: expected {name} to be one array, got a dictionary with {keys}. Models with several inputs or "
            "outputs cannot be trained; columns become one array with numpy.column_stack."
        )
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(
            f"{who}: {name} is a masked array with values missing. Fill them first, with {name}.filled(...)."
        )
    if isinstance(value, np.ndarray):
        array = np.asarray(value)
    elif isinstance(value, Tensor):
        array = value.numpy()
    else:
        try:
            if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
                array = np.from_dlpack(value)
            else:
                array = np.asarray(value)
        except (ValueError, TypeError) as error:
            if "inhomogeneous" in str(error):
                raise ShapeError(
                    f"{who}: the rows of {name} have different lengths; make them equal or pad them."
                ) from None
            raise DTypeError(
                f"{who}: {name} cannot be read as an array of numbers, got {describe(value)}: {error}"
            ) from None
    if array.dtype.kind not in "biuf":
        raise DTypeError(_not_numbers(who, name, value, array))
    return array


def _not_numbers(who: str, name: str, value: Any, array: np.ndarray) -> str:
    """What is wrong with an array that holds no plain numbers."""
    names = column_names(value)
    kinds = {
        "O": "object",
        "U": "text",
        "S": "text",
        "c": "complex",
        "M": "date",
        "m": "time difference",
        "V": "record",
    }
    kind = kinds.get(array.dtype.kind, array.dtype.name)
    text = f"{who}: expected numbers in {name}, got {kind} data of shape {array.shape}"
    if array.dtype.kind == "c":
        return text + ". Give real and imaginary part as columns of their own, for example with numpy.stack."
    if array.dtype.kind in "OUS":
        odd = _first_odd(array)
        if odd is None:
            return text + f". They can be read as numbers: use numpy.asarray({name}, dtype='float32')."
        place = odd[1:] if array.ndim > 1 else odd
        entry = array[odd]
        text += f" with {(str(entry) if isinstance(entry, str) else entry)!r}"
        text += f" in {_column(names, place)}" if array.ndim > 1 else ""
        what = "rv.one_hot or numpy.unique(..., return_inverse=True)" if name == "y" else "numbers or one-hot columns"
        return text + f". Turn texts into {what}; fill missing values."
    return text + ". Turn it into numbers first."


def _first_odd(array: np.ndarray) -> tuple[int, ...] | None:
    """The place of the first entry of an array that is no number, not even one written as text."""
    for place in np.ndindex(array.shape):
        try:
            float(array[place])
        except (TypeError, ValueError):
            return place
    return None


def _refuse_empty(who: str, name: str, array: np.ndarray) -> None:
    if array.ndim == 0:
        raise ShapeError(
            f"{who}: expected {name} to have an axis of samples, got the single number {array}. "
            "The first axis is the batch: use x[None] for one sample."
        )
    if len(array) == 0:
        raise DataError(f"{who}: expected at least one sample in {name}, got shape {array.shape}.")
    if 0 in array.shape:
        axis = array.shape.index(0)
        raise DataError(
            f"{who}: axis {axis} of {name} is empty, got shape {array.shape}. Samples need at least one number."
        )


def as_inputs(who: str, x: Any, dtype: DType, keep_integers: bool = False) -> np.ndarray:
    """Samples as a C-contiguous array: floating, or int64 where the model takes integers."""
    array = _to_array(who, "x", x)
    _refuse_empty(who, "x", array)
    wanted = np.dtype(np.int64) if keep_integers and array.dtype.kind in "iu" else dtype.numpy
    if keep_integers and array.dtype.kind == "b":
        wanted = np.dtype(np.bool_)
    return _cast(array, wanted)


def _cast(array: np.ndarray, wanted: np.dtype) -> np.ndarray:
    """Contiguous and of the wanted dtype, without a copy if it is so already. Too large numbers become infinity."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, wanted)


# -- targets ------------------------------------------------------------------------------------------------------


def as_targets(who: str, y: Any, kind: str, output: tuple[int | None, ...], layer: str, dtype: DType) -> np.ndarray:
    """Targets in the form the loss reads, checked against the model's output.

    Args:
        who: named in errors.
        y: the targets.
        kind: "sparse", "categorical", "binary", "values", or "free" for losses that are not known here.
        output: shape of the model's output.
        layer: the last layer, for errors.
        dtype: dtype of floating targets.
    """
    array = _to_array(who, "y", y)
    _refuse_empty(who, "y", array)
    if kind == "free":
        wanted = dtype.numpy if array.dtype.kind == "f" else np.dtype(np.bool_ if array.dtype.kind == "b" else np.int64)
        return _cast(array, wanted)
    if kind == "sparse":
        return _labels(who, array, output, layer)
    shape = tuple(n for n in output[1:])
    if array.shape[1:] != shape:
        array = _reshaped(who, array, shape, kind, layer)
    out = _cast(array, dtype.numpy)
    if kind in ("binary", "categorical"):
        _refuse_improbable(who, out, kind, layer)
    return out


def _labels(who: str, array: np.ndarray, output: tuple[int | None, ...], layer: str) -> np.ndarray:
    classes = output[-1]
    if array.dtype.kind == "f":
        raise DTypeError(
            f"{who}: expected integer class labels in y for sparse categorical crossentropy, got {array.dtype} of "
            "shape "
            f"{array.shape}. Use y.astype('int64') if they are whole numbers, or a regression loss if they are not."
        )
    if array.shape[1:] != output[1:-1]:
        if array.shape[1:] == (*output[1:-1], 1):
            array = array[..., 0]
        else:
            hint = " For one-hot rows use categorical crossentropy." if array.shape[1:] == output[1:] else ""
            raise ShapeError(
                f"{who}: expected one label in y for each output of {layer}, shape (samples{_sizes(output[1:-1])}), "
                "got "
                f"shape {array.shape}.{hint}"
            )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= (classes or 0):
        bad = low if low < 0 else high
        row = int(np.argwhere(array == bad)[0][0])
        fix = (
            "Labels count from 0: subtract the smallest one."
            if low >= 0 and high == classes
            else f"Give the last layer {high + 1} units, or check the labels."
            if low >= 0
            else "Labels count from 0; for -1 and 1 use (y + 1) // 2."
        )
        raise DataError(
            f"{who}: expected labels from 0 to {(classes or 0) - 1}, because {layer} has {classes} outputs, got {bad} "
            "in "
            f"row {row} of y. {fix}"
        )
    return np.ascontiguousarray(array, np.int64)


def _sizes(shape: tuple[int | None, ...]) -> str:
    return "".join(f", {n}" for n in shape) or ","


def _reshaped(who: str, array: np.ndarray, shape: tuple[int | None, ...], kind: str, layer: str) -> np.ndarray:
    """Targets with or without a last axis of size 1, as the output has it."""
    if (*array.shape[1:], 1) == shape or array.shape[1:] == (*shape, 1):
        return array.reshape(len(array), *(n or 1 for n in shape))
    hint = " Check the units of the last layer, or the columns of y."
    if kind == "categorical" and array.ndim == len(shape) and array.dtype.kind in "iu":
        hint = " For integer labels use sparse categorical crossentropy, or rv.one_hot."
    raise ShapeError(
        f"{who}: {layer} gives an output of shape (samples{_sizes(shape)}), but y has shape {array.shape}.{hint}"
    )


def _refuse_improbable(who: str, y: np.ndarray, kind: str, layer: str) -> None:
    low, high = float(np.fmin.reduce(y, axis=None)), float(np.fmax.reduce(y, axis=None))  # NaN is passed over
    if low < 0 or high > 1:
        bad = low if low < 0 else high
        row = int(np.argwhere(y == y.dtype.type(bad))[0][0])
        hint = "For labels -1 and 1 use (y + 1) / 2." if kind == "binary" and low == -1 and high == 1 else (
            "For several classes counted from 0 use sparse categorical crossentropy." if kind == "binary" and high > 1
            else "Use a regression loss for other numbers."
        )  # fmt: skip
        raise DataError(
            f"{who}: expected targets from 0 to 1 for {kind} crossentropy behind {layer}, got {bad:g} in row {row} of "
            "y. "
            f"{hint}"
        )


# -- weights ------------------------------------------------------------------------------------------------------


def as_weights(who: str, sample_weight: Any, rows: int) -> np.ndarray | None:
    """One float32 weight for each sample."""
    if sample_weight is None:
        return None
    array = _to_array(who, "sample_weight", sample_weight)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (rows,):
        raise ShapeError(
            f"{who}: expected one sample weight for each of the {rows} samples, shape ({rows},), got shape "
            f"{array.shape}."
        )
    out = _cast(array, np.dtype(np.float32))
    if not np.isfinite(out).all() or out.min() < 0:
        row = int(np.flatnonzero(~(np.isfinite(out) & (out >= 0)))[0])
        raise DataError(f"{who}: expected sample weights to be finite and not negative, got {out[row]:g} in row {row}.")
    return out


def class_weights(who: str, class_weight: Any, y: np.ndarray, classes: int | None) -> np.ndarray:
    """The weight of each sample's class; 1 for classes that are not named.

    Args:
        who: named in errors.
        class_weight: weight by class number.
        y: targets: labels, one-hot rows, or one column of 0 and 1.
        classes: how many classes there are, if known.
    """
    if not isinstance(class_weight, dict):
        raise ArgumentError(
            f"{who}: expected class_weight to be a dictionary from class number to weight, got "
            f"{describe(class_weight)}."
        )
    labels = y
    if y.ndim > 1:
        labels = y.reshape(len(y)) if y[0].size == 1 else np.argmax(y.reshape(len(y), -1), axis=-1)
    numbers = np.round(labels).astype(np.int64)
    known = classes if classes is not None else int(numbers.max()) + 1
    table = np.ones(max(known, int(numbers.max()) + 1), np.float32)
    for key, value in class_weight.items():
        if isinstance(key, bool) or not isinstance(key, int | np.integer) or not 0 <= key < known:
            raise ArgumentError(
                f"{who}: class_weight names class {key!r}, but the classes are the numbers 0 to {known - 1}."
            )
        fine = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not fine or not math.isfinite(value) or value < 0:
            raise ArgumentError(
                f"{who}: expected class_weight[{key}] to be a finite number of at least 0, got {describe(value)}."
            )
        table[key] = value
    return table[numbers]


# -- NaN ----------------------------------------------------------------------------------------------------------


def check_finite(who: str, name: str, array: np.ndarray, action: str, source: Any = None) -> None:
    """Warn about (or refuse, or pass over) NaN and infinity, naming the column and how many.

    Args:
        who: named in the message.
        name: "x" or "y".
        array: the data.
        action: "warn", "error" or "ignore".
        source: what the user gave: a table's columns are called by their names.
    """
    if action == "ignore" or array.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):
        # One pass that allocates nothing tells that all is well, which is the usual case; a sum of huge numbers that
        # overflows only costs the second look.
        if np.isfinite(np.sum(array, dtype=array.dtype)):
            return
    bad = ~np.isfinite(array)
    total = int(bad.sum())
    if not total:
        return
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    value = "NaN" if np.isnan(array[first]) else "infinity"
    where = _column(column_names(source), first[1:])
    others = f", and {total - 1} more such value{'s' if total > 2 else ''}" if total > 1 else ""
    message = (
        f"{who}: {name} holds {value} in {where} (row {first[0]}){others}. Training would give NaN: drop those rows or "
        "fill the gaps."
    )
    if action == "error":
        raise DataError(message)
    warn(f"{message} (check_data='error' refuses such data, 'ignore' is silent.)")
