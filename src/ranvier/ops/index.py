"""Index ops: reading and adding at positions that are themselves data.

``take``/``scatter_add`` move whole slices along one axis, ``take_along_axis``/``add_along_axis`` single elements;
each pair is the other's gradient. Negative indices count from the end. Eagerly an index out of range is an error;
compiled code cannot stop, so there it is limited to the axis (checked mode reports it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.dtypes import as_dtype
from ranvier.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, TraceError, describe
from ranvier.ops import elementwise as e
from ranvier.ops import shape as s
from ranvier.ops.table import Aval, Op, apply, broadcast_shapes, require_kind, require_memory
from ranvier.tensor import Tensor, as_tensor

__all__ = ["add_along_axis", "one_hot", "scatter_add", "take", "take_along_axis"]


def _axis(name: str, axis: int, ndim: int) -> int:
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or not -ndim <= axis < ndim:
        raise ArgumentError(f"{name}: axis {axis!r} is out of range for a tensor with {ndim} axes.")
    return int(axis) % ndim


def _indices(name: str, value: Any, size: int) -> Tensor:
    """Integer positions in ``[0, size)``: negative ones wrapped, out-of-range ones refused or (traced) limited."""
    t = as_tensor(value)
    if isinstance(value, list | tuple) and t.size == 0:
        t = Tensor._wrap(np.zeros(t.shape, np.int64), dtypes.int64)  # an empty list has no dtype
    _require_integers(name, t)
    if t._data is None:
        t = e.astype(t, dtypes.int64)
        return e.clip(e.where(t < 0, t + size, t), 0, max(size - 1, 0))
    if t._data.size:
        low, high = int(t._data.min()), int(t._data.max())
        if low < -size or high >= size:
            bad = low if low < -size else high
            raise IndexRangeError(f"{name}: index {bad} is out of range for an axis of size {size}.")
        if low < 0:
            wide = t._data.astype(np.int64)
            return Tensor._wrap(np.where(wide < 0, wide + size, wide), dtypes.int64)
    return e.astype(t, dtypes.int64)


def _checked(op: Op, inputs: tuple[Tensor, ...], axis: int) -> Tensor:
    """Apply an op after asking its rule: NumPy would broadcast where the op does not."""
    op.infer(inputs, axis=axis)
    return apply(op, inputs, {"axis": axis})


# -- whole slices -------------------------------------------------------------------------------------------------


def _scatter_reference(base: np.ndarray, indices: np.ndarray, updates: np.ndarray, axis: int) -> np.ndarray:
    out = base.copy()
    front = np.moveaxis(out, axis, 0)
    flat = np.moveaxis(updates, tuple(range(axis, axis + indices.ndim)), tuple(range(indices.ndim)))
    np.add.at(front, indices, flat)
    return out


def _require_integers(name: str, indices: Tensor) -> None:
    if indices.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"{name}: expected integer indices, got {indices.dtype}. Convert them with astype('int64').")


def _take_infer(inputs: Sequence[Tensor], axis: int) -> Aval:
    x, indices = inputs
    _require_integers("take", indices)
    return Aval(x.shape[:axis] + indices.shape + x.shape[axis + 1 :], x.dtype)


def _scatter_infer(inputs: Sequence[Tensor], axis: int) -> Aval:
    base, indices, updates = inputs
    require_kind("scatter_add", base, "int float")
    _require_integers("scatter_add", indices)
    expected = base.shape[:axis] + indices.shape + base.shape[axis + 1 :]
    if updates.shape != expected:
        raise ShapeError(f"scatter_add: expected updates of shape {expected}, got {updates.shape}.")
    return Aval(base.shape, base.dtype)


_ROWS: list[tuple[tuple[int, ...], np.ndarray, int]] = [  # indices into axis 0, axis 1, of no axes, and none at all
    ((5, 3), np.array([0, 4, 4, 2]), 0),
    ((2, 5), np.array([[1, 0], [3, 3]]), 1),
    ((4, 3), np.array(2), 0),
    ((4, 3), np.zeros(0, np.int64), 0),
]


def _take_samples(rng: np.random.Generator) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    return [((rng.normal(size=shape), where), {"axis": axis}) for shape, where, axis in _ROWS]


def _scatter_samples(rng: np.random.Generator) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    out = []
    for shape, where, axis in _ROWS:
        updates = rng.normal(size=shape[:axis] + where.shape + shape[axis + 1 :])
        out.append(((rng.normal(size=shape), where, updates), {"axis": axis}))
    return out


take_op = Op(
    "take",
    lambda x, indices, axis: np.take(x, indices, axis),
    _take_infer,
    (lambda g, out, x, indices, axis: apply(scatter_add_op, (s.zeros_like(x), indices, g), {"axis": axis}), None),
    family="index",
    arity=2,
    no_gradient="indices are integers",
    doc="Slices of x along an axis, in the order of the (integer) indices.",
    samples=_take_samples,
    errors=[((np.ones((5, 3)), np.zeros(2)), {"axis": 0}, DTypeError, "expected integer indices")],
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
    doc="The base with slices added along an axis; repeated indices add up in order.",
    kinds="int float",
    samples=_scatter_samples,
    errors=[
        ((np.ones((5, 3)), np.array([0]), np.ones((2, 3))), {"axis": 0}, ShapeError, "expected updates of shape"),
        ((np.ones((5, 3)), np.zeros(1), np.ones((1, 3))), {"axis": 0}, DTypeError, "expected integer indices"),
        ((np.ones(5, bool), np.array([0]), np.ones(1, bool)), {"axis": 0}, DTypeError, "expected integer or floating"),
    ],
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
    t, u = e.coerce((as_tensor(base), updates))
    where = _axis("scatter_add", axis, t.ndim)
    return _checked(scatter_add_op, (t, _indices("scatter_add", indices, t.shape[where]), u), where)


# -- single elements ----------------------------------------------------------------------------------------------


def _along_infer(inputs: Sequence[Tensor], axis: int) -> Aval:
    x, indices = inputs[:2]
    name = "add_along_axis" if len(inputs) == 3 else "take_along_axis"
    _require_integers(name, indices)
    rest = [i for i in range(x.ndim) if i != axis]
    if indices.ndim != x.ndim or any(indices.shape[i] != x.shape[i] for i in rest):
        raise ShapeError(
            f"{name}: indices of shape {indices.shape} must equal shape {x.shape} on every axis but {axis}."
        )
    if len(inputs) == 3:
        require_kind(name, x, "int float")
        if inputs[2].shape != indices.shape:
            raise ShapeError(f"{name}: expected updates of shape {indices.shape}, got {inputs[2].shape}.")
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
    doc="One element of x for each (integer) index along an axis.",
    samples=lambda rng: [
        ((rng.normal(size=(4, 5)), rng.integers(0, 5, (4, 1))), {"axis": 1}),
        ((rng.normal(size=(4, 5)), rng.integers(0, 4, (3, 5))), {"axis": 0}),
    ],
    errors=[
        ((np.ones((4, 5)), np.zeros((3, 1), np.int64)), {"axis": 1}, ShapeError, "must equal shape"),
        ((np.ones((4, 5)), np.zeros((4, 1))), {"axis": 1}, DTypeError, "expected integer indices"),
    ],
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
    doc="The base with single elements added along an axis; repeated indices add up in order.",
    kinds="int float",
    samples=lambda rng: [
        ((rng.normal(size=(4, 5)), rng.integers(0, 5, (4, 3)), rng.normal(size=(4, 3))), {"axis": 1}),
        ((rng.normal(size=(4, 5)), rng.integers(0, 4, (3, 5)), rng.normal(size=(3, 5))), {"axis": 0}),
    ],
    errors=[
        ((np.ones((4, 5)), np.zeros((4, 1), np.int64), np.ones((4, 2))), {"axis": 1}, ShapeError, "expected updates"),
        ((np.ones((4, 5)), np.zeros((4, 1)), np.ones((4, 1))), {"axis": 1}, DTypeError, "expected integer indices"),
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
    return _checked(take_along_op, (t, _indices("take_along_axis", indices, t.shape[where])), where)


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

    Example:
        >>> import ranvier as rv
        >>> rv.add_along_axis(rv.zeros((2, 3)), [[0], [2]], rv.ones((2, 1))).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    t, u = e.coerce((as_tensor(base), updates))
    where = _axis("add_along_axis", axis, t.ndim)
    return _checked(add_along_op, (t, _indices("add_along_axis", indices, t.shape[where]), u), where)


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
    t, wanted = as_tensor(indices), as_dtype(dtype)
    _require_integers("one_hot", t)
    require_memory("one_hot", (*t.shape, int(num_classes)), wanted)
    classes = Tensor._wrap(np.arange(num_classes, dtype=np.int64), dtypes.int64)
    return e.astype(e.equal(s.expand_dims(e.astype(t, dtypes.int64), -1), classes), wanted)


# -- square brackets ----------------------------------------------------------------------------------------------


def getitem(x: Tensor, key: Any) -> Tensor:
    """``x[key]`` with NumPy's meaning: integers, slices, ``...``, None, integer arrays and (eagerly) boolean masks."""
    if type(key) is int and x._shape:  # the usual case, without detours
        return _row(x, key)
    keys = [_plain_key(k) for k in (key if isinstance(key, tuple) else (key,))]
    used = sum([_axes_used(k) for k in keys])
    if used > x.ndim:
        raise IndexRangeError(f"indexing: {used} indices for a tensor of shape {x.shape} with {x.ndim} axes.")
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise ArgumentError("indexing: only one '...' may stand in an index.")
    region = _Region(x)
    for position, k in enumerate(keys if dots else [*keys, Ellipsis]):
        for part in [slice(None)] * (x.ndim - used) if k is Ellipsis else [k]:
            region.add(position, part)
    return region.read()


