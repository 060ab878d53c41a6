"""Shape ops: the same elements in another arrangement, without arithmetic.

``embed`` is the transpose of ``slice``: it places a tensor into zeros. Padding is ``embed`` with a fill value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.ops import elementwise as e
from ranvier.ops.table import Aval, Op, apply, broadcast_shapes
from ranvier.tensor import Tensor, as_tensor

__all__ = [
    "broadcast_to", "concatenate", "embed", "expand_dims", "flip", "full_like", "moveaxis", "ones_like", "pad",
    "repeat", "reshape", "split", "squeeze", "stack", "swapaxes", "tile", "transpose", "zeros_like",
]  # fmt: skip


def as_shape(name: str, shape: Any) -> tuple[int, ...]:
    """A shape as a tuple of non-negative ints (an int means one axis)."""
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    for n in sizes:
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise ShapeError(f"{name}: expected a shape of non-negative integers, got {describe(shape)}.")
    if math.prod(map(int, sizes)) > 2**62:
        raise ShapeError(f"{name}: shape {sizes} has more elements than memory can hold.")
    return tuple(int(n) for n in sizes)


# -- reshape ------------------------------------------------------------------------------------------------------

reshape_op = Op(
    "reshape",
    lambda x, shape: x.reshape(shape),
    lambda inputs, shape: Aval(shape, inputs[0].dtype),
    (lambda g, out, x, shape: reshape(g, x.shape),),
    family="shape",
    samples=lambda rng: [((rng.normal(size=(3, 4)),), {"shape": (2, 6)}), ((rng.normal(size=(1,)),), {"shape": ()})],
)


def reshape(x: Any, shape: Any) -> Tensor:
    """The same elements in row-major order in another shape; one size may be -1 and is worked out.

    Args:
        x: any tensor.
        shape: the shape wanted.

    Raises:
        ShapeError: the number of elements differs.

    Example:
        >>> import ranvier as rv
        >>> rv.reshape(rv.arange(6), (2, -1)).tolist()
        [[0, 1, 2], [3, 4, 5]]
    """
    t = as_tensor(x)
    given = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    sizes = list(given)
    if sizes.count(-1) == 1:
        known = math.prod(n for n in sizes if n != -1)
        sizes[sizes.index(-1)] = t.size // known if known and t.size % known == 0 else -2
    if -2 in sizes or any(isinstance(n, bool) or n < 0 for n in sizes) or math.prod(sizes) != t.size:
        raise ShapeError(f"reshape: cannot turn shape {t.shape} ({t.size} elements) into {given}.")
    target = tuple(int(n) for n in sizes)
    return t if target == t.shape else apply(reshape_op, (t,), {"shape": target})


def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Tensor:
    """Insert axes of size 1.

    Args:
        x: any tensor.
        axis: where, counted in the result.
    """
    t = as_tensor(x)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    rank = t.ndim + len(axes)
    if any(not -rank <= a < rank for a in axes):
        raise ArgumentError(f"expand_dims: axis {axis} is out of range for a result with {rank} axes.")
    places = {a % rank for a in axes}
    rest = iter(t.shape)
    return reshape(t, tuple(1 if i in places else next(rest) for i in range(rank)))


def squeeze(x: Any, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Remove axes of size 1.

    Args:
        x: any tensor.
        axis: which; None for all of size 1.

    Raises:
        ShapeError: a named axis has another size.
    """
    t = as_tensor(x)
    axes = (
        {i for i, n in enumerate(t.shape) if n == 1}
        if axis is None
        else {a % t.ndim for a in ((axis,) if isinstance(axis, int) else axis)}
    )
    if any(t.shape[a] != 1 for a in axes):
        raise ShapeError(f"squeeze: axes {sorted(axes)} of shape {t.shape} do not all have size 1.")
    return reshape(t, tuple(n for i, n in enumerate(t.shape) if i not in axes))


