"""Lowering: every op is brought to a form for which there is a kernel.

Afterwards the graph holds only: elementwise ops and ``copy``; reductions along neighbouring axes; ``take`` with a
one-axis index and ``take_along_axis``; ``scatter_add`` along axis 0; cumulative ops of contiguous values; ``argsort``
of rows; two-axis ``matmul`` and batched ``matmul`` with equal batch axes; views (``reshape``, ``transpose``,
``broadcast_to``, ``slice``, ``flip``) that strides can express; ``concatenate`` and ``embed``; convolutions and
windows; control ops. An op that fits none of these runs on the reference inside the plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ranvier import dtypes
from ranvier.compiler.graph import Graph, Value, constant, with_inputs
from ranvier.compiler.views import VIEWS, view

__all__ = ["lower"]

_ROW = 16  # elements of a row that is worth a sum of its own


def lower(graph: Graph) -> Graph:
    """The graph in the form described above; equal in value (sums may associate differently)."""

    def rule(v: Value, inputs: list[Value]) -> Value:
        made = v.like(v.op, inputs, v.attrs) if any(a is not b for a, b in zip(v.inputs, inputs, strict=True)) else v
        law = _LAWS.get(v.op)
        return law(made) if law else made

    graph = graph.rewrite(rule)
    first = len(graph.inputs) - len(graph.variables)
    updated = {id(graph.inputs[first + i]) for i in graph.updates}
    results = [_materialised(v, updated) for v in graph.results]
    graph.outputs = results + [_new_value(v) for v in graph.outputs[len(results) :]]
    return graph


# -- small constructors -------------------------------------------------------------------------------------------


def copy(v: Value) -> Value:
    """The same value in memory of its own."""
    return v.like("copy", [v], {})


def _materialised(v: Value, updated: set[int]) -> Value:
    """A result must lie in its own memory, row by row, and not in that of a variable that gets a new value."""
    arranged = v.op in ("transpose", "slice", "flip", "broadcast_to") or _is_strided_reshape(v)
    return copy(v) if arranged or id(view(v).root) in updated else v


def _new_value(v: Value) -> Value:
    """A variable's new value must have memory of its own, so that old values can still be read."""
    return copy(v) if v.op in ("input", "const") or v.op in VIEWS else v


def _is_strided_reshape(v: Value) -> bool:
    return v.op == "reshape" and not view(v).contiguous


def reshape(v: Value, shape: tuple[int, ...]) -> Value:
    """A reshaped view, through a copy where strides cannot express it."""
    if v.shape == shape:
        return v
    made = v.like("reshape", [v], {"shape": shape}, shape=shape)
    return made if view(made, strict=False) is not None else v.like("reshape", [copy(v)], {"shape": shape}, shape=shape)


def _reshape(v: Value) -> Value:
    return reshape(v.inputs[0], v.shape)


# -- reductions ---------------------------------------------------------------------------------------------------


def _reduce(v: Value) -> Value:
    """Neighbouring axes together, the innermost first."""
    x = v.inputs[0]
    if v.op == "reduce_sum" and x.dtype is not v.dtype:
        x = x.like("cast", [x], {"dtype": v.dtype}, dtype=v.dtype)
    tall = _sum_of_products(v, x)
    if tall is not None:
        return tall
    runs: list[list[int]] = []
    for axis in sorted(v.attrs["axes"], reverse=True):
        # Long rows are summed by themselves, where the rest of what is done with a row is; and matrices may lie in
        # panels, whose rows do not follow one another.
        alone = x.ndim < 3 or (runs == [[x.ndim - 1]] and x.shape[-1] >= _ROW)
        if runs and runs[-1][0] == axis + 1 and not alone:
            runs[-1].insert(0, axis)
        else:
            runs.append([axis])
    for run in runs:
        x = _reduce_run(v, x, run)
    return x


def _reduce_run(v: Value, x: Value, run: list[int]) -> Value:
    if len(run) > 1 and not _even(x, run):
        for axis in reversed(run):
            x = _reduce_run(v, x, [axis])
        return x
    shape = x.shape[: run[0]] + x.shape[run[-1] + 1 :]
    return x.like(v.op, [x], {"axes": tuple(run)}, shape=shape)


def _sum_of_products(v: Value, x: Value) -> Value | None:
    """The sum of ``a' b`` over a batch as one product of the batches laid end to end: the gradient of a weight."""
    while x.op == "reshape" and x.inputs[0].op in ("reshape", "matmul"):  # as batched products are lowered
        x = x.inputs[0]
    if v.op != "reduce_sum" or x.op != "matmul" or x.ndim != 3 or x.size == 0 or v.shape != x.shape[1:]:
        return None
    if v.inputs[0].ndim - len(v.attrs["axes"]) != 2 or sorted(v.attrs["axes"]) != list(range(len(v.attrs["axes"]))):
        return None
    a, b = x.inputs
    swap = a.like("transpose", [a], {"axes": (0, 2, 1)}, shape=(a.shape[0], a.shape[2], a.shape[1]))
    a = a.inputs[0] if a.op == "transpose" and a.attrs["axes"] == (0, 2, 1) else swap
    a, b = (reshape(y, (y.shape[0] * y.shape[1], y.shape[2])) for y in (a, b))
    turned = a.like("transpose", [a], {"axes": (1, 0)}, shape=a.shape[::-1])
    return v.like("matmul", [turned, b], {}, shape=v.shape)


def _even(x: Value, axes: list[int]) -> bool:
    """Whether the axes are walked through memory as one."""
    strides = view(x).strides
    return all(strides[a] == strides[a + 1] * x.shape[a + 1] for a in axes[:-1])


