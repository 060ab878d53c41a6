"""Flattening: work that follows a product is done in the product's shape, and sums of products become one product.

A dense layer on sequences, ``x @ w + b`` with x of shape (batch, time, features), is one tall product of two axes
whose result is reshaped. Left so, the bias, the activation and the normalisation behind it run over three axes, another
arrangement of memory as far as fusion can see, and become kernels of their own. Here the reshape sinks: elementwise ops
and reductions are done in the shape with fewer axes, and the reshape comes after them, where it costs nothing.

The gradient of such a layer's weights is a sum over the batch of small products; written as one product over batch and
time together it needs no memory for the parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.passes.layout import elementwise
from ranvier.compiler.passes.simplify import uniform
from ranvier.compiler.views import VIEWS, view

__all__ = ["flatten"]

_DEPTH = 8  # ops of a random mask that are rebuilt in another shape

Parts = tuple[int, ...]
"""For each axis of the flat shape, how many axes of the full shape it stands for."""


def flatten(graph: Graph) -> Graph:
    """The graph in flat shapes; equal in value (sums of products associate differently)."""
    users: dict[int, int] = {}
    for v in graph.nodes():
        for x in v.inputs:
            users[id(x)] = users.get(id(x), 0) + 1
    made = _Flattener()

    def rule(v: Value, inputs: list[Value]) -> Value:
        new = v if all(a is b for a, b in zip(v.inputs, inputs, strict=True)) else _with_inputs(v, inputs)
        if v.op == "reduce_sum" and users.get(id(v.inputs[0])) == 1:
            product = _sum_of_products(new)
            if product is not None:
                return product
        if v.op.startswith("reduce_"):
            return made.reduction(new)
        return made.elementwise(new) if elementwise(v) else new

    return graph.rewrite(rule)


def _with_inputs(v: Value, inputs: Sequence[Value]) -> Value:
    new = v.like(v.op, inputs, v.attrs)
    new.layout = v.layout
    return new


def _peeled(x: Value) -> Value:
    """What ``x`` is a reshape of."""
    while x.op == "reshape":
        x = x.inputs[0]
    return x


def _reshaped(x: Value, shape: tuple[int, ...]) -> Value | None:
    """``x`` in another shape without moving anything, or None."""
    source = _peeled(x)
    if source.shape == shape:
        return source
    made = x.like("reshape", [source], {"shape": shape}, shape=shape)
    return made if view(made, strict=False) is not None else None


# -- sums of products -------------------------------------------------------------------------------------------------


def _sum_of_products(v: Value) -> Value | None:
    """``sum over b of A[b] @ B[b]`` as one product over b and k together."""
    x = v.inputs[0]
    if x.op != "matmul" or x.ndim != 3 or v.attrs["axes"] != (0,) or v.dtype is not x.dtype or not x.dtype.is_float:
        return None
    a, b = x.inputs
    count, m, k, n = *a.shape, b.shape[2]
    if a.op == "transpose" and a.attrs["axes"] == (0, 2, 1):
        turned = a.inputs[0]
    else:
        turned = a.like("transpose", [a], {"axes": (0, 2, 1)}, shape=(count, k, m))
    left, right = _reshaped(turned, (count * k, m)), _reshaped(b, (count * k, n))
    if left is None or right is None:
        return None
    left = left.like("transpose", [left], {"axes": (1, 0)}, shape=(m, count * k))
    return v.like("matmul", [left, right], {})


# -- shapes -----------------------------------------------------------------------------------------------------------


def _parts(full: tuple[int, ...], flat: tuple[int, ...]) -> Parts | None:
    """How the axes of ``flat`` are made of those of ``full``, one after another; None if they are not."""
    parts, at = [], 0
    for n in flat:
        start, size = at, 1
        while at < len(full) and (size < n or at == start):
            size *= full[at]
            at += 1
        if size != n:
            return None
        parts.append(at - start)
    if any(n != 1 for n in full[at:]):
        return None
    parts[-1:] = [parts[-1] + len(full) - at] if parts else []
    return tuple(parts)


def _part_shape(shape: tuple[int, ...], full: tuple[int, ...], parts: Parts) -> tuple[int, ...] | None:
    """The flat shape of an array that broadcasts to ``full``; None if it varies along part of a joined axis only."""
    shape = (1,) * (len(full) - len(shape)) + shape
    flat, at = [], 0
    for count in parts:
        here, whole = shape[at : at + count], full[at : at + count]
        if here == whole:
            flat.append(math.prod(whole))
        elif all(n == 1 for n in here):
            flat.append(1)
        else:
            return None
        at += count
    return tuple(flat)


class _Flattener:
    """Ops in flat shapes; what is made for one user is used by all."""

    def __init__(self) -> None:
        self.moved: dict[tuple[int, tuple[int, ...]], Value] = {}
        self.keep: list[Value] = []

    def elementwise(self, v: Value) -> Value:
        if v.ndim < 2 or v.size == 0:
            return v
        sources = [_peeled(x) for x in v.inputs if x.op == "reshape" and x.shape == v.shape]
        sources = [x for x in sources if x.ndim < v.ndim and x.op not in VIEWS and x.op not in ("input", "const")]
        for flat in sorted({x.shape for x in sources}, key=len):
            parts = _parts(v.shape, flat)
            inputs = [self.input(x, v.shape, parts) for x in v.inputs] if parts else [None]
            if all(x is not None for x in inputs):
                made = v.like(v.op, [x for x in inputs if x is not None], v.attrs, shape=flat)
                return v.like("reshape", [made], {"shape": v.shape})
        return v

    def input(self, x: Value, full: tuple[int, ...], parts: Parts) -> Value | None:
        if x.ndim == 0:
            return x
        shape = _part_shape(x.shape, full, parts)
        if shape is None:
            return None
        if uniform(x) is not None and x.op != "const":
            return None  # a number in disguise: simplification has not been here yet
        return self.moved_to(x, shape, _DEPTH)

    def moved_to(self, x: Value, shape: tuple[int, ...], depth: int) -> Value | None:
        """``x`` in a flat shape: reshaped, or, if it is a random mask, computed there."""
        key = (id(x), shape)
        if key not in self.moved:
            made = self._rebuilt(x, shape, depth) if _random(x, depth) else _reshaped(x, shape)
            if made is None:
                return None
            self.moved[key] = made
            self.keep.append(x)
        return self.moved[key]

    def _rebuilt(self, x: Value, shape: tuple[int, ...], depth: int) -> Value | None:
        if x.op == "random_bits":  # its numbers go by the place in memory
            return x.like(x.op, x.inputs, {**x.attrs, "shape": shape} if "shape" in x.attrs else x.attrs, shape=shape)
        inputs = [i if i.size == 1 and i.ndim == 0 else self.moved_to(i, shape, depth - 1) for i in x.inputs]
        known = [i for i in inputs if i is not None]
        return x.like(x.op, known, x.attrs, shape=shape) if len(known) == len(inputs) else None

    def reduction(self, v: Value) -> Value:
        x = v.inputs[0]
        source = _peeled(x)
        if x.op != "reshape" or source.ndim >= x.ndim or source.op in VIEWS or source.op in ("input", "const"):
            return v
        parts = _parts(x.shape, source.shape)
        if parts is None:
            return v
        axes, at = [], 0
        for axis, count in enumerate(parts):
            here = [a in v.attrs["axes"] for a in range(at, at + count) if x.shape[a] != 1]
            if any(here) != all(here):
                return v
            if here and all(here):
                axes.append(axis)
            at += count
        if not axes or (len(axes) > 1 and source.ndim < 3):
            return v
        shape = tuple(n for a, n in enumerate(source.shape) if a not in axes)
        made = v.like(v.op, [source], {"axes": tuple(axes)}, shape=shape)
        return v.like("reshape", [made], {"shape": v.shape})


def _random(x: Value, depth: int) -> bool:
    """Whether ``x`` is computed from random bits and numbers alone."""
    if x.op == "random_bits":
        return True
    if not depth or not elementwise(x):
        return False
    whole = [i for i in x.inputs if i.ndim]
    return bool(whole) and all(i.shape == x.shape and _random(i, depth - 1) for i in whole)
