"""Values computed right where a concatenation wants them, instead of copied there afterwards.

A value that a map computes, and that nothing reads but concatenations, needs no memory of its own: the map writes
it into its part of their memory. The gradient of a recurrent layer's gates becomes so one map that fills
four column blocks of one matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.passes.fuse import Group
from ranvier.compiler.views import VIEWS, row_strides

__all__ = ["Part", "parts"]

Part = tuple[Value, int]
"""The concatenation, and the element of it where the part begins."""


def parts(graph: Graph, groups: Sequence[Group]) -> dict[int, list[Part]]:
    """For each value that is written into concatenations by the map that computes it: where."""
    nodes = graph.nodes()
    joins = [v for v in nodes if v.op == "concatenate" and not v.layout]
    if not joins:
        return {}
    home = {id(v): g for g in groups for v in g.members}
    readers: dict[int, list[Value | None]] = {}
    for v in nodes:
        for x in v.inputs:
            readers.setdefault(id(x), []).append(v)
    for v in graph.outputs:
        readers.setdefault(id(v), []).append(None)
    found: dict[int, list[Part]] = {}
    for join in joins:
        axis, at = join.attrs["axis"], 0
        step = row_strides(join.shape)[axis]
        for x in join.inputs:
            group = home.get(id(x))
            if group is not None and _only_there(x, group, readers):
                found.setdefault(id(x), []).append((join, at * step))
            at += x.shape[axis]
    return found


def _only_there(x: Value, group: Group, readers: dict[int, list[Value | None]]) -> bool:
    """Whether ``x`` is computed by a map and read by nothing outside it but concatenations."""
    if group.kind != "map" or group.layout or x.layout or not x.size or x.op in VIEWS:
        return False
    outside = [r for r in readers[id(x)] if r is None or r not in group or r.op in VIEWS]
    return all(r is not None and r.op == "concatenate" and not r.layout for r in outside)
