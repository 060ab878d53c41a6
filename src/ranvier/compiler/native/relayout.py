"""Moving matrices between plain rows and panels, transposed or not.

Contractions want panels (see ``contraction.py``); users, files and a few ops want plain rows; and the gradient of a
layer's input wants the transpose of its weights in panels. A :class:`Relayout` is one such move, for a whole batch.

Transposing goes by square blocks, one register for each row: the block's rows are loaded, transposed by shuffles, and
stored, so that both sides are read and written a whole vector at a time.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from ranvier.compiler.native.builder import Function, Value, vector
from ranvier.compiler.native.emit import ITEMSIZE, KINDS

__all__ = ["Place", "Relayout", "in_panels", "in_rows"]

Isa = Any  # target.Isa: .name, .bits, .lanes(dtype)

_GROUP = 64  # rows of the result in one unit of work


@dataclass(frozen=True)
class Place:
    """Where a matrix lies; strides count elements.

    Element (r, c) is at ``r * stride + c`` in rows (``width`` 0), else at ``c // width * stride + r * width +
    c % width``. ``batch`` is the step from one matrix of a batch to the next.
    """

    stride: int
    width: int = 0
    batch: int = 0

    @property
    def row(self) -> int:
        """Elements from one row to the next."""
        return self.width or self.stride

    def at(self, r: Value | int, c: Value | int) -> Value | int:
        """The offset of element (r, c)."""
        if not self.width:
            return r * self.stride + c
        return (c // self.width) * self.stride + r * self.width + c % self.width


def in_rows(stride: int, batch: int = 0) -> Place:
    """Plain rows, ``stride`` elements apart."""
    return Place(stride, 0, batch)


def in_panels(rows: int, width: int, batch: int = 0) -> Place:
    """Panels of ``width`` columns of a matrix with ``rows`` rows. The last panel's pad columns exist."""
    return Place(rows * width, width, batch)


