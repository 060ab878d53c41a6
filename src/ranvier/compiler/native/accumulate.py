"""Accumulate: running sums, products and maxima, and linear recurrences, along one axis.

    target[o, i, j] = target[o, i - 1, j] + source[o, i, j]                        ("sum"; "prod" and "max" alike)
    target[o, i, j] = target[o, i - 1, j] * scale[o, i, j] + source[o, i, j]       ("linear")

Element by element in order, one rounding for each operation, so the bits are those of the reference. The walk along an
axis cannot be shared, so work is shared by lines. Where columns ``j`` are many, lanes are neighbouring columns and one
unit is a block of them; where they are few, lanes are lines (gathered and scattered); single lines are walked as
scalars.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .builder import Function, Value, vector
from .emit import ITEMSIZE, KINDS, combine, round_bfloat16, widen_bfloat16

if TYPE_CHECKING:
    from .target import Isa

__all__ = ["Accumulate"]

_COLUMNS = 128  # columns in a unit, when there are more
_MANY = 16  # columns from which lanes are columns
_LINES = 16  # lines in a unit, when columns are few
_TOGETHER = 4  # vectors of columns that walk side by side: one alone would wait for its own additions


@dataclass(frozen=True)
class Accumulate:
    """An accumulating kernel. Buffers, all contiguous: target, source, and the scale if ``op`` is ``"linear"``.

    Attributes:
        outer: batches (the axes before the accumulated one, flattened).
        count: size of the accumulated axis.
        inner: elements after it.
        dtype: of all buffers; bfloat16 is carried along as float32 and rounded when stored.
        op: ``"sum"``, ``"prod"``, ``"max"`` or ``"linear"``.
        reverse: walk from the end.
    """

    outer: int
    count: int
    inner: int
    dtype: str
    op: str
    reverse: bool = False

    def key(self) -> str:
        """Canonical text of everything that affects the code."""
        way = "back" if self.reverse else "on"
        return f"accumulate {self.op} {self.dtype} {self.outer}x{self.count}x{self.inner} {way}"

    @property
    def lines(self) -> int:
        """How many walks there are."""
        return self.outer * self.inner

    @property
    def blocks(self) -> int:
        """Into how many blocks the columns are cut."""
        return -(-self.inner // _COLUMNS)

    @property
    def units(self) -> int:
        """How many independent pieces the work has; 0 if there is nothing to do."""
        if not self.count or not self.lines:
            return 0
        if self.inner >= _MANY:
            return self.outer * self.blocks
        return self.lines if self.lines < 4 else -(-self.lines // _LINES)

    @property
    def flops(self) -> int:
        return self.lines * self.count * (2 if self.op == "linear" else 1)

    @property
    def bytes(self) -> int:
        return self.lines * self.count * ITEMSIZE[self.dtype] * (3 if self.op == "linear" else 2)

    def ir(self, name: str, isa: Isa) -> str:
        """The LLVM module that defines the kernel as ``name``."""
        assert self.op in ("sum", "prod", "max", "linear"), self.op
        generator = _Generator(self, name, isa)
        if self.units:
            generator.write()
        return generator.f.module()


class _Generator:
    def __init__(self, spec: Accumulate, name: str, isa: Isa):
        self.spec, self.lanes = spec, min(isa.lanes("float32"), _LINES)
        self.f = Function(
            name, [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")], target_width=isa.bits
        )
        self.scalar = KINDS[spec.dtype]

    def write(self) -> None:
        f, spec = self.f, self.spec
        self.target, self.source = (f.load(f["buffers"], i, "ptr") for i in range(2))
        self.scale = f.load(f["buffers"], 2, "ptr") if spec.op == "linear" else None
        with f.loop(f["lo"], f["hi"]) as unit:
            if spec.inner >= _MANY:
                self._block(unit)
            elif spec.lines < 4:
                start = unit // spec.inner * (spec.count * spec.inner) + unit % spec.inner
                self._walk([(start, None, 1)])
            else:
                self._lines(unit)

    # -- which elements ---------------------------------------------------------------------------------------------

    def _block(self, unit: Value) -> None:
        """A block of columns: the last one of a row may be narrower."""
        f, spec = self.f, self.spec
        batch, block = unit // spec.blocks, unit % spec.blocks
        start = batch * (spec.count * spec.inner) + block * _COLUMNS
        whole, rest = divmod(spec.inner, _COLUMNS)
        if whole:
            with f.when(block < whole):
                self._columns(start, _COLUMNS)
        if rest:
            with f.when(f.compare("eq", block, whole)):
                self._columns(start, rest)

    def _columns(self, start: Value, width: int) -> None:
        vectors = list(self._vectors(start, width))
        for first in range(0, len(vectors), _TOGETHER):
            self._walk(vectors[first : first + _TOGETHER])

    def _vectors(self, start: Value, width: int) -> Iterator[tuple[Value, Value | None, int]]:
        """(first element, mask, lanes) of the vectors of a row."""
        for at in range(0, width, self.lanes):
            active = min(self.lanes, width - at)
            mask = None if active == self.lanes else self.f.first_lanes(active, self.lanes)
            yield start + at, mask, self.lanes

    def _lines(self, unit: Value) -> None:
        """Lines as lanes: each lane has a first element of its own."""
        f, spec = self.f, self.spec
        for piece in range(0, _LINES, self.lanes):
            first = unit * _LINES + piece
            left = spec.lines - first
            with f.when(left > 0):
                line = f.splat(first, self.lanes) + f.lane_numbers(self.lanes)
                starts = line // spec.inner * (spec.count * spec.inner) + line % spec.inner
                self._walk([(starts, f.first_lanes(left, self.lanes), self.lanes)])

    # -- the walk ---------------------------------------------------------------------------------------------------

    def _walk(self, starts: list[tuple[Value, Value | None, int]]) -> None:
        """Several vectors side by side from one end of the axis to the other."""
        f, spec = self.f, self.spec
        carried = []
        for start, mask, count in starts:
            first = self._read(self.source, start, self._row(f.const(0, "i64")), mask, count)
            carried.append(f.var(first))
            self._write(first, start, self._row(f.const(0, "i64")), mask)
        if spec.count == 1:
            return
        with f.loop(1, spec.count) as i:
            row = self._row(i)
            for (start, mask, count), var in zip(starts, carried, strict=True):
                value = self._step(var.get(), start, row, mask, count)
                var.set(value)
                self._write(value, start, row, mask)

    def _row(self, i: Value) -> Value:
        """How far from a line's first element the walk is after ``i`` steps."""
        spec = self.spec
        return (spec.count - 1 - i) * spec.inner if spec.reverse else i * spec.inner

    def _step(self, old: Value, start: Value, row: Value, mask: Value | None, count: int) -> Value:
        new = self._read(self.source, start, row, mask, count)
        if self.scale is not None:
            return old * self._read(self.scale, start, row, mask, count) + new
        wide = "float32" if self.spec.dtype == "bfloat16" else self.spec.dtype
        return combine(self.f, f"reduce_{self.spec.op}", wide, old, new)

    def _read(self, base: Value, start: Value, row: Value, mask: Value | None, count: int) -> Value:
        f = self.f
        if start.kind == "i64":
            value = f.load(base, start + row, vector(self.scalar, count), mask)
        else:
            value = f.gather(base, start + row, self.scalar, mask)
        return widen_bfloat16(f, value) if self.spec.dtype == "bfloat16" else value

    def _write(self, value: Value, start: Value, row: Value, mask: Value | None) -> None:
        f = self.f
        value = round_bfloat16(f, value) if self.spec.dtype == "bfloat16" else value
        if start.kind == "i64":
            f.store(value, self.target, start + row, mask)
        else:
            f.scatter(value, self.target, start + row, mask)
