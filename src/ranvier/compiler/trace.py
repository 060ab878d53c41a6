"""Tracing: run a Python function once on symbolic tensors and keep what it did.

While a :class:`Trace` is active, every op on a symbolic tensor is recorded with its shape, dtype, the user's source
line and the layer it belongs to. Concrete tensors that meet symbolic ones become constants. Variables that are read
become inputs; variables that are assigned become outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from ranvier import tree
from ranvier.compiler.graph import Graph, Value
from ranvier.errors import TraceError, user_line
from ranvier.ops.table import Op, state
from ranvier.tensor import Node, Tensor, as_tensor
from ranvier.variable import Variable

__all__ = ["Trace", "build_graph", "placeholder", "serials", "trace"]

serials = itertools.count(1)  # numbers traced tensors in the order of their recording


class Trace:
    """The recording of one function. Traces nest: the body of a loop is traced inside its function's trace."""

    def __init__(self, parent: Trace | None = None):
        self.parent = parent
        self.current: dict[int, Tensor] = {}  # id(variable) -> its value now
        self.entry: dict[int, Tensor] = {}  # id(variable) -> its value on entry
        self.variables: list[Variable] = []
        self.written: list[Variable] = []
        self.guards: dict[int, Any] = {}  # id -> guard; see guard.py

    # -- called by the core ---------------------------------------------------------------------------------------

    def record(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor:
        """The symbolic result of an op."""
        shape, dtype = op.infer(inputs, **attrs)
        where = state.where or user_line(3)
        return Tensor._symbol(shape, dtype, Node(op, inputs, attrs, where, state.scope, next(serials)))

    def read(self, variable: Variable) -> Tensor:
        """The variable's value at this point of the function."""
        if self.parent is not None:
            return self.parent.read(variable)
        found = self.current.get(id(variable))
        if found is None:
            found = Tensor._symbol(variable.shape, variable.dtype, Node(None, (), {"variable": variable}))
            self.variables.append(variable)
            self.current[id(variable)] = self.entry[id(variable)] = found
        return found

    def assign(self, variable: Variable, value: Tensor) -> None:
        """From here on the variable has this value."""
        if self.parent is not None:
            raise TraceError(
                f"variable {variable.name!r} is assigned inside the body of a loop or branch. Carry it through the "
                "loop's state instead and assign it afterwards."
            )
        self.read(variable)
        self.current[id(variable)] = value
        if not any(v is variable for v in self.written):
            self.written.append(variable)

    def scan(self, *args: Any) -> Any:
        """A traced loop over slices; see :mod:`ranvier.compiler.control`."""
        from ranvier.compiler import control

        return control.scan(self, *args)

    def cond(self, *args: Any) -> Any:
        """A traced branch."""
        from ranvier.compiler import control

        return control.cond(self, *args)

    def while_loop(self, *args: Any) -> Any:
        """A traced loop of unknown length."""
        from ranvier.compiler import control

        return control.while_loop(self, *args)


def placeholder(shape: tuple[int, ...], dtype: Any) -> Tensor:
    """A symbolic argument."""
    return Tensor._symbol(shape, dtype, Node(None, (), {}, serial=next(serials)))


def trace(arguments: Sequence[Tensor], call: Callable[[Sequence[Tensor]], Any]) -> tuple[Graph, Any]:
    """Trace ``call(symbols)`` for symbols like ``arguments``; the graph, and the structure of what was returned."""
    if state.trace is not None:
        raise TraceError("a compiled function cannot be traced inside another trace; call the plain function there.")
    active = Trace()
    symbols = [placeholder(t.shape, t.dtype) for t in arguments]
    before, state.trace = (state.trace, state.recording), active
    try:
        result = call(symbols)
        leaves, structure = tree.flatten(result)
        outputs = [as_tensor(x) for x in leaves]
    finally:
        state.trace, state.recording = before
        for variable in active.variables:
            if variable.grad is not None and variable.grad._data is None:
                variable.grad = None  # a traced gradient has no meaning outside
    # Variables created while tracing would be new on each call of the Python function but not of the compiled one.
    updates = [active.variables.index(v) for v in active.written]
    new = [active.current[id(v)] for v in active.written]
    graph = build_graph([*symbols, *(active.entry[id(v)] for v in active.variables)], [*outputs, *new])
    graph.variables, graph.updates = active.variables, updates
    graph.guards = list(active.guards.values())
    return graph, structure


def build_graph(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Graph:
    """The graph of traced tensors (iterative; constants are made from concrete tensors)."""
    made: dict[int, Value] = {}
    keep: list[Tensor] = []
    for t in inputs:
        made[id(t)] = Value("input", (), dict(t._node.attrs), t.shape, t.dtype)  # type: ignore[union-attr]
    stack = list(outputs)
    while stack:
        t = stack[-1]
        if id(t) in made:
            stack.pop()
            continue
        if t._data is not None:
            made[id(t)] = Value("const", (), {"value": t._data}, t.shape, t.dtype)
            keep.append(t)
            continue
        node = t._node
        if node is None or node.op is None:
            raise TraceError(
                f"a traced tensor of shape {t.shape} from another compiled function is used here; return it from that "
                "function and pass it in."
            )
        missing = [i for i in node.inputs if id(i) not in made]
        if missing:
            stack.extend(missing)
            continue
        if node.op.family == "control":
            made[id(t)] = _control_value(t, [made[id(i)] for i in node.inputs])
            continue
        made[id(t)] = Value(
            node.op.name, [made[id(i)] for i in node.inputs], node.attrs, t.shape, t.dtype, node.where, node.scope
        )
    return Graph([made[id(t)] for t in inputs], [made[id(t)] for t in outputs])


def _control_value(t: Tensor, inputs: Sequence[Value]) -> Value:
    """A loop or branch (all its outputs together), or one of its outputs."""
    node: Any = t._node
    attrs = {"index": node.attrs["index"]} if "index" in node.attrs else node.attrs["record"].attrs()
    return Value(node.op.name, inputs, attrs, t.shape, t.dtype, node.where, node.scope)
