"""Shape ops: the same elements in another arrangement, without arithmetic.

``embed`` is the transpose of ``slice``: it places a tensor into zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.ops import elementwise as e
from ranvier.ops.table import Aval, Op, apply, broadcast_shapes, require_memory
from ranvier.tensor import Tensor, as_tensor

__all__ = [
    "broadcast_arrays", "broadcast_to", "concat", "concatenate", "embed", "expand_dims", "flip", "full_like",
    "matrix_transpose", "moveaxis", "ones_like", "permute_dims", "repeat", "reshape", "split", "squeeze",
    "stack", "swapaxes", "tile", "transpose", "zeros_like",
]  # fmt: skip


def _integers(name: str, what: str, value: Any) -> tuple[int, ...]:
    """An integer or a sequence of integers as a tuple; anything else is refused."""
    if type(value) is tuple and all([type(n) is int for n in value]):  # the usual case
        return value
    sizes = (value,) if isinstance(value, int | np.integer) else value
    if not isinstance(sizes, tuple | list) or any(
        [isinstance(n, bool) or not isinstance(n, int | np.integer) for n in sizes]
    ):
        raise ArgumentError(f"{name}: expected {what} to be integers, got {describe(value)}.")
    return tuple([int(n) for n in sizes])


def _axes(name: str, axis: Any, rank: int) -> tuple[int, ...]:
    """Different axes of ``rank`` ones, as non-negative numbers in the order given."""
    axes = _integers(name, "axes", axis)
    if any([not -rank <= a < rank for a in axes]):
        raise ArgumentError(f"{name}: axis {axis} is out of range for {rank} axes.")
    axes = tuple([a % rank for a in axes])
    if len(set(axes)) != len(axes):
        raise ArgumentError(f"{name}: {axis} names the same axis twice.")
    return axes


def _one_axis(name: str, axis: Any, rank: int) -> int:
    if isinstance(axis, tuple | list):
        raise ArgumentError(f"{name}: expected one axis, got {axis}.")
    return _axes(name, axis, rank)[0]


def as_shape(name: str, shape: Any) -> tuple[int, ...]:
    """A shape as a tuple of non-negative ints (an int means one axis)."""
    try:
        sizes = _integers(name, "sizes", shape)
    except ArgumentError:
        sizes = (-1,)
    if any([n < 0 for n in sizes]):
        raise ShapeError(f"{name}: expected a shape of non-negative integers, got {describe(shape)}.")
    if math.prod(sizes) > 2**62:
        raise ShapeError(f"{name}: shape {sizes} has more elements than memory can hold.")
    if len(sizes) > _MOST_AXES:
        raise ShapeError(f"{name}: at most {_MOST_AXES} axes are possible, got {len(sizes)}.")
    return sizes


_MOST_AXES = 64  # NumPy's limit


# -- reshape ------------------------------------------------------------------------------------------------------


def _reshape_infer(inputs: Sequence[Tensor], shape: tuple[int, ...]) -> Aval:
    if math.prod(shape) != inputs[0].size:
        raise ShapeError(f"reshape: cannot turn shape {inputs[0].shape} ({inputs[0].size} elements) into {shape}.")
    return Aval(shape, inputs[0].dtype)


reshape_op = Op(
    "reshape",
    lambda x, shape: x.reshape(shape),
    _reshape_infer,
    (lambda g, out, x, shape: reshape(g, x.shape),),
    family="shape",
    doc="The same elements in row-major order in another shape.",
    samples=lambda rng: [((rng.normal(size=(3, 4)),), {"shape": (2, 6)}), ((rng.normal(size=(1,)),), {"shape": ()})],
    errors=[((np.ones((2, 3)),), {"shape": (4,)}, ShapeError, "cannot turn shape")],
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
    t = x if type(x) is Tensor else as_tensor(x)
    sizes = given = _integers("reshape", "sizes", shape)
    if -1 in given:
        at = given.index(-1)
        known = math.prod(given[:at] + given[at + 1 :])
        if known > 0 and t.size % known == 0:
            sizes = (*given[:at], t.size // known, *given[at + 1 :])
    if min(sizes, default=0) < 0 or math.prod(sizes) != t.size or len(sizes) > _MOST_AXES:
        raise ShapeError(f"reshape: cannot turn shape {t.shape} ({t.size} elements) into {given}.")
    return t if sizes == t._shape else apply(reshape_op, (t,), {"shape": sizes})


def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Tensor:
    """Insert axes of size 1.

    Args:
        x: any tensor.
        axis: where, counted in the result.

    Raises:
        ArgumentError: an axis is out of range, or named twice.

    Example:
        >>> import ranvier as rv
        >>> rv.expand_dims(rv.tensor([1, 2]), 0).shape
        (1, 2)
    """
    t = as_tensor(x)
    rank = t.ndim + len(_integers("expand_dims", "axes", axis))
    places, rest = _axes("expand_dims", axis, rank), iter(t._shape)
    return reshape(t, tuple([1 if i in places else next(rest) for i in range(rank)]))


def squeeze(x: Any, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Remove axes of size 1.

    Args:
        x: any tensor.
        axis: which; None for all of size 1.

    Raises:
        ShapeError: a named axis has another size.
        ArgumentError: an axis is out of range, or named twice.

    Example:
        >>> import ranvier as rv
        >>> rv.squeeze(rv.zeros((1, 3, 1))).shape
        (3,)
    """
    t = as_tensor(x)
    axes = [i for i, n in enumerate(t.shape) if n == 1] if axis is None else _axes("squeeze", axis, t.ndim)
    if any([t.shape[a] != 1 for a in axes]):
        raise ShapeError(f"squeeze: axes {sorted(axes)} of shape {t.shape} do not all have size 1.")
    return reshape(t, tuple([n for i, n in enumerate(t.shape) if i not in axes]))


