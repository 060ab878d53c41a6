"""Gradient of a depthwise convolution's kernel: what each tap collects, channel by channel, over all pixels.

    partial[chunk, t, c] = sum of x[i, r, c] * g[o, r, c] over the output pixels o and rows r of the chunk whose tap t
                           reaches a pixel i

The work is a list of *items*: a few rows of all pixels of one line (a line runs along the last windowed axis), the
rows outermost, so that what neighbouring windows share stays in the first cache. Items are cut into fixed chunks, one
result for each, which are added up afterwards in their order: the bits do not depend on threads. A unit is a chunk
times a few vectors of channels. Where windows slide by one pixel the sums of all taps stay in registers along the whole
line, and each number of x and g is read once; else that is so for windows inside the input, without sharing x, and at
the edges each tap that exists adds to the result in memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ranvier.compiler.native.builder import Function, Value, vector
from ranvier.compiler.native.emit import ITEMSIZE, KINDS, widen_bfloat16
from ranvier.compiler.native.taps import Axis, Reach, reach
from ranvier.compiler.native.window import decompose
from ranvier.compiler.native.window_line import CASES, tap_cases, where_case

if TYPE_CHECKING:
    from ranvier.compiler.native.target import Isa

__all__ = ["WindowWeights", "chunks_for"]

_UNITS = 16  # so many units are enough for any number of threads that this work could feed
_LEAST = 1 << 14  # products in a chunk worth its own result
_ROWS = 8  # rows of an item
_COLUMNS = 64  # channels of a unit
_UNROLLED = 16  # taps whose sums stay in registers


@dataclass(frozen=True)
class WindowWeights:
    """The kernel described above. Buffers: x, g, the partial results.

    Attributes:
        axes: the windowed axes of the forward convolution.
        rows, width: the contiguous block of a pixel: ``x[*(axis.size), rows, width]``, ``g[*(axis.out), rows, width]``.
        dtype: of x and g. The results are float64 for float64, else float32.
        chunks: how many parts the pixels of g are cut into (:func:`chunks_for`).
        isa: the name of the instruction set that the kernel is for.
    """

    axes: tuple[Axis, ...]
    rows: int
    width: int
    dtype: str
    chunks: int = 1
    isa: str = "avx512"

    @property
    def acc(self) -> str:
        """The dtype of the sums."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def taps(self) -> int:
        """Taps of the whole window."""
        return math.prod(a.taps for a in self.axes)

    @property
    def blocks(self) -> int:
        """Blocks of channels."""
        return -(-self.width // _COLUMNS)

    @property
    def items(self) -> int:
        """Items, as described above."""
        return _items(self.axes, self.rows)

    @property
    def units(self) -> int:
        return self.chunks * self.blocks

    @property
    def flops(self) -> int:
        return 2 * math.prod(a.work for a in self.axes) * self.rows * self.width

    @property
    def bytes(self) -> int:
        read = math.prod(a.out for a in self.axes) + math.prod(a.size for a in self.axes)
        return read * self.rows * self.width * ITEMSIZE[self.dtype] + (
            self.chunks * self.taps * self.width * ITEMSIZE[self.acc]
        )

    def key(self) -> str:
        """Everything that affects the code, as text."""
        return repr(self)

    def ir(self, name: str, isa: Isa) -> str:
        """The kernel as the text of an LLVM module with the one function ``name``."""
        assert isa.name == self.isa, f"a kernel planned for {self.isa} cannot be written for {isa.name}"
        return _Kernel(self, name, isa).module()


def _items(axes: tuple[Axis, ...], rows: int) -> int:
    return -(-rows // _ROWS) * math.prod(a.out for a in axes[:-1])


def chunks_for(axes: tuple[Axis, ...], rows: int, width: int) -> int:
    """A number of chunks that depends on the problem alone: enough units for some threads, none too small."""
    work = math.prod(a.work for a in axes) * rows * width
    most = max(1, _UNITS // -(-width // _COLUMNS))
    return max(1, min(most, work // _LEAST, _items(axes, rows)))


def _inside(axis: Axis) -> tuple[int, int]:
    """The output positions [start, stop) whose taps are all inside."""
    ends = [u * axis.tap_step + axis.offset for u in (0, axis.taps - 1)]
    start = max(0, -(min(ends) // axis.out_step))
    stop = min(axis.out, (axis.size - 1 - max(ends)) // axis.out_step + 1)
    return start, max(start, stop)


class _Kernel:
    """Writes one kernel. The methods follow the order of the code: units, items, lines inside, pixels at the edge."""

    def __init__(self, spec: WindowWeights, name: str, isa: Isa):
        self.spec, self.lanes = spec, isa.lanes("float32")
        arguments = [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")]
        self.f = Function(name, arguments, target_width=isa.bits)
        self.scalar, self.acc = KINDS[spec.dtype], KINDS[spec.acc]
        self.vec = vector(self.acc, self.lanes)
        self.fused = isa.name != "generic"
        self.block = spec.rows * spec.width
        self.line = _inside(spec.axes[-1])
        registers = 16 if isa.name == "avx2" else 32
        room = (registers - 4) // (ITEMSIZE[spec.acc] * self.lanes * 8 // isa.bits)
        worth = 2 * (self.line[1] - self.line[0]) > spec.axes[-1].out
        self.lines = worth and spec.taps <= min(_UNROLLED, room)
        self.apart = 4 if spec.rows % 4 == 0 and isa.name != "avx2" and spec.acc == "float32" else 1
        *others, last = spec.axes
        first = last.offset + last.taps - 1  # input position at which all taps have an output
        self.slides = (
            self.lines and last.out_step == last.tap_step == 1 and spec.taps + last.taps * self.apart < room
            and last.offset <= 0 <= first < min(last.size, last.out + last.offset)
            and len(tap_cases(others)) <= CASES
        )  # fmt: skip

    def module(self) -> str:
        f, spec = self.f, self.spec
        self.x, self.g, self.out = (f.load(f["buffers"], i, "ptr") for i in range(3))
        whole = spec.width // _COLUMNS
        with f.loop(f["lo"], f["hi"]) as unit:
            chunk, block = (unit, f.const(0, "i64")) if spec.blocks == 1 else (unit // spec.blocks, unit % spec.blocks)
            if whole:
                with f.when(block < whole) if whole < spec.blocks else ExitStack():
                    self._chunk(chunk, block * _COLUMNS, _COLUMNS)
            if whole < spec.blocks:
                with f.when(block.eq(whole)) if whole else ExitStack():
                    self._chunk(chunk, f.const(whole * _COLUMNS, "i64"), spec.width - whole * _COLUMNS)
        return f.module()

    def _chunk(self, chunk: Value, column: Value, width: int) -> None:
        """One unit: ``width`` columns of a chunk."""
        f, spec = self.f, self.spec
        target = f.at(self.out, chunk * (spec.taps * spec.width) + column, self.acc)
        with f.loop(0, spec.taps) as t:
            for at, mask in self._columns(width):
                f.store(f.const(0, self.vec), f.at(target, t * spec.width, self.acc), at, mask)
        first = chunk * spec.items // spec.chunks
        last = (chunk + 1) * spec.items // spec.chunks
        lines = math.prod(a.out for a in spec.axes[:-1])
        with f.loop(first, last) as item:
            row = item // lines * _ROWS
            rows: tuple[Value | int, Value | int] = (row, row + _ROWS)
            if spec.rows <= _ROWS:
                rows = (0, spec.rows)
            elif spec.rows % _ROWS:
                rows = (row, f.select(row + _ROWS < spec.rows, row + _ROWS, spec.rows))
            coordinates = decompose(f, item % lines, [a.out for a in spec.axes[:-1]]) if lines > 1 else None
            self._item(coordinates or [f.const(0, "i64")] * (len(spec.axes) - 1), rows, column, target, width)

    def _columns(self, width: int) -> Iterator[tuple[Value | int, Value | None]]:
        """(first column, mask) of the vectors of ``width`` columns: in a loop, then the last part of one."""
        whole = width - width % self.lanes
        if whole:
            with self.f.loop(0, whole, self.lanes) as at:
                yield at, None
        if whole < width:
            yield whole, self.f.first_lanes(width - whole, self.lanes)

    def _item(
        self, coordinates: list[Value], rows: tuple[Value | int, Value | int], column: Value, target: Value, width: int
    ) -> None:
        """Some rows of a line."""
        f, spec = self.f, self.spec
        *others, last = spec.axes
        reaches = [reach(f, a, o) for a, o in zip(others, coordinates, strict=True)]
        pixel: Value | int = 0
        for a, o in zip(others, coordinates, strict=True):
            pixel = pixel * a.out + o
        g = f.at(self.g, f.as_value(pixel * last.out, "i64") * self.block + column, self.scalar)
        if self.slides:
            for case in where_case(f, others, reaches):
                for at, mask in self._columns(width):
                    y, sums = f.at(g, at, self.scalar), f.at(target, at, self.acc)
                    self._slide(case, reaches, rows, y, column + at, sums, mask)
            return
        inside = f.const(self.lines, "i1")
        for a, r in zip(others, reaches, strict=True):
            if self.lines and not a.full:
                inside = inside & f.compare("eq", f.as_value(r.start, "i64"), 0) & f.compare("eq", r.stop, a.taps)
        if self.lines:
            with f.when(inside):
                for at, mask in self._columns(width):
                    self._line(reaches, rows, f.at(g, at, self.scalar), column + at, f.at(target, at, self.acc), mask)
        start, stop = self.line
        if self.lines and start == 0 and stop == last.out and all(a.full for a in others):
            return
        with f.loop(0, last.out) as o:
            here = inside & (f.compare("uge", o, start) & (o < stop))
            with f.when(here ^ True):
                self._pixel(
                    [*reaches, reach(f, last, o)], rows, f.at(g, o * self.block, self.scalar), column, target, width
                )

    # sliding

    def _slide(
        self, case: Sequence[tuple[int, int]], reaches: Sequence[Reach], rows: tuple[Value | int, Value | int],
        g: Value, column: Value, target: Value, mask: Value | None,
    ) -> None:  # fmt: skip
        """One vector of channels along a line of x; as many numbers of g as there are taps are kept beside it."""
        f, spec = self.f, self.spec
        *others, last = spec.axes
        sources, numbers = [], []
        for steps in itertools.product(*(range(*r) for r in case)):
            place: Value | int = 0
            number = 0
            for a, r, t in zip(others, reaches, steps, strict=True):
                place, number = place * a.size + (r.place + t * a.tap_step), number * a.taps + t
            start = f.as_value(place * (last.size * self.block), "i64") + column
            sources.append(f.at(self.x, start, self.scalar))
            numbers.append(number * last.taps)
        sums = [
            [f.var(f.load(target, (n + t) * spec.width, self.vec, mask)) for t in range(last.taps)] for n in numbers
        ]
        with f.loop(*rows, self.apart) as row:
            places = [(row + u if u else row) * spec.width for u in range(self.apart)]
            kept = [[f.var(0, self.vec) for _ in places] for _ in range(last.taps)]  # g at o, o - 1, ...

            def step(i: Value, taps: Sequence[int]) -> None:
                """Input position i, of which ``taps`` have an output."""
                for newer, older in reversed(list(itertools.pairwise(kept))):
                    for a, b in zip(newer, older, strict=True):
                        b.set(a.get())
                if 0 in taps:
                    for y, at in zip(kept[0], places, strict=True):
                        y.set(self._read(g, (i - last.offset) * self.block + at, mask))
                for source, line in zip(sources, sums, strict=True):
                    for u, at in enumerate(places):
                        x = self._read(source, i * self.block + at, mask)
                        for t in taps:
                            line[t].set(self._multiply_add(x, kept[t][u].get(), line[t].get()))

            for t, line in enumerate(kept[: -last.offset]):  # as if position -1 had been read
                for y, at in zip(line, places, strict=True):
                    y.set(self._read(g, (-1 - last.offset - t) * self.block + at, mask))
            full, behind = last.offset + last.taps - 1, last.offset + last.out
            for i in range(full):
                step(f.const(i, "i64"), range(i - last.offset + 1))
            with f.loop(full, min(last.size, behind)) as position:
                step(position, range(last.taps))
            for i in range(behind, min(last.size, behind + last.taps - 1)):
                step(f.const(i, "i64"), range(i - behind + 1, last.taps))
        for n, line in zip(numbers, sums, strict=True):
            for t, total in enumerate(line):
                f.store(total.get(), target, (n + t) * spec.width, mask)

    # inside

    def _line(
        self, reaches: Sequence[Reach], rows: tuple[Value | int, Value | int], g: Value, column: Value, target: Value,
        mask: Value | None,
    ) -> None:  # fmt: skip
        """One vector of channels along a line, all taps at once."""
        f, spec = self.f, self.spec
        *others, last = spec.axes
        sums = [f.var(f.load(target, t * spec.width, self.vec, mask)) for t in range(spec.taps)]
        starts = []  # for each tap: where the line begins in x
        for steps in itertools.product(*(range(a.taps) for a in spec.axes)):
            place: Value | int = 0
            for a, r, u in zip(others, reaches, steps, strict=False):
                place = place * a.size + (r.place + u * r.place_step)
            offset = (steps[-1] * last.tap_step + last.offset) * self.block
            starts.append(f.as_value(place * (last.size * self.block) + offset, "i64") + column)
        with f.loop(*self.line) as o, f.loop(*rows) as row:
            within = row * spec.width
            y = self._read(g, o * self.block + within, mask)
            for total, start in zip(sums, starts, strict=True):
                x = self._read(f.at(self.x, start, self.scalar), o * (last.out_step * self.block) + within, mask)
                total.set(self._multiply_add(x, y, total.get()))
        for t, total in enumerate(sums):
            f.store(total.get(), target, t * spec.width, mask)

    def _multiply_add(self, x: Value, y: Value, total: Value) -> Value:
        return self.f.fma(x, y, total) if self.fused else x * y + total

    # at the edge

    def _pixel(
        self, reaches: Sequence[Reach], rows: tuple[Value | int, Value | int], g: Value, column: Value, target: Value,
        width: int,
    ) -> None:  # fmt: skip
        """One pixel: loops over the taps that exist."""
        f, spec = self.f, self.spec
        with ExitStack() as stack:
            place: Value | int = 0
            number: Value | int = 0
            for a, r in zip(spec.axes, reaches, strict=True):
                u = stack.enter_context(f.loop(r.start, r.stop))
                place = place * a.size + (r.place + u * r.place_step)
                number = number * a.taps + (r.tap + u * r.tap_step)
            x = f.at(self.x, f.as_value(place, "i64") * self.block + column, self.scalar)
            sums = f.at(target, number * spec.width, self.acc)
            for at, mask in self._columns(width):
                total = f.var(f.load(sums, at, self.vec, mask))
                with f.loop(*rows) as row:
                    within = row * spec.width + at
                    total.set(self._multiply_add(self._read(x, within, mask), self._read(g, within, mask), total.get()))
                f.store(total.get(), sums, at, mask)

    def _read(self, base: Value, at: Value, mask: Value | None) -> Value:
        x = self.f.load(base, at, vector(self.scalar, self.lanes), mask)
        return widen_bfloat16(self.f, x) if self.spec.dtype == "bfloat16" else x
