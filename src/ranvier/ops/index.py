"""Index ops: reading and adding at positions that are themselves data.

``take``/``scatter_add`` move whole slices along one axis, ``take_along_axis``/``add_along_axis`` single elements;
each pair is the other's gradient. Negative indices count from the end. Eagerly an index out of range is an error;
compiled code cannot stop, so there it is limited to the axis (checked mode reports it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, TraceError, describe
from ranvier.ops import elementwise as e
from ranvier.ops import shape as s
from ranvier.ops.table import Aval, Op, apply
from ranvier.tensor import Tensor, as_tensor

__all__ = ["add_along_axis", "one_hot", "scatter_add", "take", "take_along_axis"]


def _axis(name: str, axis: int, ndim: int) -> int:
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or not -ndim <= axis < ndim:
        raise ArgumentError(f"{name}: axis {axis!r} is out of range for a tensor with {ndim} axes.")
    return int(axis) % ndim


def _indices(name: str, value: Any, size: int) -> Tensor:
    """Integer positions in ``[0, size)``: negative ones wrapped, out-of-range ones refused or (traced) limited."""
    t = as_tensor(value)
    if t.size == 0 and t._data is not None:
        t = Tensor._wrap(t._data.astype(np.int64), dtypes.int64)
    if t.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"{name}: expected integer indices, got {t.dtype}. Convert them with astype('int64').")
    if t._data is None:
        t = e.astype(t, dtypes.int64)
        return e.clip(e.where(t < 0, t + size, t), 0, max(size - 1, 0))
    if t._data.size:
        low, high = int(t._data.min()), int(t._data.max())
        if low < -size or high >= size:
            bad = low if low < -size else high
            raise IndexRangeError(f"{name}: index {bad} is out of range for an axis of size {size}.")
        if low < 0:
            return Tensor._wrap(np.where(t._data < 0, t._data + size, t._data).astype(np.int64), dtypes.int64)
    return e.astype(t, dtypes.int64)


# -- whole slices -------------------------------------------------------------------------------------------------


def _scatter_reference(base: np.ndarray, indices: np.ndarray, updates: np.ndarray, axis: int) -> np.ndarray:
    out = base.copy()
    front = np.moveaxis(out, axis, 0)
    flat = np.moveaxis(updates, tuple(range(axis, axis + indices.ndim)), tuple(range(indices.ndim)))
    np.add.at(front, indices, flat)
    return out


def _take_infer(inputs: Sequence[Tensor], axis: int) -> Aval:
    x, indices = inputs
    return Aval(x.shape[:axis] + indices.shape + x.shape[axis + 1 :], x.dtype)


def _scatter_infer(inputs: Sequence[Tensor], axis: int) -> Aval:
    base, indices, updates = inputs
    expected = base.shape[:axis] + indices.shape + base.shape[axis + 1 :]
    if updates.shape != expected:
        raise ShapeError(f"scatter_add: expected updates of shape {expected}, got {updates.shape}.")
    return Aval(base.shape, base.dtype)


take_op = Op(
    "take",
    lambda x, indices, axis: np.take(x, indices, axis),
    _take_infer,
    (lambda g, out, x, indices, axis: apply(scatter_add_op, (s.zeros_like(x), indices, g), {"axis": axis}), None),
    family="index",
    arity=2,
    no_gradient="indices are integers",
    samples=lambda rng: [
        ((rng.normal(size=(5, 3)), np.array([0, 4, 4, 2])), {"axis": 0}),
        ((rng.normal(size=(2, 5)), np.array([[1, 0], [3, 3]])), {"axis": 1}),
    ],
)
scatter_add_op = Op(
    "scatter_add",
    _scatter_reference,
    _scatter_infer,
    (
        lambda g, out, base, indices, updates, axis: g,
        None,
        lambda g, out, base, indices, updates, axis: apply(take_op, (g, indices), {"axis": axis}),
    ),
    family="index",
    arity=3,
    no_gradient="indices are integers",
    samples=lambda rng: [
        ((rng.normal(size=(5, 3)), np.array([0, 4, 4]), rng.normal(size=(3, 3))), {"axis": 0}),
        ((rng.normal(size=(2, 5)), np.array([[1, 0], [3, 3]]), rng.normal(size=(2, 2, 2))), {"axis": 1}),
    ],
    errors=[((np.ones((5, 3)), np.array([0]), np.ones((2, 3))), {"axis": 0}, ShapeError, "expected updates of shape")],
)


def take(x: Any, indices: Any, axis: int = 0) -> Tensor:
    """Slices of ``x`` along an axis, in the order of ``indices``.

    Args:
        x: any tensor.
        indices: integers of any shape; negative ones count from the end.
        axis: the axis indexed.

    Shape:
        ``x.shape`` with ``axis`` replaced by ``indices.shape``.

    Raises:
        IndexRangeError: an index is out of range (eager).
        DTypeError: the indices are no integers.

    Example:
        >>> import ranvier as rv
        >>> rv.take(rv.tensor([10, 20, 30]), [2, 0, -1]).tolist()
        [30, 10, 30]
    """
    t = as_tensor(x)
    where = _axis("take", axis, t.ndim)
    return apply(take_op, (t, _indices("take", indices, t.shape[where])), {"axis": where})


def scatter_add(base: Any, indices: Any, updates: Any, axis: int = 0) -> Tensor:
    """``base`` with ``updates`` added at ``indices`` along an axis; repeated indices add up in order.

    Args:
        base: any numeric tensor.
        indices: integers of any shape.
        updates: the slices to add.
        axis: the axis indexed.

    Shape:
        updates: ``base.shape`` with ``axis`` replaced by ``indices.shape``.

    Raises:
        IndexRangeError: an index is out of range (eager).
        ShapeError: updates have another shape.

    Example:
        >>> import ranvier as rv
        >>> rv.scatter_add(rv.zeros(3), [0, 2, 2], rv.tensor([1.0, 2.0, 3.0])).tolist()
        [1.0, 0.0, 5.0]
    """
    t, u = e.coerce((as_tensor(base), as_tensor(updates)))
    where = _axis("scatter_add", axis, t.ndim)
    return apply(scatter_add_op, (t, _indices("scatter_add", indices, t.shape[where]), u), {"axis": where})


# -- single elements ----------------------------------------------------------------------------------------------


def _along_infer(inputs: Sequence[Tensor], axis: int) -> Aval:
    x, indices = inputs[:2]
    rest = [i for i in range(x.ndim) if i != axis]
    if indices.ndim != x.ndim or any(indices.shape[i] != x.shape[i] for i in rest):
        raise ShapeError(
            f"take_along_axis: indices of shape {indices.shape} must equal shape {x.shape} on every axis but {axis}."
        )
    if len(inputs) == 3:
        if inputs[2].shape != indices.shape:
            raise ShapeError(f"add_along_axis: expected updates of shape {indices.shape}, got {inputs[2].shape}.")
        return Aval(x.shape, x.dtype)
    return Aval(indices.shape, x.dtype)


def _add_along_reference(base: np.ndarray, indices: np.ndarray, updates: np.ndarray, axis: int) -> np.ndarray:
    out = base.copy()
    grid = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    grid[axis] = indices
    np.add.at(out, tuple(grid), updates)
    return out


take_along_op = Op(
    "take_along_axis",
    lambda x, indices, axis: np.take_along_axis(x, indices, axis),
    _along_infer,
    (lambda g, out, x, indices, axis: apply(add_along_op, (s.zeros_like(x), indices, g), {"axis": axis}), None),
    family="index",
    arity=2,
    no_gradient="indices are integers",
    samples=lambda rng: [
        ((rng.normal(size=(4, 5)), rng.integers(0, 5, (4, 1))), {"axis": 1}),
        ((rng.normal(size=(4, 5)), rng.integers(0, 4, (3, 5))), {"axis": 0}),
    ],
    errors=[((np.ones((4, 5)), np.zeros((3, 1), np.int64)), {"axis": 1}, ShapeError, "must equal shape")],
)
add_along_op = Op(
    "add_along_axis",
    _add_along_reference,
    _along_infer,
    (
        lambda g, out, base, indices, updates, axis: g,
        None,
        lambda g, out, base, indices, updates, axis: apply(take_along_op, (g, indices), {"axis": axis}),
    ),
    family="index",
    arity=3,
    no_gradient="indices are integers",
    samples=lambda rng: [
        ((rng.normal(size=(4, 5)), rng.integers(0, 5, (4, 3)), rng.normal(size=(4, 3))), {"axis": 1}),
        ((rng.normal(size=(4, 5)), rng.integers(0, 4, (3, 5)), rng.normal(size=(3, 5))), {"axis": 0}),
    ],
)


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Tensor:
    """One element per index along an axis: ``out[i, j] = x[i, indices[i, j]]`` for the last axis.

    Args:
        x: any tensor.
        indices: integers, shaped like x on the other axes.
        axis: the axis indexed.

    Raises:
        ShapeError: another axis differs.
        IndexRangeError: an index is out of range (eager).

    Example:
        >>> import ranvier as rv
        >>> rv.take_along_axis(rv.tensor([[1, 2, 3], [4, 5, 6]]), [[2], [0]]).tolist()
        [[3], [4]]
    """
    t = as_tensor(x)
    where = _axis("take_along_axis", axis, t.ndim)
    return apply(take_along_op, (t, _indices("take_along_axis", indices, t.shape[where])), {"axis": where})


def add_along_axis(base: Any, indices: Any, updates: Any, axis: int = -1) -> Tensor:
    """``base`` with single elements added along an axis: the gradient of :func:`take_along_axis`.

    Args:
        base: any numeric tensor.
        indices: integers, shaped like base on the other axes.
        updates: what to add, shaped like the indices.
        axis: the axis indexed.

    Raises:
        ShapeError: shapes do not fit.
        IndexRangeError: an index is out of range (eager).
    """
    t, u = e.coerce((as_tensor(base), as_tensor(updates)))
    where = _axis("add_along_axis", axis, t.ndim)
    return apply(add_along_op, (t, _indices("add_along_axis", indices, t.shape[where]), u), {"axis": where})


def one_hot(indices: Any, num_classes: int, dtype: Any = dtypes.float32) -> Tensor:
    """1 at the index, 0 elsewhere, along a new last axis. An index out of range gives a row of zeros.

    Args:
        indices: integers.
        num_classes: the length of the new axis, at least 1.
        dtype: dtype of the result.

    Raises:
        ArgumentError: ``num_classes`` is no positive integer.

    Example:
        >>> import ranvier as rv
        >>> rv.one_hot([0, 2], 3).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer) or num_classes < 1:
        raise ArgumentError(f"one_hot: expected num_classes to be a positive integer, got {describe(num_classes)}.")
    t = as_tensor(indices)
    if t.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"one_hot: expected integer indices, got {t.dtype}.")
    classes = Tensor._wrap(np.arange(num_classes, dtype=t.dtype.numpy), t.dtype)
    return e.astype(e.equal(s.expand_dims(t, -1), classes), dtype)


