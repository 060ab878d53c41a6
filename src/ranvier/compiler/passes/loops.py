"""Loops over slices, made small before anything else is decided about them.

A gradient of a loop is, as traced, a second loop that computes every turn of the first again before it pulls the
cotangents back, and adds to the gradient of each weight turn by turn. Passes over the graph that holds the loops put
that right, each in a file of its own:

* :func:`hoist` (here): what is the same in every turn is computed once, in front of the loop;
* ``residuals``: what a backward turn needs of the forward turn is stored there and read, instead of computed again;
* ``totals``: sums over the turns leave the loop, and become one product or one sum over all turns;
* ``histories``: a carry that is also wanted turn by turn lives in its stack.

They work on :class:`Loop`, a scan opened up so that it can be changed: :func:`opened` makes them from a graph (and
leaves out what nothing reads), :func:`closed` writes them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ranvier.compiler.graph import Graph, Value, with_inputs
from ranvier.compiler.passes.simplify import simplify
from ranvier.compiler.views import VIEWS

__all__ = ["STAY", "Feed", "Loop", "closed", "hoist", "opened", "rebuilt"]

STAY = frozenset({"input", "project", "scan", "cond", "while"})
"""Ops that are not moved out of a body, and not computed in another."""


@dataclass
class Feed:
    """An argument of a loop's body: its symbol in the body, and the value outside that it stands for."""

    symbol: Value
    outer: Value


@dataclass
class Loop:
    """A scan while it is being changed.

    Attributes:
        node: the node in the graph; everything below is written back to it by :func:`closed`.
        carries, slices, captured: the arguments of the body, by kind.
        results: the carries' next values, in the body.
        stacks: values of the body that are stored for every turn.
        finals: for each carry, the outer value of the last one (None if nothing reads it).
        stacked: for each stack, the outer value.
        turns, reverse: as in the node.
        slots: for each carry, how many places it has (see ``histories``); empty while that is not decided.
    """

    node: Value
    carries: list[Feed]
    slices: list[Feed]
    captured: list[Feed]
    results: list[Value]
    stacks: list[Value]
    finals: list[Value | None]
    stacked: list[Value]
    turns: int
    reverse: bool
    slots: list[int] = field(default_factory=list)

    @property
    def feeds(self) -> list[Feed]:
        """All arguments of the body, in order."""
        return [*self.carries, *self.slices, *self.captured]

    def body(self) -> Graph:
        """The body as a graph: the carries' next values, then the stacks."""
        return Graph([f.symbol for f in self.feeds], [*self.results, *self.stacks])

    def put(self, body: Graph) -> None:
        """Take over the outputs of a rewritten body with the same inputs."""
        n = len(self.results)
        self.results, self.stacks = body.outputs[:n], body.outputs[n:]

    def replace(self, swap: dict[int, Value]) -> None:
        """Let the body read other values: id of a value of the body -> what is read instead."""
        made = rebuilt([*self.results, *self.stacks], dict(swap))
        n = len(self.results)
        self.results, self.stacks = made[:n], made[n:]

    def stack(self, v: Value) -> Value:
        """The outer value that stacks ``v`` of the body over all turns; an existing one if there is one."""
        for feed in self.slices:
            if feed.symbol is v:
                return feed.outer
        for known, outer in zip(self.stacks, self.stacked, strict=True):
            if known is v:
                return outer
        shape = (self.turns, *v.shape)
        outer = Value("project", [self.node], {"index": -1}, shape, v.dtype, self.node.where, self.node.scope)
        self.stacks.append(v)
        self.stacked.append(outer)
        return outer

    def slice(self, outer: Value) -> Value:
        """The symbol of the body for one turn's slice of an outer value."""
        for feed in self.slices:
            if feed.outer is outer:
                return feed.symbol
        symbol = Value("input", (), {}, outer.shape[1:], outer.dtype)
        self.slices.append(Feed(symbol, outer))
        return symbol

    def capture(self, outer: Value) -> Value:
        """The symbol of the body for an outer value."""
        for feed in self.captured:
            if feed.outer is outer:
                return feed.symbol
        symbol = Value("input", (), {}, outer.shape, outer.dtype)
        self.captured.append(Feed(symbol, outer))
        return symbol

    def write(self) -> None:
        """Write everything back to the node."""
        n = len(self.carries)
        node = self.node
        node.inputs = tuple(f.outer for f in self.feeds)
        node.attrs = {
            "body": self.body(), "carries": n, "slices": len(self.slices), "turns": self.turns, "reverse": self.reverse,
        }  # fmt: skip
        if self.slots:
            node.attrs["slots"] = tuple(self.slots)
        for i, final in enumerate(self.finals):
            if final is not None:
                final.attrs = {"index": i}
        for i, outer in enumerate(self.stacked):
            outer.attrs = {"index": n + i}


def rebuilt(outputs: Sequence[Value], made: dict[int, Value]) -> list[Value]:
    """The outputs computed from other values: ``made`` maps ids of values to what stands in their place."""
    for v in Graph((), outputs).nodes():
        if id(v) not in made:
            made[id(v)] = with_inputs(v, [made[id(i)] for i in v.inputs])
    return [made[id(v)] for v in outputs]


# -- opening and closing ------------------------------------------------------------------------------------------


