"""Bodies under construction: what all fused kernels share, from the members of a group to instructions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier.compiler.graph import Value
from ranvier.compiler.native.expr import Instr
from ranvier.compiler.passes.fuse import Alignment, Group, input_alignment
from ranvier.compiler.passes.simplify import uniform

__all__ = ["Body"]

_PASS_THROUGH = frozenset({"copy", "reshape", "broadcast_to", "alias", "stop_gradient"})


class Body(ABC):
    """Instructions under construction."""

    def __init__(self, group: Group):
        self.group = group
        self.instrs: list[Instr] = []
        self.known: dict[Any, int] = {}
        self.at: dict[int, int] = {}  # id(member) -> index of its instruction

    def emit(self, op: str, dtype: str, args: Sequence[int] = (), attrs: Sequence[Any] = ()) -> int:
        instr = Instr(op, dtype, tuple(args), tuple(attrs))
        if instr not in self.known:
            self.known[instr] = len(self.instrs)
            self.instrs.append(instr)
        return self.known[instr]

    def number(self, value: Any, dtype: str) -> int:
        return self.emit("const", dtype, (), (np.asarray(value).item(),))

    def input(self, v: Value, x: Value, alignment: Alignment) -> int:
        """The instruction for input ``x`` of ``v``: a member, a constant or a load."""
        if id(x) in self.at:
            return self.at[id(x)]
        value = uniform(x)
        if value is not None:
            return self.number(value, x.dtype.name)
        return self.load(x, input_alignment(v, x, alignment, self.group))

    @abstractmethod
    def load(self, x: Value, alignment: Alignment) -> int:
        """The instruction that reads ``x`` at the group's indices."""

    def member(self, v: Value) -> None:
        """Emit one member."""
        alignment = self.group.alignment[id(v)]
        dtype = v.dtype.name
        if v.op in _PASS_THROUGH:
            self.at[id(v)] = self.input(v, v.inputs[0], alignment)
        elif v.op in ("take", "take_along_axis"):
            self.at[id(v)] = self.gather(v, alignment)
        elif v.op == "random_bits":
            self.at[id(v)] = self.random(v, alignment)
        else:
            args = [self.input(v, x, alignment) for x in v.inputs]
            self.at[id(v)] = self.emit(v.op, dtype, args)

    @abstractmethod
    def gather(self, v: Value, alignment: Alignment) -> int:
        """The instruction that reads at positions that are data."""

    @abstractmethod
    def random(self, v: Value, alignment: Alignment) -> int:
        """The instructions of random bits."""
