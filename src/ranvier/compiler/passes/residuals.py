"""What a backward turn needs of the forward turn is stored there, not computed again.

As traced, the loop that pulls cotangents back begins each turn by computing the forward turn once more, from the carry
on entry and the slices. Everything in it that depends on these alone could as well be computed by the forward loop,
which does it anyway, and be read from a stack. But a stack costs memory and time, too: what is cheap to compute from
other stored values is computed again. Which values to store is a minimum cut: between what must not be computed twice
(products, reductions, transcendental functions) and what the backward turn reads, cut the values of the fewest bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.native.emit import HEAVY
from ranvier.compiler.passes.layout import elementwise
from ranvier.compiler.passes.loops import STAY, Loop, closed, opened, rebuilt
from ranvier.compiler.views import VIEWS

__all__ = ["residuals"]

_SLOW = HEAVY | {"div", "sqrt", "rsqrt"}


def residuals(graph: Graph) -> Graph:
    """The graph with work of later loops done by earlier ones that do it anyway."""
    graph, loops = opened(graph)
    for later in loops:
        for earlier in loops:
            if earlier is later:
                break
            if earlier.turns == later.turns and _reads(later, earlier):
                _share(earlier, later)
                for loop in loops:
                    loop.write()
    return closed(graph, loops)


def _reads(later: Loop, earlier: Loop) -> bool:
    made = {id(v) for v in earlier.stacked}
    return any(id(feed.outer) in made for feed in later.slices)


def _share(earlier: Loop, later: Loop) -> None:
    known = _common(earlier, later)
    body = later.body()
    nodes = body.nodes()
    movable: dict[int, Value] = {}  # in order
    for v in nodes:
        if v.op in STAY or v.op == "const" or not v.size:
            continue
        if all(id(i) in movable or id(i) in known or i.op == "const" for i in v.inputs):
            movable[id(v)] = v
    read = {id(i) for v in nodes if id(v) not in movable for i in v.inputs} | {id(v) for v in body.outputs}
    stored = _cheapest(list(movable.values()), {key for key in movable if key in read})
    if not stored:
        return
    inner = rebuilt(stored, dict(known))
    swap: dict[int, Value] = {}
    for v, source in zip(stored, inner, strict=True):
        swap[id(v)] = later.slice(earlier.stack(source))
    later.replace(swap)


def _common(earlier: Loop, later: Loop) -> dict[int, Value]:
    """Symbols of the later body that have a counterpart in the earlier: the same slice, or the same captured value."""
    known: dict[int, Value] = {}
    sources = {id(outer): v for v, outer in zip(earlier.stacks, earlier.stacked, strict=True)}
    sources |= {id(feed.outer): feed.symbol for feed in earlier.slices}
    for feed in later.slices:
        if id(feed.outer) in sources:
            known[id(feed.symbol)] = sources[id(feed.outer)]
    taken = {id(feed.outer) for feed in earlier.captured}
    for feed in later.captured:
        if id(feed.outer) in taken or not _depends(feed.outer, earlier.node):
            known[id(feed.symbol)] = earlier.capture(feed.outer)
    return known


def _depends(v: Value, on: Value) -> bool:
    return any(x is on for x in Graph((), [v]).nodes())


# -- the cut ------------------------------------------------------------------------------------------------------


def _cheap(v: Value) -> bool:
    """Whether computing it twice costs less than storing and loading it."""
    return v.op in VIEWS or v.op in ("alias", "stop_gradient") or (elementwise(v) and v.op not in _SLOW)


def _cheapest(nodes: Sequence[Value], needed: set[int]) -> list[Value]:
    """The values to store so that the needed ones can be computed from them by cheap ops: the fewest bytes."""
    network = _Network()
    inside = {id(v) for v in nodes}
    for v in nodes:
        before, after = (id(v), 0), (id(v), 1)
        network.edge(before, after, v.size * v.dtype.itemsize)
        if not _cheap(v):
            network.edge("source", before, None)
        for x in v.inputs:
            if id(x) in inside and _cheap(v):
                network.edge((id(x), 1), before, None)
        if id(v) in needed:
            network.edge(after, "sink", None)
    reached = network.cut()
    return [v for v in nodes if (id(v), 0) in reached and (id(v), 1) not in reached]


class _Network:
    """A flow network; a capacity of None is unlimited."""

    def __init__(self) -> None:
        self.room: dict[object, dict[object, float]] = {"source": {}, "sink": {}}

    def edge(self, a: object, b: object, capacity: int | None) -> None:
        self.room.setdefault(a, {})[b] = float("inf") if capacity is None else float(capacity)
        self.room.setdefault(b, {}).setdefault(a, 0.0)

    def _reach(self) -> dict[object, object]:
        """Each node that still can be reached from the source -> the node before it (breadth first)."""
        before: dict[object, object] = {"source": None}
        queue: deque[object] = deque(["source"])
        while queue:
            a = queue.popleft()
            for b, room in self.room[a].items():
                if room > 0 and b not in before:
                    before[b] = a
                    queue.append(b)
        return before

    def cut(self) -> set[object]:
        """The source's side of a minimum cut (flow along shortest paths until there is none)."""
        while True:
            before = self._reach()
            if "sink" not in before:
                return set(before)
            path: list[tuple[object, object]] = []
            b: object = "sink"
            while before[b] is not None:
                path.append((before[b], b))
                b = before[b]
            amount = min(self.room[a][b] for a, b in path)
            for a, b in path:
                self.room[a][b] -= amount
                self.room[b][a] += amount
