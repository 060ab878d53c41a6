"""Scatter: rows of updates added into (or written over) rows of a target that an index names.

    target[o, index[o, i], j] += updates[o, i, j]        for i = 0, 1, ..., count - 1, in this order

It is the gradient of a gather (embedding, fancy indexing, take-along-axis) and the histogram of integers. Several
updates may hit one row, so the order of additions matters: every element receives its updates in ascending ``i``,
whatever the number of threads. Work is shared by giving each unit its own part of the target: a batch ``o``, a block
of columns ``j``, and, where rows are short but updates many, a range of target rows (each unit then reads all indices
and takes those in its range).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .builder import Function, Value, vector
from .emit import ITEMSIZE, KINDS, constant, emit_instr
from .expr import Instr

if TYPE_CHECKING:
    from .target import Isa

__all__ = ["Scatter"]

_COLUMNS = 128  # columns in a unit, when there are more
_RANGES = 8  # ranges of target rows, when columns and batches do not give enough units
_MANY = 1 << 15  # updated elements from which ranges are worth scanning the indices again


@dataclass(frozen=True)
class Scatter:
    """A scatter kernel. Buffers: target, index, updates, and the base if ``base`` is ``"copy"``.

    Attributes:
        outer: batches (the axes before the scattered one, flattened).
        rows: size of the target along the scattered axis.
        count: updates along the scattered axis.
        inner: elements after the scattered axis.
        dtype: of target, updates and base.
        index_dtype: an integer dtype; indices are in ``[0, rows)``.
        index: strides of the index over (outer, count, inner); 0 for what it does not vary with.
        updates: strides of the updates over (outer, count, inner); the last is 1 or 0.
        op: ``"add"``, or ``"set"`` (the last update wins).
        base: what the target holds first: ``"zero"``, a ``"copy"`` of another buffer of its shape, or ``"keep"``.
        checked: test every index; a bad one is skipped and puts 1 into word 0 of the state.
    """

    outer: int
    rows: int
    count: int
    inner: int
    dtype: str
    index_dtype: str
    index: tuple[int, int, int]
    updates: tuple[int, int, int]
    op: str = "add"
    base: str = "zero"
    checked: bool = False

    def key(self) -> str:
        """Canonical text of everything that affects the code."""
        sizes = f"{self.outer}x{self.rows}<-{self.count}x{self.inner}"
        strides = f"index {self.index_dtype}{list(self.index)} updates {self.dtype}{list(self.updates)}"
        return f"scatter {self.op} {sizes} {strides} {self.base} checked={int(self.checked)}"

    @property
    def columns(self) -> int:
        """Columns of one unit."""
        return self.inner if self.inner <= _COLUMNS * 3 // 2 else _COLUMNS

    @property
    def blocks(self) -> int:
        return -(-self.inner // self.columns) if self.inner else 0

    @property
    def ranges(self) -> int:
        """Into how many ranges the target's rows are cut."""
        short = self.outer * self.blocks < _RANGES and self.columns >= 16
        return min(_RANGES, self.rows) if short and self.count * self.columns >= _MANY else 1

    @property
    def units(self) -> int:
        """How many independent pieces the work has; 0 if the target is empty."""
        return self.outer * self.blocks * self.ranges if self.rows else 0

    @property
    def flops(self) -> int:
        return self.outer * self.count * self.inner if self.op == "add" else 0

    @property
    def bytes(self) -> int:
        moved = self.outer * self.inner * ITEMSIZE[self.dtype]
        first = {"zero": self.rows, "copy": 2 * self.rows, "keep": 0}[self.base]
        return moved * (first + 3 * self.count) + self.outer * self.count * ITEMSIZE[self.index_dtype]

    def ir(self, name: str, isa: Isa) -> str:
        """The LLVM module that defines the kernel as ``name``."""
        assert self.op in ("add", "set"), self.op
        assert self.base in ("zero", "copy", "keep"), self.base
        assert self.updates[2] in (0, 1), "updates are contiguous along the inner axis, or the same for all of it"
        generator = _Generator(self, name, isa)
        if self.units:
            generator.write()
        return generator.f.module()