def _cut(x: Value, axis: int, start: int, stop: int) -> Value:
    if (start, stop) == (0, x.shape[axis]):
        return x
    starts = tuple(start if i == axis else 0 for i in range(x.ndim))
    stops = tuple(stop if i == axis else n for i, n in enumerate(x.shape))
    shape = tuple(b - a for a, b in zip(starts, stops, strict=True))
    return x.like("slice", [x], {"starts": starts, "stops": stops, "steps": (1,) * x.ndim}, shape=shape)


_COMBINE = {
    "reduce_sum": "add", "reduce_max": "maximum", "reduce_min": "minimum", "reduce_and": "logical_and",
    "reduce_or": "logical_or",
}  # fmt: skip

# -- products -----------------------------------------------------------------------------------------------------


def _matmul(v: Value) -> Value:
    a, b = v.inputs
    if v.ndim == 2 or v.size == 0:
        return v
    if b.ndim == 2:  # one matrix for all: a single tall product
        rows = v.size // v.shape[-1]
        flat = v.like("matmul", [reshape(a, (rows, a.shape[-1])), b], {}, shape=(rows, v.shape[-1]))
        return reshape(flat, v.shape)
    batch = v.shape[:-2]
    count = math.prod(batch)
    parts = []
    for x in (a, b):
        full = (*batch, *x.shape[-2:])
        x = x if x.shape == full else x.like("broadcast_to", [x], {"shape": full}, shape=full)
        parts.append(reshape(x, (count, *x.shape[-2:])))
    flat = v.like("matmul", parts, {}, shape=(count, *v.shape[-2:]))
    return reshape(flat, v.shape)


# -- indices ------------------------------------------------------------------------------------------------------


def _take(v: Value) -> Value:
    x, index = v.inputs
    axis = v.attrs["axis"]
    if index.ndim == 1:
        return v
    flat = reshape(index, (index.size,))
    shape = x.shape[:axis] + (index.size,) + x.shape[axis + 1 :]
    return reshape(v.like("take", [x, flat], v.attrs, shape=shape), v.shape)


def _scatter_add(v: Value) -> Value:
    """With a one-axis index; base and updates contiguous."""
    base, index, updates = v.inputs
    axis = v.attrs["axis"]
    if v.size == 0 or updates.size == 0:
        return v
    flat = reshape(updates, base.shape[:axis] + (index.size,) + base.shape[axis + 1 :])
    return v.like("scatter_add", [_packed(base), reshape(index, (index.size,)), _packed(flat)], v.attrs)


def _packed(v: Value) -> Value:
    return v if view(v).contiguous else copy(v)


def _add_along_axis(v: Value) -> Value:
    """A few updates along the axis: select each by comparing positions."""
    base, index, updates = v.inputs
    axis = v.attrs["axis"]
    if v.size == 0 or updates.size == 0:
        return v
    if index.shape[axis] > 4:
        return v.like("add_along_axis", [_packed(x) for x in v.inputs], v.attrs)
    n = base.shape[axis]
    position = constant(np.arange(n, dtype=np.int64).reshape((n,) + (1,) * (v.ndim - 1 - axis)), dtypes.int64, v)
    zero = constant(np.zeros((), v.dtype.numpy), v.dtype, v)
    total = base
    for k in range(index.shape[axis]):
        here = v.like("equal", [position, _cut(index, axis, k, k + 1)], {}, dtype=dtypes.bool_)
        part = v.like("where", [here, _cut(updates, axis, k, k + 1), zero], {})
        total = v.like("add", [total, part], {})
    return total


def _convolution(v: Value) -> Value:
    """Images contiguous; the weights are packed by the layout pass."""
    image, other = v.inputs
    return with_inputs(v, [_packed(image), other if v.op == "convolve" else _packed(other)])


def _window(v: Value) -> Value:
    """Everything contiguous."""
    return with_inputs(v, [_packed(x) for x in v.inputs])


# -- along an axis ------------------------------------------------------------------------------------------------


def _accumulate(v: Value) -> Value:
    """Contiguous inputs of the result's dtype."""
    if v.size == 0:
        return v
    wide = [x if x.dtype is v.dtype else x.like("cast", [x], {"dtype": v.dtype}, dtype=v.dtype) for x in v.inputs]
    return v.like(v.op, [_packed(x) for x in wide], v.attrs)


def _argsort(v: Value) -> Value:
    """Along the last axis of contiguous rows."""
    (x,), axis = v.inputs, v.attrs["axis"]
    if v.size == 0:
        return v
    order = (*[i for i in range(v.ndim) if i != axis], axis)
    if order != tuple(range(v.ndim)):
        x = x.like("transpose", [x], {"axes": order}, shape=tuple(x.shape[i] for i in order))
    attrs = {**v.attrs, "axis": v.ndim - 1}
    sorted_ = v.like(v.op, [_packed(x)], attrs, shape=tuple(v.shape[i] for i in order))
    if sorted_.shape == v.shape and order == tuple(range(v.ndim)):
        return sorted_
    back = tuple(order.index(i) for i in range(v.ndim))
    return sorted_.like("transpose", [sorted_], {"axes": back}, shape=v.shape)


_LAWS: dict[str, Callable[[Value], Value]] = {
    "reshape": _reshape,
    "matmul": _matmul,
    "take": _take,
    "scatter_add": _scatter_add,
    "add_along_axis": _add_along_axis,
    "argsort": _argsort,
    **dict.fromkeys(("cumulative_sum", "cumulative_prod", "cumulative_max", "linear_recurrence"), _accumulate),
    "convolve": _convolution,
    "correlate": _convolution,
    "window": _window,
    "window_weights": _window,
    **dict.fromkeys(_COMBINE, _reduce),
}
