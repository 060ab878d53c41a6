"""Reductions: sums, extremes and logical quantifiers along axes, and what is composed of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.ops import elementwise as e
from ranvier.ops import shape as s
from ranvier.ops.table import Aval, Op, apply, require_kind
from ranvier.tensor import Tensor, as_tensor

__all__ = [
    "all", "any", "argmax", "argmin", "logsumexp", "max", "mean", "min", "prod", "std", "sum", "var",
]  # fmt: skip


def normalise_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes as a sorted tuple of non-negative numbers; None means all."""
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:  # the usual case
        return (axis % ndim,)
    axes = (axis,) if not isinstance(axis, tuple | list) else tuple(axis)
    out = []
    for a in axes:
        if isinstance(a, bool) or not isinstance(a, int | np.integer):
            raise ArgumentError(
                f"{name}: expected axis to be an integer, a tuple of integers or None, got {describe(a)}."
            )
        if not -ndim <= a < ndim:
            raise ArgumentError(f"{name}: axis {a} is out of range for a tensor with {ndim} axes.")
        out.append(int(a) % ndim)
    if len(set(out)) != len(out):
        raise ArgumentError(f"{name}: axis {axis} names the same axis twice.")
    return tuple(sorted(out))


def kept_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """``shape`` with the reduced axes kept as size 1."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


class Reduce(Op):
    """A reduction along ``axes`` (a sorted tuple); reduced axes disappear."""

    def __init__(self, name: str, function: Callable[..., Any], vjp: Any, doc: str, kinds: str, **options: Any):
        self.short = short = name.removeprefix("reduce_")
        self.needs_elements = name in ("reduce_max", "reduce_min")

        def infer(inputs: Sequence[Tensor], axes: tuple[int, ...]) -> Aval:
            (x,) = inputs
            require_kind(short, x, kinds)
            if self.needs_elements:
                require_elements(short, x, axes)
            shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
            dtype = dtypes.int64 if name == "reduce_sum" and not x.dtype.is_float else x.dtype
            return Aval(shape, dtype)

        super().__init__(
            name,
            lambda x, axes: function(x, axes) if axes else function(x[None], 0),
            infer,
            (vjp,) if vjp else (),
            family="reduce",
            doc=doc,
            kinds=kinds,
            **options,
        )


def require_elements(name: str, x: Tensor, axes: Sequence[int]) -> None:
    """Refuse to look for an extreme among no elements."""
    if 0 in [x.shape[a] for a in axes]:
        raise ShapeError(
            f"{name}: cannot reduce over an axis of size 0 (shape {x.shape}, axes {tuple(axes)}): an empty set has no "
            "extreme."
        )


def _samples(rng: np.random.Generator) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    x = rng.permutation(60).reshape(3, 4, 5) / 10 - 3.0  # all different: extremes have no ties
    return [((x,), {"axes": axes}) for axes in ((0,), (1,), (2,), (0, 2), (0, 1, 2), ())]


def _bool_samples(rng: np.random.Generator) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    return [((rng.random((3, 4)) < 0.5,), {"axes": axes}) for axes in ((0,), (1,), (0, 1))]


def _spread(g: Tensor, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Undo a reduction's loss of axes: back to x's shape by repetition."""
    return s.broadcast_to(s.reshape(g, kept_shape(x.shape, axes)), x.shape)


