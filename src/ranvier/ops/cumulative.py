"""Cumulative ops: every element is what a reduction of all elements up to it gives.

``linear_recurrence`` stands behind the gradient of the product: it carries a value along an axis, scaling it and
adding to it at each step, so that no division is needed and elements that are 0 are as good as any others. Sums,
products and recurrences are closed under differentiation, so their gradients exist to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.ops import elementwise as e
from ranvier.ops import shape as s
from ranvier.ops.index import add_along_op
from ranvier.ops.reduce import normalise_axes
from ranvier.ops.spatial import RealOp
from ranvier.ops.table import Aval, Op, apply, require_kind
from ranvier.tensor import Tensor, as_tensor

__all__ = ["cumulative_max", "cumulative_prod", "cumulative_sum"]

Samples = list[tuple[tuple[Any, ...], dict[str, Any]]]


# -- references ---------------------------------------------------------------------------------------------------


def _accumulate(function: Any) -> Callable[..., np.ndarray]:
    """The reference of a cumulative op from NumPy's universal function."""

    def reference(x: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
        wide = x if x.dtype.kind == "f" or function is np.maximum else x.astype(np.int64)
        if not reverse:
            return np.asarray(function.accumulate(wide, axis))
        return np.flip(function.accumulate(np.flip(wide, axis), axis), axis)

    return reference


def _recurrence_reference(scale: np.ndarray, x: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
    out = np.empty(x.shape, x.dtype)
    a, b, y = (np.moveaxis(t, axis, 0) for t in (scale, x, out))
    if reverse:
        a, b, y = a[::-1], b[::-1], y[::-1]
    for i in range(len(y)):
        y[i] = a[i] * y[i - 1] + b[i] if i else b[i]
    return out


# -- shape rules --------------------------------------------------------------------------------------------------


def _infer(name: str) -> Callable[..., Aval]:
    kinds = "bool int float"

    def infer(inputs: Sequence[Tensor], axis: int, reverse: bool) -> Aval:
        (x,) = inputs
        require_kind(name, x, kinds)
        wide = x.dtype if x.dtype.is_float or name == "cumulative_max" else dtypes.int64
        return Aval(x.shape, wide)

    return infer


def _recurrence_infer(inputs: Sequence[Tensor], axis: int, reverse: bool) -> Aval:
    scale, x = inputs
    for t in inputs:
        require_kind("linear_recurrence", t, "float")
    if scale.shape != x.shape:
        raise ShapeError(f"linear_recurrence: expected a scale of shape {x.shape}, got {scale.shape}.")
    return Aval(x.shape, x.dtype)


# -- gradients ----------------------------------------------------------------------------------------------------


def _part(t: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """The elements from ``start`` to ``stop`` along an axis."""
    starts = tuple([start if i == axis else 0 for i in range(t.ndim)])
    stops = tuple([stop if i == axis else n for i, n in enumerate(t.shape)])
    return s.slice_static(t, starts, stops, (1,) * t.ndim)


def _before(t: Tensor, axis: int, reverse: bool, first: float) -> Tensor:
    """For each element the one before it in the order of walking; ``first`` for the first."""
    n = t.shape[axis]
    edge = s.full_like(_part(t, axis, 0, 1), first)
    if reverse:
        return s.concatenate([_part(t, axis, 1, n), edge], axis)
    return s.concatenate([edge, _part(t, axis, 0, n - 1)], axis)


def _recurrence(scale: Tensor, x: Tensor, axis: int, reverse: bool) -> Tensor:
    return apply(recurrence_op, (scale, x), {"axis": axis, "reverse": reverse})


def _pulled_back(g: Tensor, scale: Tensor, axis: int, reverse: bool) -> Tensor:
    """What the cotangent of a recurrence's results means for what was added: the recurrence walked back."""
    return _recurrence(_before(scale, axis, not reverse, 0), g, axis, not reverse)


def _prod_vjp(g: Tensor, out: Tensor, x: Tensor, axis: int, reverse: bool) -> Tensor:
    """The product of all before, times what all results from here on hand back."""
    return _before(out, axis, reverse, 1) * _pulled_back(g, x, axis, reverse) if x.size else g


def _max_vjp(g: Tensor, out: Tensor, x: Tensor, axis: int, reverse: bool) -> Tensor:
    """Each cotangent goes to the first element that attained the maximum."""
    n = x.shape[axis]
    if x.size == 0:
        return g
    if reverse:
        return s.flip(_max_vjp(s.flip(g, axis), s.flip(out, axis), s.flip(x, axis), axis, False), axis)
    later, earlier = _part(out, axis, 1, n), _part(out, axis, 0, n - 1)
    rose = e.logical_and(e.not_equal(later, earlier), e.logical_not(e.isnan(earlier)))
    steps = np.arange(1, n, dtype=np.int64).reshape((n - 1,) + (1,) * (x.ndim - 1 - axis))
    found = e.where(rose, Tensor._wrap(steps, dtypes.int64), 0)
    first = s.broadcast_to(e._scalar(0, dtypes.int64), _part(x, axis, 0, 1).shape)
    source = apply(max_op, (s.concatenate([first, found], axis),), {"axis": axis, "reverse": False})
    return apply(add_along_op, (s.zeros_like(x), source, g), {"axis": axis})


# -- records ------------------------------------------------------------------------------------------------------


def _samples(rng: np.random.Generator) -> Samples:
    x = rng.permutation(60).reshape(3, 4, 5) / 20 - 1.0  # all different, one of them 0
    cases = [{"axis": axis, "reverse": axis == 1} for axis in range(3)]
    more: Samples = [((x[0, 0],), {"axis": 0, "reverse": True}), ((x[:, :0],), {"axis": 1, "reverse": False})]
    return [((x,), case) for case in cases] + more


def _recurrence_samples(rng: np.random.Generator) -> Samples:
    pairs = [(rng.normal(size=shape), rng.normal(size=shape)) for shape in ((3, 4, 5), (6,), (4, 1))]
    return [(pair, {"axis": i % pair[0].ndim, "reverse": i == 1}) for i, pair in enumerate(pairs)]


sum_op = Op(
    "cumulative_sum",
    _accumulate(np.add),
    _infer("cumulative_sum"),
    (lambda g, out, x, axis, reverse: apply(sum_op, (g,), {"axis": axis, "reverse": not reverse}),),
    family="reduce",
    doc="The sum of all elements up to each along an axis (from the end if reverse); integers are summed in int64.",
    samples=_samples,
)
prod_op = Op(
    "cumulative_prod",
    _accumulate(np.multiply),
    _infer("cumulative_prod"),
    (_prod_vjp,),
    family="reduce",
    doc="The product of all elements up to each along an axis (from the end if reverse); integers in int64.",
    samples=_samples,
)
max_op = Op(
    "cumulative_max",
    _accumulate(np.maximum),
    _infer("cumulative_max"),
    (_max_vjp,),
    family="reduce",
    doc="The largest of all elements up to each along an axis (from the end if reverse).",
    samples=_samples,
)
recurrence_op = RealOp(
    "linear_recurrence",
    _recurrence_reference,
    _recurrence_infer,
    (
        lambda g, out, a, x, axis, reverse: (
            _pulled_back(g, a, axis, reverse) * _before(out, axis, reverse, 0) if x.size else g
        ),
        lambda g, out, a, x, axis, reverse: _pulled_back(g, a, axis, reverse) if x.size else g,
    ),
    family="reduce",
    arity=2,
    doc="y[i] = scale[i] * y[i - 1] + x[i] along an axis, y[0] = x[0] (from the end if reverse).",
    kinds="float",
    samples=_recurrence_samples,
    errors=[((np.ones(3), np.ones(4)), {"axis": 0, "reverse": False}, ShapeError, r"expected a scale of shape \(4,\)")],
)


# -- functions ----------------------------------------------------------------------------------------------------


def _cumulative(op: Op, x: Any, axis: int | None, reverse: bool, first: int | None) -> Tensor:
    """Apply a cumulative op along one axis, or to the flattened tensor; ``first`` is put before the results."""
    t = as_tensor(x)
    if axis is None:
        t, axis = s.reshape(t, (t.size,)), 0
    axes = normalise_axes(op.name, axis, t.ndim)
    if len(axes) != 1:
        raise ArgumentError(f"{op.name}: expected one axis or None, got {axis}.")
    if not isinstance(reverse, bool):
        raise ArgumentError(f"{op.name}: expected reverse to be True or False, got {describe(reverse)}.")
    (where,) = axes
    out = apply(op, (t,), {"axis": where, "reverse": reverse})
    if first is None:
        return out
    shape = tuple([1 if i == where else n for i, n in enumerate(t.shape)])
    edge = s.broadcast_to(e._scalar(first, out.dtype), shape)
    return s.concatenate([out, edge] if reverse else [edge, out], where)


def cumulative_sum(x: Any, axis: int | None = None, *, include_initial: bool = False, reverse: bool = False) -> Tensor:
    """The running sum ``y[i] = x[0] + ... + x[i]`` along an axis; integers and booleans are summed in int64.

    Args:
        x: any tensor.
        axis: the axis; None for the flattened tensor.
        include_initial: put the empty sum, 0, before the others, which makes the axis one longer.
        reverse: run from the end: ``y[i] = x[i] + ... + x[n - 1]``.

    Raises:
        ArgumentError: the axis is out of range.

    Example:
        >>> import ranvier as rv
        >>> rv.cumulative_sum([1, 2, 3]).tolist()
        [1, 3, 6]
        >>> rv.cumulative_sum([1, 2, 3], reverse=True, include_initial=True).tolist()
        [6, 5, 3, 0]
    """
    return _cumulative(sum_op, x, axis, reverse, 0 if include_initial else None)


def cumulative_prod(x: Any, axis: int | None = None, *, include_initial: bool = False, reverse: bool = False) -> Tensor:
    """The running product ``y[i] = x[0] * ... * x[i]`` along an axis; integers and booleans are multiplied in int64.

    The gradient divides by nothing, so it is right where elements are 0.

    Args:
        x: any tensor.
        axis: the axis; None for the flattened tensor.
        include_initial: put the empty product, 1, before the others, which makes the axis one longer.
        reverse: run from the end: ``y[i] = x[i] * ... * x[n - 1]``.

    Raises:
        ArgumentError: the axis is out of range.

    Example:
        >>> import ranvier as rv
        >>> rv.cumulative_prod([1.0, 2.0, 3.0]).tolist()
        [1.0, 2.0, 6.0]
    """
    return _cumulative(prod_op, x, axis, reverse, 1 if include_initial else None)


def cumulative_max(x: Any, axis: int | None = None, *, reverse: bool = False) -> Tensor:
    """The running maximum ``y[i] = max(x[0], ..., x[i])`` along an axis; from a NaN on, NaN.

    The gradient of each result goes to the first element that attained it.

    Args:
        x: any tensor.
        axis: the axis; None for the flattened tensor.
        reverse: run from the end: ``y[i] = max(x[i], ..., x[n - 1])``.

    Raises:
        ArgumentError: the axis is out of range.

    Example:
        >>> import ranvier as rv
        >>> rv.cumulative_max([3.0, 1.0, 5.0, 4.0]).tolist()
        [3.0, 3.0, 5.0, 5.0]
    """
    return _cumulative(max_op, x, axis, reverse, None)