def _row(x: Tensor, k: int) -> Tensor:
    n, *rest = x._shape
    if not -n <= k < n:
        raise IndexRangeError(f"indexing: index {k} is out of range for axis 0 of size {n}.")
    nothing, steps = (0,) * len(rest), (1,) * len(x._shape)
    bounds = {"starts": (k % n, *nothing), "stops": (k % n + 1, *rest), "steps": steps}
    return s.reshape(apply(s.slice_op, (x,), bounds), tuple(rest))


def _plain_key(k: Any) -> Any:
    """One part of an index as None, ..., an int, a slice, or a tensor of integers or booleans."""
    if k is None or k is Ellipsis or type(k) is int or isinstance(k, slice):
        return k
    if isinstance(k, np.integer):
        return int(k)
    t = as_tensor(k)
    if isinstance(k, list | tuple) and t.size == 0:
        return Tensor._wrap(np.zeros(t.shape, np.int64), dtypes.int64)  # an empty list has no dtype
    if t.dtype is dtypes.bool_:
        if t._data is None:
            raise TraceError(
                "indexing: a boolean mask selects a number of elements that compiled code cannot know. "
                "Use rv.where, or multiply by the mask."
            )
        return t
    _require_integers("indexing", t)
    return t


def _axes_used(k: Any) -> int:
    if k is None or k is Ellipsis:
        return 0
    return k.ndim if isinstance(k, Tensor) and k.dtype is dtypes.bool_ else 1


