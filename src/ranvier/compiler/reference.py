"""The reference executor: runs a compiled function's graph on the interpreter.

Selected by ``RANVIER_BACKEND=reference``; slow, exact, and what compiled code is tested against.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ranvier.compiler.graph import Graph, format_graph
from ranvier.compiler.interpret import run

__all__ = ["ReferenceExecutor"]


class ReferenceExecutor:
    """Runs a graph with NumPy, reading and assigning its variables."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def run(self, arrays: Sequence[np.ndarray], steps: int) -> list[np.ndarray]:
        """The function's results after ``steps`` runs."""
        graph = self.graph
        count = len(graph.results)
        outputs: list[np.ndarray] = []
        for _ in range(steps):
            outputs = run(graph, [*arrays, *(v.numpy() for v in graph.variables)])
            for index, value in zip(graph.updates, outputs[count:], strict=True):
                graph.variables[index].assign(value)
        return [np.array(x) for x in outputs[:count]]

    def explain(self) -> str:
        """The graph: the interpreter runs it node by node."""
        return "reference interpreter, one op at a time\n" + format_graph(self.graph)

    def profile(self, arrays: Sequence[np.ndarray], steps: int) -> str:
        """The interpreter keeps no times; the graph is all there is to show."""
        self.run(arrays, steps)
        return self.explain()
