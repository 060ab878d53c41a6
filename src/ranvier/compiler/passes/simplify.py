"""Simplification: the same values from fewer nodes.

One walk over the graph applies the laws below to each node as it is rebuilt, folds constants and merges equal nodes
(common subexpressions). Laws that could change a bit of the result, or hide a NaN, are not used: ``x * 0`` stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.compiler.graph import Graph, Value, constant, with_inputs
from ranvier.compiler.interpret import evaluate
from ranvier.ops.table import TABLE

__all__ = ["simplify"]

_FOLD_LIMIT = 4096  # elements; larger results are cheaper to compute than to store
_IDENTITIES = frozenset({"alias", "stop_gradient"})


def simplify(graph: Graph) -> Graph:
    """The graph with laws applied, constants folded and equal nodes merged, until nothing changes."""
    nodes, pool = graph.nodes(), _Pool()
    settled: dict[int, Value] = {}  # nodes that no law changes: as long as their inputs stay, there is nothing to do

    def rule(v: Value, inputs: list[Value]) -> Value:
        v = with_inputs(v, inputs)
        if id(v) in settled:
            return v
        made, before = v, None
        while made is not before:  # what a law makes, another may simplify
            made, before = _law(made), made
        made = with_inputs(made, [pool.merge(i) for i in made.inputs])  # a law may have made inputs too
        kept = pool.merge(made)
        if kept is v:
            settled[id(v)] = v
        return kept

    while True:
        count = len(nodes)
        graph = graph.rewrite(rule, nodes)
        nodes = graph.nodes()
        if len(nodes) == count:
            return graph


# -- constants and equal nodes ------------------------------------------------------------------------------------


def uniform(v: Value) -> Any:
    """The one value that every element of ``v`` has, if that is known, else None."""
    while v.op in ("broadcast_to", "reshape", "transpose"):
        v = v.inputs[0]
    if v.op != "const" or v.size == 0:
        return None
    array = v.attrs["value"]
    first = array.flat[0]
    if bool(np.all(array == first)) and (first != 0 or np.all(np.signbit(array) == np.signbit(first))):
        return first
    return first if array.size == 1 else None  # NaN equals nothing, not even itself


def _key(v: Value) -> Any:
    if v.op == "const":
        array = v.attrs["value"]
        return (v.op, v.dtype.name, array.shape, array.tobytes()) if array.size <= _FOLD_LIMIT else id(v)
    if v.op == "input" or v.op in ("scan", "cond", "while", "custom_gradient"):
        return id(v)
    return (
        v.op,
        v.dtype.name,
        v.shape,
        tuple([id(i) for i in v.inputs]),
        tuple(sorted([(k, repr(x)) for k, x in v.attrs.items()])) if v.attrs else (),
    )


class _Pool:
    """The nodes of a graph under construction, each kept once."""

    def __init__(self) -> None:
        self.by_key: dict[Any, Value] = {}
        self.known: dict[int, Value] = {}

    def merge(self, v: Value) -> Value:
        """The node equal to ``v`` that was there first."""
        if id(v) in self.known:
            return v
        kept = self.by_key.setdefault(_key(v), v)
        self.known[id(kept)] = kept
        return kept


def _fold(v: Value) -> Value | None:
    if not v.inputs or v.size > _FOLD_LIMIT or v.op not in TABLE or any(i.op != "const" for i in v.inputs):
        return None
    if v.op == "broadcast_to":
        return None  # a small constant read with stride 0 is better than a large one
    array = np.asarray(evaluate(v, [i.attrs["value"] for i in v.inputs]))
    return constant(array, v.dtype, v)


# -- laws ---------------------------------------------------------------------------------------------------------


def _law(v: Value) -> Value:
    """``v``, or an equal and simpler node."""
    if v.op in _IDENTITIES:
        return v.inputs[0]
    if v.op == "custom_gradient":
        return v.inputs[0]
    folded = _fold(v)
    if folded is not None:
        return folded
    law = _LAWS.get(v.op)
    found = law(v) if law else None
    return v if found is None else found


def _shrink(v: Value) -> Value:
    """A large constant of one value as a broadcast scalar."""
    if v.size > 1:
        value = uniform(v)
        if value is not None:
            scalar = constant(np.asarray(value, v.dtype.numpy), v.dtype, v)
            return v.like("broadcast_to", [scalar], {"shape": v.shape})
    return v


def _same(v: Value, other: Value) -> Value | None:
    """``other`` if it can stand for ``v``; broadcast if its shape is smaller."""
    if other.dtype is not v.dtype:
        return None
    if other.shape == v.shape:
        return other
    return v.like("broadcast_to", [other], {"shape": v.shape})


def _add(v: Value) -> Value | None:
    a, b = v.inputs
    # x + (-0.0) is x for every x; x + 0.0 is not: it turns -0.0 into 0.0. For integers either zero will do.
    for x, zero in ((a, b), (b, a)):
        value = uniform(zero)
        if value is not None and value == 0 and (not v.dtype.is_float or np.signbit(value)):
            return _same(v, x)
    return _joined_parts(v)


def _joined_parts(v: Value) -> Value | None:
    """A sum of parts placed into zeros side by side is the parts put together: the gradient of taking slices.

    (Adding the zeros would make 0.0 of -0.0; the parts stay what they are.)
    """
    if not all(i.op in ("add", "embed") and i.shape == v.shape for i in v.inputs):
        return None
    parts: list[Value] = []
    stack = [v]
    while stack:
        x = stack.pop()
        if x.shape != v.shape or x.op not in ("add", "embed") or len(parts) > 64:
            return None
        if x.op == "add":
            stack.extend(x.inputs)
        else:
            parts.append(x)
    axes = {a for p in parts for a in range(v.ndim) if p.inputs[0].shape[a] != v.shape[a]}
    if len(axes) != 1 or any(set(p.attrs["steps"]) != {1} for p in parts):
        return None
    (axis,) = axes
    parts.sort(key=lambda p: (p.attrs["starts"][axis], p.inputs[0].shape[axis]))
    end = 0
    for p in parts:
        if p.attrs["starts"][axis] != end:
            return None
        end += p.inputs[0].shape[axis]
    if end != v.shape[axis]:
        return None
    return v.like("concatenate", [p.inputs[0] for p in parts], {"axis": axis})


def _subtract(v: Value) -> Value | None:
    value = uniform(v.inputs[1])
    return _same(v, v.inputs[0]) if value is not None and value == 0 and not np.signbit(value) else None


def _multiply(v: Value) -> Value | None:
    a, b = v.inputs
    for x, one in ((a, b), (b, a)):
        value = uniform(one)
        if value is not None and value == 1:
            return _same(v, x)
        if value is not None and value == -1 and v.dtype.is_float:
            negated = x.like("neg", [x], {})
            return _same(v, negated)
    return None


def _divide(v: Value) -> Value | None:
    x, d = v.inputs
    value = uniform(d)
    if value is None:
        return None
    if value == 1:
        return _same(v, x)
    mantissa, _ = np.frexp(np.float64(value))
    if abs(mantissa) == 0.5 and np.isfinite(value) and v.dtype is not dtypes.bfloat16:
        inverse = np.asarray(1 / value, v.dtype.numpy)  # exact for a power of two
        if np.isfinite(inverse) and inverse != 0 and abs(inverse) >= np.finfo(inverse.dtype).tiny:
            return _same(v, x.like("mul", [x, constant(inverse, v.dtype, v)], {}))
    return None


def _cast(v: Value) -> Value | None:
    x = v.inputs[0]
    if x.dtype is v.dtype:
        return x
    if x.op == "cast" and x.inputs[0].dtype is v.dtype and x.inputs[0].dtype.kind == "bool":
        return x.inputs[0]
    return None


def _reshape(v: Value) -> Value | None:
    x = v.inputs[0]
    if x.shape == v.shape:
        return x
    if x.op == "reshape":
        return v.like("reshape", [x.inputs[0]], {"shape": v.shape})
    return None


def _transpose(v: Value) -> Value | None:
    x, axes = v.inputs[0], v.attrs["axes"]
    if axes == tuple(range(v.ndim)):
        return x
    if x.op == "transpose":
        inner = x.attrs["axes"]
        return v.like("transpose", [x.inputs[0]], {"axes": tuple(inner[a] for a in axes)})
    moved = [a for a in axes if x.shape[a] != 1]
    if moved == sorted(moved):  # only axes of size 1 move
        return v.like("reshape", [x], {"shape": v.shape})
    return None


def _broadcast(v: Value) -> Value | None:
    x = v.inputs[0]
    if x.shape == v.shape:
        return x
    if x.op == "broadcast_to":
        return v.like("broadcast_to", [x.inputs[0]], {"shape": v.shape})
    return None


def _sum(v: Value) -> Value | None:
    x, axes = v.inputs[0], v.attrs["axes"]
    if x.dtype is v.dtype and all(x.shape[a] == 1 for a in axes):
        return v.like("reshape", [x], {"shape": v.shape})
    return None


def _where(v: Value) -> Value | None:
    condition, a, b = v.inputs
    value = uniform(condition)
    if value is not None:
        return _same(v, a if value else b)
    return _same(v, a) if a is b else None


def _negative(v: Value) -> Value | None:
    return v.inputs[0].inputs[0] if v.inputs[0].op == "neg" else None


def _slice(v: Value) -> Value | None:
    return v.inputs[0] if v.inputs[0].shape == v.shape else None


def _elementwise_of_broadcast(v: Value) -> Value:
    """Elementwise ops broadcast by themselves, so they read the small input of a ``broadcast_to``."""
    inputs = []
    for i in v.inputs:
        i = _shrink(i) if i.op == "const" else i
        source = i.inputs[0] if i.op == "broadcast_to" else i
        inputs.append(source)
    shapes = [i.shape for i in inputs]
    if v.shape != () and np.broadcast_shapes(*shapes) != v.shape:
        return v
    return with_inputs(v, inputs)


def _elementwise(law: Any) -> Any:
    def applied(v: Value) -> Value | None:
        found = law(v) if law else None
        if found is not None:
            return found
        slim = _elementwise_of_broadcast(v)
        return None if slim is v else slim

    return applied


_LAWS: dict[str, Any] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": _broadcast,
    "reduce_sum": _sum,
    "slice": _slice,
}
_ELEMENTWISE_LAWS: dict[str, Any] = {
    "add": _add,
    "sub": _subtract,
    "mul": _multiply,
    "div": _divide,
    "cast": _cast,
    "where": _where,
    "neg": _negative,
}
for _name, _op in TABLE.items():
    if _op.family == "elementwise" and _op.arity > 0:
        _LAWS[_name] = _elementwise(_ELEMENTWISE_LAWS.get(_name))