class _Region:
    """What an index picks: a strided box of ``x`` (slices, integers, new axes), then integer arrays on its axes."""

    def __init__(self, x: Tensor):
        self.x = x
        self.starts: list[int] = []
        self.stops: list[int] = []
        self.steps: list[int] = []
        self.flips: list[int] = []
        self.shape: list[int] = []  # of the box, without the axes that integers took away
        self.arrays: list[tuple[int, Tensor]] = []  # axis of the box, positions on it
        self.advanced: list[int] = []  # where in the index integers and arrays stand
        self.place = 0  # axes of the result before the first of those

    def add(self, position: int, k: Any) -> None:
        """Take the next part of the index, which stands at ``position`` in it."""
        axis = len(self.starts)
        if k is None:
            self.shape.append(1)
        elif isinstance(k, slice):
            self._add_slice(axis, k)
        else:
            if not self.advanced:
                self.place = len(self.shape)
            self.advanced.append(position)
            if type(k) is int:
                self._add_integer(axis, k)
            elif k.dtype is dtypes.bool_:
                self._add_mask(axis, k)
            else:
                self._add_array(axis, _indices("indexing", k, self.x.shape[axis]))

    def _box(self, start: int, stop: int, step: int) -> None:
        self.starts.append(start)
        self.stops.append(stop)
        self.steps.append(step)

    def _add_slice(self, axis: int, k: slice) -> None:
        try:
            picked = range(*k.indices(self.x.shape[axis]))
        except ValueError:
            raise ArgumentError("indexing: the step of a slice must not be 0.") from None
        except TypeError:
            parts = [v for v in (k.start, k.stop, k.step) if v is not None]
            raise DTypeError(
                f"indexing: expected the bounds of a slice to be integers, got {', '.join(map(describe, parts))}."
            ) from None
        if picked.step < 0:
            self.flips.append(axis)
            picked = picked[::-1]
        if picked:
            self._box(picked.start, picked[-1] + 1, picked.step)
        else:
            self._box(0, 0, 1)
        self.shape.append(len(picked))

    def _add_integer(self, axis: int, k: int) -> None:
        n = self.x.shape[axis]
        if not -n <= k < n:
            raise IndexRangeError(f"indexing: index {k} is out of range for axis {axis} of size {n}.")
        self._box(k % n, k % n + 1, 1)

    def _add_array(self, axis: int, k: Tensor) -> None:
        self.arrays.append((len(self.shape), k))
        self._box(0, self.x.shape[axis], 1)
        self.shape.append(self.x.shape[axis])

    def _add_mask(self, axis: int, k: Tensor) -> None:
        mask = k._concrete("indexing by a mask")
        if not mask.ndim:  # one True or False: a new axis, of which one or no element is taken
            self.arrays.append((len(self.shape), Tensor._wrap(np.zeros(int(mask), np.int64), dtypes.int64)))
            self.shape.append(1)
            return
        covered = self.x.shape[axis : axis + mask.ndim]
        if mask.shape != covered:
            raise IndexRangeError(f"indexing: a mask of shape {mask.shape} cannot select from axes of shape {covered}.")
        for i, positions in enumerate(np.nonzero(mask)):
            self._add_array(axis + i, Tensor._wrap(positions, dtypes.int64))

    def read(self) -> Tensor:
        """The elements."""
        out = s.slice_static(self.x, self.starts, self.stops, self.steps)
        if self.flips:
            out = s.flip(out, self.flips)
        out = s.reshape(out, self.shape)
        return self._take(out) if self.arrays else out

    def _take(self, box: Tensor) -> Tensor:
        """Integer arrays on some axes: one ``take`` on those axes merged into one."""
        if self.advanced[-1] - self.advanced[0] != len(self.advanced) - 1:
            self.place = 0  # parts of another kind stand between: NumPy puts the picked axes first
        axes = [axis for axis, _ in self.arrays]
        if len(axes) == 1 and axes[0] == self.place:
            return apply(take_op, (box, self.arrays[0][1]), {"axis": axes[0]})
        broadcast_shapes("indexing", *[k.shape for _, k in self.arrays])
        flat = self.arrays[0][1]
        for axis, k in self.arrays[1:]:
            flat = flat * box.shape[axis] + k
        rest = [i for i in range(box.ndim) if i not in axes]
        merged = s.reshape(
            s.transpose(box, axes + rest), (math.prod([box.shape[i] for i in axes]), *(box.shape[i] for i in rest))
        )
        out = apply(take_op, (merged, flat), {"axis": 0})
        rank, before = flat.ndim, self.place
        return s.transpose(out, [*range(rank, rank + before), *range(rank), *range(rank + before, out.ndim)])
