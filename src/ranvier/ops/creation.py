"""Tensors made from nothing: constants, ranges and grids."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.dtypes import as_dtype, round_bfloat16
from ranvier.errors import ArgumentError
from ranvier.ops.shape import as_shape
from ranvier.tensor import Tensor

__all__ = ["arange", "eye", "full", "linspace", "ones", "zeros"]


def _wrap(data: np.ndarray, dtype: Any) -> Tensor:
    wanted = as_dtype(dtype)
    data = np.asarray(data).astype(wanted.numpy)
    return Tensor._wrap(round_bfloat16(data) if wanted is dtypes.bfloat16 else data, wanted)


def zeros(shape: Any, dtype: Any = dtypes.float32) -> Tensor:
    """Zeros.

    Args:
        shape: the shape.
        dtype: the dtype.
    """
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = dtypes.float32) -> Tensor:
    """Ones.

    Args:
        shape: the shape.
        dtype: the dtype.
    """
    return full(shape, 1, dtype)


def full(shape: Any, value: Any, dtype: Any = dtypes.float32) -> Tensor:
    """One value everywhere.

    Args:
        shape: the shape.
        value: the value.
        dtype: the dtype.
    """
    return _wrap(np.full(as_shape("full", shape), value), dtype)


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """``start, start + step, ...`` up to but without ``stop``; with one argument from 0 to it.

    Args:
        start: first value (or the end, if ``stop`` is None).
        stop: the end, not included.
        step: the distance, not 0.
        dtype: int64 for integers, else float32, unless given.

    Raises:
        ArgumentError: step is 0, or the range is too long for memory.

    Example:
        >>> import ranvier as rv
        >>> rv.arange(2, 8, 3).tolist()
        [2, 5]
    """
    low, high = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise ArgumentError("arange: step must not be 0.")
    if not abs((high - low) / step) < 2**40:
        raise ArgumentError(f"arange: from {low} to {high} in steps of {step} is more than memory can hold.")
    integer = all(isinstance(v, int | np.integer) for v in (low, high, step))
    return _wrap(np.arange(low, high, step), dtype or (dtypes.int64 if integer else dtypes.float32))


def linspace(start: float, stop: float, num: int, dtype: Any = dtypes.float32) -> Tensor:
    """``num`` values at equal distances from ``start`` to ``stop``, both included.

    Args:
        start: first value.
        stop: last value.
        num: how many.
        dtype: the dtype.
    """
    if isinstance(num, bool) or not isinstance(num, int) or not 0 <= num < 2**40:
        raise ArgumentError(f"linspace: expected num to be a non-negative integer, got {num!r}.")
    return _wrap(np.linspace(start, stop, num), dtype)


def eye(n: int, m: int | None = None, dtype: Any = dtypes.float32) -> Tensor:
    """The identity matrix.

    Args:
        n: rows.
        m: columns; by default n.
        dtype: the dtype.
    """
    rows, columns = as_shape("eye", (n, n if m is None else m))
    return _wrap(np.eye(rows, columns), dtype)