def opened(graph: Graph) -> tuple[Graph, list[Loop]]:
    """The graph with scans of its own that may be changed, and these, in the order in which they run."""

    def rule(v: Value, inputs: list[Value]) -> Value:
        return v.like(v.op, inputs, dict(v.attrs)) if v.op in ("scan", "project") else with_inputs(v, inputs)

    if not any(v.op == "scan" for v in graph.nodes()):
        return graph, []
    graph = graph.rewrite(rule)
    projects: dict[int, dict[int, Value]] = {}
    scans: list[Value] = []
    merged: dict[int, Value] = {}
    for v in graph.nodes():
        if v.op == "scan":
            scans.append(v)
            projects[id(v)] = {}
        elif v.op == "project" and v.inputs[0].op == "scan":
            first = projects[id(v.inputs[0])].setdefault(v.attrs["index"], v)
            if first is not v:
                merged[id(v)] = first
    loops = [_open(v, projects[id(v)], merged) for v in scans]
    graph = closed(graph, loops, merged)
    return graph, loops


def _open(node: Value, projects: dict[int, Value], merged: dict[int, Value]) -> Loop:
    attrs, body = node.attrs, node.attrs["body"]
    n, slices = attrs["carries"], attrs["slices"]
    feeds = [Feed(s, outer) for s, outer in zip(body.inputs, node.inputs, strict=True)]
    wanted = sorted(i for i in projects if i >= n)
    results, stacks = body.outputs[:n], [body.outputs[i] for i in wanted]
    loop = Loop(
        node, feeds[:n], feeds[n : n + slices], feeds[n + slices :], results, stacks,
        [projects.get(i) for i in range(n)], [projects[i] for i in wanted], attrs["turns"], attrs["reverse"],
    )  # fmt: skip
    _merge_feeds(loop)
    loop.put(simplify(loop.body()))
    _drop_unread(loop)
    _merge_stacks(loop, merged)
    return loop


def _merge_feeds(loop: Loop) -> None:
    """One argument for each outer value that is sliced or captured."""
    swap: dict[int, Value] = {}
    for kind in ("slices", "captured"):
        first: dict[int, Feed] = {}
        for feed in getattr(loop, kind):
            known = first.setdefault(id(feed.outer), feed)
            if known is not feed:
                swap[id(feed.symbol)] = known.symbol
        setattr(loop, kind, list(first.values()))
    if swap:
        loop.replace(swap)


def _merge_stacks(loop: Loop, merged: dict[int, Value]) -> None:
    """One stack for each value of the body."""
    stacks: dict[int, tuple[Value, Value]] = {}
    for v, outer in zip(loop.stacks, loop.stacked, strict=True):
        known = stacks.setdefault(id(v), (v, outer))
        if known[1] is not outer:
            merged[id(outer)] = known[1]
    loop.stacks = [v for v, _ in stacks.values()]
    loop.stacked = [outer for _, outer in stacks.values()]


def _drop_unread(loop: Loop) -> None:
    """Leave out carries that nothing depends on but themselves, and arguments that nothing reads."""
    live = {i for i, final in enumerate(loop.finals) if final is not None}
    while True:
        read = {id(v) for v in Graph((), [*loop.stacks, *(loop.results[i] for i in sorted(live))]).nodes()}
        more = {i for i, feed in enumerate(loop.carries) if id(feed.symbol) in read}
        if more <= live:
            break
        live |= more
    keep = sorted(live)
    loop.carries = [loop.carries[i] for i in keep]
    loop.results = [loop.results[i] for i in keep]
    loop.finals = [loop.finals[i] for i in keep]
    loop.slices = [f for f in loop.slices if id(f.symbol) in read]
    loop.captured = [f for f in loop.captured if id(f.symbol) in read]


def closed(graph: Graph, loops: Iterable[Loop], swap: dict[int, Value] | None = None) -> Graph:
    """The graph with the changed loops in it; ``swap``: id of an outer value -> what takes its place."""
    for loop in loops:
        loop.write()
    if not swap:
        return graph
    for loop in loops:
        for feed in loop.feeds:
            while id(feed.outer) in swap:
                feed.outer = swap[id(feed.outer)]
        loop.write()
    return _swapped(graph, swap)


def _swapped(graph: Graph, swap: dict[int, Value]) -> Graph:
    """Every reader of a swapped value reads what takes its place. Nodes of loops keep their identity."""
    for v in swap.values():
        graph.outputs.append(v)
    seen = graph.nodes()
    del graph.outputs[len(graph.outputs) - len(swap) :]

    def final(v: Value) -> Value:
        while id(v) in swap:
            v = swap[id(v)]
        return v

    for v in seen:
        if v.op not in ("input", "const") and any(id(i) in swap for i in v.inputs):
            v.inputs = tuple(final(i) for i in v.inputs)
    return Graph(graph.inputs, [final(v) for v in graph.outputs], graph.variables, graph.updates)


# -- what is the same in every turn -------------------------------------------------------------------------------


def hoist(graph: Graph) -> Graph:
    """The graph with everything that is the same in every turn computed in front of the loops."""
    graph, loops = opened(graph)
    for loop in loops:
        _hoist(loop)
    return closed(graph, loops)


def _hoist(loop: Loop) -> None:
    fixed = {id(f.symbol) for f in loop.captured}
    work: list[Value] = []  # fixed values that take work; views are free
    nodes = loop.body().nodes()
    for v in nodes:
        if v.op == "const" or (v.op not in STAY and all(id(i) in fixed for i in v.inputs)):
            fixed.add(id(v))
            if v.op != "const" and v.op not in VIEWS:
                work.append(v)
    inside = {id(v) for v in work}
    read = {id(i) for v in nodes if id(v) not in inside for i in v.inputs}
    read |= {id(v) for v in [*loop.results, *loop.stacks]}
    frontier = [v for v in work if id(v) in read]
    if frontier:
        outside = rebuilt(frontier, {id(f.symbol): f.outer for f in loop.captured})
        loop.replace({id(v): loop.capture(outer) for v, outer in zip(frontier, outside, strict=True)})
