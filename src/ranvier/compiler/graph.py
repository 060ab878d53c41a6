"""The graph: a traced function as data, with a written grammar, a verifier and a printer.

Grammar (SSA: every node is defined once, before its users):

    graph  := node* "return" ref* ("update" variable "=" ref)*
    node   := ref ":" dtype shape "=" op "(" ref* ")" attrs
    op     := "input"                       a function argument, or a variable's value on entry
            | "const"                       attrs: value (a NumPy array)
            | name of a record in the op table
            | "contract" | "convolve" | "correlate" | "copy" | "relayout"                 made by the compiler only
            | "window" | "window_weights" | "scan" | "cond" | "while" | "project"

:func:`verify` checks it; with the setting ``verify`` it runs after every pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier.dtypes import DType
from ranvier.errors import InternalError
from ranvier.ops.table import TABLE

__all__ = ["COMPILER_OPS", "Graph", "Value", "format_graph", "verify"]

_CONTROL = ("scan", "cond", "while")
_WINDOWS = ("window", "window_weights")
COMPILER_OPS = frozenset(
    {"input", "const", "contract", "convolve", "correlate", "copy", "relayout", *_WINDOWS, *_CONTROL, "project"}
)


class Value:
    """One node of the graph and the value it defines.

    Attributes:
        op: name of its op.
        inputs: the values it reads.
        attrs: the op's attributes.
        shape: shape of the value (``()`` for bundles of control ops).
        dtype: dtype of the value.
        where: file and line of the user's program it comes from.
        scope: path of the layer it belongs to.
        layout: how it lies in memory: 0 for rows (row-major), w > 0 for panels of w columns.
    """

    __slots__ = ("attrs", "dtype", "inputs", "layout", "op", "scope", "shape", "where")

    def __init__(
        self,
        op: str,
        inputs: Sequence[Value],
        attrs: dict[str, Any],
        shape: tuple[int, ...],
        dtype: DType,
        where: tuple[str, int] | None = None,
        scope: str = "",
    ):
        self.op, self.inputs, self.attrs = op, tuple(inputs), attrs
        self.shape, self.dtype, self.where, self.scope = shape, dtype, where, scope
        self.layout = 0

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        n = 1
        for s in self.shape:
            n *= s
        return n

    def like(self, op: str, inputs: Sequence[Value], attrs: dict[str, Any], **changes: Any) -> Value:
        """A new node with this one's shape, dtype and origin, unless changed."""
        return Value(
            op,
            inputs,
            attrs,
            changes.get("shape", self.shape),
            changes.get("dtype", self.dtype),
            self.where,
            self.scope,
        )

    def __repr__(self) -> str:
        return f"<{self.op} {self.dtype}{list(self.shape)}>"


class Graph:
    """A traced function.

    Attributes:
        inputs: arguments first, then the variables read.
        outputs: the returned values, then the new values of variables.
        variables: the variables behind the last ``len(variables)`` inputs.
        updates: for each trailing output, the index (into ``variables``) of the variable it updates.
        guards: checks that are to be reported after a run; see ``guard.py``.
    """

    def __init__(
        self,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        variables: Sequence[Any] = (),
        updates: Sequence[int] = (),
    ):
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.variables, self.updates = list(variables), list(updates)
        self.guards: list[Any] = []

    @property
    def arguments(self) -> list[Value]:
        """The inputs that are function arguments."""
        return self.inputs[: len(self.inputs) - len(self.variables)]

    @property
    def results(self) -> list[Value]:
        """The outputs that are returned."""
        return self.outputs[: len(self.outputs) - len(self.updates)]

    def nodes(self) -> list[Value]:
        """Every node an output depends on, and every input, inputs before users (iterative)."""
        order: list[Value] = []
        seen: set[int] = set()
        stack: list[tuple[Value, bool]] = [(v, False) for v in reversed([*self.inputs, *self.outputs])]
        while stack:
            v, done = stack.pop()
            if done:
                order.append(v)
            elif id(v) not in seen:
                seen.add(id(v))
                stack.append((v, True))
                stack.extend([(i, False) for i in reversed(v.inputs) if id(i) not in seen])
        return order

    def rewrite(self, rule: Any, nodes: Sequence[Value] | None = None) -> Graph:
        """A new graph with ``rule(value, new inputs) -> Value`` applied to each node in order (``nodes``, if known)."""
        made: dict[int, Value] = {}
        for v in self.nodes() if nodes is None else nodes:
            made[id(v)] = rule(v, [made[id(i)] for i in v.inputs])
        return Graph(
            [made[id(v)] for v in self.inputs], [made[id(v)] for v in self.outputs], self.variables, self.updates
        )


