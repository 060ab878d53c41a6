"""Contraction: the batched matrix product, from which dense layers, attention and recurrences are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, DTypeError, ShapeError, describe
from ranvier.ops import elementwise as e
from ranvier.ops import shape as s
from ranvier.ops.table import Aval, Op, apply, broadcast_shapes, require_kind
from ranvier.tensor import Tensor, as_tensor

__all__ = ["dot", "matmul", "outer", "tensordot", "vecdot"]


def _matmul_infer(inputs: Sequence[Tensor]) -> Aval:
    a, b = inputs
    require_kind("matmul", a, "int float")
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: shapes {a.shape} and {b.shape} do not fit: the last axis of the first must equal the axis "
            "before the last of the second."
        )
    batch = broadcast_shapes("matmul (batch axes)", a.shape[:-2], b.shape[:-2]) if a.ndim + b.ndim > 4 else ()
    return Aval((*batch, a.shape[-2], b.shape[-1]), a.dtype)


matmul_op = Op(
    "matmul",
    np.matmul,
    _matmul_infer,
    (
        lambda g, out, a, b: apply(matmul_op, (g, s.matrix_transpose(b)), {}),
        lambda g, out, a, b: apply(matmul_op, (s.matrix_transpose(a), g), {}),
    ),
    family="contraction",
    arity=2,
    broadcasts=True,
    doc="The matrix product of the last two axes; leading axes broadcast.",
    kinds="int float",
    samples=lambda rng: [
        ((rng.normal(size=(3, 4)), rng.normal(size=(4, 5))), {}),
        ((rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 5))), {}),
        ((rng.normal(size=(2, 1, 3, 4)), rng.normal(size=(3, 4, 2))), {}),
        ((rng.normal(size=(1, 4)), rng.normal(size=(4, 1))), {}),
        ((rng.normal(size=(2, 3)), rng.normal(size=(3, 0))), {}),
    ],
    errors=[
        ((np.ones((2, 3)), np.ones((4, 5))), {}, ShapeError, "do not fit"),
        ((np.ones((2, 2, 3)), np.ones((3, 3, 2))), {}, ShapeError, "batch axes"),
        ((np.ones((2, 2), bool), np.ones((2, 2), bool)), {}, DTypeError, "expected integer or floating"),
    ],
)


def matmul(a: Any, b: Any) -> Tensor:
    """The matrix product ``C[..., i, j] = sum_k A[..., i, k] B[..., k, j]``.

    Args:
        a: first factor; a vector counts as one row.
        b: second factor; a vector counts as one column.

    Shape:
        ``(..., n, k)`` and ``(..., k, m)`` give ``(..., n, m)``; leading axes broadcast.

    Raises:
        ShapeError: the inner sizes differ.

    Example:
        >>> import ranvier as rv
        >>> rv.matmul([[1.0, 2.0]], [[3.0], [4.0]]).tolist()
        [[11.0]]
    """
    if type(a) is Tensor and type(b) is Tensor and a._dtype is b._dtype:
        x, y = a, b
    else:
        x, y = e.coerce((as_tensor(a), as_tensor(b)))
    if x._dtype.kind == "bool":
        require_kind("matmul", x, "int float")
    if len(x._shape) >= 2 and len(y._shape) >= 2:
        return apply(matmul_op, (x, y), {})
    if not x._shape or not y._shape:
        raise ShapeError(f"matmul: expected at least one axis on each side, got shapes {x.shape} and {y.shape}; use *.")
    left, right = x.ndim == 1, y.ndim == 1
    if x.shape[-1] != y.shape[0 if right else -2]:
        raise ShapeError(
            f"matmul: shapes {x.shape} and {y.shape} do not fit: {x.shape[-1]} columns meet "
            f"{y.shape[0 if right else -2]} rows."
        )
    x = s.expand_dims(x, 0) if left else x
    y = s.expand_dims(y, 1) if right else y
    out = apply(matmul_op, (x, y), {})
    shape = out.shape[:-2] + (() if left else out.shape[-2:-1]) + (() if right else out.shape[-1:])
    return s.reshape(out, shape)


def dot(a: Any, b: Any) -> Tensor:
    """The inner product of two vectors.

    Args:
        a: a vector.
        b: a vector of the same length.

    Raises:
        ShapeError: not two vectors of one length.

    Example:
        >>> import ranvier as rv
        >>> rv.dot(rv.tensor([1.0, 2.0]), rv.tensor([3.0, 4.0])).item()
        11.0
    """
    x, y = e.coerce((as_tensor(a), as_tensor(b)))
    if x.ndim != 1 or x.shape != y.shape:
        raise ShapeError(f"dot: expected two vectors of one length, got shapes {x.shape} and {y.shape}.")
    return matmul(x, y)


def outer(a: Any, b: Any) -> Tensor:
    """The outer product of two vectors, ``C[i, j] = a[i] b[j]``.

    Args:
        a: a vector.
        b: a vector.

    Raises:
        ShapeError: not two vectors.

    Example:
        >>> import ranvier as rv
        >>> rv.outer(rv.tensor([1.0, 2.0]), rv.tensor([3.0, 4.0])).tolist()
        [[3.0, 4.0], [6.0, 8.0]]
    """
    x, y = e.coerce((as_tensor(a), as_tensor(b)))
    if x.ndim != 1 or y.ndim != 1:
        raise ShapeError(f"outer: expected two vectors, got shapes {x.shape} and {y.shape}.")
    return s.expand_dims(x, 1) * s.expand_dims(y, 0)


def tensordot(a: Any, b: Any, axes: int = 2) -> Tensor:
    """Contract the last ``axes`` axes of ``a`` with the first of ``b``.

    Args:
        a: a tensor.
        b: a tensor.
        axes: how many axes.

    Raises:
        ShapeError: the contracted sizes differ.
        ArgumentError: ``axes`` is no number of axes.

    Example:
        >>> import ranvier as rv
        >>> rv.tensordot(rv.ones((2, 3, 4)), rv.ones((3, 4, 5))).shape
        (2, 5)
    """
    if isinstance(axes, bool) or not isinstance(axes, int | np.integer) or axes < 0:
        raise ArgumentError(f"tensordot: expected axes to be a non-negative integer, got {describe(axes)}.")
    x, y = e.coerce((as_tensor(a), as_tensor(b)))
    cut = x.ndim - axes
    if cut < 0 or axes > y.ndim or x.shape[cut:] != y.shape[:axes]:
        raise ShapeError(f"tensordot: the last {axes} axes of {x.shape} must equal the first {axes} of {y.shape}.")
    inner = math.prod(y.shape[:axes])
    rows, columns = math.prod(x.shape[:cut]), math.prod(y.shape[axes:])
    flat = matmul(s.reshape(x, (rows, inner)), s.reshape(y, (inner, columns)))
    return s.reshape(flat, x.shape[:cut] + y.shape[axes:])


def vecdot(a: Any, b: Any, axis: int = -1) -> Tensor:
    """Inner products along an axis, ``sum(a * b, axis)``.

    Args:
        a: a tensor.
        b: a tensor that broadcasts with it.
        axis: the axis.

    Example:
        >>> import ranvier as rv
        >>> rv.vecdot(rv.tensor([[1.0, 2.0], [3.0, 4.0]]), rv.tensor([1.0, 1.0])).tolist()
        [3.0, 7.0]
    """
    from ranvier.ops.reduce import sum as reduced

    return reduced(e.multiply(a, b), axis)
