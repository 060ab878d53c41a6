"""The gradient of a convolution's weights.

``W[t, c, f] = sum over output pixels o and rows of X[pixel(o, t), row, c] * G[o, row, f]``: for each tap a product
whose sum runs over all pixels that the tap reaches and all rows. A tile is a few channels times a panel of filters and
keeps its sums in registers over a *chunk* of the image: as many lines of pixels as fit the second cache together, so
that all taps and tiles of a chunk find it there. Each chunk gives a partial result; adding them up in order is left to
a reduction afterwards. How many chunks there are depends on the shapes alone, so the bits do not depend on threads.

Few channels (a picture has one or three) would make tiles of one or three rows. Where the last axis reaches all its
taps everywhere, the rows of a tile are therefore the channels of all taps along it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ranvier.compiler.native.builder import Function, Value, vector
from ranvier.compiler.native.contraction import Tile, TileKernel
from ranvier.compiler.native.convolution import Geometry, lanes_of, tile_limit
from ranvier.compiler.native.emit import ITEMSIZE, KINDS
from ranvier.compiler.native.expr import Body
from ranvier.compiler.native.taps import Axis

__all__ = ["ConvolutionGradient", "gradient_chunks"]

Isa = Any  # target.Isa: .name, .bits, .lanes(dtype)

_CACHE = 384 << 10  # bytes of input and output that a chunk should touch
_FEW = 5  # channels for which the taps of the last axis join the rows of a tile
_UNITS = 16  # units wanted at least


def gradient_chunks(g: Geometry, size: int) -> int:
    """Into how many chunks of the first axis the sum is cut; ``size`` is the bytes of an element."""
    first = g.axes[0]
    line = (g.a_steps[0] * first.out_step + g.c_steps[0]) * size
    chunks = -(-first.out // max(1, _CACHE // max(line, 1)))
    moved, part = (g.a_size + g.c_size) * size, g.taps * g.channels * g.filters * g.groups * size
    chunks = min(chunks, max(1, moved // (4 * part)))  # writing and adding up the parts should stay cheap
    return min(max(chunks, -(-_UNITS // (g.taps * g.groups))), first.out)


@dataclass(frozen=True)
class ConvolutionGradient:
    """Partial sums ``W[chunk, tap, channel, group * filter]`` of the gradient of a convolution's weights.

    Attributes:
        geometry: that of the convolution forward: A is its input, C the gradient of its output.
        dtype: of A and C, or ``pairs``: words of two bfloat16 of neighbouring rows (see ``pairs.py``); rows and steps
            then count words. Sums and results are float64 for float64, else float32.
        chunks: into how many parts the first axis is cut.
        isa: the instruction set that the kernel is for.
        dot: whether the processor multiplies ``pairs`` by itself.
        exact: C is read to its end only: it is an argument, and nothing is known of the memory behind it.

    Buffers: 0 the input, 1 the gradient of the output, 2 the result.
    """

    geometry: Geometry
    dtype: str
    chunks: int
    isa: str = "avx512"
    dot: bool = False
    exact: bool = False

    # What a tile kernel asks of a spec: nothing follows the sums.
    operands: tuple[()] = ()
    body: Body = ()

    @property
    def acc(self) -> str:
        """The dtype of the sums."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def folded(self) -> bool:
        """Whether the taps of the last axis join the rows of a tile."""
        last = self.geometry.axes[-1]
        return self.geometry.channels < _FEW and last.taps > 1 and last.full

    @property
    def m(self) -> int:
        """Rows of the result that one unit computes."""
        return self.geometry.channels * (self.geometry.axes[-1].taps if self.folded else 1)

    @property
    def taps(self) -> int:
        """Taps that are units of their own."""
        return self.geometry.taps // (self.geometry.axes[-1].taps if self.folded else 1)

    @property
    def tile(self) -> Tile:
        """The tile with the fewest machine cycles by a simple count."""
        lanes, per_vector = lanes_of(self.isa), ITEMSIZE[self.acc] // 4
        count = -(-self.geometry.filters // lanes)
        best, best_cost = Tile(1, 1), math.inf
        for vectors in range(1, min(4, count) + 1):
            for rows in range(1, min(self.m, tile_limit(vectors * per_vector, self.isa)) + 1):
                step = max(rows * vectors, 4) + 0.2 * (rows + vectors)
                cost = -(-self.m // rows) * -(-count // vectors) * step
                if cost < best_cost:
                    best, best_cost = Tile(rows, vectors), cost
        return best

    @property
    def units(self) -> int:
        """Chunks, groups, taps; the last running fastest."""
        return self.chunks * self.geometry.groups * self.taps

    @property
    def flops(self) -> int:
        return (4 if self.dtype == "pairs" else 2) * self.geometry.work

    @property
    def bytes(self) -> int:
        """Bytes that must move at least once."""
        g = self.geometry
        parts = self.chunks * g.taps * g.channels * g.filters * g.groups
        return ITEMSIZE[self.dtype] * (g.a_size + g.c_size) + ITEMSIZE[self.acc] * parts

    def key(self) -> str:
        """Everything that affects the code, as text."""
        return repr(self)

    def ir(self, name: str, isa: Isa) -> str:
        """The kernel as the text of an LLVM module with the one function ``name``."""
        assert isa.name == self.isa, f"a gradient planned for {self.isa} cannot be written for {isa.name}"
        return _Kernel(self, name, isa).module()


def _outputs(f: Function, axis: Axis, tap: Value | int) -> tuple[Value | int, Value | int]:
    """The output positions [start, stop) for which a tap reaches something."""
    assert axis.in_step == 1, "the gradient of the weights is taken forwards"
    if axis.full:
        return 0, axis.out
    shift = f.as_value(tap * axis.tap_step + axis.offset, "i64")

    def quotient(x: Value) -> Value:
        return f.select(x > 0, x, 0) // axis.out_step

    stop = quotient(axis.size + axis.out_step - 1 - shift)
    return quotient(axis.out_step - 1 - shift), f.select(stop < axis.out, stop, axis.out)


class _Kernel(TileKernel):
    """Writes one kernel."""

    spec: ConvolutionGradient

    def __init__(self, spec: ConvolutionGradient, name: str, isa: Isa):
        super().__init__(spec, name, isa, spec.tile)

    def module(self) -> str:
        f = self.f
        self.pointers = [f.load(f["buffers"], i, "ptr") for i in range(3)]
        with f.loop(f["lo"], f["hi"]) as unit:
            self._unit(unit)
        return f.module()

    def _unit(self, unit: Value) -> None:
        f, spec, g = self.f, self.spec, self.spec.geometry
        chunk_group, tap = self._split(unit, spec.taps)
        self.chunk, self.group = self._split(chunk_group, g.groups)
        taps = self._tap_numbers(tap)
        ranges = [_outputs(f, axis, t) for axis, t in zip(g.axes, taps, strict=True)]
        ranges[0] = self._clipped(*ranges[0])
        starts = [t * a.tap_step + a.offset for a, t in zip(g.axes, taps, strict=True)]
        rows, columns = self.tile.rows, self.tile.vectors * self.lanes
        with f.loop(0, -(-g.filters // columns)) as panel, f.loop(0, -(-spec.m // rows)) as index:
            self.column = panel * columns
            ragged = spec.exact and g.filters % columns
            self.inside = [
                f.first_lanes(g.filters - self.column - v * self.lanes, self.lanes) if ragged else None
                for v in range(self.tile.vectors)
            ]
            self._rows(index, rows)
            sums = self._sums(ranges, starts)
            self._store(sums, tap)

    def _tap_numbers(self, tap: Value) -> list[Value | int]:
        """The tap's number along each axis; 0 along a folded one."""
        numbers: list[Value | int] = []
        axes = list(self.spec.geometry.axes)
        if self.spec.folded:
            axes.pop()
            numbers = [0]
        for axis in reversed(axes):
            tap, here = self._split(tap, axis.taps)
            numbers.insert(0, here if axis.taps > 1 else 0)
        return numbers

    def _clipped(self, start: Value | int, stop: Value | int) -> tuple[Value | int, Value | int]:
        """A range along the first axis cut to this unit's chunk."""
        f, spec = self.f, self.spec
        if spec.chunks == 1:
            return start, stop
        out = spec.geometry.axes[0].out
        low, high = self.chunk * out // spec.chunks, (self.chunk + 1) * out // spec.chunks
        start, stop = f.as_value(start, "i64"), f.as_value(stop, "i64")
        return f.select(low > start, low, start), f.select(high < stop, high, stop)

    def _rows(self, index: Value, rows: int) -> None:
        """The tile's first row; the last tile starts early so as to be full."""
        row = index * rows
        self.row = self.f.select(row < self.spec.m - rows, row, self.spec.m - rows) if self.spec.m % rows else row

    def _sums(self, ranges: list[tuple[Any, Any]], starts: list[Value | int]) -> list[list[Value]]:
        f, spec, g, kind = self.f, self.spec, self.spec.geometry, KINDS[self.spec.dtype]
        sums = [[f.var(0, self.vec) for _ in range(self.tile.vectors)] for _ in range(self.tile.rows)]
        channel: Value | int = self.row
        if spec.folded:
            channel = self._folded_offset(self.row)
            # From one row to the next it is 1 or, at the end of a tap, more: every row finds its own place.
            self.offsets = [self._folded_offset(self.row + r) - channel for r in range(self.tile.rows)]
        a = f.at(self.pointers[0], channel + self.group * g.channels, kind)
        b = f.at(self.pointers[1], self.group * g.filters + self.column, kind)
        self._pixels(list(zip(g.axes, ranges, starts, g.a_steps, g.c_steps, strict=True)), a, b, sums)
        return [[v.get() for v in line] for line in sums]

    def _folded_offset(self, row: Value) -> Value:
        g = self.spec.geometry
        tap, channel = self._split(row, g.channels)
        if g.channels > 1:
            return tap * (g.axes[-1].tap_step * g.a_steps[-1]) + channel
        return row * (g.axes[-1].tap_step * g.a_steps[-1])

    def _pixels(self, axes: list[Any], a: Value, b: Value, sums: Any) -> None:
        """Loops over the output positions, one inside the other; then the rows."""
        f, g, kind = self.f, self.spec.geometry, KINDS[self.spec.dtype]
        axis, (start, stop), shift, a_step, c_step = axes[0]
        if len(axes) == 1 and axis.out_step == 1 and a_step == g.rows * g.a_row and c_step == g.rows * g.c_row:
            # Pixel after pixel, row after row: one loop over all of them.
            a = f.at(a, (start + shift) * a_step, kind)
            b = f.at(b, start * c_step, kind)
            self._steps(a, b, (stop - start) * g.rows, sums)
            return
        with f.loop(start, stop) as o:
            inner_a = f.at(a, (o * axis.out_step + shift) * a_step, kind)
            inner_b = f.at(b, o * c_step, kind)
            if len(axes) == 1:
                self._steps(inner_a, inner_b, g.rows, sums)
            else:
                self._pixels(axes[1:], inner_a, inner_b, sums)

    def _steps(self, a: Value, b: Value, count: Value | int, sums: Any) -> None:
        f, spec, g, kind = self.f, self.spec, self.spec.geometry, KINDS[self.spec.dtype]
        with f.loop(0, count) as k:
            at_a, at_b = f.at(a, k * g.a_row, kind), f.at(b, k * g.c_row, kind)
            if spec.dtype == "pairs":
                self._pairs_step(sums, at_a, at_b, 1)
                return
            row = [
                self._widen(f.load(at_b, v * self.lanes, vector(kind, self.lanes), mask))
                for v, mask in enumerate(self.inside)
            ]
            for r, line in enumerate(sums):
                place = self.offsets[r] if spec.folded else r
                x = f.splat(self._widen(f.load(at_a, place, kind)), self.lanes)
                for v, total in enumerate(line):
                    self._accumulate(total, x, row[v])

    def _store(self, sums: list[list[Value]], tap: Value) -> None:
        """Rows that two tiles share are stored twice, with the same value."""
        f, spec, g = self.f, self.spec, self.spec.geometry
        width = g.groups * g.filters
        first = (self.chunk * spec.taps + tap) * spec.m + self.row
        place = f.at(self.pointers[2], first * width + self.group * g.filters + self.column, self.acc_kind)
        for v in range(self.tile.vectors):
            mask = None
            if g.filters % (self.tile.vectors * self.lanes):
                mask = f.first_lanes(g.filters - self.column - v * self.lanes, self.lanes)
            for r, line in enumerate(sums):
                f.store(line[v], place, r * width + v * self.lanes, mask)
