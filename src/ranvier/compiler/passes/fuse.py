"""Fusion: which nodes are computed together in one kernel.

A :class:`Group` becomes one kernel. It has a *space*, the box of indices its loops run over, and each member is a
value at every point of that space (or, after a reduction, at every point of the space without the reduced axes).
Nodes are taken in order; each joins the latest group that made one of its inputs, if

* its indices line up with the group's space (:func:`_alignment`), the same for every way it is reached;
* everything else it reads can be loaded by stride;
* no other input depends on the group (that would be a cycle between kernels).

Afterwards groups that read one another, or the same matrix, are put together under the same rules: the branches of
``tanh(x) - exp(x)`` begin apart.

Kinds of group: the *rooted* ones, ``contract`` (a product or convolution) and ``window``, each with elementwise work on
it; ``map``, ``last`` and ``middle`` (the nests of ``native/nest.py``); ``solo`` (one node with a kernel of its own).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.passes.layout import elementwise
from ranvier.compiler.views import VIEWS, view

__all__ = ["Alignment", "Group", "fuse", "input_alignment"]

Alignment = tuple[int | None, ...]
"""For each axis of a value, the axis of the group's space that it runs along; None for axes of size 1."""

ROOTS = {"contract": "contract", "convolve": "contract", "window": "window"}
"""Ops with a kernel of their own whose epilogue takes in the work that follows -> the kind of their groups."""

_GATHERS = frozenset({"take", "take_along_axis"})
_MAPS = frozenset({"random_bits", *_GATHERS})


class Group:
    """Nodes computed by one kernel.

    Attributes:
        kind: ``contract``, ``window``, ``map``, ``last``, ``middle`` or ``solo``.
        space: sizes of the loops, as axes of the values (not yet as they lie in memory).
        layout: 0 for rows, w for panels: how all full-size members lie.
        axes: the reduced axes of ``last`` and ``middle``, which are neighbours.
        members: values computed here, in order, with their alignment.
        needs: the groups this one depends on, directly or not.
    """

    def __init__(self, kind: str, space: tuple[int, ...], layout: int):
        self.kind, self.space, self.layout = kind, space, layout
        self.axes: tuple[int, ...] = ()
        self.members: list[Value] = []
        self.alignment: dict[int, Alignment] = {}
        self.reduced: set[int] = set()  # members that depend on a reduction made here
        self.needs: set[Group] = set()

    def add(self, v: Value, alignment: Alignment) -> None:
        self.members.append(v)
        self.alignment[id(v)] = alignment
        if v.op.startswith("reduce_") or any(id(i) in self.reduced for i in v.inputs):
            self.reduced.add(id(v))

    @property
    def rooted(self) -> bool:
        """Whether the group is a kernel with an epilogue: only elementwise work joins it."""
        return self.kind in ("contract", "window")

    def __contains__(self, v: Value) -> bool:
        return id(v) in self.alignment

    def __repr__(self) -> str:
        return f"<{self.kind} {list(self.space)}: {' '.join(v.op for v in self.members)}>"


def fuse(graph: Graph) -> list[Group]:
    """The groups of a graph with layouts, in an order in which they can run."""
    return _Fuser(graph).groups


