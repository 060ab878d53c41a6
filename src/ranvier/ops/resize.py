"""Resizing images, and padding them with what they hold: both read an image at other positions, axis by axis.

Composed of other ops, so that gradients and compiled code come for free: whole factors are repetitions or strided
slices, anything else is ``take`` at positions that are known when the program is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.ops import elementwise as e
from ranvier.ops import shape as s
from ranvier.ops.index import take_op
from ranvier.ops.spatial import per_axis
from ranvier.ops.table import apply, require_memory
from ranvier.tensor import Tensor, as_tensor

__all__ = ["pad", "resize"]


def _at(t: Tensor, axis: int, positions: np.ndarray) -> Tensor:
    """``t`` at positions on one axis."""
    index = Tensor._wrap(np.ascontiguousarray(positions, np.int64), dtypes.int64)
    return apply(take_op, (t, index), {"axis": axis})


# -- resize -------------------------------------------------------------------------------------------------------


def _nearest(t: Tensor, axis: int, size: int) -> Tensor:
    """Result o shows the element under the middle of its pixel: ``floor((o + 1/2) * n / size)``, in integers."""
    n = t.shape[axis]
    if size % n == 0:
        return s.repeat(t, size // n, axis)
    if n % size == 0:
        step = n // size
        steps = tuple([step if i == axis else 1 for i in range(t.ndim)])
        return s.slice_static(t, tuple([(step // 2) * (i == axis) for i in range(t.ndim)]), t.shape, steps)
    return _at(t, axis, (2 * np.arange(size) + 1) * n // (2 * size))


def _bilinear(t: Tensor, axis: int, size: int) -> Tensor:
    """Between the two elements beside ``(o + 1/2) * n / size - 1/2``; beyond the outermost, these."""
    n = t.shape[axis]
    if n == size:
        return t
    # Exactly, in halves of 1 / size: position * 2 size = (2 o + 1) n - size.
    position = np.clip((2 * np.arange(size) + 1) * n - size, 0, 2 * size * (n - 1))
    low, rest = np.divmod(position, 2 * size)
    share = Tensor._wrap((rest / (2 * size)).reshape((size,) + (1,) * (t.ndim - 1 - axis)), dtypes.float64)
    weight = e.astype(share, t.dtype)
    left, right = _at(t, axis, low), _at(t, axis, np.minimum(low + 1, n - 1))
    return left * (1 - weight) + right * weight


_METHODS = {"nearest": _nearest, "bilinear": _bilinear}


def resize(x: Any, size: Any, method: str = "nearest") -> Tensor:
    """An image, signal or volume at another size, with pixel centres at half integers.

    Place ``o`` of the result lies over ``p = (o + 1/2) * old / new - 1/2`` on each axis. "nearest" shows the element
    under it, "bilinear" ``(1 - w) * x[i] + w * x[i + 1]`` with ``i = floor(p)``, ``w = p - i``, axis after axis; beyond
    the outermost elements these continue. Shrinking does not average (no antialiasing).

    Args:
        x: channels last; "bilinear" takes floating tensors (integers give float32).
        size: the new size; an integer, or one for each spatial axis.
        method: "nearest" or "bilinear" (on any number of spatial axes).

    Shape:
        ``(batch, *spatial, channels)`` gives ``(batch, *size, channels)``, with one to three spatial axes.

    Raises:
        ShapeError: wrong number of axes, or an empty image.
        ArgumentError: a size below 1, or an unknown method.

    Example:
        >>> import ranvier as rv
        >>> x = rv.reshape(rv.tensor([1.0, 3.0]), (1, 2, 1))
        >>> rv.resize(x, 4).flatten().tolist()
        [1.0, 1.0, 3.0, 3.0]
        >>> rv.resize(x, 4, "bilinear").flatten().tolist()
        [1.0, 1.5, 2.5, 3.0]
    """
    t = as_tensor(x)
    if not isinstance(method, str) or method not in _METHODS:
        raise ArgumentError(f"resize: expected method to be 'nearest' or 'bilinear', got {describe(method)}.")
    if not 3 <= t.ndim <= 5 or 0 in t.shape[1:-1]:
        raise ShapeError(
            f"resize: expected an image (batch, 1 to 3 spatial axes that are not empty, channels), got shape {t.shape}."
        )
    sizes = per_axis("resize", "size", size, t.ndim - 2)
    require_memory("resize", (t.shape[0], *sizes, t.shape[-1]), t.dtype)
    if method == "bilinear" and not t.dtype.is_float:
        t = e.astype(t, dtypes.float32)
    for axis, n in enumerate(sizes, 1):
        t = _METHODS[method](t, axis, n)
    return t


# -- pad ----------------------------------------------------------------------------------------------------------

_MODES = ("constant", "reflect", "symmetric", "edge")


def pad(x: Any, pad_width: Any, mode: str = "constant", value: float = 0) -> Tensor:
    """Put values around a tensor: a constant, or what it holds itself.

    Args:
        x: any tensor.
        pad_width: for each axis ``(before, after)``.
        mode: "constant": ``value``; "edge": the outermost element (``abc`` becomes ``aabcc``); "symmetric": mirrored
            with the outermost element (``baabccb``); "reflect": mirrored without it (``cbabcba``).
        value: what to put there, for "constant".

    Raises:
        ShapeError: not one pair of non-negative integers for each axis, or an empty axis has nothing to repeat.
        ArgumentError: an unknown mode.

    Example:
        >>> import ranvier as rv
        >>> rv.pad(rv.tensor([1, 2]), [(1, 2)], value=9).tolist()
        [9, 1, 2, 9, 9]
        >>> rv.pad(rv.tensor([1, 2, 3]), [(2, 1)], "reflect").tolist()
        [3, 2, 1, 2, 3, 2]
    """
    t = as_tensor(x)
    if mode not in _MODES:
        raise ArgumentError(f"pad: expected mode to be one of {', '.join(map(repr, _MODES))}, got {describe(mode)}.")
    pairs = [s._integers("pad", "widths", p) for p in pad_width] if isinstance(pad_width, tuple | list) else []
    if len(pairs) != t.ndim or any([len(p) != 2 or min(p) < 0 for p in pairs]):
        raise ShapeError(f"pad: expected {t.ndim} pairs of non-negative integers for shape {t.shape}, got {pad_width}.")
    shape = tuple([n + a + b for n, (a, b) in zip(t.shape, pairs, strict=True)])
    if mode == "constant":
        return _filled(t, shape, tuple([a for a, _ in pairs]), value)
    require_memory("pad", shape, t.dtype)
    for axis, (n, widths) in enumerate(zip(t.shape, pairs, strict=True)):
        if n == 0 and max(widths):
            raise ShapeError(f"pad: expected axis {axis} of shape {t.shape} not to be empty: mode={mode!r} repeats it.")
        if max(widths):
            t = _at(t, axis, np.pad(np.arange(n), widths, mode))  # type: ignore[call-overload]
    return t


def _filled(t: Tensor, shape: tuple[int, ...], starts: tuple[int, ...], value: float) -> Tensor:
    out = s.embed(t, shape, starts)
    if type(value) in (int, float, bool) and value == 0:
        return out
    inside = np.zeros(shape, np.bool_)
    inside[tuple([slice(a, a + n) for a, n in zip(starts, t.shape, strict=True)])] = True
    return e.where(inside, out, value)
