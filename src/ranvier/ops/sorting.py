"""Sorting: one op finds the order, the elements are then taken in it.

``argsort`` gives positions and so has no gradient; sorted values are taken at these positions, and their gradient goes
back to where each came from. The order is stable: equal elements keep their order, ascending and descending alike.
NaN counts as larger than everything, as in ``max``: it comes last in ascending order and first in descending order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.ops.index import take_along_op
from ranvier.ops.reduce import normalise_axes
from ranvier.ops.table import Aval, Op, apply
from ranvier.tensor import Tensor, as_tensor

__all__ = ["argsort", "sort", "top_k"]


def _argsort_reference(x: np.ndarray, axis: int, descending: bool, count: int) -> np.ndarray:
    if descending:  # the last of equals first, from behind: so that equals keep their order
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    return np.take(order, np.arange(count), axis).astype(np.int64)


def _argsort_infer(inputs: Sequence[Tensor], axis: int, descending: bool, count: int) -> Aval:
    (x,) = inputs
    if not 0 <= axis < x.ndim or not 0 <= count <= x.shape[axis]:
        raise ShapeError(f"argsort: expected at most as many positions as axis {axis} has, got {count} of {x.shape}.")
    return Aval((*x.shape[:axis], count, *x.shape[axis + 1 :]), dtypes.int64)


def _samples(rng: np.random.Generator) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    x = rng.permutation(60).reshape(3, 4, 5) / 10 - 3.0
    ties = rng.integers(0, 4, (3, 40)) / 2.0
    return [
        ((x,), {"axis": 2, "descending": False, "count": 5}),
        ((x,), {"axis": 0, "descending": True, "count": 3}),
        ((x,), {"axis": 1, "descending": True, "count": 2}),
        ((ties,), {"axis": 1, "descending": False, "count": 40}),
        ((ties,), {"axis": 1, "descending": True, "count": 40}),
        ((x[:0],), {"axis": 1, "descending": False, "count": 4}),
    ]


argsort_op = Op(
    "argsort",
    _argsort_reference,
    _argsort_infer,
    (),
    family="index",
    no_gradient="positions are integers",
    doc="The positions of the first count elements in sorted order along an axis; stable, NaN counts as largest.",
    samples=_samples,
    errors=[
        ((np.ones((2, 3)),), {"axis": 1, "descending": False, "count": 4}, ShapeError, "expected at most as many"),
    ],
)


def _order(name: str, x: Any, axis: int, descending: bool, count: int | None = None) -> tuple[Tensor, Tensor, int]:
    """The tensor, the positions in order, and the axis as a non-negative number."""
    t = as_tensor(x)
    axes = normalise_axes(name, axis, t.ndim) if axis is not None else ()
    if len(axes) != 1:
        raise ArgumentError(f"{name}: expected one axis of shape {t.shape}, got {axis}.")
    if not isinstance(descending, bool):
        raise ArgumentError(f"{name}: expected descending to be True or False, got {describe(descending)}.")
    size = t.shape[axes[0]]
    if count is not None and not 1 <= count <= size:
        raise ArgumentError(f"{name}: expected k between 1 and {size}, the size of axis {axis}, got {count}.")
    attrs = {"axis": axes[0], "descending": descending, "count": size if count is None else count}
    return t, apply(argsort_op, (t,), attrs), axes[0]


def argsort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The positions that would sort a tensor along an axis, int64. Equal elements keep their order.

    Args:
        x: any tensor; NaN counts as larger than everything.
        axis: the axis.
        descending: the largest first.
        stable: accepted for compatibility: the order is always stable.

    Raises:
        ArgumentError: the axis is out of range.

    Example:
        >>> import ranvier as rv
        >>> rv.argsort([3.0, 1.0, 2.0]).tolist()
        [1, 2, 0]
    """
    return _order("argsort", x, axis, descending)[1]


def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in order along an axis. The gradient goes back to where each element came from.

    Args:
        x: any tensor; NaN counts as larger than everything: it comes last, or first in descending order.
        axis: the axis.
        descending: the largest first.
        stable: accepted for compatibility: the order is always stable.

    Raises:
        ArgumentError: the axis is out of range.

    Example:
        >>> import ranvier as rv
        >>> rv.sort([3.0, 1.0, 2.0], descending=True).tolist()
        [3.0, 2.0, 1.0]
    """
    t, order, where = _order("sort", x, axis, descending)
    return apply(take_along_op, (t, order), {"axis": where})


def top_k(x: Any, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The ``k`` largest elements along an axis, the largest first, and their positions (int64).

    Of equal elements the first are taken. The gradient goes back to where each element came from.

    Args:
        x: any tensor; NaN counts as larger than everything.
        k: how many, at most the size of the axis.
        axis: the axis.

    Shape:
        Both results: ``x.shape`` with ``axis`` replaced by ``k``.

    Raises:
        ArgumentError: ``k`` is no integer from 1 to the size of the axis, or the axis is out of range.

    Example:
        >>> import ranvier as rv
        >>> values, positions = rv.top_k([3.0, 1.0, 4.0, 1.5], 2)
        >>> values.tolist(), positions.tolist()
        ([4.0, 3.0], [2, 0])
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise ArgumentError(f"top_k: expected k to be an integer, got {describe(k)}.")
    t, order, where = _order("top_k", x, axis, True, int(k))
    return apply(take_along_op, (t, order), {"axis": where}), order