# -- transpose ----------------------------------------------------------------------------------------------------

transpose_op = Op(
    "transpose",
    lambda x, axes: np.transpose(x, axes),
    lambda inputs, axes: Aval(tuple([inputs[0].shape[a] for a in axes]), inputs[0].dtype),
    (lambda g, out, x, axes: transpose(g, tuple([axes.index(i) for i in range(len(axes))])),),
    family="shape",
    doc="Axes reordered: axis i of the result is axis axes[i] of x.",
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
    rank = len(t._shape)
    if axes is None:
        return t if rank < 2 else apply(transpose_op, (t,), {"axes": tuple(range(rank - 1, -1, -1))})
    order = tuple([a % rank if -rank <= a < rank else -1 for a in _integers("transpose", "axes", axes)])
    if sorted(order) != list(range(rank)):
        raise ArgumentError(f"transpose: {axes} is not a permutation of the {rank} axes of shape {t.shape}.")
    return t if list(order) == list(range(rank)) else apply(transpose_op, (t,), {"axes": order})


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Exchange two axes.

    Args:
        x: any tensor.
        axis1: one axis.
        axis2: the other axis.

    Example:
        >>> import ranvier as rv
        >>> rv.swapaxes(rv.zeros((2, 3, 4)), 0, 2).shape
        (4, 3, 2)
    """
    t = as_tensor(x)
    a, b = (_one_axis("swapaxes", axis, t.ndim) for axis in (axis1, axis2))
    order = list(range(t.ndim))
    order[a], order[b] = b, a
    return transpose(t, tuple(order))


def matrix_transpose(x: Any) -> Tensor:
    """Exchange the last two axes.

    Args:
        x: a tensor with at least two axes.

    Raises:
        ShapeError: fewer axes.

    Example:
        >>> import ranvier as rv
        >>> rv.matrix_transpose(rv.zeros((5, 2, 3))).shape
        (5, 3, 2)
    """
    t = as_tensor(x)
    if t.ndim < 2:
        raise ShapeError(f"matrix_transpose: expected at least two axes, got shape {t.shape}.")
    return swapaxes(t, -1, -2)


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Move axes to other places; the others keep their order.

    Args:
        x: any tensor.
        source: the axis, or several.
        destination: its new place, or as many.

    Raises:
        ArgumentError: an axis is out of range or named twice, or the numbers of axes differ.

    Example:
        >>> import ranvier as rv
        >>> rv.moveaxis(rv.zeros((2, 3, 4)), 0, -1).shape
        (3, 4, 2)
    """
    t = as_tensor(x)
    old, new = _axes("moveaxis", source, t.ndim), _axes("moveaxis", destination, t.ndim)
    if len(old) != len(new):
        raise ArgumentError(f"moveaxis: expected one destination for each source, got {source} and {destination}.")
    order = [i for i in range(t.ndim) if i not in old]
    for place, axis in sorted(zip(new, old, strict=True)):
        order.insert(place, axis)
    return transpose(t, tuple(order))


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
    doc="x repeated along axes of size 1 and new leading axes.",
    samples=lambda rng: [
        ((rng.normal(size=(3, 1)),), {"shape": (2, 3, 4)}),
        ((rng.normal(size=()),), {"shape": (3,)}),
        ((rng.normal(size=(4,)),), {"shape": (3, 4)}),
    ],
    errors=[
        ((np.ones(3),), {"shape": (2, 4)}, ShapeError, "broadcast"),
        ((np.ones((2, 3)),), {"shape": (3,)}, ShapeError, "cannot be repeated"),
    ],
)


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Repeat along axes of size 1 and new leading axes, without copying.

    Args:
        x: any tensor.
        shape: the shape wanted.

    Raises:
        ShapeError: the shape cannot be reached by repetition.

    Example:
        >>> import ranvier as rv
        >>> rv.broadcast_to(rv.tensor([1, 2]), (2, 2)).tolist()
        [[1, 2], [1, 2]]
    """
    t, target = as_tensor(x), as_shape("broadcast_to", shape)
    return t if t._shape == target else apply(broadcast_op, (t,), {"shape": target})


def broadcast_arrays(*tensors: Any) -> list[Tensor]:
    """The tensors, all repeated to their common shape.

    Args:
        *tensors: any tensors.

    Raises:
        ShapeError: their shapes do not broadcast.

    Example:
        >>> import ranvier as rv
        >>> [t.shape for t in rv.broadcast_arrays(rv.zeros((2, 1)), rv.zeros((3,)))]
        [(2, 3), (2, 3)]
    """
    parts = [as_tensor(t) for t in tensors]
    shape = broadcast_shapes("broadcast_arrays", *[t.shape for t in parts]) if parts else ()
    return [broadcast_to(t, shape) for t in parts]


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
    doc="``x[starts:stops:steps]`` with bounds in range and positive steps.",
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
    doc="x placed into zeros: the transpose of slice.",
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
    first = _integers("embed", "starts", starts)
    jumps = _integers("embed", "steps", steps) if steps is not None else (1,) * t.ndim
    fits = len(target) == len(first) == len(jumps) == t.ndim and all(
        a >= 0 and c > 0 and (n == 0 or a + (n - 1) * c < m)
        for a, c, n, m in zip(first, jumps, t.shape, target, strict=True)
    )
    if not fits:
        raise ShapeError(f"embed: shape {t.shape} from {first} in steps {jumps} does not fit into {target}.")
    require_memory("embed", target, t.dtype)
    return apply(embed_op, (t,), {"shape": target, "starts": first, "steps": jumps})


# -- flip, concatenate --------------------------------------------------------------------------------------------

flip_op = Op(
    "flip",
    lambda x, axes: np.flip(x, axes),
    lambda inputs, axes: Aval(inputs[0].shape, inputs[0].dtype),
    (lambda g, out, x, axes: apply(flip_op, (g,), {"axes": axes}),),
    family="shape",
    doc="The order of elements reversed along axes.",
    samples=lambda rng: [((rng.normal(size=(3, 4)),), {"axes": (1,)}), ((rng.normal(size=(3, 4)),), {"axes": (0, 1)})],
)


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Reverse the order of elements along axes.

    Args:
        x: any tensor.
        axis: one axis, several, or None for all.

    Raises:
        ArgumentError: an axis is out of range, or named twice.

    Example:
        >>> import ranvier as rv
        >>> rv.flip(rv.tensor([1, 2, 3])).tolist()
        [3, 2, 1]
    """
    t = as_tensor(x)
    axes = tuple(range(t.ndim)) if axis is None else tuple(sorted(_axes("flip", axis, t.ndim)))
    return apply(flip_op, (t,), {"axes": axes}) if axes else t


