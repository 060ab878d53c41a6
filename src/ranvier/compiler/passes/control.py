"""Loops and branches inside a plan: where what goes in and comes out lies, and what is done around the plans inside.

In a scan nothing is copied from turn to turn. Slices are read where the outer value has them, outputs are written
straight into their stacks, and a carry moves on through its slots (see ``histories``): all these are *aliases*, whose
addresses advance with the turn. What the body computes from captured values alone (weights brought to the panels that
products want) is done once, before the first turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ranvier import dtypes
from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.kernel import Access, Alias, Control, Kernel
from ranvier.compiler.native.driver import COUNTER
from ranvier.compiler.native.pool import MAX_THREADS
from ranvier.compiler.passes.copies import copy_kernel, store_part
from ranvier.compiler.plan import reads, writes
from ranvier.compiler.views import VIEWS, View, row_strides, view

__all__ = ["control_step"]


def control_step(members: Sequence[Value], checked: bool, compile_body: Callable[[Graph], Any]) -> Control:
    """The step for a control node and the projections of it that are used."""
    v, projects = members[0], [m for m in members[1:] if m.op == "project"]
    made = _Builder(v, projects, checked, compile_body)
    {"scan": made.scan, "cond": made.cond, "while": made.while_loop}[v.op]()
    return made.step


def _returning(body: Graph, keep: Sequence[int]) -> Graph:
    """The body with only the outputs ``keep``, each in memory of its own (no input's, no other output's)."""
    outputs: list[Value] = []
    taken: set[int] = set()
    for i in keep:
        v = root = body.outputs[i]
        while root.op in VIEWS:
            root = root.inputs[0]
        outputs.append(v.like("copy", [v], {}) if root.op in ("input", "const") or id(root) in taken else v)
        taken.add(id(root))
    return Graph(body.inputs, outputs)


def _hoist(plan: Any, step: Control, captured: Sequence[Value]) -> None:
    """Move kernels that only read captured values in front of the loop, and give what they write memory of its own."""
    fixed = {id(v) for v in captured}
    made: dict[int, Value] = {}
    writers: dict[int, int] = {}
    for s in plan.steps:
        for v in writes(s):
            writers[id(v)] = writers.get(id(v), 0) + 1
    placed = {id(a.inner) for a in step.aliases}
    moved = []
    for s in plan.steps:
        alone = all(writers[id(v)] == 1 and id(v) not in placed for v in writes(s))
        if isinstance(s, Kernel) and alone and all(id(v) in fixed or v.op == "const" for v in reads(s)):
            moved.append(s)
            made |= {id(v): v for v in writes(s)}
            fixed |= set(made)
    plan.steps = [s for s in plan.steps if s not in moved]
    for key in made:
        plan.places.pop(key, None)
    step.buffers.extend(made.values())
    step.phases.setdefault("before", []).extend(moved)


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
            self.step.aliases.append(Alias(inner, seen.root, seen.offset))
        else:
            self._own(inner, outer)

    # -- scan -----------------------------------------------------------------------------------------------------

    def scan(self) -> None:
        attrs, inputs = self.v.attrs, self.v.inputs
        n, slices, turns = attrs["carries"], attrs["slices"], attrs["turns"]
        stacks = [i for i in sorted(self.used) if i >= n]
        plan = self.compile(_returning(attrs["body"], [*range(n), *stacks]))
        self.step.plans, self.step.turns = [plan], turns
        self.step.counter = Value("input", (), {}, (MAX_THREADS * COUNTER,), dtypes.int64)
        self._own(self.step.counter)
        self.last = turns - 1 if attrs["reverse"] else 0  # the place of the first turn's slice
        arguments, results = plan.graph.arguments, plan.graph.results
        for i in range(n):
            self._carry(i, arguments[i], results[i])
        for inner, outer in zip(arguments[n : n + slices], inputs[n : n + slices], strict=True):
            self._slice(inner, outer)
        for inner, outer in zip(arguments[n + slices :], inputs[n + slices :], strict=True):
            self._borrow(inner, outer)
        for i, y in zip(stacks, results[n:], strict=True):
            self._place(y, self.used[i], self.last * y.size, -y.size if self.last else y.size)
        _hoist(plan, self.step, arguments[n + slices :])

    def _carry(self, i: int, inner: Value, result: Value) -> None:
        """Let the carry walk through its slots, and put its first value there."""
        turns, slots, size = self.step.turns, self.v.attrs["slots"][i], inner.size
        whole = self.used.get(i)
        if whole is None:
            whole = Value("input", (), {}, (slots, *inner.shape), inner.dtype)
            self._own(whole)
        if not size:
            return
        if slots == turns + 1:
            first, step, mask = (turns, -1, -1) if self.v.attrs["reverse"] else (0, 1, -1)
        else:
            first, step, mask = 0, 1, 1
        self.step.aliases.append(Alias(inner, whole, first * size, step * size, mask))
        self._place(result, whole, (first + step) * size, step * size if mask < 0 else -size, mask)
        strides = row_strides(inner.shape)
        start = store_part(whole, self.v.inputs[i], first * size, strides, inner.shape, self.checked)
        self._phase("before", [start])

    def _slice(self, inner: Value, outer: Value) -> None:
        """Read each turn's slice where it lies; if its elements are scattered, in a copy of the whole."""
        if not inner.size:
            return
        seen = view(outer)
        if not View(seen.root, 0, seen.strides[1:], inner.shape).contiguous:
            whole = Value("input", (), {}, outer.shape, outer.dtype)
            self._own(whole, outer)
            seen = view(whole)
        stride = seen.strides[0]
        offset = seen.offset + self.last * stride
        self.step.aliases.append(Alias(inner, seen.root, offset, -stride if self.last else stride))

    def _place(self, result: Value, whole: Value, offset: int, stride: int, mask: int = -1) -> None:
        """Let the body write a result where it belongs; if it lies in memory that is spoken for, copy it there."""
        if not result.size:
            return
        seen = view(result)
        taken = any(a.inner is seen.root for a in self.step.aliases) or seen.root.op in ("input", "const")
        target = seen.root
        if taken or not seen.contiguous or seen.offset or seen.root.size != result.size:
            target = Value("input", (), {}, result.shape, result.dtype)
            self._phase("bottom", self._copy(target, result))
        self.step.aliases.append(Alias(target, whole, offset, stride, mask))

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
            self.step.aliases.append(Alias(tested, inner))