# -- transpose ----------------------------------------------------------------------------------------------------

transpose_op = Op(
    "transpose",
    lambda x, axes: np.transpose(x, axes),
    lambda inputs, axes: Aval(tuple(inputs[0].shape[a] for a in axes), inputs[0].dtype),
    (lambda g, out, x, axes: transpose(g, tuple(int(i) for i in np.argsort(axes))),),
    family="shape",
    samples=lambda rng: [
        ((rng.normal(size=(2, 3, 4)),), {"axes": (2, 0, 1)}),
        ((rng.normal(size=(3, 4)),), {"axes": (1, 0)}),
    ],
)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """Reorder axes.

    Args:
        x: any tensor.
        axes: a permutation of the axes; None reverses them.

    Raises:
        ArgumentError: not a permutation.

    Example:
        >>> import ranvier as rv
        >>> rv.transpose(rv.ones((2, 3, 4)), (2, 0, 1)).shape
        (4, 2, 3)
    """
    t = as_tensor(x)
    order = tuple(reversed(range(t.ndim))) if axes is None else tuple(int(a) for a in axes)
    if any(not -t.ndim <= a < t.ndim for a in order) or sorted(a % t.ndim for a in order) != list(range(t.ndim)):
        raise ArgumentError(f"transpose: {axes} is not a permutation of the {t.ndim} axes of shape {t.shape}.")
    order = tuple(a % t.ndim for a in order)
    return t if order == tuple(range(t.ndim)) else apply(transpose_op, (t,), {"axes": order})


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Exchange two axes.

    Args:
        x: any tensor.
        axis1: one axis.
        axis2: the other axis.
    """
    t = as_tensor(x)
    if any(not -t.ndim <= a < t.ndim for a in (axis1, axis2)):
        raise ArgumentError(f"swapaxes: axes {axis1} and {axis2} are out of range for shape {t.shape}.")
    order = list(range(t.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return transpose(t, order)


def moveaxis(x: Any, source: int, destination: int) -> Tensor:
    """Move one axis to another place; the others keep their order.

    Args:
        x: any tensor.
        source: the axis.
        destination: its new place.
    """
    t = as_tensor(x)
    if any(not -t.ndim <= a < t.ndim for a in (source, destination)):
        raise ArgumentError(f"moveaxis: axes {source} and {destination} are out of range for shape {t.shape}.")
    order = [i for i in range(t.ndim) if i != source % t.ndim]
    order.insert(destination % t.ndim, source % t.ndim)
    return transpose(t, order)


# -- broadcast ----------------------------------------------------------------------------------------------------


def _broadcast_infer(inputs: Sequence[Tensor], shape: tuple[int, ...]) -> Aval:
    x = inputs[0]
    if len(x.shape) > len(shape) or broadcast_shapes("broadcast_to", x.shape, shape) != shape:
        raise ShapeError(f"broadcast_to: shape {x.shape} cannot be repeated to {shape}.")
    return Aval(shape, x.dtype)


broadcast_op = Op(
    "broadcast_to",
    lambda x, shape: np.broadcast_to(x, shape),
    _broadcast_infer,
    (lambda g, out, x, shape: g,),  # the differentiator sums g back to x's shape
    family="shape",
    broadcasts=True,
    samples=lambda rng: [
        ((rng.normal(size=(3, 1)),), {"shape": (2, 3, 4)}),
        ((rng.normal(size=()),), {"shape": (3,)}),
        ((rng.normal(size=(4,)),), {"shape": (3, 4)}),
    ],
    errors=[((np.ones(3),), {"shape": (2, 4)}, ShapeError, "broadcast")],
)


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Repeat along axes of size 1 and new leading axes, without copying.

    Args:
        x: any tensor.
        shape: the shape wanted.

    Raises:
        ShapeError: the shape cannot be reached by repetition.
    """
    t, target = as_tensor(x), as_shape("broadcast_to", shape)
    return t if t.shape == target else apply(broadcast_op, (t,), {"shape": target})


