"""Sums over the turns leave the loop.

The gradient of a weight that every turn uses is traced as a carry to which each turn adds its part. Nothing in the
loop reads it, so it need not be there: the parts are functions of values that can be stacked, and are added up behind
the loop all at once. A sum of products ``a_t' b_t`` becomes one product of the stacks of a and b, a sum of sums one sum
over the stack. (The terms are then added in the order of the slices, whatever the direction of the loop.)
"""

from __future__ import annotations

from collections.abc import Callable

from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.passes.loops import Loop, closed, opened
from ranvier.compiler.passes.simplify import uniform

__all__ = ["totals"]

_SMALL = 1 << 12  # elements of a part that is stacked as it is


def totals(graph: Graph) -> Graph:
    """The graph with sums over the turns computed behind the loops."""
    graph, loops = opened(graph)
    swap: dict[int, Value] = {}
    for loop in loops:
        for i in range(len(loop.carries)):
            _leave(loop, i, swap)
    return closed(graph, loops, swap)


def _leave(loop: Loop, which: int, swap: dict[int, Value]) -> None:
    """Take as much as possible of the sum that carry ``which`` may be out of the loop."""
    final, symbol = loop.finals[which], loop.carries[which].symbol
    if final is None or loop.results[which].op != "add" or not symbol.dtype.is_float:
        return
    terms = _terms(loop.results[which])
    others = [t for t in terms if t is not symbol]
    if len(terms) != len(others) + 1:
        return
    if any(t.shape != symbol.shape for t in others):
        return
    rest = [r for i, r in enumerate(loop.results) if i != which]
    if any(v is symbol for v in Graph((), [*rest, *loop.stacks, *others]).nodes()):
        return
    makers = [_total(loop, t) for t in others]
    if any(m is None for m in makers):
        return
    start = loop.carries[which].outer
    parts = [m() for m in makers if m is not None]
    total = parts[0]
    for part in parts[1:]:
        total = final.like("add", [total, part], {})
    zero = uniform(start)
    if zero is None or zero != 0:
        total = final.like("add", [start, total], {})
    swap[id(final)] = total
    loop.finals[which] = None
    loop.results[which] = symbol


def _terms(v: Value) -> list[Value]:
    """The terms of a sum, however it is nested (iterative)."""
    found, stack = [], [v]
    while stack:
        v = stack.pop()
        if v.op == "add":
            stack.extend(reversed(v.inputs))
        else:
            found.append(v)
    return found


def _total(loop: Loop, t: Value) -> Callable[[], Value] | None:
    """A function that makes the sum of ``t`` over all turns from stacks; None if that does not pay."""
    if t.op in ("reshape", "transpose", "embed") and len(t.inputs) == 1:  # linear: after the sum as well as before
        inner = _total(loop, t.inputs[0])
        return None if inner is None else lambda: t.like(t.op, [inner()], t.attrs)
    if t.op == "matmul" and t.ndim == 2 and not any(_fixed(loop, x) for x in _row_factor(t)):
        return lambda: _product(loop, t)
    if t.op == "reduce_sum" and t.inputs[0].dtype is t.dtype and _at_hand(loop, t.inputs[0]):
        axes = (0, *(a + 1 for a in t.attrs["axes"]))
        return lambda: t.like("reduce_sum", [loop.stack(t.inputs[0])], {"axes": axes})
    if t.size <= _SMALL or _at_hand(loop, t):
        return lambda: _sum(loop.stack(t))
    return None


def _fixed(loop: Loop, v: Value) -> bool:
    return v.op == "const" or any(feed.symbol is v for feed in loop.captured)


def _at_hand(loop: Loop, v: Value) -> bool:
    """Whether a value of the body is stacked anyway."""
    if any(feed.symbol is v for feed in loop.slices) or any(s is v for s in loop.stacks):
        return True
    return any(v is _row_factor(x)[0] for x in _products(loop))


def _products(loop: Loop) -> list[Value]:
    terms = [t for r in loop.results if r.op == "add" for t in _terms(r)]
    return [t for t in terms if t.op == "matmul" and t.ndim == 2]


def _row_factor(t: Value) -> tuple[Value, Value]:
    """The factors of a product as [rows summed over, columns]."""
    a, b = t.inputs
    return b, (a.inputs[0] if a.op == "transpose" else a.like("transpose", [a], {"axes": (1, 0)}, shape=a.shape[::-1]))


def _product(loop: Loop, t: Value) -> Value:
    right, left = (_flat(loop.stack(x)) for x in _row_factor(t))
    turned = left.like("transpose", [left], {"axes": (1, 0)}, shape=left.shape[::-1])
    return t.like("matmul", [turned, right], t.attrs)


def _flat(stack: Value) -> Value:
    """[turns, rows, columns] as [turns * rows, columns]."""
    turns, rows, columns = stack.shape
    shape = (turns * rows, columns)
    return stack.like("reshape", [stack], {"shape": shape}, shape=shape)


def _sum(stack: Value) -> Value:
    return stack.like("reduce_sum", [stack], {"axes": (0,)}, shape=stack.shape[1:])
