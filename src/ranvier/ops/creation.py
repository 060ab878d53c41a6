"""Tensors made from nothing, or from what other libraries hold: constants, ranges, grids, shared arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.dtypes import as_dtype, round_bfloat16
from ranvier.errors import ArgumentError, describe
from ranvier.ops.elementwise import astype
from ranvier.ops.shape import as_shape, broadcast_to
from ranvier.ops.table import require_memory
from ranvier.tensor import Tensor, _from_array, as_tensor, tensor

__all__ = [
    "arange", "asarray", "e", "empty", "empty_like", "eye", "from_dlpack", "full", "inf", "linspace", "nan", "newaxis",
    "ones", "pi", "zeros",
]  # fmt: skip

# The constants of the array-API standard.
e, inf, nan, newaxis, pi = math.e, math.inf, math.nan, None, math.pi


def _wrap(data: np.ndarray, dtype: Any) -> Tensor:
    """Float64 or integer values as a tensor of another dtype, fractions cut off."""
    wanted = as_dtype(dtype)
    if wanted is dtypes.bfloat16:
        return Tensor._wrap(round_bfloat16(data), wanted)
    with np.errstate(all="ignore"):
        return Tensor._wrap(data.astype(wanted.numpy, copy=False), wanted)


def _filled(name: str, shape: Any, value: Any, dtype: Any) -> Tensor:
    sizes, wanted = as_shape(name, shape), as_dtype(dtype)
    require_memory(name, sizes, wanted)
    if type(value) not in (int, float, bool):
        return broadcast_to(astype(as_tensor(value), wanted), sizes)
    one = tensor(value, wanted)._data
    return Tensor._wrap(np.full(sizes, one, wanted.numpy), wanted)


def zeros(shape: Any, dtype: Any = dtypes.float32) -> Tensor:
    """Zeros.

    Args:
        shape: the shape.
        dtype: the dtype.

    Raises:
        ShapeError: no shape of non-negative integers.
        ResourceError: it does not fit into memory.

    Example:
        >>> import ranvier as rv
        >>> rv.zeros((2,)).tolist()
        [0.0, 0.0]
    """
    return _filled("zeros", shape, 0, dtype)


def ones(shape: Any, dtype: Any = dtypes.float32) -> Tensor:
    """Ones.

    Args:
        shape: the shape.
        dtype: the dtype.

    Raises:
        ShapeError: no shape of non-negative integers.
        ResourceError: it does not fit into memory.

    Example:
        >>> import ranvier as rv
        >>> rv.ones((2,)).tolist()
        [1.0, 1.0]
    """
    return _filled("ones", shape, 1, dtype)


def empty(shape: Any, dtype: Any = dtypes.float32) -> Tensor:
    """Zeros: tensors never change, so memory of unknown content would be of no use.

    Args:
        shape: the shape.
        dtype: the dtype.

    Example:
        >>> import ranvier as rv
        >>> rv.empty((2,)).tolist()
        [0.0, 0.0]
    """
    return _filled("empty", shape, 0, dtype)


def empty_like(x: Any) -> Tensor:
    """Zeros like ``x`` in shape and dtype.

    Args:
        x: any tensor.

    Example:
        >>> import ranvier as rv
        >>> rv.empty_like(rv.tensor([1.0, 2.0])).tolist()
        [0.0, 0.0]
    """
    t = as_tensor(x)
    return _filled("empty_like", t.shape, 0, t.dtype)


def full(shape: Any, value: Any, dtype: Any = dtypes.float32) -> Tensor:
    """One value everywhere.

    Args:
        shape: the shape.
        value: the value.
        dtype: the dtype.

    Raises:
        ShapeError: no shape of non-negative integers.
        ResourceError: it does not fit into memory.

    Example:
        >>> import ranvier as rv
        >>> rv.full((2,), 7.0).tolist()
        [7.0, 7.0]
    """
    return _filled("full", shape, value, dtype)


def _number(name: str, value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ArgumentError(f"{name}: expected numbers, got {describe(value)}.")
    return value


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """``start, start + step, ...`` up to but without ``stop``; with one argument from 0 to it.

    Args:
        start: first value (or the end, if ``stop`` is None).
        stop: the end, not included.
        step: the distance, not 0.
        dtype: int64 for integers, else float32, unless given.

    Raises:
        ArgumentError: step is 0, or something is no finite number.
        ResourceError: the range does not fit into memory.

    Example:
        >>> import ranvier as rv
        >>> rv.arange(2, 8, 3).tolist()
        [2, 5]
    """
    low, high, by = (_number("arange", v) for v in ((0, start, step) if stop is None else (start, stop, step)))
    if by == 0:
        raise ArgumentError("arange: step must not be 0.")
    count = (high - low) / by
    if not abs(count) < 2**62:
        raise ArgumentError(f"arange: from {low} to {high} in steps of {by} is no finite range.")
    integer = all([isinstance(v, int | np.integer) for v in (low, high, by)])
    wanted = as_dtype(dtype) if dtype is not None else dtypes.int64 if integer else dtypes.float32
    require_memory("arange", (max(int(count) + 1, 0),), dtypes.float64)
    return _wrap(np.arange(low, high, by), wanted)


def linspace(start: float, stop: float, num: int, dtype: Any = dtypes.float32, endpoint: bool = True) -> Tensor:
    """``num`` values at equal distances from ``start`` to ``stop``.

    Args:
        start: first value.
        stop: last value, or with ``endpoint=False`` the one that would follow it.
        num: how many.
        dtype: the dtype.
        endpoint: whether ``stop`` is included.

    Raises:
        ArgumentError: ``num`` is no non-negative integer, or an end is no number.
        ResourceError: they do not fit into memory.

    Example:
        >>> import ranvier as rv
        >>> rv.linspace(0, 1, 5).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if isinstance(num, bool) or not isinstance(num, int | np.integer) or num < 0:
        raise ArgumentError(f"linspace: expected num to be a non-negative integer, got {describe(num)}.")
    require_memory("linspace", (int(num),), dtypes.float64)
    return _wrap(np.linspace(_number("linspace", start), _number("linspace", stop), int(num), endpoint=endpoint), dtype)


