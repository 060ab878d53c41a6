"""Convolutions: the contraction's register tile, walked over the pixels of an image.

Images lie as ``[*pixels, rows, channels]``: every pixel is a small matrix, as a rule one row for each sample of the
batch. A convolution is then, for each output pixel, the sum over the taps that reach something of ``X[pixel of the
tap] @ W[tap]``, a product of small matrices. One tile computes a few rows and one panel of the filters of one output
pixel: its sums stay in registers over all taps and channels, and whatever follows (bias, activation, a residual) is
applied to them there. Since all rows of a tile belong to the same pixel, they reach the same taps: padding costs no
arithmetic at all, and neither do the holes of a strided convolution's adjoint.

With few samples the rows of a tile are instead neighbouring output positions along the last axis (``a_row`` is then the
stride times a pixel); that axis must reach all its taps everywhere.

The weights come in panels, for each group ``[panel][tap][channel][width]`` or ``[tap][panel][channel][width]``: the
steps say which. :mod:`convolution_gradient` holds the kernel for the gradient of the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ranvier.compiler.native.builder import Value, vector
from ranvier.compiler.native.contraction import BITS, REGISTERS, EpilogueOperand, Tile, TileKernel
from ranvier.compiler.native.emit import ITEMSIZE, KINDS
from ranvier.compiler.native.expr import Body
from ranvier.compiler.native.taps import Axis, Reach, reach

__all__ = ["Convolution", "Geometry", "lanes_of", "tile_limit", "tile_rows"]

Isa = Any  # target.Isa: .name, .bits, .lanes(dtype)

_UNITS = 64  # units wanted: enough for any number of threads, few enough that finding one's place costs nothing
_UNROLLED = 4  # channels up to which the loop over them is written out


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of a convolution's input and output lie, and which reach which.

    Attributes:
        axes: for each axis of the image, which input positions the output positions reach.
        a_steps, c_steps: elements from one position to the next along each axis, in the input and the output.
        rows: rows of a pixel's matrix.
        a_row, c_row: elements from one row to the next, in the input and the output.
        channels, filters: of one group, in the input and the output.
        groups: channels and filters are cut into so many groups that have nothing to do with each other.
    """

    axes: tuple[Axis, ...]
    a_steps: tuple[int, ...]
    c_steps: tuple[int, ...]
    rows: int
    a_row: int
    c_row: int
    channels: int
    filters: int
    groups: int = 1

    @property
    def taps(self) -> int:
        return math.prod(a.taps for a in self.axes)

    @property
    def work(self) -> int:
        """Products of single numbers."""
        return math.prod(a.work for a in self.axes) * self.rows * self.channels * self.filters * self.groups

    @property
    def a_size(self) -> int:
        """Elements of the input that are there to be read."""
        return math.prod(a.size for a in self.axes) * self.rows * self.channels * self.groups

    @property
    def c_size(self) -> int:
        """Elements of the output."""
        return math.prod(a.out for a in self.axes) * self.rows * self.filters * self.groups


def lanes_of(isa: str) -> int:
    """Lanes of 32 bits in a vector."""
    return BITS[isa] // 32


