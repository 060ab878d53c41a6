"""Loops and branches inside a plan: what is copied in, between the turns, and out.

A scan keeps its carries in buffers of the body's own. Each turn copies the slices of this turn in, runs the body, adds
the turn's outputs to their stacks, and copies the new carries over the old. Values that the body only reads are read
where they lie outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ranvier import dtypes
from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.kernel import Access, Control, Kernel
from ranvier.compiler.native.expr import Instr
from ranvier.compiler.native.nest import Nest, Operand
from ranvier.compiler.native.scatter import Scatter
from ranvier.compiler.passes.copies import copy_kernel, extent
from ranvier.compiler.views import VIEWS, row_strides, view

__all__ = ["control_step"]


def control_step(members: Sequence[Value], checked: bool, compile_body: Callable[[Graph], Any]) -> Control:
    """The step for a control node and the projections of it that are used."""
    v, projects = members[0], [m for m in members[1:] if m.op == "project"]
    made = _Builder(v, projects, checked, compile_body)
    {"scan": made.scan, "cond": made.cond, "while": made.while_loop}[v.op]()
    return made.step


def _returning(body: Graph, keep: Sequence[int]) -> Graph:
    """The body with only the outputs ``keep``; inputs that are returned as they are get memory of their own."""
    outputs = []
    for i in keep:
        v = root = body.outputs[i]
        while root.op in VIEWS:
            root = root.inputs[0]
        outputs.append(v.like("copy", [v], {}) if root.op in ("input", "const") else v)
    return Graph(body.inputs, outputs)


class _Builder:
    def __init__(self, v: Value, projects: Sequence[Value], checked: bool, compile_body: Callable[[Graph], Any]):
        self.v, self.checked, self.compile = v, checked, compile_body
        self.used = {p.attrs["index"]: p for p in projects}
        self.step = Control(v.op, list(v.inputs), list(projects), [v, *projects], [], [], [], {})

    def _phase(self, name: str, kernels: Sequence[Kernel]) -> None:
        self.step.phases.setdefault(name, []).extend(kernels)

    def _copy(self, target: Value, source: Value) -> list[Kernel]:
        return [copy_kernel(target, source, self.checked)] if target.size else []

    def _own(self, inner: Value, source: Value | None = None) -> None:
        """Memory of its own for an inner argument, filled from outside before the first turn."""
        self.step.buffers.append(inner)
        if source is not None:
            self._phase("before", self._copy(inner, source))

    def _borrow(self, inner: Value, outer: Value) -> None:
        """An inner argument read where the outer value lies, if it lies row by row; else a copy."""
        seen = view(outer)
        if seen.contiguous and seen.root.op != "const":
            self.step.aliases.append((inner, seen.root, seen.offset))
        else:
            self._own(inner, outer)

    # -- scan -----------------------------------------------------------------------------------------------------

    def scan(self) -> None:
        attrs, inputs = self.v.attrs, self.v.inputs
        n, slices = attrs["carries"], attrs["slices"]
        stacks = [i for i in sorted(self.used) if i >= n]
        plan = self.compile(_returning(attrs["body"], [*range(n), *stacks]))
        self.step.plans, self.step.turns = [plan], attrs["turns"]
        arguments = plan.graph.arguments
        counter, index = (Value("input", (), {}, (1,), dtypes.int64) for _ in range(2))
        self.step.counter = counter
        self._own(counter)
        self._own(index)
        self._phase("top", [self._turn_index(counter, index)])
        for inner, outer in zip(arguments[:n], inputs[:n], strict=True):
            self._own(inner, outer)
        for inner, outer in zip(arguments[n : n + slices], inputs[n : n + slices], strict=True):
            self._own(inner)
            if inner.size:
                self._phase("top", [self._slice_in(inner, outer, index)])
        for inner, outer in zip(arguments[n + slices :], inputs[n + slices :], strict=True):
            self._borrow(inner, outer)
        results = plan.graph.results
        for i, y in zip(stacks, results[n:], strict=True):
            if y.size:
                self._phase("bottom", [self._stack_out(self.used[i], y, index)])
        for i in range(n):
            self._phase("bottom", self._copy(arguments[i], results[i]))
            if i in self.used:
                self._phase("after", self._copy(self.used[i], arguments[i]))

    def _turn_index(self, counter: Value, index: Value) -> Kernel:
        """The slice of this turn: the counter, or from the end in reverse."""
        body = [Instr("load", "int64", (), (0,))]
        if self.v.attrs["reverse"]:
            body += [Instr("const", "int64", (), (self.v.attrs["turns"] - 1,)), Instr("sub", "int64", (1, 0))]
        operands = tuple(Operand("int64", (0,), 0, extent(x)) for x in (counter, index))
        spec = Nest((1,), "none", operands, tuple(body), ((1, len(body) - 1),), 0, self.checked)
        return Kernel(spec, [Access(counter), Access(index)], [1], [index])

    def _slice_in(self, inner: Value, outer: Value, index: Value) -> Kernel:
        seen = view(outer)
        dims = (1, *inner.shape)
        operands = (
            Operand("int64", (0,) * len(dims), 0, extent(index)),
            Operand(outer.dtype.name, seen.strides, seen.offset, extent(seen.root)),
            Operand(inner.dtype.name, (0, *row_strides(inner.shape)), 0, extent(inner)),
        )
        body = (Instr("load", "int64", (), (0,)), Instr("gather", outer.dtype.name, (0,), (1, 0)))
        spec = Nest(dims, "none", operands, body, ((2, 1),), 0, self.checked)
        return Kernel(spec, [Access(index), Access(seen.root), Access(inner)], [2], [inner])

    def _stack_out(self, stack: Value, y: Value, index: Value) -> Kernel:
        seen = view(y)
        inner = math.prod(y.shape)
        spec = Scatter(
            1,
            stack.shape[0],
            1,
            inner,
            y.dtype.name,
            "int64",
            (0, 0, 0),
            (inner, inner, 1),
            "set",
            "keep",
            self.checked,
        )
        return Kernel(spec, [Access(stack), Access(index), Access(seen.root, seen.offset)], [0], [stack])

    # -- branches and open loops ----------------------------------------------------------------------------------

    def cond(self) -> None:
        keep = sorted(self.used)
        flag = Value("input", (), {}, (), dtypes.bool_)
        self._own(flag, self.v.inputs[0])
        self.step.flag = Access(flag)
        for name, phase in (("true", "after"), ("false", "else")):
            plan = self.compile(_returning(self.v.attrs[name], keep))
            self.step.plans.append(plan)
            for inner, outer in zip(plan.graph.arguments, self.v.inputs[1:], strict=True):
                self._borrow(inner, outer)
            for i, result in zip(keep, plan.graph.results, strict=True):
                self._phase(phase, self._copy(self.used[i], result))

    def while_loop(self) -> None:
        attrs, n = self.v.attrs, self.v.attrs["carries"]
        test = self.compile(_returning(attrs["condition"], [0]))
        body = self.compile(_returning(attrs["body"], range(n)))
        self.step.plans = [test, body]
        (flag,) = test.graph.results
        self.step.flag = Access(view(flag).root, view(flag).offset)
        for i, outer in enumerate(self.v.inputs):
            inner, tested = body.graph.arguments[i], test.graph.arguments[i]
            if i < n:
                self._own(inner, outer)
                self._phase("bottom", self._copy(inner, body.graph.results[i]))
                if i in self.used:
                    self._phase("after", self._copy(self.used[i], inner))
            else:
                self._borrow(inner, outer)
            self.step.aliases.append((tested, inner, 0))