# -- square brackets ----------------------------------------------------------------------------------------------


def getitem(x: Tensor, key: Any) -> Tensor:
    """``x[key]`` with NumPy's meaning: integers, slices, ``...``, None, integer arrays and (eagerly) boolean masks."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(_is_mask(k) for k in keys):
        keys = _masks_to_indices(keys)
    used = sum(1 for k in keys if k is not None and k is not Ellipsis)
    if used > x.ndim:
        raise IndexRangeError(f"indexing: {used} indices for a tensor of shape {x.shape} with {x.ndim} axes.")
    if sum(1 for k in keys if k is Ellipsis) > 1:
        raise ArgumentError("indexing: only one '...' may stand in an index.")
    if Ellipsis not in [k if k is Ellipsis else None for k in keys]:
        keys.append(Ellipsis)
    place = next(i for i, k in enumerate(keys) if k is Ellipsis)
    keys[place : place + 1] = [slice(None)] * (x.ndim - used)
    return _basic_then_advanced(x, keys)


def _is_mask(k: Any) -> bool:
    if isinstance(k, list | np.ndarray | Tensor) or hasattr(k, "_read"):
        return as_tensor(k).dtype is dtypes.bool_
    return False


def _masks_to_indices(keys: list[Any]) -> list[Any]:
    out: list[Any] = []
    for k in keys:
        if not _is_mask(k):
            out.append(k)
            continue
        mask = as_tensor(k)
        if mask._data is None:
            raise TraceError(
                "indexing: a boolean mask selects a number of elements that compiled code cannot know. "
                "Use rv.where, or multiply by the mask."
            )
        out.extend(np.nonzero(mask._data))
    return out


def _basic_then_advanced(x: Tensor, keys: list[Any]) -> Tensor:
    """Slices, integers and new axes first; then integer arrays on what is left."""
    starts, stops, steps, flips, shape, arrays = [], [], [], [], [], []
    axis = 0
    for k in keys:
        if k is None:
            shape.append(1)
            continue
        n = x.shape[axis]
        if isinstance(k, slice):
            a, b, c = k.indices(n)
            picked = range(a, b, c)
            if c < 0:
                flips.append(axis)
                picked = picked[::-1]
            starts.append(picked.start if len(picked) else 0)
            stops.append(picked[-1] + 1 if len(picked) else 0)
            steps.append(picked.step if len(picked) else 1)
            shape.append(len(picked))
        elif _is_integer(k):
            i = int(k)
            if not -n <= i < n:
                raise IndexRangeError(f"indexing: index {i} is out of range for axis {axis} of size {n}.")
            starts.append(i % n)
            stops.append(i % n + 1)
            steps.append(1)
        else:
            arrays.append((len(shape), as_tensor(k)))
            starts.append(0)
            stops.append(n)
            steps.append(1)
            shape.append(n)
        axis += 1
    out = s.slice_static(x, starts, stops, steps)
    if flips:
        out = s.flip(out, flips)
    out = s.reshape(out, shape)
    return _advanced(out, arrays) if arrays else out


def _is_integer(k: Any) -> bool:
    return isinstance(k, int | np.integer) and not isinstance(k, bool)


def _advanced(x: Tensor, arrays: list[tuple[int, Tensor]]) -> Tensor:
    """Integer arrays on some axes: one ``take`` on those axes merged into one."""
    axes = [axis for axis, _ in arrays]
    if len(arrays) == 1:
        return take(x, arrays[0][1], axes[0])
    flat: Tensor | None = None
    for axis, index in arrays:
        position = _indices("indexing", index, x.shape[axis])
        flat = position if flat is None else flat * x.shape[axis] + position
    rest = [i for i in range(x.ndim) if i not in axes]
    merged = s.reshape(s.transpose(x, axes + rest), (-1 if x.size else 0, *(x.shape[i] for i in rest)))
    out = take(merged, flat, 0)
    adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
    if not adjacent or axes[0] == 0:
        return out
    rank = flat.ndim  # type: ignore[union-attr]
    order = [rank + i for i in range(axes[0])] + list(range(rank)) + [rank + i for i in range(axes[0], len(rest))]
    return s.transpose(out, order)