class _Fuser:
    def __init__(self, graph: Graph):
        self.groups: list[Group] = []
        self.home: dict[int, Group] = {}  # id(value) -> the group that computes it
        self.users: dict[int, list[Value]] = {}
        for v in graph.nodes():
            for x in v.inputs:
                self.users.setdefault(id(x), []).append(v)
        for v in graph.nodes():
            if v.op in ("input", "const"):
                continue
            if v.op == "project":  # one output of a control op: made where the op runs
                group = self.home[id(v.inputs[0])]
                group.add(v, tuple(range(v.ndim)))
                self.home[id(v)] = group
                continue
            if v.op in VIEWS and not self._joins_as_view(v):
                continue
            if v.op not in VIEWS:
                self._place(v)
        self.groups = _sorted(self.groups)
        self._join_neighbours()

    # -- one node -------------------------------------------------------------------------------------------------

    def _joins_as_view(self, v: Value) -> bool:
        """A reshape that only adds or drops axes of size 1 may stay inside its input's group."""
        x = v.inputs[0]
        group = self.home.get(id(x))
        if v.op != "reshape" or group is None or group.rooted or group.kind == "solo" or x not in group or x.layout:
            return False
        if [n for n in v.shape if n != 1] != [n for n in x.shape if n != 1]:
            return False
        rest = iter(_along(x, group.alignment[id(x)]))
        group.add(v, tuple(None if n == 1 else next(rest) for n in v.shape))
        self.home[id(v)] = group
        return True

    def _place(self, v: Value) -> None:
        if not self._fusible(v):
            finder = self._finder(v)
            if finder is not None:
                self._join(finder, v, tuple(range(v.ndim)))
            else:
                self._start(v, Group(ROOTS.get(v.op, "solo"), v.shape, v.layout))
            return
        for group in self._candidates(v):
            alignment = self._fits(group, v)
            if alignment is not None:
                self._join(group, v, alignment)
                return
        space = v.inputs[0].shape if v.op.startswith("reduce_") else v.shape
        layout = v.inputs[0].layout if v.op.startswith("reduce_") else v.layout
        group = Group("map", space, layout)
        if v.op.startswith("reduce_"):
            _set_axes(group, v)
        self._start(v, group)

    def _fusible(self, v: Value) -> bool:
        if v.size == 0 or any(i.size == 0 for i in v.inputs):
            return False
        return elementwise(v) or v.op.startswith("reduce_") or v.op in _MAPS

    def _finder(self, v: Value) -> Group | None:
        """For a window that takes the largest elements: the group that finds where they are, which has them at hand."""
        if v.op != "window" or v.attrs["kind"] != "take":
            return None
        x, index = v.inputs
        found = index.op == "window" and index.attrs["kind"] == "argmax" and index.inputs[0] is x
        return self.home[id(index)] if found and index.attrs["axes"] == v.attrs["axes"] else None

    def _start(self, v: Value, group: Group) -> None:
        if v.op.startswith("reduce_"):
            axes = v.attrs["axes"]
            alignment: Alignment = tuple(i for i in range(len(group.space)) if i not in axes)
        else:
            alignment = tuple(range(v.ndim))
        self.groups.append(group)
        self._join(group, v, alignment)

    def _join(self, group: Group, v: Value, alignment: Alignment) -> None:
        if v.op.startswith("reduce_") and group.kind == "map":
            _set_axes(group, v)
        group.add(v, alignment)
        self.home[id(v)] = group
        needs = self._producers(v) - {group}
        gained = needs.union(*(g.needs for g in needs)) - group.needs
        if gained:
            for other in self.groups:
                if other is group or group in other.needs:
                    other.needs |= gained

    # -- candidates -----------------------------------------------------------------------------------------------

    def _producers(self, v: Value) -> set[Group]:
        """The groups that make the inputs of ``v`` (through views)."""
        found = set()
        for x in v.inputs:
            group = self.home.get(id(x))
            while group is None and x.op in VIEWS:
                x = x.inputs[0]
                group = self.home.get(id(x))
            if group is not None:
                found.add(group)
        return found

    def _candidates(self, v: Value) -> list[Group]:
        made = {id(g) for g in self._producers(v)}
        # Scalars are gathered wherever they can be: a kernel costs more than the arithmetic in it.
        scalar = v.shape == () and elementwise(v)
        order = [g for g in reversed(self.groups) if id(g) in made or (scalar and g.space == ())]
        summed = self._only_reduced(v)
        return [g for g in order if g.kind != "solo" and not (summed and g.rooted)]

    def _only_reduced(self, v: Value) -> bool:
        """Whether ``v`` is there for reductions alone: it is computed where they are, which a product's kernel cannot
        be. Behind the product it would have to be written and read again, as in ``sum(g * x)``, where g is wanted
        anyway.
        """
        users = self.users.get(id(v), ())
        return v.ndim > 1 and bool(users) and all(u.op.startswith("reduce_") for u in users)

    # -- does it fit ----------------------------------------------------------------------------------------------

    def _fits(self, group: Group, v: Value) -> Alignment | None:
        """The alignment of ``v`` in ``group``, or None if it cannot join."""
        alignment = _reduction_alignment(group, v) if v.op.startswith("reduce_") else _alignment(group, v)
        if alignment is None or not self._inputs_fit(group, v, alignment):
            return None
        others = self._producers(v) - {group}
        if any(group in g.needs for g in others):
            return None
        return alignment

    def _inputs_fit(self, group: Group, v: Value, alignment: Alignment) -> bool:
        for index, x in enumerate(v.inputs):
            if x not in group and view(x).root in group:
                return False  # another arrangement of what this kernel computes: it must be finished first
            if v.op in _GATHERS and index == 0:
                if x in group or x.layout or group.rooted or v.shape != group.space:
                    return False
                if len(group.axes) > 1:
                    return False
                continue
            if v.op == "random_bits":
                if x in group or group.rooted or len(group.axes) > 1:
                    return False
                continue
            wanted = input_alignment(v, x, alignment, group)
            if x in group:
                if _along(x, group.alignment[id(x)]) != _along(x, wanted):
                    return False
            elif not loadable(group, x, wanted) or not _even(x, wanted, group, group.axes):
                return False
        if group.rooted and v.op in _MAPS:
            return False
        if group.kind == "middle" and any(a in alignment for a in group.axes):
            # inside the reduced loop nothing may use a finished reduction
            return not any(id(i) in group.reduced for i in v.inputs)
        return True

    # -- groups with groups ---------------------------------------------------------------------------------------

    def _join_neighbours(self) -> None:
        """Put groups together with the groups they read from, then with those that read the same matrix."""
        refused: dict[tuple[int, int], tuple[Group, Group]] = {}  # holds the groups, so that their ids stay theirs
        for pairs in (self._readers, self._siblings):
            again = True
            while again:
                again = False
                alive = set(self.groups)
                for g, h in pairs():
                    if g not in alive or h not in alive or (id(g), id(h)) in refused:
                        continue
                    if self._independent(g, h):
                        joined = self._joined(g, h)
                        if joined is None:
                            refused[id(g), id(h)] = g, h
                        else:
                            alive = (alive - {g, h}) | {joined}
                            self._replace(g, h, joined)
                            again = True
        self.groups = _sorted(self.groups)

    def _readers(self) -> list[tuple[Group, Group]]:
        """Pairs of a group and one that reads from it, over the same space."""
        return [
            (g, h)
            for h in self.groups
            for g in dict.fromkeys(p for v in h.members for p in self._producers(v))
            if g is not h and (g.space, g.layout) == (h.space, h.layout)
        ]

    def _siblings(self) -> list[tuple[Group, Group]]:
        """Pairs of groups over the same space that read the same full-size value."""
        by_input: dict[tuple[int, int], list[Group]] = {}
        for g in self.groups:
            if not g.rooted and g.kind != "solo":
                read = {id(x) for v in g.members for x in v.inputs if x.shape == g.space and x not in g and x.size > 1}
                for x in read:
                    by_input.setdefault((x, g.layout), []).append(g)
        return [(g, h) for groups in by_input.values() for g, h in itertools.pairwise(groups)]

    def _independent(self, g: Group, h: Group) -> bool:
        """Whether nothing stands between: no third group needs one and is needed by the other."""
        return not any(g in k.needs for k in h.needs) and not any(h in k.needs for k in g.needs) and h not in g.needs

    def _joined(self, g: Group, h: Group) -> Group | None:
        """One group that computes what both do, if there can be one."""
        if "solo" in (g.kind, h.kind) or (g.rooted and h.rooted) or (g.space, g.layout) != (h.space, h.layout):
            return None
        members = [*g.members, *h.members]
        if h.rooted:
            roots = [v for v in h.members if v.op in ROOTS]
            if any(x in g or view(x).root in g for v in roots for x in v.inputs):
                return None
            members = [h.members[0], *g.members, *h.members[1:]]
        joined = Group(ROOTS.get(members[0].op, "map"), g.space, g.layout)
        for v in members:
            alignment = g.alignment[id(v)] if v in g else h.alignment[id(v)]
            if v.op in VIEWS:
                if joined.rooted:
                    return None
            elif v.op not in ROOTS:
                wanted = _reduction_alignment(joined, v) if v.op.startswith("reduce_") else _alignment(joined, v)
                if wanted != alignment or not self._inputs_fit(joined, v, alignment):
                    return None
                if v.op.startswith("reduce_") and joined.kind == "map":
                    _set_axes(joined, v)
            joined.add(v, alignment)
        return joined

    def _replace(self, g: Group, h: Group, joined: Group) -> None:
        joined.needs = (g.needs | h.needs) - {g, h}
        self.groups[self.groups.index(h)] = joined
        self.groups.remove(g)
        self.home.update((id(v), joined) for v in joined.members)
        for other in self.groups:
            if g in other.needs or h in other.needs:
                other.needs = (other.needs - {g, h}) | {joined} | joined.needs