# -- slice and embed ----------------------------------------------------------------------------------------------


def _slice_infer(inputs: Sequence[Tensor], starts: Any, stops: Any, steps: Any) -> Aval:
    shape = tuple(len(range(a, b, c)) for a, b, c in zip(starts, stops, steps, strict=True))
    return Aval(shape, inputs[0].dtype)


def _region(starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a, a + (n - 1) * c + 1 if n else a, c) for a, n, c in zip(starts, sizes, steps, strict=True))


def _embed_reference(x: np.ndarray, shape: Any, starts: Any, steps: Any) -> np.ndarray:
    out = np.zeros(shape, x.dtype)
    out[_region(starts, x.shape, steps)] = x
    return out


slice_op = Op(
    "slice",
    lambda x, starts, stops, steps: x[tuple(map(slice, starts, stops, steps))],
    _slice_infer,
    (lambda g, out, x, starts, stops, steps: embed(g, x.shape, starts, steps),),
    family="shape",
    samples=lambda rng: [
        ((rng.normal(size=(5, 6)),), {"starts": (1, 0), "stops": (4, 6), "steps": (1, 2)}),
        ((rng.normal(size=(5,)),), {"starts": (2,), "stops": (2,), "steps": (1,)}),
    ],
)
embed_op = Op(
    "embed",
    _embed_reference,
    lambda inputs, shape, starts, steps: Aval(shape, inputs[0].dtype),
    (lambda g, out, x, shape, starts, steps: slice_static(
        g, starts, tuple(a + (n - 1) * c + 1 if n else a for a, n, c in zip(starts, x.shape, steps, strict=True)), steps
    ),),
    family="shape",
    samples=lambda rng: [((rng.normal(size=(2, 3)),), {"shape": (4, 6), "starts": (1, 0), "steps": (2, 2)})],
)  # fmt: skip


def slice_static(x: Any, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Tensor:
    """``x[starts:stops:steps]`` with known, in-range, positive-step bounds on every axis."""
    t = as_tensor(x)
    if all(a == 0 and b == n and c == 1 for a, b, c, n in zip(starts, stops, steps, t.shape, strict=True)):
        return t
    return apply(slice_op, (t,), {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)})


def embed(x: Any, shape: Any, starts: Sequence[int], steps: Sequence[int] | None = None) -> Tensor:
    """Place ``x`` into zeros of ``shape`` from ``starts``, ``steps`` apart: the transpose of slicing.

    Args:
        x: any tensor.
        shape: the shape of the result.
        starts: the first position on each axis.
        steps: the distance on each axis; None means 1.

    Raises:
        ShapeError: x does not fit.

    Example:
        >>> import ranvier as rv
        >>> rv.embed(rv.tensor([1, 2]), (5,), (1,), (2,)).tolist()
        [0, 1, 0, 2, 0]
    """
    t, target = as_tensor(x), as_shape("embed", shape)
    jumps = tuple(steps) if steps is not None else (1,) * t.ndim
    fits = len(target) == len(starts) == len(jumps) == t.ndim and all(
        a >= 0 and c > 0 and (n == 0 or a + (n - 1) * c < m)
        for a, c, n, m in zip(starts, jumps, t.shape, target, strict=True)
    )
    if not fits:
        raise ShapeError(f"embed: shape {t.shape} from {tuple(starts)} in steps {jumps} does not fit into {target}.")
    return apply(embed_op, (t,), {"shape": target, "starts": tuple(starts), "steps": jumps})


