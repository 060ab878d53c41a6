"""Matrices in pairs of rows, for the dot-product instruction of bfloat16.

The instruction multiplies two neighbouring numbers of a row of A with two numbers of a column of B and adds both
products to a float32 sum. So B, whose vectors run along its columns, is stored with two rows interleaved: one 32-bit
*word* holds elements (2 i, c) and (2 i + 1, c), the first in its lower half, and words lie in panels like the numbers
of any other B (see ``contraction.py``), half as many rows of them. A needs no change where its rows run along k.

A :class:`Pairs` makes such words from a matrix in rows or panels, of bfloat16 or of float32, which is rounded on the
way: that is how weights kept in float32 become factors. A transposed matrix needs no kernel of its own: pairs that lie
along its rows are words already, and a ``Relayout`` transposes words like any other 32-bit elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ranvier.compiler.native.builder import Function, Value, vector
from ranvier.compiler.native.emit import ITEMSIZE, KINDS, round_bfloat16
from ranvier.compiler.native.relayout import Place

__all__ = ["Pairs"]

Isa = Any  # target.Isa: .name, .bits, .lanes(dtype)

_GROUP = 32  # rows of words in one unit of work


@dataclass(frozen=True)
class Pairs:
    """Words from a matrix: ``target[i, c] = (source[2 i, c], source[2 i + 1, c])``, zero where there is no source.

    Attributes:
        batch: how many matrices.
        rows, columns: of the source.
        dtype: of the source: bfloat16, or float32, which is rounded to the nearest bfloat16.
        source: where it lies, in its elements.
        width: columns of a panel of the target, whose last panel is filled up with zeros.
        isa: the name of the instruction set that the kernel is for.

    Buffers: 0 is the source, 1 the target, ``[batch][panel][rows / 2][width]`` words. Units are groups of 32 rows of
    words of one panel.
    """

    batch: int
    rows: int
    columns: int
    dtype: str
    source: Place
    width: int
    isa: str = "avx512"

    @property
    def words(self) -> int:
        """Rows of words."""
        return -(-self.rows // 2)

    @property
    def panels(self) -> int:
        return -(-self.columns // self.width)

    @property
    def groups(self) -> int:
        return -(-self.words // _GROUP)

    @property
    def units(self) -> int:
        return self.batch * self.panels * self.groups

    @property
    def flops(self) -> int:
        return 0

    @property
    def bytes(self) -> int:
        return self.batch * self.rows * self.columns * (ITEMSIZE[self.dtype] + 2)

    def key(self) -> str:
        """Everything that affects the code, as text."""
        return repr(self)

    def ir(self, name: str, isa: Isa) -> str:
        """The kernel as the text of an LLVM module with the one function ``name``."""
        assert isa.name == self.isa, f"pairs planned for {self.isa} cannot be written for {isa.name}"
        return _Kernel(self, name, isa).module()


class _Kernel:
    """Writes one kernel."""

    def __init__(self, spec: Pairs, name: str, isa: Isa):
        self.spec, self.lanes = spec, isa.lanes("float32")
        self.f = Function(
            name, [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")], target_width=isa.bits
        )
        self.kind = KINDS[spec.dtype]

    def module(self) -> str:
        f, spec = self.f, self.spec
        source, target = (f.load(f["buffers"], i, "ptr") for i in range(2))
        with f.loop(f["lo"], f["hi"]) as unit:
            group, rest = unit % spec.groups, unit // spec.groups
            panel, batch = rest % spec.panels, rest // spec.panels
            here = f.at(source, batch * spec.source.batch, self.kind)
            there = f.at(target, (batch * spec.panels + panel) * (spec.words * spec.width), "i32")
            first = group * _GROUP
            last = f.select(first < spec.words - _GROUP, first + _GROUP, spec.words)
            whole = last if spec.rows % 2 == 0 else f.select(last < spec.words, last, spec.words - 1)
            with f.loop(first, whole) as row:
                self._row(here, there, panel * spec.width, row, 2)
            if spec.rows % 2:
                with f.when(f.compare("eq", last, spec.words)):
                    self._row(here, there, panel * spec.width, f.const(spec.words - 1, "i64"), 1)
        return f.module()

    def _row(self, source: Value, target: Value, column: Value, row: Value, count: int) -> None:
        """A row of words of one panel, from ``count`` rows of the source."""
        f, spec = self.f, self.spec
        for at in range(0, spec.width, self.lanes):
            c = column + at
            mask = None if spec.columns % spec.width == 0 else f.first_lanes(spec.columns - c, self.lanes)
            word = self._half(source, row * 2, c, mask)
            if count == 2:
                word = word | (self._half(source, row * 2 + 1, c, mask) << 16)
            f.store(word, target, row * spec.width + at)

    def _half(self, source: Value, row: Value, column: Value, mask: Value | None) -> Value:
        f = self.f
        x = f.load(source, self.spec.source.at(row, column), vector(self.kind, self.lanes), mask)
        return f.cast("zext", x if self.kind == "i16" else round_bfloat16(f, x), "i32")