def _concatenate_infer(inputs: Sequence[Tensor], axis: int) -> Aval:
    first = inputs[0]
    rest = first.shape[:axis] + first.shape[axis + 1 :]
    for t in inputs[1:]:
        if t.ndim != first.ndim or t.shape[:axis] + t.shape[axis + 1 :] != rest:
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
    doc="Tensors joined along an existing axis.",
    samples=lambda rng: [
        ((rng.normal(size=(2, 3)), rng.normal(size=(2, 1)), rng.normal(size=(2, 2))), {"axis": 1}),
        ((rng.normal(size=(2,)), rng.normal(size=(0,))), {"axis": 0}),
        ((rng.normal(size=(2, 3)),), {"axis": 0}),
    ],
    errors=[((np.ones((2, 3)), np.ones((3, 3))), {"axis": 1}, ShapeError, "differ outside axis")],
)


def _piece(g: Tensor, xs: Sequence[Tensor], axis: int, index: int) -> Tensor:
    start = sum(t.shape[axis] for t in xs[:index])
    starts = [start if i == axis else 0 for i in range(g.ndim)]
    stops = [start + xs[index].shape[axis] if i == axis else n for i, n in enumerate(g.shape)]
    return slice_static(g, starts, stops, (1,) * g.ndim)


def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Join tensors along an existing axis.

    Args:
        tensors: tensors of equal shape but for ``axis``.
        axis: the axis along which they are joined; None joins them flattened.

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
    if axis is None:
        parts, axis = tuple([reshape(t, (t.size,)) for t in parts]), 0
    where = _one_axis("concatenate", axis, parts[0].ndim)
    return parts[0] if len(parts) == 1 else apply(concatenate_op, parts, {"axis": where})


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors of equal shape along a new axis.

    Args:
        tensors: the tensors.
        axis: the place of the new axis.

    Raises:
        ShapeError: shapes differ.
        ArgumentError: nothing to join, or the axis is out of range.

    Example:
        >>> import ranvier as rv
        >>> rv.stack([rv.tensor([1, 2]), rv.tensor([3, 4])]).tolist()
        [[1, 2], [3, 4]]
    """
    parts = [as_tensor(t) for t in tensors]
    if not parts:
        raise ArgumentError("stack: expected at least one tensor, got an empty sequence.")
    shapes = {t.shape for t in parts}
    if len(shapes) > 1:
        raise ShapeError(f"stack: expected equal shapes, got {' and '.join(map(str, sorted(shapes)))}.")
    where = _one_axis("stack", axis, parts[0].ndim + 1)
    return concatenate([expand_dims(t, where) for t in parts], where)


def split(x: Any, parts: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Cut a tensor along an axis.

    Args:
        x: any tensor.
        parts: a number of equal parts, or the positions to cut at.
        axis: the axis.

    Raises:
        ShapeError: the axis does not divide into that many equal parts.
        ArgumentError: the axis is out of range.

    Example:
        >>> import ranvier as rv
        >>> [part.tolist() for part in rv.split(rv.tensor([1, 2, 3, 4]), 2)]
        [[1, 2], [3, 4]]
    """
    t = as_tensor(x)
    where = _one_axis("split", axis, t.ndim)
    n = t.shape[where]
    if isinstance(parts, int):
        if isinstance(parts, bool) or parts < 1 or n % parts:
            raise ShapeError(f"split: axis {axis} of size {n} does not divide into {parts} equal parts.")
        cuts = [i * (n // parts) for i in range(parts + 1)]
    else:
        cuts = [0, *_integers("split", "positions", parts), n]
    key = [slice(None)] * t.ndim
    return [t[(*key[:where], slice(a, b))] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


def repeat(x: Any, repeats: int, axis: int) -> Tensor:
    """Repeat each element along an axis: ``[1, 2]`` becomes ``[1, 1, 2, 2]``.

    Args:
        x: any tensor.
        repeats: how often.
        axis: the axis.

    Raises:
        ShapeError: ``repeats`` is negative.
        ArgumentError: the axis is out of range.

    Example:
        >>> import ranvier as rv
        >>> rv.repeat(rv.tensor([1, 2]), 2, axis=0).tolist()
        [1, 1, 2, 2]
    """
    t = as_tensor(x)
    where, (times,) = _one_axis("repeat", axis, t.ndim), as_shape("repeat", (repeats,))
    target = (*t.shape[:where], t.shape[where] * times, *t.shape[where + 1 :])
    require_memory("repeat", target, t.dtype)
    wide = broadcast_to(expand_dims(t, where + 1), (*t.shape[: where + 1], times, *t.shape[where + 1 :]))
    return reshape(wide, target)


def tile(x: Any, repetitions: int | Sequence[int]) -> Tensor:
    """Repeat the whole tensor along each axis: ``[1, 2]`` becomes ``[1, 2, 1, 2]``.

    Args:
        x: any tensor.
        repetitions: how often, for each axis.

    Raises:
        ShapeError: a count is negative.

    Example:
        >>> import ranvier as rv
        >>> rv.tile(rv.tensor([1, 2]), (2,)).tolist()
        [1, 2, 1, 2]
    """
    t = as_tensor(x)
    counts = as_shape("tile", repetitions)
    rank = max(t.ndim, len(counts))
    t = reshape(t, (1,) * (rank - t.ndim) + t.shape)
    counts = (1,) * (rank - len(counts)) + counts
    target = tuple([c * n for c, n in zip(counts, t.shape, strict=True)])
    require_memory("tile", target, t.dtype)
    inner = tuple([n for pair in zip((1,) * rank, t.shape, strict=True) for n in pair])
    outer = tuple([n for pair in zip(counts, t.shape, strict=True) for n in pair])
    return reshape(broadcast_to(reshape(t, inner), outer), target)


def full_like(x: Any, value: float) -> Tensor:
    """A tensor like ``x`` in shape and dtype, filled with one value.

    Args:
        x: any tensor.
        value: the value.

    Example:
        >>> import ranvier as rv
        >>> rv.full_like(rv.tensor([1.0, 2.0]), 7).tolist()
        [7.0, 7.0]
    """
    t = as_tensor(x)
    filling = e._scalar(value, t.dtype) if type(value) in (int, float, bool) else as_tensor(value)
    return broadcast_to(e.astype(filling, t.dtype), t.shape)


def zeros_like(x: Any) -> Tensor:
    """Zeros like ``x`` in shape and dtype.

    Args:
        x: any tensor.

    Example:
        >>> import ranvier as rv
        >>> rv.zeros_like(rv.tensor([3.0, 4.0])).tolist()
        [0.0, 0.0]
    """
    return full_like(x, 0)


def ones_like(x: Any) -> Tensor:
    """Ones like ``x`` in shape and dtype.

    Args:
        x: any tensor.

    Example:
        >>> import ranvier as rv
        >>> rv.ones_like(rv.tensor([3.0, 4.0])).tolist()
        [1.0, 1.0]
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


# Names of the array-API standard for functions that NumPy calls otherwise.
concat = concatenate
permute_dims = transpose
