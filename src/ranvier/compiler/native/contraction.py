"""Contractions: matrix products, and all that can be written as one, with the work that follows fused in.

A :class:`Contraction` says, as plain data, ``C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n]`` followed by an
*epilogue*: a body of elementwise instructions that sees the sum (the leaf ``acc``) and any further operands, and whose
values are stored. Dense layers forward (with bias and activation), both their gradients (with the optimizer's update
at the store), convolutions and recurrences are all this one kernel with different addresses.

How the code works. ``B`` comes in *panels*: columns are cut into strips of ``width`` (two vectors as a rule), and each
strip is stored as rows of ``width`` contiguous numbers. One unit of work is a *tile*: a few rows of A times one panel.
Its sums stay in registers for the whole loop over ``k``; each turn loads the panel's row of B once and multiplies it
by one number of A for every row of the tile. When the loop is done the epilogue runs on the sums while they are in
registers. Nothing is packed inside: who calls chooses layouts so that no packing is needed, or inserts a ``Relayout``.

Rows that do not fill the last tile cost no second copy of the code: the last tile starts earlier, so that it is full,
and stores only the rows that no other tile has stored (so in-place updates happen once).

bfloat16 has tiles of its own, of the dtype ``pairs``: A and B come as 32-bit words that hold two numbers next to each
other in k (see ``pairs.py``), ``k`` and all strides count words, and one instruction does two multiplications for each
lane. Where the processor has no such instruction the words are taken apart.

Determinism: each number of C is summed by one unit in the order of k, whatever the threads do. A product with few
outputs and a very long k may be cut into fixed chunks of k (:meth:`Contraction.split`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ranvier.compiler.native.builder import BYTES, Function, Value, Var, lanes, vector
from ranvier.compiler.native.emit import HEAVY, ITEMSIZE, KINDS, constant, emit_instr, operand_dtypes, widen_bfloat16
from ranvier.compiler.native.expr import Body, Instr

__all__ = [
    "BITS",
    "REGISTERS",
    "AOperand",
    "Contraction",
    "EpilogueOperand",
    "Tile",
    "TileKernel",
    "a_panels_k",
    "a_panels_m",
    "a_rows",
    "choose_tile",
    "panel_width",
    "should_pack_a",
]

Isa = Any  # target.Isa: .name, .bits, .lanes(dtype)

BITS = {"avx512": 512, "avx2": 256, "neon": 128, "generic": 128}
REGISTERS = {"avx512": 32, "avx2": 16, "neon": 32, "generic": 16}
_LIGHT = 4  # instructions of a body that is still written out once for every vector of the tile
_A_LARGE = 8 << 20  # bytes of A from which tiles are visited in bands of rows
_A_BAND = 768 << 10  # bytes of such a band: it lives in the second cache while the panels of B go by


def panel_width(n: int, isa: Isa) -> int:
    """Columns of a panel for a matrix of ``n`` columns: two vectors, or one or three where two would waste lanes.

    A tile of one vector reaches the same speed (the loads of A are free beside the multiplications), but reads A twice
    as often; so for wide matrices, where the waste is small, panels stay two vectors wide.
    """
    lanes = isa.lanes("float32")
    vectors = -(-n // lanes)
    if vectors % 2 == 0 or vectors > 15:
        return 2 * lanes
    return lanes * (3 if vectors % 3 == 0 else 1)


def should_pack_a(m: int, n: int, k: int, row: int, column: int = 1, size: int = 4) -> bool:
    """Whether it pays to copy an A in plain strides to panels before the product.

    Rows along k never need it: a tile reads a few streams, each to the end of every cache line. An A read down its
    columns (a transposed operand) takes a few numbers of a new line at each step of k and wants the same lines again
    for the next tile; they are gone by then if there are too many for the first cache (32 KiB), or if their distance
    is a multiple of 4 KiB, so that they compete for the same place.

    Args:
        m: rows of the product.
        n: its columns.
        k: what is summed over.
        row: elements of A from one m to the next.
        column: elements of A from one k to the next.
        size: bytes of an element.
    """
    if abs(column) <= abs(row) or m < 16:
        return False
    return k * 64 > 32768 or (column * size % 4096 == 0 and k >= 64 and n >= 128)


@dataclass(frozen=True)
class AOperand:
    """Where ``A[b, m, k]`` lies. All strides count elements; ``batch`` is the step from one matrix to the next.

    * ``rows``: at ``m * self.m + k * self.k``.
    * ``panels_k``: A itself is in panels of ``width``: at ``(k // width) * self.k + m * self.m + k % width``.
    * ``panels_m``: A is the transpose of a matrix in panels: at ``(m // width) * self.m + k * self.k + m % width``.

    :func:`a_rows`, :func:`a_panels_k` and :func:`a_panels_m` fill in the usual strides.
    """

    layout: str
    batch: int
    m: int
    k: int
    width: int = 0


def a_rows(row: int, column: int = 1, batch: int = 0) -> AOperand:
    """Plain strides: ``row`` elements from one m to the next, ``column`` from one k to the next."""
    return AOperand("rows", batch, row, column)


def a_panels_k(rows: int, width: int, batch: int = 0) -> AOperand:
    """A [rows, K] matrix in panels, used as it is."""
    return AOperand("panels_k", batch, width, rows * width, width)


def a_panels_m(rows: int, width: int, batch: int = 0) -> AOperand:
    """A [rows, M] matrix in panels, used transposed: its rows are summed over."""
    return AOperand("panels_m", batch, rows * width, width, width)


@dataclass(frozen=True)
class EpilogueOperand:
    """A further operand of a contraction, read or written by the epilogue.

    Attributes:
        dtype: its dtype.
        mode: ``tile`` (the layout of C), ``row`` (one value for each n; padded to whole panels), ``column`` (one
            value for each m) or ``scalar``.
        batch: elements from one matrix of the batch to the next; -1 means C's own step for tiles, else shared.
    """

    dtype: str
    mode: str
    batch: int = -1


@dataclass(frozen=True)
class Tile:
    """The register tile: ``rows`` of A times ``vectors`` of B; ``chains`` independent sums for each (small tiles)."""

    rows: int
    vectors: int
    chains: int = 1


@dataclass(frozen=True)
class Contraction:
    """``C[b, m, n] = sum_k A[b, m, k] * B[b, k, n]`` and the epilogue that stores it.

    Attributes:
        batch, m, n, k: sizes. ``k`` may be 0 (all sums are 0); the others are at least 1.
        dtype: of A and B (float32, float64, bfloat16, or pairs: words of two bfloat16). Sums are float64 for
            float64, else float32.
        a: where A lies.
        b_batch: elements between the B matrices of a batch (0: shared).
        width: columns of a panel of B and C. Pad columns of B's last panel must be there and be zero.
        c: ``panels`` (whole vectors are stored, pads included) or ``rows``.
        c_batch, c_ld: elements between matrices of C, and between its rows (``rows``) or its panels (``panels``;
            0 means ``m * width``).
        operands: the epilogue's operands. In the kernel's buffer list A is 0, B is 1, these follow as 2, 3, ...
        body: the epilogue; ``load`` attrs are indices into ``operands``, ``iota`` counts (batch, m, n) by its attr.
        stores: (index into ``operands``, body value).
        b_panel: elements between panels of B (0: ``k * width``).
        chunk: if not 0, cut k into chunks of this many and store one result for each (see :meth:`split`).
        c_chunk: elements between the results of two chunks.
        dot: whether the processor multiplies ``pairs`` by itself.
        isa: the name of the instruction set that the kernel is for; it decides the tile, and so the units.
    """

    batch: int
    m: int
    n: int
    k: int
    dtype: str
    a: AOperand
    b_batch: int
    width: int
    c: str
    c_batch: int
    c_ld: int
    operands: tuple[EpilogueOperand, ...]
    body: Body
    stores: tuple[tuple[int, int], ...]
    b_panel: int = 0
    chunk: int = 0
    c_chunk: int = 0
    dot: bool = False
    isa: str = "avx512"

    @property
    def acc(self) -> str:
        """The dtype of the sums."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def chunks(self) -> int:
        return -(-self.k // self.chunk) if self.chunk else 1

    @property
    def panels(self) -> int:
        return -(-self.n // self.width)

    @property
    def flops(self) -> int:
        each = 4 if self.dtype == "pairs" else 2
        return self.batch * self.m * self.n * (each * self.k + sum(bool(i.args) for i in self.body))

    @property
    def bytes(self) -> int:
        """Bytes that must move at least once: A, B, and every operand read or written (both, if both)."""
        size = ITEMSIZE[self.dtype]
        total = (
            size
            * self.k
            * (self.m * (self.batch if self.a.batch else 1) + self.n * (self.batch if self.b_batch else 1))
        )
        counts = {"tile": self.batch * self.m * self.n * self.chunks, "row": self.n, "column": self.m, "scalar": 1}
        touched = [i.attrs[0] for i in self.body if i.op == "load"] + [s for s, _ in self.stores]
        return total + sum(ITEMSIZE[self.operands[i].dtype] * counts[self.operands[i].mode] for i in touched)

    @property
    def units(self) -> int:
        """Tiles: chunks, matrices of the batch, panels and row tiles, the last running fastest."""
        tile = choose_tile(self)
        blocks = self.panels * (self.width // (BITS[self.isa] // 32) // tile.vectors)
        return self.chunks * self.batch * blocks * -(-self.m // tile.rows)

    def key(self) -> str:
        """Everything that affects the code, as text."""
        return repr(self)

    def ir(self, name: str, isa: Isa) -> str:
        """The kernel as the text of an LLVM module with the one function ``name``."""
        assert isa.name == self.isa, f"a contraction planned for {self.isa} cannot be written for {isa.name}"
        return _Kernel(self, name, isa).module()

    @property
    def long_k_chunk(self) -> int:
        """The chunk that :meth:`split` should cut k into; 0 where cutting does not pay.

        It pays for a very long k: the operands' strips no longer fit the second cache, and there may be too few tiles
        to share among threads. About a thousand steps per chunk make adding up the parts cost next to nothing.
        """
        if self.k < 4096 or self.units >= 128:
            return 0
        return 1024 // self.a.width * self.a.width if self.a.layout == "panels_k" else 1024

    def split(self, chunk: int) -> Contraction:
        """This product as partial results over fixed chunks of k, for few outputs and a very long k.

        The result has the same A and B and one operand, the buffer [chunks, batch, m, n] of partial sums in C's
        layout. Add them up in order of the chunks (a ``middle`` reduction over a fixed number of terms) and apply
        this contraction's own epilogue there. ``chunk`` must be a multiple of the panel width of A when A is in
        panels along k. The cut depends on the problem alone, so the bits do not depend on threads.
        """
        assert self.a.layout != "panels_k" or chunk % self.a.width == 0, "a chunk must end with a panel of A"
        size = self.panels * self.width * self.m if self.c == "panels" else self.m * self.n
        return replace(
            self, c_batch=size, c_ld=0 if self.c == "panels" else self.n, operands=(EpilogueOperand(self.acc, "tile"),),
            body=(Instr("acc", self.acc),), stores=((0, 0),), b_panel=self.b_panel or self.k * self.width, chunk=chunk,
            c_chunk=size * self.batch,
        )  # fmt: skip


# -- choosing the tile ------------------------------------------------------------------------------------------------


def _per_vector(spec: Contraction) -> int:
    """Machine registers that one vector of sums takes."""
    return ITEMSIZE[spec.acc] // 4


def _row_limits(spec: Contraction) -> Iterator[tuple[int, int]]:
    """(vectors, most rows) of the register tiles that fit, widest first."""
    lanes, per_vector = BITS[spec.isa] // 32, _per_vector(spec)
    spare = {"neon": 6, "avx512": 2}.get(spec.isa, 1)
    for vectors in range(spec.width // lanes, 0, -1):
        if (spec.width // lanes) % vectors == 0:
            apart = 2 if spec.dtype == "pairs" and not spec.dot else 1  # registers for a vector of B
            free = REGISTERS[spec.isa] - spare * apart - vectors * per_vector * apart
            yield vectors, min(free // (vectors * per_vector), 14)


def choose_tile(spec: Contraction) -> Tile:
    """The tile that needs the fewest machine cycles by a simple count, among those that fit the registers."""
    options = list(_row_limits(spec))
    vectors, limit = next((o for o in options if o[1] >= min(4, spec.m)), options[-1])
    width = spec.a.width if spec.a.layout == "panels_m" else 0
    best, best_cost = Tile(1, vectors), math.inf
    for rows in range(1, min(limit, spec.m) + 1):
        if width and width % rows and spec.m > width:
            continue  # a tile must not straddle two panels of A
        tiles = -(-spec.m // rows)
        chain = rows * vectors
        cost = tiles * (max(spec.k, 1) * (max(chain, 4) + 0.5 * (rows < 6)) + 30 + 2 * chain)
        cost *= 1 + 0.002 * abs(rows - 8)  # among equals, eight rows: measured best, and quick to compile
        if cost < best_cost:
            best, best_cost = Tile(rows, vectors), cost
    chains, registers = 1, best.rows * vectors * _per_vector(spec)
    while chains < 4 and chains * registers < 6 and spec.k >= 16:
        chains *= 2
    return replace(best, chains=chains)


# -- the generator ----------------------------------------------------------------------------------------------------


def _weight(body: Body) -> int:
    return sum(20 if i.op in HEAVY else 1 for i in body if i.args)


class TileKernel:
    """What kernels made of register tiles have in common: their sums, and the epilogue that stores them.

    A subclass walks its units in ``_unit``: it sets ``row``, ``panel``, ``column``, ``batch`` and ``chunk``, the range
    of rows ``first`` to ``last`` that it stores, and passes the tile's sums to ``_epilogue``.
    """

    def __init__(self, spec: Any, name: str, isa: Isa, tile: Tile):
        self.spec, self.isa, self.tile = spec, isa, tile
        self.lanes = isa.lanes("float32")
        self.f = Function(
            name, [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")], target_width=isa.bits
        )
        self.acc_kind = KINDS[spec.acc]
        self.vec = vector(self.acc_kind, self.lanes)
        self.uniform: dict[int, Value] = {}  # body values that are the same everywhere: computed once per call
        # Rows of the tile that this unit stores: [first, last). None means all of them.
        self.first: Value | None = None
        self.last: Value | None = None
        self.row: Value
        self.panel: Value
        self.column: Value
        self.batch: Value
        self.chunk: Value

    def module(self) -> str:
        f, spec = self.f, self.spec
        self.pointers = [f.load(f["buffers"], i, "ptr") for i in range(2 + len(spec.operands))]
        self._uniform_values()
        with f.loop(f["lo"], f["hi"]) as unit:
            self._unit(unit)
        return f.module()

    def _unit(self, unit: Value) -> None:
        """The code of one unit."""
        raise AssertionError("a tile kernel defines its units")

    def _split(self, number: Value, size: int) -> tuple[Value, Value]:
        """(number // size, number % size)."""
        return (number, self.f.const(0, "i64")) if size == 1 else (number // size, number % size)

    def _widen(self, value: Value) -> Value:
        return widen_bfloat16(self.f, value) if self.spec.dtype == "bfloat16" else value

    def _accumulate(self, total: Var, x: Value, y: Value) -> None:
        """``total += x * y``. Without an fma instruction (the generic target) LLVM would call the C library."""
        total.set(x * y + total.get() if self.spec.isa == "generic" else self.f.fma(x, y, total.get()))

    def _pairs_step(self, sums: list[list[Var]], a: Value, b: Value, apart: int) -> None:
        """One word of A for each row, one vector of words of B: two products for each lane."""
        f, spec, count = self.f, self.spec, self.lanes
        row = [f.load(b, v * count, vector("i32", count)) for v in range(self.tile.vectors)]
        if spec.dot:
            factors = [f.emit(f"bitcast {y.kind} {y.name} to <32 x bfloat>", "<32 x bfloat>") for y in row]
            for r, line in enumerate(sums):
                x = f.splat(f.load(a, r * apart, "i32"), count)
                x = f.emit(f"bitcast {x.kind} {x.name} to <32 x bfloat>", "<32 x bfloat>")
                for y, total in zip(factors, line, strict=True):
                    total.set(f.call("llvm.x86.avx512bf16.dpbf16ps.512", [total.get(), x, y], self.vec))
            return
        halves = [self._halves(y) for y in row]
        for r, line in enumerate(sums):
            low, high = (f.splat(x, count) for x in self._halves(f.load(a, r * apart, "i32")))
            for (first, second), total in zip(halves, line, strict=True):
                self._accumulate(total, low, first)
                self._accumulate(total, high, second)

    def _halves(self, words: Value) -> tuple[Value, Value]:
        """The two numbers of a word as floats: a bfloat16 is the upper half of one."""
        f = self.f
        return f.cast("bitcast", words << 16, "float"), f.cast("bitcast", words & 0xFFFF0000, "float")

    # the epilogue

    def _uniform_values(self) -> None:
        """Compute once, as scalars, what depends on constants and scalar operands only."""
        f, spec = self.f, self.spec
        for i, instr in enumerate(spec.body):
            if instr.op == "const":  # only to be folded into other uniform values
                self.uniform[i] = constant(f, instr.attrs[0], instr.dtype)
            elif instr.op == "load":
                operand = spec.operands[instr.attrs[0]]
                if operand.mode == "scalar" and (operand.batch <= 0 or spec.batch == 1):
                    self.uniform[i] = f.load(self.pointers[2 + instr.attrs[0]], 0, KINDS[instr.dtype])
            elif instr.args and all(a in self.uniform for a in instr.args):
                args = [self.uniform[a] for a in instr.args]
                self.uniform[i] = emit_instr(f, instr, args, 1, operand_dtypes(spec.body, instr))

    def _epilogue(self, sums: list[list[Value]]) -> None:
        f, spec, tile = self.f, self.spec, self.tile
        bases = [
            f.at(pointer, self._place(o), KINDS[o.dtype])
            for pointer, o in zip(self.pointers[2:], spec.operands, strict=True)
        ]
        corner = (self.batch, self.row, self.panel * spec.width + self.column)
        if _weight(spec.body) > _LIGHT and tile.rows * tile.vectors > 1:
            self._call_epilogue(sums, bases, corner)
            return
        body = _Epilogue(spec, f, self.lanes, bases, self.uniform, corner)
        masks = [body.mask(v, tile.vectors * self.lanes >= spec.width) for v in range(tile.vectors)]
        rows = [body.row_loads(v) for v in range(tile.vectors)]
        for r, line in enumerate(sums):
            with self._if_ours(r):
                for v, total in enumerate(line):
                    body.vector(r, v, total, masks[v], rows[v])

    def _call_epilogue(self, sums: list[list[Value]], bases: list[Value], corner: tuple[Value, ...]) -> None:
        """A long body: park the sums on the stack and call a function that holds the body once, in a loop.

        It is a function of its own because its constants would otherwise be kept in registers through the k loop.
        """
        f, tile = self.f, self.tile
        size, align = tile.vectors * self.lanes, min(64, self.lanes * BYTES[self.acc_kind])
        scratch = f.scratch(self.acc_kind, tile.rows * size)
        for r, line in enumerate(sums):
            for v, total in enumerate(line):
                f.store(total, scratch, r * size + v * self.lanes, align=align)
        first = f.const(0, "i64") if self.first is None else self.first
        last = f.const(tile.rows, "i64")
        if self.last is not None:
            last = f.select(self.last < tile.rows, self.last, tile.rows)
        needed = {a for i, instr in enumerate(self.spec.body) if i not in self.uniform for a in instr.args}
        needed |= {value for _, value in self.spec.stores}
        shared = {i: u for i, u in self.uniform.items() if i in needed and self.spec.body[i].op != "const"}
        given = {"sums": scratch, "first": first, "last": last, "batch": corner[0], "row": corner[1], "col": corner[2]}
        given |= {f"o{i}": base for i, base in enumerate(bases)} | {f"u{i}": value for i, value in shared.items()}

        g = Function(
            f"{f.name}_tile", [(name, value.kind) for name, value in given.items()], target_width=self.isa.bits,
            linkage="internal", noinline=True,
        )  # fmt: skip
        own = {i: g[f"u{i}"] for i in shared}
        corner = (g["batch"], g["row"], g["col"])
        body = _Epilogue(self.spec, g, self.lanes, [g[f"o{i}"] for i in range(len(bases))], own, corner)
        with g.loop(g["first"], g["last"]) as row, g.loop(0, tile.vectors) as column:
            total = g.load(g["sums"], row * size + column * self.lanes, self.vec, align=align)
            mask = body.mask(0, self.lanes >= self.spec.width) if tile.vectors == 1 else body.mask(column)
            body.vector(row, column, total, mask, body.row_loads(column))
        f.helpers |= {**g.helpers, g.name: g.definition()}
        f.declarations |= g.declarations
        f.call(g.name, list(given.values()), "void", declare=False)

    @contextlib.contextmanager
    def _if_ours(self, r: int) -> Iterator[None]:
        """The block runs if row ``r`` of the tile belongs to this unit."""
        if self.first is not None:
            with self.f.when(self.first <= r):
                yield
        elif self.last is not None:
            with self.f.when(self.last > r):
                yield
        else:
            yield

    def _place(self, operand: EpilogueOperand) -> Value:
        """Where the tile's first element lies in an operand."""
        raise AssertionError("a tile kernel knows where its operands lie")


class _Kernel(TileKernel):
    """Writes one contraction. The methods follow the order of the code they make: units, then the k loop."""

    spec: Contraction

    def __init__(self, spec: Contraction, name: str, isa: Isa):
        super().__init__(spec, name, isa, choose_tile(spec))
        self.row_tiles = -(-spec.m // self.tile.rows)
        self.across = spec.a.layout == "panels_m" and spec.m > spec.a.width  # more than one panel along m

    def _divide(self, number: Value, size: int, count: int) -> tuple[Value, Value]:
        """(number // size, number % size) where ``number < size * count``; nothing is computed if one is known."""
        zero = self.f.const(0, "i64")
        if count == 1:
            return zero, number
        return (number, zero) if size == 1 else (number // size, number % size)

    def _row_tile(self, number: Value, columns: int) -> tuple[Value, Value]:
        """(row tile, column block). Row tiles run fastest; for a large A, only within a band of them."""
        row = self.spec.k * ITEMSIZE[self.spec.dtype]
        band = max(1, _A_BAND // max(1, self.tile.rows * row))
        if columns == 1 or self.spec.m * row <= _A_LARGE or band >= self.row_tiles:
            column, index = self._divide(number, self.row_tiles, columns)
            return index, column
        first = number // (band * columns) * band
        within = number - first * columns
        if self.row_tiles % band == 0:
            return first + within % band, within // band
        here = self.f.select(first < self.row_tiles - band, band, self.row_tiles - first)
        return first + within % here, within // here

    def _unit(self, unit: Value) -> None:
        f, spec, tile = self.f, self.spec, self.tile
        blocks = spec.width // self.lanes // tile.vectors
        matrix, within = self._divide(unit, blocks * spec.panels * self.row_tiles, spec.chunks * spec.batch)
        index, rest = self._row_tile(within, blocks * spec.panels)
        panel, block = self._divide(rest, blocks, spec.panels)
        chunk, batch = self._divide(matrix, spec.batch, spec.chunks)
        row = index * tile.rows
        # Rows of the tile that this unit stores: [first, last). None means all of them.
        self.first = self.last = None
        if spec.m % tile.rows and self.across:
            self.last = spec.m - row
        elif spec.m % tile.rows:
            start = f.select(row < spec.m - tile.rows, row, spec.m - tile.rows)
            self.first, row = row - start, start
        self.row, self.panel, self.batch, self.chunk = row, panel, batch, chunk
        self.column = block * (tile.vectors * self.lanes)  # first column within the panel
        sums = self._sums()
        self._epilogue(sums)

    # the k loop

    def _sums(self) -> list[list[Value]]:
        """The tile's sums over k, as [row][vector]."""
        f, spec, tile = self.f, self.spec, self.tile
        sums = [
            [[f.var(0, self.vec) for _ in range(tile.vectors)] for _ in range(tile.rows)] for _ in range(tile.chains)
        ]
        a, b = self._starts()
        stop: Value | int = spec.k
        if spec.chunks > 1:
            start = self.chunk * spec.chunk
            stop = f.select(start < spec.k - spec.chunk, spec.chunk, spec.k - start)
        if spec.a.layout != "panels_k" or (spec.k if spec.chunks == 1 else spec.chunk) <= spec.a.width:
            step = 1 if spec.a.layout == "panels_k" else spec.a.k
            self._k_loop(sums, a, b, stop, step)
        else:
            width = spec.a.width
            with f.loop(0, stop, step=width) as k0:
                left = f.as_value(stop, "i64") - k0
                here = f.select(left < width, left, width) if spec.k % width else width
                panel = f.at(a, (k0 // width) * spec.a.k, KINDS[spec.dtype])
                self._prefetch(f.at(panel, spec.a.k, KINDS[spec.dtype]))
                self._k_loop(sums, panel, f.at(b, k0 * spec.width, KINDS[spec.dtype]), here, 1)
        return [[self._join([s[r][v] for s in sums]) for v in range(tile.vectors)] for r in range(tile.rows)]

    def _prefetch(self, start: Value) -> None:
        """Ask for the tile's rows in the next panel of A: it is far from this one, the hardware does not guess it."""
        f, size = self.f, self.tile.rows * self.spec.a.m * ITEMSIZE[self.spec.dtype]
        f.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        for offset in range(0, size, 64):
            f.line(f"call void @llvm.prefetch.p0(ptr {f.at(start, offset, 'i8').name}, i32 0, i32 3, i32 1)")

    def _join(self, chains: list[Var]) -> Value:
        values = [c.get() for c in chains]
        while len(values) > 1:
            values = [values[i] + values[i + 1] for i in range(0, len(values), 2)]
        return values[0]

    def _starts(self) -> tuple[Value, Value]:
        """The addresses of A[batch, row, first k] and of B[batch, first k, first column]."""
        f, spec, a = self.f, self.spec, self.spec.a
        if self.across:
            place = (self.row // a.width) * a.m + self.row % a.width
        else:
            place = self.row * (1 if a.layout == "panels_m" else a.m)
        place = place + self.batch * a.batch
        at_b = self.panel * (spec.b_panel or spec.k * spec.width) + self.batch * spec.b_batch + self.column
        if spec.chunks > 1:
            ahead = spec.chunk // a.width if a.layout == "panels_k" else spec.chunk
            place = place + self.chunk * (ahead * a.k)
            at_b = at_b + self.chunk * (spec.chunk * spec.width)
        kind = KINDS[spec.dtype]
        return f.at(self.pointers[0], place, kind), f.at(self.pointers[1], at_b, kind)

    def _k_loop(self, sums: list[list[list[Var]]], a: Value, b: Value, stop: Value | int, step: int) -> None:
        """Add up k in [0, stop): A advances by ``step`` elements, B by one row of the panel."""
        f, chains = self.f, self.tile.chains
        whole: Value | int = stop
        if chains > 1:
            whole = stop // chains * chains if isinstance(stop, int) else stop & -chains
            with f.loop(0, whole, step=chains) as k:
                for c in range(chains):
                    self._k_step(sums[c], a, b, k + c, step)
            if isinstance(stop, int) and whole == stop:
                return
        with f.loop(whole if chains > 1 else 0, stop) as k:
            self._k_step(sums[0], a, b, k, step)

    def _k_step(self, sums: list[list[Var]], a: Value, b: Value, k: Value, step: int) -> None:
        f, spec, kind = self.f, self.spec, KINDS[self.spec.dtype]
        apart = 1 if spec.a.layout == "panels_m" else spec.a.m  # from one row of A to the next
        a, b = f.at(a, k * step if step != 1 else k, kind), f.at(b, k * spec.width, kind)
        if spec.dtype == "pairs":
            self._pairs_step(sums, a, b, apart)
            return
        row = [self._widen(f.load(b, v * self.lanes, vector(kind, self.lanes))) for v in range(self.tile.vectors)]
        for r, line in enumerate(sums):
            x = f.splat(self._widen(f.load(a, r * apart, kind)), self.lanes)
            for v, total in enumerate(line):
                self._accumulate(total, x, row[v])

    def _place(self, operand: EpilogueOperand) -> Value:
        """Where the tile's first element lies in an operand."""
        spec, column = self.spec, self.column
        own = operand.batch if operand.batch >= 0 else (spec.c_batch if operand.mode == "tile" else 0)
        place = self.batch * own
        if operand.mode == "tile":
            panel = spec.width if spec.c == "rows" else spec.c_ld or spec.m * spec.width
            place = place + self.row * _tile_row(spec) + self.panel * panel + column
            if spec.chunks > 1:
                place = place + self.chunk * spec.c_chunk
        elif operand.mode == "row":
            place = place + self.panel * spec.width + column
        elif operand.mode == "column":
            place = place + self.row
        return place


def _tile_row(spec: Contraction) -> int:
    """Elements from one row of C to the next."""
    return spec.c_ld if spec.c == "rows" else spec.width


class _Epilogue:
    """Writes the body for one vector of the tile.

    ``bases`` are the addresses of the tile's first element in each operand, ``uniform`` the body values that are the
    same everywhere, and ``corner`` the batch index, row and column of the tile's first element.
    """

    def __init__(
        self, spec: Contraction, f: Function, count: int, bases: list[Value], uniform: dict[int, Value],
        corner: tuple[Value, ...],
    ):  # fmt: skip
        self.spec, self.f, self.lanes, self.bases, self.uniform, self.corner = spec, f, count, bases, uniform, corner

    def mask(self, v: Value | int, whole: bool = False) -> Value | None:
        """The lanes of vector ``v`` that exist, when C is in rows that do not end with a panel.

        ``whole``: the tile is as wide as a panel.
        """
        f, spec = self.f, self.spec
        if spec.c == "panels" or spec.n % spec.width == 0:
            return None
        if whole and isinstance(v, int) and spec.n < spec.width:
            # There is one panel. The mask must say so itself: where LLVM finds out that one lane is left, it writes too
            # many bytes (see Function.store).
            return f.first_lanes(spec.n - v * self.lanes, self.lanes)
        left = spec.n - (self.corner[2] + v * self.lanes)
        return f.first_lanes(left, self.lanes)

    def row_loads(self, v: Value | int) -> dict[int, Value]:
        """Vector ``v`` of the operands that have one value for each column, by body index."""
        f, spec, mask = self.f, self.spec, self.mask(v)
        return {
            i: f.load(self.bases[instr.attrs[0]], v * self.lanes, vector(KINDS[instr.dtype], self.lanes), mask)
            for i, instr in enumerate(spec.body)
            if instr.op == "load" and spec.operands[instr.attrs[0]].mode == "row"
        }

    def vector(self, r: Value | int, v: Value | int, total: Value, mask: Value | None, known: dict[int, Value]) -> None:
        """The body at row ``r`` and vector ``v`` of the tile; ``known`` are values that are there already."""
        f, spec = self.f, self.spec
        at = r * _tile_row(spec) + v * self.lanes
        values: list[Value] = []
        for i, instr in enumerate(spec.body):
            if i in self.uniform and instr.op != "const":
                values.append(self.uniform[i])
            elif i in known:
                values.append(known[i])
            elif instr.op == "acc":
                values.append(total)
            elif instr.op in ("load", "iota"):
                values.append(self._load(instr, r, at, mask) if instr.op == "load" else self._iota(instr, r, v))
            else:
                args = [values[a] for a in instr.args]
                values.append(emit_instr(f, instr, args, self.lanes, operand_dtypes(spec.body, instr)))
        for target, index in spec.stores:
            assert spec.operands[target].mode == "tile", "an epilogue stores tiles only"
            f.store(self._wide(values[index]), self.bases[target], at, mask)

    def _load(self, instr: Instr, r: Value | int, at: Value | int, mask: Value | None) -> Value:
        mode, base = self.spec.operands[instr.attrs[0]].mode, self.bases[instr.attrs[0]]
        if mode == "tile":
            return self.f.load(base, at, vector(KINDS[instr.dtype], self.lanes), mask)
        return self.f.load(base, r if mode == "column" else 0, KINDS[instr.dtype])

    def _iota(self, instr: Instr, r: Value | int, v: Value | int) -> Value:
        f, scalar = self.f, KINDS[instr.dtype]
        dim = instr.attrs[0]
        step: Value | int = (0, r, v * self.lanes)[dim]
        number = self.corner[dim] + step
        number = number if scalar == "i64" else f.cast("trunc", number, scalar)
        return number if dim < 2 else f.splat(number, self.lanes) + f.lane_numbers(self.lanes, scalar)

    def _wide(self, value: Value) -> Value:
        return value if lanes(value.kind) > 1 else self.f.splat(value, self.lanes)