def with_inputs(v: Value, inputs: Sequence[Value]) -> Value:
    """``v`` itself if its inputs are unchanged, else a copy that reads ``inputs``."""
    if all([a is b for a, b in zip(v.inputs, inputs, strict=True)]):
        return v
    copy = v.like(v.op, inputs, v.attrs)
    copy.layout = v.layout
    return copy


def constant(array: np.ndarray, dtype: DType, like: Value | None = None) -> Value:
    """A const node."""
    where, scope = (like.where, like.scope) if like is not None else (None, "")
    return Value("const", (), {"value": array}, array.shape, dtype, where, scope)


def _attr_text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.item()!r}" if value.size == 1 else f"<{value.dtype} array>"
    if isinstance(value, Graph):
        return "<graph>"
    return getattr(value, "__name__", None) or str(value)


def format_graph(graph: Graph) -> str:
    """The graph in the grammar above, one node a line."""
    nodes = graph.nodes()
    names = {id(v): f"%{i}" for i, v in enumerate(nodes)}
    lines = []
    for v in nodes:
        inputs = ", ".join(names[id(i)] for i in v.inputs)
        attrs = " ".join(f"{k}={_attr_text(x)}" for k, x in v.attrs.items())
        layout = f" panels={v.layout}" if v.layout else ""
        place = f"  # {v.scope or '-'} {v.where[0].rsplit('/', 1)[-1]}:{v.where[1]}" if v.where else ""
        lines.append(f"{names[id(v)]}: {v.dtype}{list(v.shape)} = {v.op}({inputs}) {attrs}{layout}".rstrip() + place)
    lines.append("return " + ", ".join(names[id(v)] for v in graph.results))
    for index, v in zip(graph.updates, graph.outputs[len(graph.results) :], strict=True):
        lines.append(f"update {getattr(graph.variables[index], 'name', index)} = {names[id(v)]}")
    return "\n".join(lines)


def _neighbourhood(graph: Graph, v: Value, nodes: Sequence[Value]) -> str:
    place = f" from {v.where[0]}:{v.where[1]}" if v.where else ""
    users = [u.op for u in nodes if any(i is v for i in u.inputs)]
    return f"{v!r} reading {[repr(i) for i in v.inputs]}, read by {users}{place}"


_ARITY = {"copy": 1, "relayout": 1, "project": 1} | dict.fromkeys(
    ("contract", "convolve", "correlate", "window_weights"), 2
)


def _convolution_fault(v: Value) -> str:
    """What is wrong with a convolution: its operands must have the sizes that its geometry says."""
    g = v.attrs["geometry"]
    weights = g.groups * g.taps * g.channels * g.filters
    expected = (weights, g.c_size) if v.op == "convolve" else (g.c_size, v.attrs["chunks"] * weights)
    found = (v.inputs[1].size, v.size)
    return "" if expected == found else f"expected {expected} numbers in its second input and in it, found {found}"


def _scan_fault(v: Value) -> str:
    """What is wrong with a scan: its body must take the carries, slices and captured values that it is given."""
    body, n, slices, turns = v.attrs["body"], v.attrs["carries"], v.attrs["slices"], v.attrs["turns"]
    if len(body.inputs) != len(v.inputs) or len(body.outputs) < n or turns < 1:
        return f"a body of {len(body.inputs)} inputs and {len(body.outputs)} outputs for {turns} turns"
    for i, (inner, outer) in enumerate(zip(body.inputs, v.inputs, strict=True)):
        expected = (turns, *inner.shape) if n <= i < n + slices else inner.shape
        if (outer.shape, outer.dtype) != (expected, inner.dtype):
            return f"expected input {i} to be {inner.dtype}{list(expected)}"
    for before, after in zip(body.inputs[:n], body.outputs, strict=False):
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            return f"a carry of {before.dtype}{list(before.shape)} becomes {after.dtype}{list(after.shape)}"
    return ""


def _scan_output_fault(v: Value) -> str:
    """What is wrong with an output of a scan: a last carry (or all its slots), or a stack of all turns."""
    attrs, index = v.inputs[0].attrs, v.attrs["index"]
    if not 0 <= index < len(attrs["body"].outputs):
        return f"there is no output {index}"
    inner = attrs["body"].outputs[index]
    lead = attrs.get("slots", ())[index : index + 1] if index < attrs["carries"] else (attrs["turns"],)
    expected = (*lead, *inner.shape)
    return "" if (v.shape, v.dtype) == (expected, inner.dtype) else f"expected {inner.dtype}{list(expected)}"


