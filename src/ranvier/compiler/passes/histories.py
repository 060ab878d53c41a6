"""Where the carries of a loop live.

A turn reads a carry and writes the next one, which must not be the same memory. So each carry has *slots* that the
turns walk through; nothing is copied from turn to turn. Two slots, used in turn, are enough for a carry that only the
loop itself wants. One whose every value is wanted (by the outputs, or by the gradient, which reads the carries on
entry) has a slot for each turn and one more: its *history*. The stack of the carries on entry, the stack of the new
carries and the last carry are then parts of it, and need neither memory nor copies.

Afterwards each scan has the attribute ``slots``, and a projection of a carry is the whole of its slots.
"""

from __future__ import annotations

from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.passes.loops import Loop, closed, opened

__all__ = ["histories"]


def histories(graph: Graph) -> Graph:
    """The graph with slots for every carry."""
    graph, loops = opened(graph)
    swap: dict[int, Value] = {}
    for loop in loops:
        loop.slots = [_settle(loop, i, swap) for i in range(len(loop.carries))]
    return closed(graph, loops, swap)


def _settle(loop: Loop, which: int, swap: dict[int, Value]) -> int:
    """Give carry ``which`` its slots; returns how many."""
    before, after, final = loop.carries[which].symbol, loop.results[which], loop.finals[which]
    entering, leaving = _take(loop, before), _take(loop, after)
    slots = loop.turns + 1 if entering or leaving else 2
    if not (entering or leaving or final):
        return slots
    whole = Value("project", [loop.node], {}, (slots, *before.shape), before.dtype, loop.node.where, loop.node.scope)
    loop.finals[which] = whole
    # Slots are in the order of the slices: forwards turn t reads slot t and writes slot t + 1, in reverse, the turn
    # of slice s reads slot s + 1 and writes slot s.
    early, late = _part(whole, 0, loop.turns), _part(whole, 1, loop.turns + 1)
    for outer, part in ((entering, late if loop.reverse else early), (leaving, early if loop.reverse else late)):
        if outer is not None:
            swap[id(outer)] = part
    if final is not None:
        last = (0 if loop.reverse else loop.turns) if slots == loop.turns + 1 else loop.turns % 2
        one = _part(whole, last, last + 1)
        swap[id(final)] = final.like("reshape", [one], {"shape": final.shape})
    return slots


def _take(loop: Loop, v: Value) -> Value | None:
    """Remove ``v`` from the loop's stacks; the outer value it had there."""
    for i, known in enumerate(loop.stacks):
        if known is v:
            del loop.stacks[i]
            return loop.stacked.pop(i)
    return None


def _part(whole: Value, start: int, stop: int) -> Value:
    rest = whole.shape[1:]
    attrs = {"starts": (start, *(0 for _ in rest)), "stops": (stop, *rest), "steps": (1,) * whole.ndim}
    return whole.like("slice", [whole], attrs, shape=(stop - start, *rest))