def _set_axes(group: Group, v: Value) -> None:
    group.axes = v.attrs["axes"]
    group.kind = "last" if group.axes[-1] == len(group.space) - 1 else "middle"


def _along(x: Value, alignment: Alignment) -> tuple[int | None, ...]:
    return tuple(a for a, n in zip(alignment, x.shape, strict=True) if n != 1)


def _alignment(group: Group, v: Value) -> Alignment | None:
    """How an elementwise ``v`` lines up with the group's space."""
    rank, space = len(group.space), group.space
    if v.shape == space:
        return tuple(range(rank)) if v.layout == group.layout else None
    if group.kind not in ("last", "middle") or v.layout:
        return None
    kept = tuple(i for i in range(rank) if i not in group.axes)
    if v.shape == tuple(space[i] for i in kept):
        return kept
    if v.shape == tuple(space[i] if i in kept else 1 for i in range(rank)):
        return tuple(i if i in kept else None for i in range(rank))
    return None


def _reduction_alignment(group: Group, v: Value) -> Alignment | None:
    """How the result of a reduction lines up: like its input without the reduced axes."""
    x, axes = v.inputs[0], v.attrs["axes"]
    if group.rooted or x.shape != group.space or x.layout != group.layout:
        return None
    if group.kind in ("last", "middle") and axes != group.axes:
        return None
    if group.kind == "map" and any(m.op in _MAPS for m in group.members) and axes != (len(group.space) - 1,):
        return None
    if group.kind == "map" and len(axes) > 1 and not _walks_as_one(group, axes):
        return None
    if group.kind == "middle" and id(x) in group.reduced:
        return None
    return tuple(i for i in range(len(group.space)) if i not in axes)


