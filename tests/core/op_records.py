"""What the generated tests of the op table share: the records, inputs for each, and the public function of each.

Records are found in the table itself, so a new op is tested without being named here; only an op that is not called
like a function of its tensors needs a line in ``PUBLIC``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import ranvier as rv
from ranvier import dtypes
from ranvier.autodiff import alias
from ranvier.ops.elementwise import Binary, Unary
from ranvier.ops.random import random_bits
from ranvier.ops.table import TABLE, Op, apply
from ranvier.tensor import Tensor

DTYPES = (
    dtypes.bool_, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64, dtypes.uint8, dtypes.uint32, dtypes.bfloat16,
    dtypes.float32, dtypes.float64,
)  # fmt: skip

# Loops and branches hold traced bodies; tests/core/test_control.py and tests/compiler check them as wholes.
OPS = {name: op for name, op in sorted(TABLE.items()) if op.family != "control"}
ELEMENTWISE = {name: op for name, op in OPS.items() if isinstance(op, Unary | Binary)}

Sample = tuple[tuple[np.ndarray, ...], dict[str, Any]]


def _first(x: Tensor, axis: int, count: int) -> Tensor:
    if count > x.shape[axis]:
        raise rv.errors.ShapeError(f"expected at most {x.shape[axis]}")
    return x[(slice(None),) * axis + (slice(count),)]


# How a user reaches the records that are not called as op(*tensors, **attrs).
PUBLIC: dict[str, Callable[..., Tensor]] = {
    "add_along_axis": rv.add_along_axis,
    "alias": alias,
    "argsort": lambda x, axis, descending, count: _first(rv.argsort(x, axis, descending), axis, count),
    "bitcast": rv.bitcast,
    "broadcast_to": rv.broadcast_to,
    "cast": rv.astype,
    "concatenate": lambda *xs, axis: rv.concatenate(xs, axis),
    "conv": rv.conv,
    "conv_input": TABLE["conv_input"],
    "conv_kernel": TABLE["conv_kernel"],
    "cumulative_max": rv.cumulative_max,
    "cumulative_prod": rv.cumulative_prod,
    "cumulative_sum": rv.cumulative_sum,
    "custom_gradient": lambda y, *xs, rule: rv.custom_gradient(lambda *ts: (ts[0], rule))(*xs),
    "embed": rv.embed,
    "flip": lambda x, axes: rv.flip(x, axes),
    "linear_recurrence": TABLE["linear_recurrence"],
    "matmul": rv.matmul,
    "random_bits": random_bits,
    "reduce_and": lambda x, axes: rv.all(x, axes),
    "reduce_max": lambda x, axes: rv.max(x, axes),
    "reduce_min": lambda x, axes: rv.min(x, axes),
    "reduce_or": lambda x, axes: rv.any(x, axes),
    "reduce_sum": lambda x, axes: rv.sum(x, axes),
    "reshape": rv.reshape,
    "scatter_add": rv.scatter_add,
    "slice": lambda x, starts, stops, steps: rv.asarray(x)[tuple(map(slice, starts, stops, steps))],
    "stop_gradient": rv.stop_gradient,
    "take": rv.take,
    "take_along_axis": rv.take_along_axis,
    "transpose": rv.transpose,
    "where": rv.where,
    "window_argmax": TABLE["window_argmax"],
    "window_put": TABLE["window_put"],
    "window_spread": TABLE["window_spread"],
    "window_sum": TABLE["window_sum"],
    "window_take": TABLE["window_take"],
}


def apart(rng: np.random.Generator, low: float, high: float, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Random arrays whose values, taken together, all differ clearly from one another and from 0 (no kink is near)."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    total = sum(sizes) + 1
    values = low + (high - low) * (rng.permutation(total) + rng.uniform(0.3, 0.7, total)) / total
    values = values[np.argsort(np.abs(values) < 0.05 * (high - low) / total, kind="stable")][: total - 1]
    values[np.abs(values) < 1e-3] = 0.37 * high
    cuts = np.cumsum(sizes)[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(values, cuts), shapes, strict=True)]


def samples(op: Op, rng: np.random.Generator) -> list[Sample]:
    """Inputs of the record: its own samples, or for plain elementwise ops values of its domain in several shapes."""
    if op.samples is not None:
        return op.samples(rng)
    low, high = op.domain
    if isinstance(op, Unary):
        return [(tuple(apart(rng, low, high, shape)), {}) for shape in ((3, 4), (), (7,))]
    pairs = (((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (3,)), ((2, 3, 1), (3, 5)))
    return [(tuple(apart(rng, low, high, *pair)), {}) for pair in pairs]


def as_dtype_of(array: np.ndarray, dtype: dtypes.DType) -> Tensor:
    """Sample values as a tensor of ``dtype``; index arrays and masks, which are not float64, stay what they are."""
    if array.dtype != np.float64:
        return rv.asarray(array)
    if dtype is dtypes.bool_:
        return rv.asarray(array > np.median(array) if array.size else array > 0)
    if not dtype.is_float:
        return rv.asarray(np.abs(np.rint(array * 3)).astype(dtype.numpy) if dtype.kind == "uint" else np.rint(array * 3)
                          .astype(dtype.numpy))  # fmt: skip
    return rv.asarray(array, dtype)


def accepts(op: Op, inputs: Sequence[Tensor], attrs: dict[str, Any]) -> bool:
    """Whether the record's own rule takes these inputs."""
    try:
        op.infer(inputs, **attrs)
    except rv.errors.DTypeError:
        return False
    return True


def fitting(op: Op, sample: Sample) -> list[Tensor]:
    """A sample in the first dtype that the record takes, float64 if it can be."""
    arrays, attrs = sample
    for dtype in (dtypes.float64, dtypes.int64, dtypes.bool_):
        inputs = [as_dtype_of(a, dtype) for a in arrays]
        if accepts(op, inputs, attrs):
            return inputs
    raise AssertionError(f"{op.name} takes none of its samples")


def run(op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Tensor:
    """The record itself, past the conveniences of its public function."""
    return apply(op, tuple(rv.asarray(x) for x in inputs), attrs)


def public(op: Op) -> Callable[..., Tensor]:
    """What a user calls."""
    return PUBLIC.get(op.name, op)