def _extreme_vjp(g: Tensor, out: Tensor, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Positions that attain the extreme share the gradient equally."""
    kept = kept_shape(x.shape, axes)
    hit = e.equal(x, s.reshape(out, kept))
    count = apply(reduce_sum, (e.astype(hit, x.dtype),), {"axes": axes})
    return e.where(hit, s.reshape(g / count, kept), 0)


def _sum(x: np.ndarray, axis: Any) -> np.ndarray:
    return np.add.reduce(x, axis, dtype=None if x.dtype.kind == "f" else np.int64)


_EMPTY = [((np.ones((2, 0)),), {"axes": (1,)}, ShapeError, "cannot reduce over an axis of size 0")]

reduce_sum = Reduce(
    "reduce_sum", _sum, lambda g, out, x, axes: _spread(g, x, axes), "Sum along axes; integers are summed in int64.",
    "bool int float", samples=_samples,
)  # fmt: skip
reduce_max = Reduce(
    "reduce_max", np.maximum.reduce, _extreme_vjp, "Maximum along axes.", "bool int float", samples=_samples,
    errors=_EMPTY,
)  # fmt: skip
reduce_min = Reduce(
    "reduce_min", np.minimum.reduce, _extreme_vjp, "Minimum along axes.", "bool int float", samples=_samples,
    errors=_EMPTY,
)  # fmt: skip
reduce_and = Reduce(
    "reduce_and", np.logical_and.reduce, None, "Logical and.", "bool", no_gradient="boolean", samples=_bool_samples
)
reduce_or = Reduce(
    "reduce_or", np.logical_or.reduce, None, "Logical or.", "bool", no_gradient="boolean", samples=_bool_samples
)


def _reduce(op: Reduce, x: Any, axis: Any, keepdims: bool) -> Tensor:
    t = x if type(x) is Tensor else as_tensor(x)
    axes = normalise_axes(op.short, axis, len(t._shape))
    if t.size == 0 and op.needs_elements:
        require_elements(op.short, t, axes)
    out = apply(op, (t,), {"axes": axes})
    return s.reshape(out, kept_shape(t._shape, axes)) if keepdims else out


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The sum of elements along axes. Integers and booleans are summed in int64; the empty sum is 0.

    Args:
        x: any tensor.
        axis: an axis, a tuple of axes, or None for all.
        keepdims: keep reduced axes with size 1.

    Example:
        >>> import ranvier as rv
        >>> rv.sum(rv.tensor([[1, 2], [3, 4]]), axis=0).tolist()
        [4, 6]
    """
    return _reduce(reduce_sum, x, axis, keepdims)


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest element along axes; NaN if there is one. Ties share the gradient equally.

    Args:
        x: any tensor with no reduced axis of size 0.
        axis: an axis, a tuple of axes, or None for all.
        keepdims: keep reduced axes with size 1.

    Raises:
        ShapeError: a reduced axis has size 0.

    Example:
        >>> import ranvier as rv
        >>> rv.max(rv.tensor([[1.0, 5.0], [4.0, 2.0]]), axis=0).tolist()
        [4.0, 5.0]
    """
    return _reduce(reduce_max, x, axis, keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The smallest element along axes; NaN if there is one. Ties share the gradient equally.

    Args:
        x: any tensor with no reduced axis of size 0.
        axis: an axis, a tuple of axes, or None for all.
        keepdims: keep reduced axes with size 1.

    Raises:
        ShapeError: a reduced axis has size 0.

    Example:
        >>> import ranvier as rv
        >>> rv.min(rv.tensor([[1.0, 5.0], [4.0, 2.0]]), axis=0).tolist()
        [1.0, 2.0]
    """
    return _reduce(reduce_min, x, axis, keepdims)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether all elements along axes are true (or non-zero).

    Args:
        x: any tensor.
        axis: an axis, a tuple of axes, or None for all.
        keepdims: keep reduced axes with size 1.

    Example:
        >>> import ranvier as rv
        >>> rv.all(rv.tensor([[True, False], [True, True]]), axis=1).tolist()
        [False, True]
    """
    return _reduce(reduce_and, e.astype(x, dtypes.bool_), axis, keepdims)


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether any element along axes is true (or non-zero).

    Args:
        x: any tensor.
        axis: an axis, a tuple of axes, or None for all.
        keepdims: keep reduced axes with size 1.

    Example:
        >>> import ranvier as rv
        >>> rv.any(rv.tensor([[True, False], [False, False]]), axis=1).tolist()
        [True, False]
    """
    return _reduce(reduce_or, e.astype(x, dtypes.bool_), axis, keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean along axes; integers give float32, the mean of nothing is NaN.

    Args:
        x: any tensor.
        axis: an axis, a tuple of axes, or None for all.
        keepdims: keep reduced axes with size 1.

    Example:
        >>> import ranvier as rv
        >>> rv.mean(rv.tensor([1, 2, 4])).item()
        2.3333332538604736
    """
    t = as_tensor(x)
    axes = normalise_axes("mean", axis, t.ndim)
    count = math.prod([t._shape[a] for a in axes])
    total = sum(t if t._dtype.is_float else e.astype(t, dtypes.float32), axes, keepdims)
    return total / float(count)


def var(x: Any, axis: Any = None, keepdims: bool = False, correction: float = 0) -> Tensor:
    """The variance along axes, ``sum((x - mean)**2) / (n - correction)``, computed in two passes.

    Args:
        x: any tensor.
        axis: an axis, a tuple of axes, or None for all.
        keepdims: keep reduced axes with size 1.
        correction: 0 for the population variance, 1 for the sample variance.

    Example:
        >>> import ranvier as rv
        >>> rv.var(rv.tensor([1.0, 2.0, 3.0, 4.0])).item()
        1.25
    """
    t = as_tensor(x)
    t = t if t.dtype.is_float else e.astype(t, dtypes.float32)
    axes = normalise_axes("var", axis, t.ndim)
    count = math.prod(t.shape[a] for a in axes)
    deviation = t - mean(t, axes, keepdims=True)
    total = sum(deviation * deviation, axes, keepdims)
    return total / float(count - correction)


def std(x: Any, axis: Any = None, keepdims: bool = False, correction: float = 0) -> Tensor:
    """The standard deviation along axes: the square root of :func:`var`.

    Args:
        x: any tensor.
        axis: an axis, a tuple of axes, or None for all.
        keepdims: keep reduced axes with size 1.
        correction: 0 for the population, 1 for a sample.

    Example:
        >>> import ranvier as rv
        >>> rv.std(rv.tensor([1.0, 3.0, 1.0, 3.0])).item()
        1.0
    """
    return e.sqrt(var(x, axis, keepdims, correction))


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The product along axes, multiplied pairwise in a fixed tree; the empty product is 1. Integers give int64.

    The tree makes the gradient right where elements are 0 (no division), to any order.

    Args:
        x: any numeric tensor.
        axis: an axis, a tuple of axes, or None for all.
        keepdims: keep reduced axes with size 1.

    Example:
        >>> import ranvier as rv
        >>> rv.prod(rv.tensor([2.0, 3.0, 4.0])).item()
        24.0
    """
    t = as_tensor(x)
    if not t.dtype.is_float:
        t = e.astype(t, dtypes.int64)
    axes = normalise_axes("prod", axis, t.ndim)
    kept = tuple(i for i in range(t.ndim) if i not in axes)
    rest = tuple(t.shape[i] for i in kept)
    n = math.prod(t.shape[a] for a in axes)
    flat = s.reshape(s.transpose(t, kept + axes), (*rest, n))
    while n > 1:
        half = n // 2
        low, high = flat[..., :half], flat[..., half : 2 * half]
        flat = low * high if n % 2 == 0 else s.concatenate([low * high, flat[..., 2 * half :]], axis=-1)
        n = half + n % 2
    out = s.reshape(flat, rest) if n == 1 else s.broadcast_to(e._scalar(1, t.dtype), rest)
    return s.reshape(out, kept_shape(t.shape, axes)) if keepdims else out


def _arg_extreme(name: str, extreme: Any, x: Any, axis: Any, keepdims: bool) -> Tensor:
    t = as_tensor(x)
    if axis is None:
        flat = s.reshape(t, (t.size,))
        out = _arg_extreme(name, extreme, flat, 0, False)
        return s.reshape(out, (1,) * t.ndim) if keepdims else out
    axes = normalise_axes(name, axis, t.ndim)
    if len(axes) != 1:
        raise ArgumentError(f"{name}: expected one axis or None, got {axis}.")
    require_elements(name, t, axes)
    (a,) = axes
    n = t.shape[a]
    best = extreme(t, a, keepdims=True)
    hit = e.equal(t, best)
    if t.dtype.is_float:
        hit = e.logical_or(hit, e.isnan(t))  # the first NaN counts as the extreme, as in NumPy
    position = Tensor._wrap(np.arange(n, dtype=np.int64).reshape((n,) + (1,) * (t.ndim - 1 - a)), dtypes.int64)
    return min(e.where(hit, position, n), a, keepdims)


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first largest element along an axis (of the flattened tensor if None), int64.

    Args:
        x: any tensor.
        axis: one axis, or None.
        keepdims: keep the axis with size 1.

    Example:
        >>> import ranvier as rv
        >>> rv.argmax(rv.tensor([[1, 5, 2], [7, 7, 0]]), axis=1).tolist()
        [1, 0]
    """
    return _arg_extreme("argmax", max, x, axis, keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first smallest element along an axis (of the flattened tensor if None), int64.

    Args:
        x: any tensor.
        axis: one axis, or None.
        keepdims: keep the axis with size 1.

    Example:
        >>> import ranvier as rv
        >>> rv.argmin(rv.tensor([3.0, 1.0, 1.0])).item()
        1
    """
    return _arg_extreme("argmin", min, x, axis, keepdims)


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` along axes, shifted by the maximum so that it neither overflows nor underflows.

    Of no elements it is -inf.

    Args:
        x: any numeric tensor; integers give float32.
        axis: an axis, a tuple of axes, or None for all.
        keepdims: keep reduced axes with size 1.

    Example:
        >>> import ranvier as rv
        >>> rv.logsumexp(rv.tensor([1000.0, 1000.0])).item()
        1000.6931762695312
    """
    t = as_tensor(x)
    axes = normalise_axes("logsumexp", axis, t.ndim)
    t = t if t.dtype.is_float else e.astype(t, dtypes.float32)
    kept, left = kept_shape(t.shape, axes), tuple(n for i, n in enumerate(t.shape) if i not in axes)
    if 0 in [t.shape[a] for a in axes]:
        return s.broadcast_to(e._scalar(-math.inf, t.dtype), kept if keepdims else left)
    top = e.stop_gradient(max(t, axes, keepdims=True))
    shift = e.where(e.isfinite(top), top, 0)  # all -inf or an inf: shifting would make NaN of it
    out = e.log(sum(e.exp(t - shift), axes, keepdims=True)) + shift
    return out if keepdims else s.reshape(out, left)