def _walks_as_one(group: Group, axes: tuple[int, ...]) -> bool:
    """Whether one loop can stand for several axes: everything read by the group walks along them evenly."""
    for v in group.members:
        for x in v.inputs:
            if x not in group and not _even(x, input_alignment(v, x, group.alignment[id(v)], group), group, axes):
                return False
    return True


def _even(x: Value, wanted: Alignment, group: Group, axes: tuple[int, ...]) -> bool:
    """Whether ``x`` lies along all of ``axes`` as along one."""
    if len(axes) == 1 or x.layout:
        return True
    strides = {a: s for a, s in zip(wanted, view(x).strides, strict=True) if a is not None}
    along = [a for a in axes if group.space[a] != 1]
    return all(strides.get(a, 0) == strides.get(b, 0) * group.space[b] for a, b in itertools.pairwise(along))


def input_alignment(v: Value, x: Value, alignment: Alignment, group: Group) -> Alignment:
    """How input ``x`` of ``v`` lines up with the group's space, given how ``v`` does."""
    if v.op.startswith("reduce_"):
        return tuple(range(len(group.space)))
    if v.op == "take":  # the one-axis index runs along the axis it replaces
        return (alignment[v.attrs["axis"]],)
    if v.op == "reshape":
        rest = iter(_along(v, alignment))
        return tuple(None if n == 1 else next(rest) for n in x.shape)
    extra = len(alignment) - x.ndim
    along = [alignment[i + extra] for i in range(x.ndim)]
    return tuple(
        None if a is None or (n == 1 and group.space[a] != 1) else a for a, n in zip(along, x.shape, strict=True)
    )


def loadable(group: Group, x: Value, wanted: Alignment) -> bool:
    """Whether a kernel of this group can read ``x`` (computed elsewhere) by stride."""
    along = _along(x, wanted)
    full = along == tuple(i for i, n in enumerate(group.space) if n != 1) and len(x.shape) == len(group.space)
    if group.layout:
        if x.layout:
            return x.layout == group.layout and x.shape == group.space
        if x.shape == group.space:
            return False
    elif x.layout:
        return False
    if not group.rooted or len(along) == 0:
        return True
    seen = view(x)
    if group.kind == "window":  # any strides, but columns must be side by side
        return along[-1] != len(group.space) - 1 or seen.strides[-1] == 1
    if full and x.shape == group.space:
        return seen.contiguous if not group.layout else True
    rank = len(group.space)
    column = along == (rank - 2,) and group.members[0].op == "contract"  # one value for each row of a product
    if along == (rank - 1,) or column:
        axis = wanted.index(along[0])
        return seen.strides[axis] == 1
    return False


def _sorted(groups: Sequence[Group]) -> list[Group]:
    """Groups in an order that respects what each needs, keeping the given order otherwise."""
    done: list[Group] = []
    placed: set[Group] = set()
    waiting = list(groups)
    while waiting:
        for g in waiting:
            if all(n in placed for n in g.needs):
                done.append(g)
                placed.add(g)
                waiting.remove(g)
                break
        else:
            raise AssertionError(f"kernels depend on each other in a circle: {waiting}")
    return done