@dataclass(frozen=True)
class Relayout:
    """Copy a matrix from one place to another: ``target[r, c] = source[r, c]``, or ``source[c, r]`` if transposed.

    Attributes:
        batch: how many matrices.
        rows, columns: of the target.
        dtype: of the elements; they are moved as bits.
        source, target: where they lie. Pad columns of the target are set to zero; those of the source may be read.
        transposed: whether the source is the transpose.
        isa: the name of the instruction set that the kernel is for.

    Buffers: 0 is the source, 1 the target. Units are groups of 64 rows of one strip of the target's columns.
    """

    batch: int
    rows: int
    columns: int
    dtype: str
    source: Place
    target: Place
    transposed: bool = False
    isa: str = "avx512"

    @property
    def strip(self) -> int:
        """Columns of the target that a unit covers."""
        return self.target.width or {"avx512": 32, "avx2": 16}.get(self.isa, 8)

    @property
    def strips(self) -> int:
        return -(-self.columns // self.strip)

    @property
    def groups(self) -> int:
        return -(-self.rows // _GROUP)

    @property
    def units(self) -> int:
        return self.batch * self.strips * self.groups

    @property
    def flops(self) -> int:
        return 0

    @property
    def bytes(self) -> int:
        return 2 * self.batch * self.rows * self.columns * ITEMSIZE[self.dtype]

    def key(self) -> str:
        """Everything that affects the code, as text."""
        return repr(self)

    def ir(self, name: str, isa: Isa) -> str:
        """The kernel as the text of an LLVM module with the one function ``name``."""
        assert isa.name == self.isa, f"a relayout planned for {self.isa} cannot be written for {isa.name}"
        return _Kernel(self, name, isa).module()


class _Kernel:
    """Writes one kernel."""

    def __init__(self, spec: Relayout, name: str, isa: Isa):
        self.spec = spec
        self.f = Function(
            name, [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")], target_width=isa.bits
        )
        size = ITEMSIZE[spec.dtype]
        kind = KINDS[spec.dtype]
        self.scalar = {"i1": "i8", "bfloat": "i16"}.get(kind, kind)
        # Lanes of a vector, and rows of a square block. Panels are whole numbers of isa.lanes("float32") wide.
        self.lanes = isa.lanes("float32")
        if spec.transposed:
            self.lanes = min(self.lanes, isa.bits // 8 // size)
        self.kind = vector(self.scalar, self.lanes)

    def module(self) -> str:
        f, spec = self.f, self.spec
        if spec.transposed:
            self.scratch = f.scratch(self.scalar, self.lanes * self.lanes)
        pointers = [f.load(f["buffers"], i, "ptr") for i in range(2)]
        with f.loop(f["lo"], f["hi"]) as unit:
            group, rest = unit % spec.groups, unit // spec.groups
            strip, batch = rest % spec.strips, rest // spec.strips
            self.source, self.target = (
                f.at(p, batch * place.batch, self.scalar)
                for p, place in zip(pointers, (spec.source, spec.target), strict=True)
            )
            first = group * _GROUP
            last = f.select(first < spec.rows - _GROUP, first + _GROUP, spec.rows)
            if spec.transposed:
                with f.loop(first, last, step=self.lanes) as row, f.loop(0, spec.strip, step=self.lanes) as column:
                    self._block(row, strip * spec.strip + column)
            else:
                with f.loop(first, last) as row:
                    for ahead in range(0, spec.strip, self.lanes):
                        self._copy(row, strip * spec.strip + ahead)
        return f.module()

    def _column_mask(self, column: Value) -> Value | None:
        """The lanes at ``column`` that are real columns of the target; None if all are in every strip."""
        spec = self.spec
        return None if spec.columns % spec.strip == 0 else self.f.first_lanes(spec.columns - column, self.lanes)

    def _store_mask(self, column: Value) -> Value | None:
        return None if self.spec.target.width else self._column_mask(column)

    def _copy(self, row: Value, column: Value) -> None:
        f, spec = self.f, self.spec
        x = f.load(self.source, spec.source.at(row, column), self.kind, self._column_mask(column))
        f.store(x, self.target, spec.target.at(row, column), self._store_mask(column))

    def _block(self, row: Value, column: Value) -> None:
        """Transpose one square block, whose corner in the target is (row, column).

        First within the 16-byte quarters of registers, where interleaving is cheap on every machine, then whole
        quarters. Both steps are loops with a scratch block between them: written out, the block would be as fast and
        take LLVM three times as long.
        """
        f, spec, lanes = self.f, self.spec, self.lanes
        size = ITEMSIZE[spec.dtype]
        quarter, align = min(lanes, 16 // size), lanes * size
        mask = self._store_mask(column)
        with f.loop(0, lanes, step=quarter) as start:
            here, parked = self._rows(column + start, row, quarter), f.at(self.scratch, start * lanes, self.scalar)
            for i, x in enumerate(_transpose_quarters(f, here, quarter)):
                f.store(x, parked, i * lanes, align=align)
        # Row q * quarter + j of the scratch holds, in its quarter p, column p * quarter + j of rows q * quarter, ...
        with f.loop(0, quarter) as j:
            parked = f.at(self.scratch, j * lanes, self.scalar)
            parts = [f.load(parked, q * lanes, self.kind, align=align) for q in range(0, lanes, quarter)]
            to = f.at(self.target, spec.target.at(row + j, column), self.scalar)
            for p, x in enumerate(_transpose_blocks(f, parts, quarter)):
                with f.when(row + j + p * quarter < spec.rows) if spec.rows % lanes else contextlib.nullcontext():
                    f.store(x, to, p * quarter * spec.target.row, mask)

    def _rows(self, r: Value, c: Value, count: int) -> list[Value]:
        """Vectors at column ``c`` of ``count`` rows of the source, which lie in one panel; zeros where no row is."""
        f, spec = self.f, self.spec
        # The target's rows are columns here: past the last one there is nothing unless there is padding.
        ragged = spec.rows % self.lanes != 0 and not spec.source.width
        narrow = spec.columns % spec.strip != 0
        start = f.at(self.source, spec.source.at(r, c), self.scalar)
        here = spec.rows - c if ragged else f.const(self.lanes, "i64")
        block = []
        for i in range(count):
            mask = None
            if narrow or ragged:
                mask = f.first_lanes(f.select(r + i < spec.columns, here, 0) if narrow else here, self.lanes)
            block.append(f.load(start, i * spec.source.row, self.kind, mask))
        return block


def _transpose_quarters(f: Function, rows: list[Value], quarter: int) -> list[Value]:
    """Transpose ``quarter`` rows within each quarter, by interleaving their lower and upper halves."""
    count = int(rows[0].kind[1:].split()[0]) if rows[0].kind[0] == "<" else 1
    patterns = [
        [
            lane + half + offset + side
            for lane in range(0, count, quarter)
            for offset in range(quarter // 2)
            for side in (0, count)
        ]
        for half in (0, quarter // 2)
    ]
    stages = quarter.bit_length() - 1
    for _ in range(stages):
        middle = len(rows) // 2
        rows = [f.shuffle(rows[i], rows[i + middle], pattern) for i in range(middle) for pattern in patterns]
    return rows


def _transpose_blocks(f: Function, rows: list[Value], quarter: int) -> list[Value]:
    """Transpose a square of quarters: ``len(rows)`` registers of as many quarters."""
    blocks = len(rows)
    for _ in range(blocks.bit_length() - 1):
        result = []
        for parity in (0, 1):
            picked = [side + b for side in (0, blocks) for b in range(parity, blocks, 2)]
            pattern = [b * quarter + lane for b in picked for lane in range(quarter)]
            result += [f.shuffle(rows[i], rows[i + 1], pattern) for i in range(0, blocks, 2)]
        rows = result
    return rows
