"""A kernel of a plan: what is run, on which values, for which nodes of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranvier.compiler.graph import Value

__all__ = ["Access", "Callback", "Kernel"]


@dataclass(frozen=True)
class Access:
    """One buffer of a kernel: the value whose memory it is, and how many elements in it starts."""

    value: Value
    offset: int = 0


@dataclass
class Kernel:
    """One compiled loop nest.

    Attributes:
        spec: what ``native`` compiles.
        operands: its buffers, in the spec's order.
        writes: indices of the operands that are written.
        nodes: the graph's nodes computed in it, for :meth:`explain`.
        inplace: values read at exactly the positions where an output of equal strides is written.
    """

    spec: Any
    operands: list[Access]
    writes: list[int]
    nodes: Sequence[Value]
    inplace: frozenset[int] = field(default_factory=frozenset)

    @property
    def reads(self) -> list[int]:
        """Indices of the operands that are read."""
        return [i for i in range(len(self.operands)) if i not in self.writes]


@dataclass
class Callback:
    """A node that runs on the reference, inside the plan: there is no kernel for it.

    Attributes:
        inputs: the values it reads.
        outputs: the values it writes.
        function: from input arrays to output arrays.
        nodes: the graph's nodes it stands for.
    """

    inputs: list[Value]
    outputs: list[Value]
    function: Callable[[list[Any]], list[Any]]
    nodes: Sequence[Value]
