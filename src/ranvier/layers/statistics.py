"""What the normalising layers share: the dtype of statistics, mean and variance in one pass, checks of axes."""

from __future__ import annotations

import math
from typing import Any

from ranvier.dtypes import float32
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops import shape as s
from ranvier.tensor import Tensor

__all__ = ["checked_axes", "first_entries", "known_size", "masked_moments", "moments", "resolved_axes", "wide"]


def wide(x: Tensor) -> Tensor:
    """``x`` in the dtype that statistics are computed in: float32 for narrower floats and integers, else its own."""
    return x if x.dtype.is_float and x.dtype.itemsize >= 4 else e.astype(x, float32)


def first_entries(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The first element along each of the axes, which are kept with size 1; a constant to differentiation."""
    return e.stop_gradient(x[tuple(slice(0, 1) if a in axes else slice(None) for a in range(x.ndim))])


def moments(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differences from a shift, the shift, the mean of the differences, and the variance; axes kept with size 1.

    With ``d = x - shift``: ``mean = shift + sum(d)/n`` and ``variance = sum(d*d)/n - (sum(d)/n)**2``, so one pass over
    ``x`` gives both. Neither depends on the shift, which is therefore a constant to differentiation.

    The error: rounding of the two terms of the variance is at most ``c * eps * sum(d*d)/n``, that is relative to the
    variance ``c * eps * (1 + k*k)``, where the shift lies k standard deviations from the mean, and c is the growth of
    rounding in a sum of n numbers (at most n, usually about its root, or its logarithm if summed in a tree). The shift
    is an element of the data itself, so k is of the order of 1 however large the mean is; with ``shift = 0``, the
    well-known ``E[x*x] - E[x]**2``, k is mean / std, and at 1e4 standard deviations nothing of float32 is left. Digits
    are lost only if that element is an outlier, which of n elements can be no more than ``sqrt(n - 1)`` deviations out.

    Args:
        x: a floating tensor.
        axes: the axes to average over, at least one.

    Example:
        >>> d, shift, mean, variance = moments(rv.tensor([[1.0], [3.0]]), (0,))
        >>> (shift + mean).tolist(), variance.tolist()
        ([[2.0]], [[1.0]])
    """
    count = math.prod(x.shape[a] for a in axes)
    shift = first_entries(x, axes)
    d = x - shift
    mean = r.sum(d, axes, keepdims=True) / float(count)
    variance = r.sum(d * d, axes, keepdims=True) / float(count) - mean * mean
    return d, shift, mean, e.where(variance < 0, 0, variance)  # rounding may have left -0.0...1


def masked_moments(x: Tensor, axes: tuple[int, ...], mask: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`moments` of the elements where the mask is true; 0 if it is so nowhere.

    Which element is a good shift is not known here, so the mean comes first and is the shift: one pass more.
    """
    kept = s.broadcast_to(s.expand_dims(e.astype(mask, "bool"), -1), x.shape)
    count = e.maximum(r.sum(e.astype(kept, x.dtype), axes, keepdims=True), 1)
    shift = e.stop_gradient(r.sum(e.where(kept, x, 0), axes, keepdims=True) / count)
    d = x - shift
    inside = e.where(kept, d, 0)
    mean = r.sum(inside, axes, keepdims=True) / count
    variance = r.sum(inside * inside, axes, keepdims=True) / count - mean * mean
    return d, shift, mean, e.where(variance < 0, 0, variance)


def known_size(who: str, shape: Any, axis: int) -> int:
    """The size of an axis of an input's shape.

    Args:
        who: the layer, for errors.
        shape: the input's shape.
        axis: the axis.

    Raises:
        ShapeError: there is no such axis, or its size is open or 0.
    """
    if not isinstance(shape, tuple) or not -len(shape) <= axis < len(shape) or axis % len(shape) == 0:
        raise ShapeError(f"{who}: expected an input with an axis {axis} besides the batch, got shape {shape}.")
    size = shape[axis]
    if not size:
        raise ShapeError(f"{who}: expected a known size of at least 1 on axis {axis}, got shape {shape}.")
    return int(size)


def checked_axes(who: str, axis: Any) -> tuple[int, ...]:
    """The axes meant by an integer or a list of them.

    Args:
        who: the layer, for errors.
        axis: what was given.

    Raises:
        ArgumentError: neither, or an axis twice.
    """
    axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    if not axes or any(isinstance(a, bool) or not isinstance(a, int) for a in axes) or len(set(axes)) < len(axes):
        raise ArgumentError(f"{who}: expected axis to be an integer or a list of them, got {describe(axis)}.")
    return axes


def resolved_axes(who: str, axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Axes of an input with ``ndim`` axes as sorted non-negative numbers; the batch is none of them.

    Args:
        who: the layer, for errors.
        axes: as given to the layer.
        ndim: the number of axes of the input.

    Raises:
        ShapeError: an axis does not exist, is the batch, or is named twice.
    """
    found = sorted(a + ndim if a < 0 else a for a in axes)
    if any(not 0 < a < ndim for a in found) or len(set(found)) < len(found):
        raise ShapeError(
            f"{who}: axis {list(axes) if len(axes) > 1 else axes[0]} does not fit an input with {ndim} axes; the first "
            "is the batch."
        )
    return tuple(found)
