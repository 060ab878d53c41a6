"""From groups of windows to kernels (``native/window.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranvier.compiler.graph import Value
from ranvier.compiler.kernel import Access, Kernel
from ranvier.compiler.native.window import Window, WindowOperand
from ranvier.compiler.native.window_weights import WindowWeights
from ranvier.compiler.passes.body import Body
from ranvier.compiler.passes.fuse import Alignment, Group
from ranvier.compiler.views import row_strides, view

__all__ = ["WindowBody", "window_weights"]


class WindowBody(Body):
    """A window with its epilogue. The root is the group's first member; one that takes what it finds may follow."""

    def __init__(self, group: Group, stored: Sequence[Value], isa: Any):
        super().__init__(group)
        self.stored, self.isa, self.root = stored, isa, group.members[0]
        self.first = [Access(view(x).root, view(x).offset) for x in self.root.inputs]
        self.accesses: list[Access] = []
        self.operands: list[WindowOperand] = []
        self.index: dict[Any, int] = {}

    def operand(self, root: Value, offset: int, strides: tuple[int, ...], written: bool = False) -> int:
        """The number of an operand with strides along the axes of the group's space."""
        windowed = len(self.root.attrs["axes"])
        if len(strides) == windowed + 1:  # one row of columns
            strides = (*strides[:-1], 0, strides[-1])
        key = (id(root), offset, strides, written)
        if key not in self.index:
            self.index[key] = len(self.operands)
            self.operands.append(WindowOperand(root.dtype.name, strides))
            self.accesses.append(Access(root, offset))
        return self.index[key]

    def load(self, x: Value, alignment: Alignment) -> int:
        """Read ``x`` by its strides."""
        seen, strides = view(x), [0] * len(self.group.space)
        for where, stride in zip(alignment, seen.strides, strict=True):
            if where is not None:
                strides[where] = stride
        if alignment and alignment[-1] == len(strides) - 1:
            strides[-1] = 1  # if it was not, there is but one column
        at = self.operand(seen.root, seen.offset, tuple(strides))
        return self.emit("load", x.dtype.name, (), (at,))

    def gather(self, v: Value, alignment: Alignment) -> int:
        """Fusion puts no gather behind a window."""
        raise AssertionError(f"{v!r} cannot be computed in a window's epilogue")

    random = gather

    def _window(self, v: Value) -> int:
        """The instruction for a member that is a window: what the kernel collects."""
        if v.attrs["kind"] == "argmax":
            return self.emit("tap", "int32")
        acc = self.emit("acc", "float64" if v.dtype.name == "float64" else "float32")
        return self.emit("cast", "bfloat16", (acc,)) if v.dtype.name == "bfloat16" else acc

    def kernel(self) -> Kernel:
        """The kernel of the group."""
        root = self.root
        used = {id(x) for v in self.group.members if v.op != "window" for x in v.inputs} | {id(v) for v in self.stored}
        for v in self.group.members:
            if v.op != "window":
                self.member(v)
            elif id(v) in used:
                self.at[id(v)] = self._window(v)
        own = row_strides(root.shape)
        stores = [(self.operand(s, 0, own, written=True), self.at[id(s)]) for s in self.stored]
        axes, x = root.attrs["axes"], root.inputs[0]
        inner = x.shape[len(axes) :]
        kind = {"argmax": "max"}.get(root.attrs["kind"], root.attrs["kind"])
        spec = Window(
            kind, axes, inner[0] if len(inner) == 2 else 1, inner[-1], x.dtype.name, tuple(self.operands),
            tuple(self.instrs), tuple(stores), isa=self.isa.name,
        )  # fmt: skip
        writes = [len(self.first) + at for at, _ in stores]
        full = self.operands[stores[0][0]].strides
        alike = {
            id(a.value)
            for a, o in zip(self.accesses, self.operands, strict=True)
            if o.strides == full and a.offset == 0
        }
        others = {id(a.value) for a in self.first}
        others |= {
            id(a.value) for a, o in zip(self.accesses, self.operands, strict=True) if o.strides != full or a.offset
        }
        inplace = frozenset((i, id(s)) for i in alike - others for s in self.stored)
        return Kernel(spec, [*self.first, *self.accesses], writes, self.group.members, inplace)


def window_weights(v: Value, isa: Any) -> Kernel:
    """The kernel of a ``window_weights`` node."""
    x, axes = v.inputs[0], v.attrs["axes"]
    inner = x.shape[len(axes) :]
    spec = WindowWeights(axes, inner[0] if len(inner) == 2 else 1, inner[-1], x.dtype.name, v.shape[0], isa.name)
    accesses = [Access(view(i).root, view(i).offset) for i in v.inputs]
    return Kernel(spec, [*accesses, Access(v)], [2], [v])