def _compiler_op_fault(v: Value) -> str:
    """What is wrong with a node of an op that only the compiler makes; empty if nothing is."""
    if len(v.inputs) != _ARITY.get(v.op, len(v.inputs)):
        return f"expected {_ARITY[v.op]} inputs"
    if v.op == "project":
        if v.inputs[0].op not in _CONTROL or not isinstance(v.attrs.get("index"), int):
            return "a projection of what is no loop or branch"
        return _scan_output_fault(v) if v.inputs[0].op == "scan" else ""
    if v.op == "scan":
        return _scan_fault(v)
    if v.op in ("convolve", "correlate"):
        return _convolution_fault(v)
    if v.op in _WINDOWS:
        return _window_fault(v)
    if v.op not in _ARITY:
        return ""
    first = v.inputs[0].shape
    turned = (*first[:-2], first[-1], first[-2]) if v.attrs.get("transpose") or v.attrs.get("ta") else first
    expected = turned
    if v.op == "contract":
        second = v.inputs[1].shape
        if turned[-1] != second[-2]:
            return f"a product of shapes {list(turned)} and {list(second)}"
        expected = (*v.shape[:-2], turned[-2], second[-1])
    if expected != v.shape or any(i.dtype is not v.dtype for i in v.inputs):
        return f"expected {v.inputs[0].dtype}{list(expected)}"
    return ""


_WINDOW_INPUTS = {"argmax": 1, "take": 2, "put": 2, "sum": 1, "weighted": 2}


def _window_fault(v: Value) -> str:
    """What is wrong with a ``window`` or ``window_weights`` node; empty if nothing is."""
    axes, x = v.attrs["axes"], v.inputs[0]
    out, inner = tuple(a.out for a in axes), x.shape[len(axes) :]
    taps = math.prod(a.taps for a in axes)
    if x.shape[: len(axes)] != tuple(a.size for a in axes) or len(inner) not in (1, 2):
        return f"axes {axes} of a value of shape {list(x.shape)}"
    if v.op == "window_weights":
        fits = v.inputs[1].shape == out + inner and v.shape[1:] == (taps, inner[-1]) and v.inputs[1].dtype is x.dtype
        return "" if fits else f"expected shapes {[*out, *inner]} and [chunks, {taps}, {inner[-1]}]"
    kind = v.attrs["kind"]
    if _WINDOW_INPUTS.get(kind) != len(v.inputs):
        return f"an unknown kind of window, {kind!r}, or a wrong number of inputs"
    second = {"take": out + inner, "put": x.shape, "weighted": (taps, inner[-1])}.get(kind)
    if second is not None and v.inputs[1].shape != second:
        return f"expected a second input of shape {list(second)}"
    if v.shape != out + inner or v.dtype.name != ("int32" if kind == "argmax" else x.dtype.name):
        return f"expected {x.dtype}{[*out, *inner]}"
    return ""


def verify(graph: Graph, stage: str = "") -> None:
    """Check the grammar: known ops, arity, shapes and dtypes as each op's rule gives them, inputs without producers.

    Raises:
        InternalError: names the pass, the node, its neighbours and the user's line.
    """
    nodes = graph.nodes()
    inputs = {id(v) for v in graph.inputs}

    def fail(v: Value, reason: str) -> None:
        raise InternalError(f"graph after {stage or 'tracing'}: {reason}: {_neighbourhood(graph, v, nodes)}")

    if len(graph.updates) > len(graph.outputs) or any(not 0 <= i < len(graph.variables) for i in graph.updates):
        raise InternalError(f"graph after {stage or 'tracing'}: updates {graph.updates} name no variable")
    for v in nodes:
        if v.op == "input":
            if id(v) not in inputs:
                fail(v, "an input that the graph does not list")
            continue
        if v.op == "const":
            value = v.attrs.get("value")
            if not isinstance(value, np.ndarray) or value.shape != v.shape or value.dtype != v.dtype.numpy:
                fail(v, "a const whose value has another shape or dtype")
            continue
        if v.op in COMPILER_OPS:
            reason = _compiler_op_fault(v)
            if reason:
                fail(v, reason)
            for body in [a for a in v.attrs.values() if isinstance(a, Graph)]:
                verify(body, f"{stage or 'tracing'}, in a body of {v.op}")
            continue
        op = TABLE.get(v.op)
        if op is None:
            fail(v, "an unknown op")
            continue
        if op.arity >= 0 and len(v.inputs) != op.arity:
            fail(v, f"expected {op.arity} inputs")
        try:
            shape, dtype = op.infer(v.inputs, **v.attrs)
        except (ValueError, TypeError, IndexError) as error:
            fail(v, f"its rule refuses it ({error})")
            continue
        if (shape, dtype) != (v.shape, v.dtype):
            fail(v, f"its rule gives {dtype}{list(shape)}")
    for index, v in zip(graph.updates, graph.outputs[len(graph.results) :], strict=True):
        variable = graph.variables[index]
        if (variable.shape, variable.dtype) != (v.shape, v.dtype):
            fail(v, f"updates variable {variable.name!r} of {variable.dtype}{list(variable.shape)}")