def tile_limit(registers: int, isa: str) -> int:
    """The most rows of a tile whose rows take so many registers each: sums, one row of the weights, two to spare."""
    free = REGISTERS[isa] - 2 - registers
    return max(1, min(free // registers, 14 if registers > 1 else 16))


def tile_rows(count: int, vectors: int, k: int, isa: str, acc: str) -> int:
    """How many of ``count`` rows a tile of so many vectors should have: the fewest machine cycles by a simple count."""
    best, best_cost = 1, math.inf
    for rows in range(1, min(tile_limit(vectors * (ITEMSIZE[acc] // 4), isa), count) + 1):
        # Below four sums the multiplier waits for itself; every step also loads one row of the weights.
        cost = -(-count // rows) * (k * (max(rows * vectors, 4) + 0.15 * vectors) + 30 + 2 * rows * vectors)
        if cost < best_cost:
            best, best_cost = rows, cost
    return best


@dataclass(frozen=True)
class Convolution:
    """``C[o, row, f] = sum over taps t and channels c of A[pixel(o, t), row, c] * B[t, c, f]``, then the epilogue.

    Attributes:
        geometry: the pixels.
        dtype: of A and B, or ``pairs``: words of two bfloat16 that are neighbours along the channels (A as it lies; B
            see ``pairs.py``); channels and all steps of A and B then count words. Sums are float64 for float64, else
            float32.
        width: columns of a panel of the weights.
        b_group, b_panel, b_tap: elements between groups, panels and taps of the weights.
        operands, body, stores: the epilogue, as in a ``Contraction``: ``tile`` operands lie like C, ``row`` operands
            have one value for each filter of every group, ``scalar`` ones a single value.
        isa: the instruction set that the kernel is for.
        dot: whether the processor multiplies ``pairs`` by itself.

    In the kernel's buffer list A is 0, B is 1, the operands follow.
    """

    geometry: Geometry
    dtype: str
    width: int
    b_group: int
    b_panel: int
    b_tap: int
    operands: tuple[EpilogueOperand, ...]
    body: Body
    stores: tuple[tuple[int, int], ...]
    isa: str = "avx512"
    dot: bool = False

    # What the epilogue asks of a spec, see contraction.py.
    c, batch, m = "rows", 1, 0

    @property
    def n(self) -> int:
        return self.geometry.filters

    @property
    def c_ld(self) -> int:
        return self.geometry.c_row

    @property
    def acc(self) -> str:
        """The dtype of the sums."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def panels(self) -> int:
        return -(-self.n // self.width)

    @property
    def tile(self) -> Tile:
        """The register tile."""
        vectors, g = self.width // lanes_of(self.isa), self.geometry
        while vectors > 1 and vectors * (ITEMSIZE[self.acc] // 4) > REGISTERS[self.isa] // 5:
            vectors //= 2 if vectors % 2 == 0 else vectors
        return Tile(tile_rows(g.rows, vectors, g.taps * g.channels, self.isa, self.acc), vectors)

    @property
    def row_tiles(self) -> int:
        return -(-self.geometry.rows // self.tile.rows)

    @property
    def block(self) -> int:
        """Output positions along the last axis that one unit computes."""
        *outer, last = self.geometry.axes
        lines = self.geometry.groups * math.prod(a.out for a in outer)
        return max(1, last.out // max(1, -(-_UNITS // lines)))

    @property
    def blocks(self) -> int:
        return -(-self.geometry.axes[-1].out // self.block)

    @property
    def units(self) -> int:
        """Groups, lines of pixels, blocks of a line; the last running fastest."""
        g = self.geometry
        return g.groups * math.prod(a.out for a in g.axes[:-1]) * self.blocks

    @property
    def flops(self) -> int:
        each = 4 if self.dtype == "pairs" else 2
        return each * self.geometry.work + self.geometry.c_size * sum(bool(i.args) for i in self.body)

    @property
    def bytes(self) -> int:
        """Bytes that must move at least once."""
        g = self.geometry
        total = ITEMSIZE[self.dtype] * (g.a_size + g.taps * g.channels * g.filters * g.groups)
        counts = {"tile": g.c_size, "row": g.filters * g.groups, "scalar": 1}
        touched = [i.attrs[0] for i in self.body if i.op == "load"] + [s for s, _ in self.stores]
        return total + sum(ITEMSIZE[self.operands[i].dtype] * counts[self.operands[i].mode] for i in touched)

    def key(self) -> str:
        """Everything that affects the code, as text."""
        return repr(self)

    def ir(self, name: str, isa: Isa) -> str:
        """The kernel as the text of an LLVM module with the one function ``name``."""
        assert isa.name == self.isa, f"a convolution planned for {self.isa} cannot be written for {isa.name}"
        return _Kernel(self, name, isa).module()


class _Kernel(TileKernel):
    """Writes one kernel; the epilogue is the contraction's."""

    spec: Convolution

    def __init__(self, spec: Convolution, name: str, isa: Isa):
        super().__init__(spec, name, isa, spec.tile)
        self.chunk = self.batch = self.f.const(0, "i64")

    def _unit(self, unit: Value) -> None:
        f, spec, g = self.f, self.spec, self.spec.geometry
        *outer, last = g.axes
        rest, block = self._split(unit, spec.blocks)
        places: list[Value] = []
        for axis in reversed(outer):
            rest, o = self._split(rest, axis.out)
            places.insert(0, o)
        self.group = rest if g.groups > 1 else f.const(0, "i64")
        reaches = [reach(f, axis, o) for axis, o in zip(outer, places, strict=True)]
        start = block * spec.block
        stop: Value | int = last.out
        if last.out % spec.block or spec.blocks > 1:
            stop = f.select(start + spec.block < last.out, start + spec.block, last.out)
        with f.loop(start, stop) as x:
            self.at = [*places, x]
            here = [*reaches, reach(f, last, x)]
            per_panel = spec.width // self.lanes // self.tile.vectors
            with f.loop(0, spec.row_tiles) as index, f.loop(0, spec.panels * per_panel) as column:
                self._rows(index)
                self.panel = column // per_panel if per_panel > 1 else column
                self.column = (
                    (column % per_panel) * (self.tile.vectors * self.lanes) if per_panel > 1 else f.const(0, "i64")
                )
                self._epilogue(self._sums(here))

    def _rows(self, index: Value) -> None:
        """The tile's first row; the last tile starts early so as to be full and stores only what is its own."""
        rows, count = self.tile.rows, self.spec.geometry.rows
        row = index * rows
        self.first = self.last = None
        if count % rows:
            start = self.f.select(row < count - rows, row, count - rows)
            self.first, row = row - start, start
        self.row = row

    def _sums(self, reaches: list[Reach]) -> list[list[Value]]:
        """The tile's sums over all taps and channels, as [row][vector]."""
        f, spec, g, kind = self.f, self.spec, self.spec.geometry, KINDS[self.spec.dtype]
        sums = [[f.var(0, self.vec) for _ in range(self.tile.vectors)] for _ in range(self.tile.rows)]
        a = f.at(self.pointers[0], self.row * g.a_row + self.group * g.channels, kind)
        b = f.at(self.pointers[1], self.group * spec.b_group + self.panel * spec.b_panel + self.column, kind)
        self._taps(reaches, list(g.a_steps), [axis.taps for axis in g.axes], a, b, sums)
        return [[v.get() for v in line] for line in sums]

    def _taps(self, reaches: list[Reach], steps: list[int], taps: list[int], a: Value, b: Value, sums: Any) -> None:
        """Loops over the taps, one inside the other; then the channels."""
        if not reaches:
            self._channels(a, b, sums)
            return
        f, r, kind = self.f, reaches[0], KINDS[self.spec.dtype]
        step = self.spec.b_tap * math.prod(taps[1:])
        with f.loop(r.start, r.stop) as u:
            inner_a = f.at(a, (r.place + u * r.place_step) * steps[0], kind)
            inner_b = f.at(b, (r.tap + u * r.tap_step) * step, kind)
            self._taps(reaches[1:], steps[1:], taps[1:], inner_a, inner_b, sums)

    def _channels(self, a: Value, b: Value, sums: Any) -> None:
        f, channels = self.f, self.spec.geometry.channels
        if channels <= _UNROLLED:
            for c in range(channels):
                self._multiply(a, b, c, sums)
            return
        with f.loop(0, channels) as channel:
            self._multiply(a, b, channel, sums)

    def _multiply(self, a: Value, b: Value, c: Value | int, sums: Any) -> None:
        f, spec, g, kind = self.f, self.spec, self.spec.geometry, KINDS[self.spec.dtype]
        a, b = f.at(a, c, kind), f.at(b, c * spec.width, kind)
        if spec.dtype == "pairs":
            self._pairs_step(sums, a, b, g.a_row)
            return
        row = [self._widen(f.load(b, v * self.lanes, vector(kind, self.lanes))) for v in range(self.tile.vectors)]
        for r, line in enumerate(sums):
            x = f.splat(self._widen(f.load(a, r * g.a_row, kind)), self.lanes)
            for v, total in enumerate(line):
                self._accumulate(total, x, row[v])

    def _place(self, operand: EpilogueOperand) -> Value:
        """Where the tile's first element lies in an operand."""
        g = self.spec.geometry
        filters = self.group * g.filters + self.panel * self.spec.width + self.column
        if operand.mode == "scalar":
            return self.f.const(0, "i64")
        if operand.mode == "row":
            return filters
        places = [o * step for o, step in zip(self.at, g.c_steps, strict=True)]
        return sum(places, self.row * g.c_row + filters)