def pad(x: Any, pad_width: Any, value: float = 0) -> Tensor:
    """Put constant values around a tensor.

    Args:
        x: any tensor.
        pad_width: for each axis ``(before, after)``.
        value: what to put there.

    Raises:
        ShapeError: not one pair of non-negative integers for each axis.

    Example:
        >>> import ranvier as rv
        >>> rv.pad(rv.tensor([1, 2]), [(1, 2)], value=9).tolist()
        [9, 1, 2, 9, 9]
    """
    t = as_tensor(x)
    pairs = [tuple(p) for p in pad_width]
    if len(pairs) != t.ndim or any(len(p) != 2 or min(p) < 0 for p in pairs):
        raise ShapeError(f"pad: expected {t.ndim} pairs of non-negative integers for shape {t.shape}, got {pad_width}.")
    shape = tuple(n + a + b for n, (a, b) in zip(t.shape, pairs, strict=True))
    starts = tuple(a for a, _ in pairs)
    out = embed(t, shape, starts)
    if value == 0:
        return out
    inside = np.zeros(shape, np.bool_)
    inside[_region(starts, t.shape, (1,) * t.ndim)] = True
    return e.where(inside, out, value)


# -- flip, concatenate --------------------------------------------------------------------------------------------

flip_op = Op(
    "flip",
    lambda x, axes: np.flip(x, axes),
    lambda inputs, axes: Aval(inputs[0].shape, inputs[0].dtype),
    (lambda g, out, x, axes: apply(flip_op, (g,), {"axes": axes}),),
    family="shape",
    samples=lambda rng: [((rng.normal(size=(3, 4)),), {"axes": (1,)}), ((rng.normal(size=(3, 4)),), {"axes": (0, 1)})],
)


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Reverse the order of elements along axes.

    Args:
        x: any tensor.
        axis: one axis, several, or None for all.
    """
    t = as_tensor(x)
    axes = range(t.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    if any(not -t.ndim <= a < t.ndim for a in axes):
        raise ArgumentError(f"flip: axis {axis} is out of range for shape {t.shape}.")
    return apply(flip_op, (t,), {"axes": tuple(sorted({a % t.ndim for a in axes}))})


def _concatenate_infer(inputs: Sequence[Tensor], axis: int) -> Aval:
    first = inputs[0]
    for t in inputs[1:]:
        if t.ndim != first.ndim or any(a != b for i, (a, b) in enumerate(zip(t.shape, first.shape, strict=True)) if i != axis):
            raise ShapeError(
                f"concatenate: shapes {' and '.join(str(t.shape) for t in inputs)} differ outside axis {axis}."
            )
    total = sum(t.shape[axis] for t in inputs)
    return Aval((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)


concatenate_op = Op(
    "concatenate",
    lambda *xs, axis: np.concatenate(xs, axis),
    _concatenate_infer,
    (lambda g, out, *xs, axis, index: _piece(g, xs, axis, index),),
    family="shape",
    arity=-1,
    samples=lambda rng: [((rng.normal(size=(2, 3)), rng.normal(size=(2, 1)), rng.normal(size=(2, 2))), {"axis": 1})],
    errors=[((np.ones((2, 3)), np.ones((3, 3))), {"axis": 1}, ShapeError, "differ outside axis")],
)


def _piece(g: Tensor, xs: Sequence[Tensor], axis: int, index: int) -> Tensor:
    start = sum(t.shape[axis] for t in xs[:index])
    starts = [start if i == axis else 0 for i in range(g.ndim)]
    stops = [start + xs[index].shape[axis] if i == axis else n for i, n in enumerate(g.shape)]
    return slice_static(g, starts, stops, (1,) * g.ndim)


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors along an existing axis.

    Args:
        tensors: tensors of equal shape but for ``axis``.
        axis: the axis along which they are joined.

    Raises:
        ShapeError: other axes differ.
        ArgumentError: nothing to join.

    Example:
        >>> import ranvier as rv
        >>> rv.concatenate([[1, 2], [3]]).tolist()
        [1, 2, 3]
    """
    if not len(tensors):
        raise ArgumentError("concatenate: expected at least one tensor, got an empty sequence.")
    parts = e.coerce([as_tensor(t) for t in tensors])
    rank = parts[0].ndim
    if not -rank <= axis < rank:
        raise ArgumentError(f"concatenate: axis {axis} is out of range for shape {parts[0].shape}.")
    return parts[0] if len(parts) == 1 else apply(concatenate_op, parts, {"axis": axis % rank})


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors of equal shape along a new axis.

    Args:
        tensors: the tensors.
        axis: the place of the new axis.

    Raises:
        ShapeError: shapes differ.
    """
    parts = [as_tensor(t) for t in tensors]
    shapes = {t.shape for t in parts}
    if len(shapes) > 1:
        raise ShapeError(f"stack: expected equal shapes, got {' and '.join(map(str, sorted(shapes)))}.")
    return concatenate([expand_dims(t, axis) for t in parts], axis)


def split(x: Any, parts: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Cut a tensor along an axis.

    Args:
        x: any tensor.
        parts: a number of equal parts, or the positions to cut at.
        axis: the axis.

    Raises:
        ShapeError: the axis does not divide into that many equal parts.
    """
    t = as_tensor(x)
    n = t.shape[axis]
    if isinstance(parts, int):
        if parts < 1 or n % parts:
            raise ShapeError(f"split: axis {axis} of size {n} does not divide into {parts} equal parts.")
        cuts = [i * (n // parts) for i in range(parts + 1)]
    else:
        cuts = [0, *parts, n]
    where = axis % t.ndim
    key = [slice(None)] * t.ndim
    return [t[(*key[:where], slice(a, b))] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


def repeat(x: Any, repeats: int, axis: int) -> Tensor:
    """Repeat each element along an axis: ``[1, 2]`` becomes ``[1, 1, 2, 2]``.

    Args:
        x: any tensor.
        repeats: how often.
        axis: the axis.
    """
    t = as_tensor(x)
    where = axis % t.ndim
    wide = broadcast_to(expand_dims(t, where + 1), (*t.shape[: where + 1], repeats, *t.shape[where + 1 :]))
    return reshape(wide, (*t.shape[:where], t.shape[where] * repeats, *t.shape[where + 1 :]))


def tile(x: Any, repetitions: Sequence[int]) -> Tensor:
    """Repeat the whole tensor along each axis: ``[1, 2]`` becomes ``[1, 2, 1, 2]``.

    Args:
        x: any tensor.
        repetitions: how often, for each axis.
    """
    t = as_tensor(x)
    counts = as_shape("tile", repetitions)
    rank = max(t.ndim, len(counts))
    t = reshape(t, (1,) * (rank - t.ndim) + t.shape)
    counts = (1,) * (rank - len(counts)) + counts
    inner = tuple(n for pair in zip((1,) * rank, t.shape, strict=True) for n in pair)
    outer = tuple(n for pair in zip(counts, t.shape, strict=True) for n in pair)
    return reshape(broadcast_to(reshape(t, inner), outer), tuple(c * n for c, n in zip(counts, t.shape, strict=True)))


def full_like(x: Any, value: float) -> Tensor:
    """A tensor like ``x`` in shape and dtype, filled with one value.

    Args:
        x: any tensor.
        value: the value.
    """
    t = as_tensor(x)
    return broadcast_to(Tensor._wrap(np.asarray(value, t.dtype.numpy), t.dtype), t.shape)


def zeros_like(x: Any) -> Tensor:
    """Zeros like ``x`` in shape and dtype.

    Args:
        x: any tensor.
    """
    return full_like(x, 0)


def ones_like(x: Any) -> Tensor:
    """Ones like ``x`` in shape and dtype.

    Args:
        x: any tensor.
    """
    return full_like(x, 1)


def sum_to_shape(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum a cotangent over the axes along which its primal was broadcast: the one place that undoes broadcasting."""
    from ranvier.ops.reduce import reduce_sum

    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    out = apply(reduce_sum, (g,), {"axes": axes}) if axes else g
    return reshape(out, shape)