class _Generator:
    def __init__(self, spec: Scatter, name: str, isa: Isa):
        self.spec, self.lanes = spec, isa.lanes("float32")
        arguments = [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")]
        self.f = Function(name, arguments, target_width=isa.bits)
        self.scalar = KINDS[spec.dtype]
        self.stored = "i8" if self.scalar == "i1" else self.scalar

    def write(self) -> None:
        f, spec = self.f, self.spec
        self.target, self.index, self.updates = (f.load(f["buffers"], i, "ptr") for i in range(3))
        self.base = f.load(f["buffers"], 3, "ptr") if spec.base == "copy" else None
        with f.loop(f["lo"], f["hi"]) as unit:
            batch = unit // (spec.blocks * spec.ranges)
            block = unit // spec.ranges % spec.blocks
            self.first, self.last = f.const(0, "i64"), f.const(spec.rows, "i64")
            if spec.ranges > 1:
                part = unit % spec.ranges
                self.first, self.last = (part * spec.rows) // spec.ranges, ((part + 1) * spec.rows) // spec.ranges
            whole = spec.inner // spec.columns
            if spec.blocks == 1:
                self._part(batch, f.const(0, "i64"), spec.inner)
            elif whole == spec.blocks:
                self._part(batch, block * spec.columns, spec.columns)
            else:
                with f.when(block < whole):
                    self._part(batch, block * spec.columns, spec.columns)
                with f.when(f.compare("eq", block, whole)):
                    self._part(batch, f.const(whole * spec.columns, "i64"), spec.inner - whole * spec.columns)

    def _part(self, batch: Value, column: Value, width: int) -> None:
        """One unit: its part of the target is filled, then takes its updates."""
        spec = self.spec
        start = batch * (spec.rows * spec.inner) + column
        if spec.base != "keep":
            self._fill(start, width)
        target = self.f.at(self.target, start, self.stored)
        updates = self.f.at(self.updates, batch * spec.updates[0] + column * spec.updates[2], self.stored)
        index = self.f.at(self.index, batch * spec.index[0] + column * spec.index[2], KINDS[spec.index_dtype])
        with self.f.loop(0, spec.count) as i:
            source = self.f.at(updates, i * spec.updates[1], self.stored)
            which = self.f.at(index, i * spec.index[1], KINDS[spec.index_dtype])
            if spec.index[2] and spec.inner > 1:
                self._scattered(target, source, which, width)
            else:
                self._row(target, source, which, width)

    def _vectors(self, width: int) -> Iterator[tuple[Value | int, int]]:
        """(position, active lanes) of the vectors of a row: in a loop while there are many, then one by one."""
        f, lanes = self.f, self.lanes
        if width == 1:  # a scalar: no mask
            yield 0, 1
            return
        whole, start = width - width % lanes, 0
        if whole > 8 * lanes:
            start = whole - whole % (4 * lanes)
            with f.loop(0, start, 4 * lanes) as at:
                for u in range(4):
                    yield at + u * lanes if u else at, lanes
        for position in range(start, width, lanes):
            yield position, min(lanes, width - position)

    def _kind(self, width: int) -> str:
        return self.scalar if width == 1 else vector(self.scalar, self.lanes)

    def _mask(self, active: int, width: int) -> Value | None:
        return None if active == self.lanes or width == 1 else self.f.first_lanes(active, self.lanes)

    def _fill(self, start: Value, width: int) -> None:
        """Zero or copy the unit's part; whole rows lie side by side and are filled as one."""
        f, spec = self.f, self.spec
        if width == spec.inner:
            begin, end = start + self.first * spec.inner, start + self.last * spec.inner
            step = 4 * self.lanes
            main = begin + ((end - begin) // step) * step
            with f.loop(begin, main, step) as at:
                for u in range(4):
                    self._fill_one(at + u * self.lanes if u else at, self.lanes, None)
            with f.loop(main, end, self.lanes) as at:
                self._fill_one(at, self.lanes, f.first_lanes(end - at, self.lanes))
            return
        with f.loop(self.first, self.last) as row:
            line = start + row * spec.inner
            for position, active in self._vectors(width):
                self._fill_one(line + position, 1 if width == 1 else self.lanes, self._mask(active, width))

    def _fill_one(self, at: Value, count: int, mask: Value | None) -> None:
        f, kind = self.f, vector(self.scalar, count)
        value = constant(f, 0, self.spec.dtype, count) if self.base is None else f.load(self.base, at, kind, mask)
        f.store(value, self.target, at, mask)

    def _combined(self, old: Value, new: Value, count: int) -> Value:
        dtype = self.spec.dtype
        return emit_instr(self.f, Instr("add", dtype), [old, new], count, [dtype, dtype])

    def _row(self, target: Value, source: Value, which: Value, width: int) -> None:
        """One update whose index is the same for the whole row."""
        f, spec = self.f, self.spec
        row = self._wide(f.load(which, 0, KINDS[spec.index_dtype]))
        with self._accepted(row):
            line = f.at(target, row * spec.inner, self.stored)
            for position, active in self._vectors(width):
                mask, kind = self._mask(active, width), self._kind(width)
                value = self._update(source, position, kind, mask)
                if spec.op == "add":
                    count = 1 if width == 1 else self.lanes
                    value = self._combined(f.load(line, position, kind, mask), value, count)
                f.store(value, line, position, mask)

    def _update(self, source: Value, position: Value | int, kind: str, mask: Value | None) -> Value:
        if self.spec.updates[2]:
            return self.f.load(source, position, kind, mask)
        return self.f.as_value(self.f.load(source, 0, self.scalar), kind)

    def _wide(self, index: Value) -> Value:
        return self.f.cast("zext" if self.spec.index_dtype in ("uint8", "uint32") else "sext", index, "i64")

    @contextlib.contextmanager
    def _accepted(self, row: Value) -> Iterator[None]:
        """The block runs if the row is this unit's."""
        f, spec = self.f, self.spec
        if spec.checked:
            self._report(f.binary("xor", f.compare("ult", row, spec.rows), True))
        if spec.ranges > 1:
            with f.when(f.compare("le", self.first, row) & (row < self.last)):
                yield
        elif spec.checked:
            with f.when(f.compare("ult", row, spec.rows)):
                yield
        else:
            yield

    def _report(self, bad: Value) -> None:
        with self.f.when(self.f.any_lane(bad)):
            self.f.store(self.f.const(1, "i64"), self.f["state"], 0)

    def _scattered(self, target: Value, source: Value, which: Value, width: int) -> None:
        """One update whose index differs from column to column. Lanes are different columns: they never collide."""
        f, spec = self.f, self.spec
        for position, active in self._vectors(width):
            mask = f.first_lanes(active, self.lanes)
            rows = self._wide(self._indices(which, position, active, mask))
            if spec.checked:
                good = f.compare("ult", rows, spec.rows) & mask
                self._report(good ^ mask)
                mask = good
            if spec.ranges > 1:
                mask = mask & f.compare("le", self.first, rows) & f.compare("lt", rows, self.last)
            columns = f.lane_numbers(self.lanes) + f.splat(f.as_value(position, "i64"), self.lanes)
            offsets = rows * spec.inner + columns
            value = self._update(source, position, vector(self.scalar, self.lanes), self._mask(active, width))
            if spec.op == "add":
                value = self._combined(f.gather(target, offsets, self.scalar, mask), value, self.lanes)
            f.scatter(value, target, offsets, mask)

    def _indices(self, which: Value, position: Value | int, active: int, mask: Value) -> Value:
        f, kind, stride = self.f, KINDS[self.spec.index_dtype], self.spec.index[2]
        if stride == 1:
            return f.load(which, position, vector(kind, self.lanes), None if active == self.lanes else mask)
        steps = f.vector_const([lane * stride for lane in range(self.lanes)], "i64")
        return f.gather(f.at(which, f.as_value(position, "i64") * stride, kind), steps, kind, mask)