def eye(n: int, m: int | None = None, dtype: Any = dtypes.float32, k: int = 0) -> Tensor:
    """The identity matrix.

    Args:
        n: rows.
        m: columns; by default n.
        dtype: the dtype.
        k: which diagonal holds the ones: 0 the main one, above it if positive.

    Raises:
        ShapeError: no non-negative integers.
        ResourceError: it does not fit into memory.

    Example:
        >>> import ranvier as rv
        >>> rv.eye(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    sizes, wanted = as_shape("eye", (n, n if m is None else m)), as_dtype(dtype)
    require_memory("eye", sizes, wanted)
    return Tensor._wrap(np.eye(sizes[0], sizes[1], k=int(_number("eye", k)), dtype=wanted.numpy), wanted)


def asarray(value: Any, dtype: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor from anything that holds numbers; the array-API standard's name for :func:`ranvier.tensor`.

    Args:
        value: a tensor, an array, a number, nested lists, or anything with ``__array__`` or DLPack.
        dtype: the dtype wanted; by default that of the data.
        copy: False shares the memory of an array, which then must not change while the tensor is in use.

    Raises:
        ArgumentError: ``copy=False``, but a copy is needed.

    Example:
        >>> import ranvier as rv
        >>> rv.asarray([1, 2, 3])
        Tensor([1, 2, 3], dtype=int64)
    """
    if copy is not False or isinstance(value, Tensor) or hasattr(value, "_read"):
        made = tensor(value, dtype)
        return made if dtype is None or made.dtype is as_dtype(dtype) else astype(made, dtype)
    holder = hasattr(value, "__array__")
    array = np.asarray(np.from_dlpack(value) if not holder and hasattr(value, "__dlpack__") else value)
    shared = _from_array(array, copy=False)
    own = not holder and not hasattr(value, "__dlpack__")
    if own or shared._data is not array or (dtype is not None and shared.dtype is not as_dtype(dtype)):
        raise ArgumentError(f"asarray(copy=False): {describe(value)} cannot become a tensor without a copy.")
    return shared


def from_dlpack(x: Any) -> Tensor:
    """A tensor that shares the memory of another library's array, through DLPack.

    Args:
        x: an array with ``__dlpack__``, on the CPU. It must not change while the tensor is in use.

    Raises:
        DTypeError: its dtype has no counterpart here.
        ArgumentError: it has no ``__dlpack__``, or lies elsewhere.

    Example:
        >>> import numpy as np
        >>> import ranvier as rv
        >>> rv.from_dlpack(np.array([1.0, 2.0], np.float32)).tolist()
        [1.0, 2.0]
    """
    if isinstance(x, Tensor):
        return x
    try:
        array = np.from_dlpack(x)
    except (AttributeError, TypeError, RuntimeError, BufferError, ValueError) as error:
        raise ArgumentError(f"from_dlpack: cannot share the memory of {describe(x)}: {error}") from None
    return _from_array(array, copy=False)
