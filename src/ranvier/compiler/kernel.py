"""A kernel of a plan: what is run, on which values, for which nodes of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ranvier.compiler.graph import Value

__all__ = ["Access", "Alias", "Callback", "Control", "Kernel"]


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
        inplace: (id of an input, id of an output) where each element of the input is read only by whoever writes the
            output's element at the same place: the two may share memory.
        border: it writes only part of its output; the rest must be zero, and stays so in memory that nobody shares.
    """

    spec: Any
    operands: list[Access]
    writes: list[int]
    nodes: Sequence[Value]
    inplace: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    border: bool = False

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


class Alias(NamedTuple):
    """A value inside a loop or a branch that lies in the memory of one outside.

    In turn t of a scan it starts at element ``offset + (t & mask) * stride`` of the outer value.
    """

    inner: Value
    outer: Value
    offset: int = 0
    stride: int = 0
    mask: int = -1


@dataclass
class Control:
    """A loop or a branch, with plans of its own inside.

    Attributes:
        kind: ``scan``, ``cond`` or ``while``.
        inputs: the outer values it reads.
        outputs: the outer values it writes.
        nodes: the graph's nodes it stands for.
        plans: ``scan``: the body; ``cond``: both branches; ``while``: the condition and the body.
        aliases: inner values that lie in the memory of outer ones.
        buffers: inner values with memory of their own.
        phases: kernels around the plans, by name (``before``, ``bottom``, ``after``, ``else``).
        flag: the boolean that decides (``cond``, ``while``).
        counter: the number of the turn, once for each thread (``scan``).
        turns: how many turns (``scan``).
    """

    kind: str
    inputs: list[Value]
    outputs: list[Value]
    nodes: Sequence[Value]
    plans: list[Any]
    aliases: list[Alias]
    buffers: list[Value]
    phases: dict[str, list[Kernel]]
    flag: Access | None = None
    counter: Value | None = None
    turns: int = 0
