"""The compiler's pipeline: from a traced graph to a plan, pass by pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ranvier import config
from ranvier.compiler.graph import Graph, verify
from ranvier.compiler.native.contraction import panel_width
from ranvier.compiler.passes.flatten import flatten
from ranvier.compiler.passes.fuse import fuse
from ranvier.compiler.passes.histories import histories
from ranvier.compiler.passes.kernels import build
from ranvier.compiler.passes.layout import assign_layouts
from ranvier.compiler.passes.loops import hoist
from ranvier.compiler.passes.lower import lower
from ranvier.compiler.passes.residuals import residuals
from ranvier.compiler.passes.simplify import simplify
from ranvier.compiler.passes.spatial import IMAGE_OPS, place_images
from ranvier.compiler.passes.totals import totals
from ranvier.compiler.plan import Plan, make_plan

__all__ = ["compile_plan", "stages"]


def _checked(graph: Graph, stage: str) -> Graph:
    if config.get("verify"):
        verify(graph, stage)
    return graph


def stages(graph: Graph, isa: Any, inside: bool = False) -> dict[str, Graph]:
    """The graph after each pass, by the pass's name; ``inside``: it is the body of a loop or a branch."""
    loops: list[tuple[str, Callable[[Graph], Graph]]] = [
        ("hoist", hoist), ("residuals", residuals), ("totals", totals), ("histories", histories),
    ]  # fmt: skip
    images: list[tuple[str, Callable[[Graph], Graph]]] = [("spatial", place_images)]
    ops = {v.op for v in graph.nodes()}
    passes: list[tuple[str, Callable[[Graph], Graph]]] = [
        ("simplify", simplify),
        *(loops if "scan" in ops else []),
        *(images if ops & IMAGE_OPS else []),
        ("lower", lower),
        ("simplify again", simplify),
        ("flatten", lambda g: simplify(flatten(g))),
        ("layout", lambda g: assign_layouts(g, lambda n: panel_width(n, isa), inside)),
    ]
    found = {"trace": _checked(graph, "tracing")}
    for name, run in passes:
        graph = _checked(run(graph), name)
        found[name] = graph
    return found


def compile_plan(graph: Graph, isa: Any, checked: bool = False, inside: bool = False) -> Plan:
    """The plan of a graph for an instruction set; ``inside``: it is the body of a loop or a branch."""
    final = stages(graph, isa, inside)["layout"]
    steps = build(final, fuse(final), isa, checked, lambda body: compile_plan(body, isa, checked, True))
    return make_plan(final, steps, checked)
