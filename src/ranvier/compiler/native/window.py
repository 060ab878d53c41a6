"""Windows: pooling and depthwise convolution, their gradients, and the elementwise work that follows, as one kernel.

A :class:`Window` says, as plain data, what each output pixel ``o`` collects from the input pixels ``i`` that its window
reaches (``taps.py`` tells which these are, along any number of axes):

    max        the largest element (leaf ``acc``) and the number of its tap (leaf ``tap``), the first of equals,
               a NaN before all else. Either or both may be used: max pooling needs both in one pass.
    take       x[i] at the tap that an index names
    put        the sum of the g[i] whose index names the tap that leads here: the gradient of ``take``
    sum        the sum of x[i]: average pooling, and with the adjoint's axes its gradient
    weighted   the sum of x[i] * w[t, channel]: depthwise convolution, and with the adjoint's axes its gradient

A pixel is a contiguous block of ``rows * width`` numbers (of a batch and its channels, as a rule), and all of them see
the same window, so the code is vectors along the block and no lane ever differs from its neighbours. Taps are written
out for windows that lie inside the input, the others are loops over exactly the taps that exist. Several vectors are in
flight at a time. The results are not stored as they are: an *epilogue*, a body of elementwise instructions as in
``contraction.py``, sees them together with further operands (bias, mask, another branch), and its values are stored.

Gradients of windows that lie side by side (most pooling) are written the other way round: each window is read once and
fills all the pixels it covers.

Depthwise convolutions that slide by one pixel walk lines of pixels (``window_line.py``).

Units are output pixels (or windows, or lines) times blocks of the pixel; each element is written by one unit, and its
terms are added in a fixed order, so results do not depend on threads.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ranvier.compiler.native.builder import Function, Value, Var, lanes, vector
from ranvier.compiler.native.emit import (
    ITEMSIZE,
    KINDS,
    constant,
    emit_instr,
    extreme,
    operand_dtypes,
    widen_bfloat16,
)  # fmt: skip
from ranvier.compiler.native.expr import Body
from ranvier.compiler.native.nest import weight
from ranvier.compiler.native.taps import Axis, Reach, reach
from ranvier.compiler.native.window_line import Line, slides

if TYPE_CHECKING:
    from ranvier.compiler.native.target import Isa

__all__ = ["INDEXED", "Window", "WindowOperand", "decompose"]

INDEXED = frozenset({"take", "put"})  # kinds with an index as their second buffer

_BLOCK = 1024  # elements of a pixel in one unit, when it has more
_NEAR = 24 << 10  # bytes of input that one window's blocks may take where windows overlap: they stay in the first cache
_UNROLLED = 16  # taps that are written out
_WORTH = 0.4  # share of pixels with all taps from which code of their own pays
_LANES = {"avx512": 16, "avx2": 8}  # lanes of float32 in a register; 4 elsewhere
_IN_FLIGHT = {"avx512": 8, "avx2": 4}  # vectors in flight; 4 elsewhere


@dataclass(frozen=True)
class WindowOperand:
    """A further operand, read or written by the epilogue.

    Attributes:
        dtype: its dtype.
        strides: elements to step along each output axis, along rows, and along columns (0 or 1; 1 if written).
        period: if not 0, the operand repeats after so many columns (made by the kernel itself).
    """

    dtype: str
    strides: tuple[int, ...]
    period: int = 0


@dataclass(frozen=True)
class Window:
    """A window kernel; see the top of this file.

    Buffers: the input; then the index (``take``, ``put``) or the weights ``[taps, channels]`` (``weighted``); then the
    operands. The input is ``[*(axis.size), rows, width]``, the output ``[*(axis.out), rows, width]``. The index of
    ``take`` lies like the output, that of ``put`` like the input.

    Attributes:
        kind: one of the five above.
        axes: the windowed axes.
        rows, width: the contiguous block that a pixel is.
        dtype: of input and weights: float32, float64, bfloat16. Sums are float64 for float64, else float32.
        operands: the epilogue's operands.
        body: the epilogue. Leaves: ``acc`` (in the dtype of sums), ``tap`` (int32), ``load``, ``const``.
        stores: (index into ``operands``, body value).
        index: dtype of the index that is read: int32 or uint8.
        channels: columns of the weights, 0 for ``width``.
        isa: the name of the instruction set that the kernel is for.
    """

    kind: str
    axes: tuple[Axis, ...]
    rows: int
    width: int
    dtype: str
    operands: tuple[WindowOperand, ...]
    body: Body
    stores: tuple[tuple[int, int], ...]
    index: str = "int32"
    channels: int = 0
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
    def first_operand(self) -> int:
        """The buffer of the first operand."""
        return 2 if self.kind in INDEXED or self.kind == "weighted" else 1

    @property
    def units(self) -> int:
        """How many independent pieces the work has: pixels (or windows side by side) times blocks of the pixel."""
        shape = canonical(self)
        return math.prod(_pixels(shape)) * _blocks(shape)[0]

    @property
    def flops(self) -> int:
        work = math.prod(a.work for a in self.axes) * self.rows * self.width
        out = math.prod(a.out for a in self.axes) * self.rows * self.width
        return work * (1 if self.kind == "sum" else 2) + out * sum(bool(i.args) for i in self.body)

    @property
    def bytes(self) -> int:
        """Bytes that must move at least once."""
        block, dims = self.rows * self.width, (*(a.out for a in self.axes), self.rows, self.width)
        x, out = math.prod(a.size for a in self.axes) * block, math.prod(dims)
        total = x * ITEMSIZE[self.dtype]
        total += {"take": out, "put": x}.get(self.kind, 0) * ITEMSIZE[self.index]
        touched = [i.attrs[0] for i in self.body if i.op == "load"] + [s for s, _ in self.stores]
        for o in (self.operands[i] for i in touched):
            total += ITEMSIZE[o.dtype] * math.prod(n for n, s in zip(dims, o.strides, strict=True) if s)
        return total

    def key(self) -> str:
        """Everything that affects the code, as text."""
        return repr(self)

    def ir(self, name: str, isa: Isa) -> str:
        """The kernel as the text of an LLVM module with the one function ``name``."""
        assert isa.name == self.isa, f"a window planned for {self.isa} cannot be written for {isa.name}"
        self.check()
        return _Kernel(canonical(self), name, isa).module()

    def check(self) -> None:
        """Assert that the spec is well formed."""
        assert self.kind in ("max", "take", "put", "sum", "weighted"), self.kind
        assert self.kind != "max" or all(a.in_step == 1 and a.tap_step > 0 for a in self.axes), "no adjoint of max"
        assert all(len(o.strides) == len(self.axes) + 2 for o in self.operands), "an operand has a stride per loop"
        assert all(o.strides[-1] in (0, 1) for o in self.operands), "columns are contiguous or all the same"
        assert all(self.operands[o].strides[-1] == 1 for o, _ in self.stores), "stores are contiguous"
        for target, value in self.stores:
            assert self.body[value].dtype == self.operands[target].dtype, "dtype of a store"


# -- the shape of the work --------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def canonical(spec: Window) -> Window:
    """An equal window with rows joined to one long row, if every operand walks them as one.

    Where channels are few, an operand with one value for each channel repeats within a vector: that joins as well.
    """
    spec = replace(spec, channels=spec.channels or spec.width)
    if spec.rows == 1:
        return spec
    plain = [o.strides[-2] == spec.width * o.strides[-1] for o in spec.operands]
    repeated = [o.strides[-2:] == (0, 1) for o in spec.operands]
    if spec.kind == "weighted" or not all(plain):
        fits = _lanes(spec) % spec.width == 0 and spec.channels == spec.width
        if not fits or not all(a or b for a, b in zip(plain, repeated, strict=True)):
            return spec
    operands = tuple(
        replace(o, strides=(*o.strides[:-2], 0, o.strides[-1]), period=0 if same else spec.width)
        for o, same in zip(spec.operands, plain, strict=True)
    )
    return replace(spec, rows=1, width=spec.rows * spec.width, operands=operands)


def _lanes(spec: Window) -> int:
    return _LANES.get(spec.isa, 4)


def side_by_side(spec: Window) -> bool:
    """Whether windows of an adjoint lie side by side without gaps, so that each may fill the pixels it covers."""
    tiles = all(
        a.out_step == 1 and a.offset == 0 and a.taps == a.in_step and (a.taps == 1 or a.tap_step == -1) and a.size > 0
        for a in spec.axes
    )
    return tiles and spec.kind in ("put", "sum", "weighted") and 1 < spec.taps <= _UNROLLED


def _pixels(spec: Window) -> tuple[int, ...]:
    """What is counted by units, along each axis: output pixels, windows side by side, or one for a whole line."""
    if side_by_side(spec):
        return tuple(-(-a.out // a.in_step) for a in spec.axes)
    if slides(spec):
        return (*(a.out for a in spec.axes[:-1]), 1)
    return tuple(a.out for a in spec.axes)


@functools.lru_cache(maxsize=1024)
def _vectors(spec: Window) -> int:
    """Vectors in flight."""
    count = _IN_FLIGHT.get(spec.isa, 4) // (2 if spec.acc == "float64" else 1)
    if slides(spec):  # there is a sum for each tap along the line
        count = 4 if spec.rows > 1 or spec.channels != spec.width else 1
    elif side_by_side(spec) or (spec.taps > 4 and _inside(spec) >= _WORTH):  # much code for each
        count = max(1, count // 2)
    cost = weight(spec.body)
    return 1 if cost > 40 else max(1, count // 2) if cost > 10 else count


def overlapping(spec: Window) -> bool:
    """Whether neighbouring windows read the same pixels."""
    return any(a.taps > 1 and a.taps * abs(a.tap_step) > a.out_step * a.in_step for a in spec.axes)


def _blocks(spec: Window) -> tuple[int, int]:
    """(blocks of a pixel, rows or columns in each): of columns if there is one row, else of rows."""
    group, most = _vectors(spec) * _lanes(spec), _BLOCK
    if overlapping(spec):
        most = min(most, _NEAR // (spec.taps * ITEMSIZE[spec.dtype]))
    if spec.rows == 1:
        size = max(group, most // group * group)
        return max(1, -(-spec.width // size)), size
    size = max(8, most // spec.width // 8 * 8)
    return -(-spec.rows // size), size


def _inside(spec: Window) -> float:
    """The share of output pixels whose windows lie inside the input, where that can be told and is worth it; else 0."""
    if spec.taps > _UNROLLED or any(a.in_step > 1 and a.out > 1 for a in spec.axes) or weight(spec.body) > 20:
        return 0.0
    share = 1.0
    for a in spec.axes:
        ends = [u * a.tap_step + a.offset for u in (0, a.taps - 1)]
        o = np.arange(a.out) * a.out_step
        share *= float(np.mean((o + min(ends) >= 0) & (o + max(ends) < a.size)))
    return share


def _rows_at_once(spec: Window, columns: int) -> int:
    """Rows in flight beside each other when a row takes ``columns`` vectors; they divide the number of rows."""
    found = 1
    while 2 * found * columns <= _vectors(spec) and spec.rows % (2 * found) == 0:
        found *= 2
    return found


def decompose(f: Function, number: Value, sizes: Sequence[int]) -> list[Value]:
    """The coordinates of element ``number`` of a row-major box."""
    found = []
    for n in reversed(sizes[1:]):
        found.append(number % n if n != 1 else f.const(0, "i64"))
        number = number // n if n != 1 else number
    return [number, *reversed(found)]


# -- the generator ----------------------------------------------------------------------------------------------------


class _Slot(NamedTuple):
    """One vector in flight: its row and column within the group, and where that is in the pixel."""

    row: int
    column: int
    line: Value | int  # the row within the pixel
    at: Value  # the first column within the pixel
    offset: Value  # the place within the pixel
    mask: Value | None


class _Pixel(NamedTuple):
    """An output pixel: where it begins in each operand."""

    bases: list[Value]


class _Kernel:
    """Writes one kernel. The methods follow the order of the code they make: units, blocks, taps, epilogue."""

    def __init__(self, spec: Window, name: str, isa: Isa):
        self.spec, self.lanes = spec, isa.lanes("float32")
        arguments = [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")]
        self.f = Function(name, arguments, target_width=isa.bits)
        self.scalar = KINDS[spec.dtype]
        self.vec = vector(KINDS[spec.acc], self.lanes)
        self.size = spec.rows * spec.width
        used = {a for i in spec.body for a in i.args} | {value for _, value in spec.stores}
        self.wants_tap = any(i.op == "tap" and at in used for at, i in enumerate(spec.body))
        self.fused = isa.name != "generic"  # without an fma instruction LLVM would call the C library for each lane

    def module(self) -> str:
        f, spec = self.f, self.spec
        self.pointers = [f.load(f["buffers"], i, "ptr") for i in range(spec.first_operand + len(spec.operands))]
        self.blocks, self.block = _blocks(spec)
        sizes = _pixels(spec)
        with f.loop(f["lo"], f["hi"]) as unit:
            block, number = f.const(0, "i64"), unit
            if self.blocks > 1 and overlapping(spec):  # the blocks of a window are wanted again by its neighbours
                block, number = unit // math.prod(sizes), unit % math.prod(sizes)
            elif self.blocks > 1:
                block, number = unit % self.blocks, unit // self.blocks
            coordinates = decompose(f, number, sizes)
            if slides(spec):
                self._block(block, Line(self, coordinates).group)
            elif side_by_side(spec):
                self._block(block, _Tiled(self, coordinates).group)
            else:
                self._gather(block, coordinates)
        return f.module()

    def _gather(self, block: Value, coordinates: list[Value]) -> None:
        """An output pixel: taps written out if all are inside, else as loops."""
        f, axes = self.f, self.spec.axes
        reaches = [reach(f, a, o) for a, o in zip(axes, coordinates, strict=True)]
        share = _inside(self.spec)
        if share == 1 or share < _WORTH:
            self._block(block, _Gathered(self, coordinates, reaches, share == 1).group)
            return
        inside = f.const(True, "i1")
        for a, r in zip(axes, reaches, strict=True):
            if not a.full:
                assert isinstance(r.start, Value)
                assert isinstance(r.stop, Value)
                inside = inside & (r.start.eq(0) & r.stop.eq(a.taps))
        for unrolled in (True, False):
            with f.when(inside if unrolled else inside ^ True):
                self._block(block, _Gathered(self, coordinates, reaches, unrolled).group)

    # blocks of a pixel

    def _block(self, block: Value, group: Callable[[Sequence[_Slot]], None]) -> None:
        """The groups of vectors of one unit."""
        f, spec = self.f, self.spec
        # Where channels have weights a group is a column of vectors, so that it needs those of one vector only.
        abreast = 1 if spec.kind == "weighted" and spec.rows > 1 else _vectors(spec)
        step = abreast * self.lanes
        whole = spec.width - spec.width % step
        start, stop = block * self.block, block * self.block + self.block
        if spec.rows > 1:
            rows: Value | int = spec.rows
            if self.blocks > 1:
                rows = f.select(stop < spec.rows, stop, spec.rows)
            first: Value | int = start if self.blocks > 1 else 0
            if whole:
                apart = _rows_at_once(spec, abreast)
                with f.loop(first, rows, apart) as row, f.loop(0, whole, step) as column:
                    group(self._slots(row, column, step, apart))
            if whole < spec.width:
                apart = _rows_at_once(spec, -(-(spec.width - whole) // self.lanes))
                with f.loop(first, rows, apart) as row:
                    group(self._slots(row, f.const(whole, "i64"), spec.width - whole, apart))
            return
        if whole:
            one = self.blocks == 1
            last = whole if one else f.select(stop < whole, stop, whole)
            with f.loop(0 if one else start, last, step) as column:
                group(self._slots(None, column, step, 1))
        if whole < spec.width:
            with f.when(block.eq(self.blocks - 1)) if self.blocks > 1 else ExitStack():
                group(self._slots(None, f.const(whole, "i64"), spec.width - whole, 1))

    def _slots(self, row: Value | None, column: Value, width: int, rows: int) -> list[_Slot]:
        """The vectors of a group: ``rows`` rows from ``row``, ``width`` columns from ``column``."""
        found = []
        for r in range(rows):
            line: Value | int = 0 if row is None else row + r if r else row
            for k, ahead in enumerate(range(0, width, self.lanes)):
                active = min(self.lanes, width - ahead)
                mask = None if active == self.lanes else self.f.first_lanes(active, self.lanes)
                at = column + ahead if ahead else column
                offset = at if isinstance(line, int) else line * self.spec.width + at
                found.append(_Slot(r, k, line, at, offset, mask))
        return found

    # reading

    def read(self, pixel: Value, slot: _Slot) -> Value:
        """A vector of the input, as wide as sums."""
        x = self.f.load(pixel, slot.offset, vector(self.scalar, self.lanes), slot.mask)
        return widen_bfloat16(self.f, x) if self.spec.dtype == "bfloat16" else x

    def read_index(self, pixel: Value, slot: _Slot) -> Value:
        """A vector of tap numbers."""
        x = self.f.load(pixel, slot.offset, vector(KINDS[self.spec.index], self.lanes), slot.mask)
        return self.f.cast("zext", x, "i32")

    def pixel(self, buffer: int, number: Value, dtype: str) -> Value:
        """The address of a pixel of the input or the index."""
        return self.f.at(self.pointers[buffer], number * self.size, KINDS[dtype])

    def weights(self, tap: Value | int, slots: Sequence[_Slot]) -> dict[int, Value]:
        """The weights of a tap for each column of vectors of a group."""
        f, spec = self.f, self.spec
        start = f.at(self.pointers[1], tap * spec.channels, self.scalar)
        found: dict[int, Value] = {}
        for s in slots:
            if s.column not in found:
                repeated = spec.channels if spec.channels != spec.width else 0
                x = self.columns(start, s, self.scalar, repeated)
                found[s.column] = widen_bfloat16(f, x) if spec.dtype == "bfloat16" else x
        return found

    def columns(self, start: Value, slot: _Slot, scalar: str, period: int) -> Value:
        """One value for each column of a vector; they may repeat after ``period`` columns."""
        f = self.f
        if not period:
            return f.load(start, slot.at, vector(scalar, self.lanes), slot.mask)
        if period == 1:
            return f.splat(f.load(start, 0, scalar), self.lanes)
        x = f.load(start, 0, vector(scalar, period))
        return f.shuffle(x, x, [lane % period for lane in range(self.lanes)])

    def number(self, tap: Value | int) -> Value:
        """A tap number in every lane."""
        f, kind = self.f, vector("i32", self.lanes)
        return f.const(tap, kind) if isinstance(tap, int) else f.splat(f.cast("trunc", tap, "i32"), self.lanes)

    def multiply_add(self, x: Value, w: Value, total: Value) -> Value:
        return self.f.fma(x, w, total) if self.fused else x * w + total

    # epilogue

    def place(self, coordinates: Sequence[Value]) -> _Pixel:
        """An output pixel."""
        bases = []
        for pointer, o in zip(self.pointers[self.spec.first_operand :], self.spec.operands, strict=True):
            offset: Value | int = 0
            for c, stride in zip(coordinates, o.strides, strict=False):
                if stride:
                    offset = offset + c * stride if stride != 1 else offset + c
            bases.append(self.f.at(pointer, offset, KINDS[o.dtype]))
        return _Pixel(bases)

    def finish(self, pixel: _Pixel, slots: Sequence[_Slot], sums: Sequence[Value], taps: Sequence[Value]) -> None:
        """The epilogue for a group of vectors of a pixel."""
        body = _Epilogue(self, pixel, slots)
        for u, slot in enumerate(slots):
            # All values before the first store: an operand may lie where a result goes.
            values = [body.value(i, u, sums[u], taps[u] if taps else None) for _, i in self.spec.stores]
            for value, (target, _) in zip(values, self.spec.stores, strict=True):
                made = self.f.as_value(value, vector(value.kind, self.lanes)) if lanes(value.kind) == 1 else value
                stride = self.spec.operands[target].strides[-2]
                self.f.store(made, pixel.bases[target], _along(slot, stride, self.spec.width), slot.mask)


def _along(slot: _Slot, row_stride: int, width: int) -> Value:
    """Where a vector lies in an operand with columns side by side, from the pixel's beginning."""
    if row_stride == width:
        return slot.offset
    return slot.line * row_stride + slot.at if row_stride else slot.at


class _Epilogue:
    """The body for the vectors of a group; what does not change from vector to vector is computed once."""

    def __init__(self, kernel: _Kernel, pixel: _Pixel, slots: Sequence[_Slot]):
        self.k, self.pixel, self.slots = kernel, pixel, slots
        self.made: dict[tuple[int, int | None, int | None], Value] = {}
        self.varies = _variation(kernel.spec)

    def value(self, i: int, u: int, total: Value, tap: Value | None) -> Value:
        """Body value ``i`` at vector ``u`` of the group."""
        for at, needed in enumerate(_closure(self.k.spec.body, i)):
            if needed:
                self._one(at, u, total, tap)
        return self.made[self._key(i, u)]

    def _key(self, i: int, u: int) -> tuple[int, int | None, int | None]:
        rows, columns = self.varies[i]
        slot = self.slots[u]
        return i, slot.row if rows else None, slot.column if columns else None

    def _one(self, i: int, u: int, total: Value, tap: Value | None) -> None:
        key, instr = self._key(i, u), self.k.spec.body[i]
        if key in self.made:
            return
        f = self.k.f
        count = self.k.lanes if self.varies[i][1] else 1
        if instr.op == "acc":
            found = total
        elif instr.op == "tap":
            assert tap is not None
            found = tap
        elif instr.op == "const":
            found = constant(f, instr.attrs[0], instr.dtype)
        elif instr.op == "load":
            found = self._load(instr.attrs[0], self.slots[u])
        else:
            body = self.k.spec.body
            args = [
                constant(f, body[a].attrs[0], body[a].dtype, count)
                if body[a].op == "const"
                else self.made[self._key(a, u)]
                for a in instr.args
            ]
            found = emit_instr(f, instr, args, count, operand_dtypes(body, instr))
        self.made[key] = found

    def _load(self, which: int, slot: _Slot) -> Value:
        f, width = self.k.f, self.k.spec.width
        operand, base = self.k.spec.operands[which], self.pixel.bases[which]
        scalar, (row, column) = KINDS[operand.dtype], operand.strides[-2:]
        if column == 0:
            return f.load(base, slot.line * row if row else 0, scalar)
        if operand.period:
            return self.k.columns(base, slot, scalar, operand.period)
        return f.load(base, _along(slot, row, width), vector(scalar, self.k.lanes), slot.mask)


@functools.lru_cache(maxsize=1024)
def _variation(spec: Window) -> tuple[tuple[bool, bool], ...]:
    """For each body value, whether it changes along rows and along columns."""
    found: list[tuple[bool, bool]] = []
    for instr in spec.body:
        if instr.op in ("acc", "tap"):
            found.append((True, True))
        elif instr.op == "load":
            row, column = spec.operands[instr.attrs[0]].strides[-2:]
            found.append((bool(row), bool(column)))
        else:
            found.append((any(found[a][0] for a in instr.args), any(found[a][1] for a in instr.args)))
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def _closure(body: Body, i: int) -> tuple[bool, ...]:
    """Which body values are needed for value ``i``."""
    needed = [False] * (i + 1)
    needed[i] = True
    for at in range(i, -1, -1):
        if needed[at]:
            for a in body[at].args:
                needed[a] = True
    return tuple(needed)


# -- each output pixel collects its taps ------------------------------------------------------------------------------


class _Gathered:
    """Output pixels that collect what their windows reach."""

    def __init__(self, kernel: _Kernel, coordinates: list[Value], reaches: list[Reach], unrolled: bool):
        self.k, f = kernel, kernel.f
        axes = kernel.spec.axes
        self.reaches, self.unrolled = reaches, unrolled
        self.pixel = kernel.place(coordinates)
        self.first = self._first_tap() if kernel.wants_tap and not self.unrolled else 0
        if kernel.spec.kind == "take":
            number: Value | int = 0
            for a, c in zip(axes, coordinates, strict=True):
                number = number * a.out + c
            self.index = kernel.pixel(1, f.as_value(number, "i64"), kernel.spec.index)

    def _first_tap(self) -> Value:
        """The number of the first tap that exists."""
        number: Value | int = 0
        for a, r in zip(self.k.spec.axes, self.reaches, strict=True):
            number = number * a.taps + r.start
        return self.k.f.as_value(number, "i64")

    def group(self, slots: Sequence[_Slot]) -> None:
        """The results of a group of vectors."""
        k, f, spec = self.k, self.k.f, self.k.spec
        start = -math.inf if spec.kind == "max" else 0
        sums = [f.var(f.const(start, k.vec)) for _ in slots]
        taps = [f.var(k.number(self.first)) for _ in slots] if k.wants_tap else []
        indices = [k.read_index(self.index, s) for s in slots] if spec.kind == "take" else []
        for count, (place, tap) in enumerate(self._visits()):
            for_first = self.unrolled and count == 0
            self._tap(slots, place, tap, sums, taps, indices, for_first)
        k.finish(self.pixel, slots, [s.get() for s in sums], [t.get() for t in taps])

    def _visits(self) -> Iterator[tuple[Value, Value | int]]:
        """(input pixel, tap) of every tap: written out, or one visit inside loops."""
        f, axes = self.k.f, self.k.spec.axes
        if self.unrolled:
            for fixed in itertools.product(*(range(a.taps) for a in axes)):
                yield self._visit(axes, fixed)
            return
        with _loops(f, self.reaches) as steps:
            yield self._visit(axes, steps)

    def _visit(self, axes: Sequence[Axis], steps: Sequence[Value | int]) -> tuple[Value, Value | int]:
        place: Value | int = 0
        tap: Value | int = 0
        for a, r, u in zip(axes, self.reaches, steps, strict=True):
            here = r.place + u * r.place_step if u is not None else r.place
            place = place * a.size + here if not isinstance(place, int) or place else here
            tap = tap * a.taps + (r.tap + u * r.tap_step)
        return self.k.f.as_value(place, "i64"), tap

    def _tap(
        self, slots: Sequence[_Slot], place: Value, tap: Value | int, sums: Sequence[Var], taps: Sequence[Var],
        indices: Sequence[Value], first: bool,
    ) -> None:  # fmt: skip
        """One tap of a group."""
        k, f, spec = self.k, self.k.f, self.k.spec
        x = k.pixel(0, place, spec.dtype)
        number = k.number(tap) if k.wants_tap or spec.kind in INDEXED else None
        weights = k.weights(tap, slots) if spec.kind == "weighted" else {}
        source = k.pixel(1, place, spec.index) if spec.kind == "put" else None
        for u, slot in enumerate(slots):
            value, total = k.read(x, slot), sums[u]
            if first and spec.kind in ("max", "sum"):
                total.set(value)
            elif spec.kind == "max":
                self._larger(value, number, total, taps[u] if taps else None)
            elif spec.kind == "take":
                assert number is not None
                total.set(f.select(f.compare("eq", indices[u], number), value, total.get()))
            elif source is not None:
                assert number is not None
                here = f.compare("eq", k.read_index(source, slot), number)
                total.set(total.get() + f.select(here, value, 0.0))
            elif weights:
                total.set(k.multiply_add(value, weights[slot.column], total.get()))
            else:
                total.set(total.get() + value)

    def _larger(self, value: Value, number: Value | None, best: Var, tap: Var | None) -> None:
        """Keep the larger of two, the earlier of equals, and NaN before all."""
        f, old = self.k.f, best.get()
        if tap is None:
            best.set(extreme(f, "maximum", self.k.spec.acc, value, old))
            return
        assert number is not None
        wins = f.compare("ugt", value, old) & f.compare("ord", old, old)
        best.set(f.select(wins, value, old))
        tap.set(f.select(wins, number, tap.get()))


@contextmanager
def _loops(f: Function, reaches: Sequence[Reach]) -> Iterator[list[Value | int]]:
    """Nested loops over the taps of all axes."""
    with ExitStack() as stack:
        yield [stack.enter_context(f.loop(r.start, r.stop)) for r in reaches]


# -- each window fills the pixels it covers ---------------------------------------------------------------------------


class _Tiled:
    """Windows side by side, of an adjoint: a unit is a window, which is read once and fills its pixels."""

    def __init__(self, kernel: _Kernel, coordinates: list[Value]):
        self.k, f = kernel, kernel.f
        spec = kernel.spec
        self.inside: Value | None = None  # whether there is a window: the last pixels may belong to none
        number: Value | int = 0
        for a, c in zip(spec.axes, coordinates, strict=True):
            if -(-a.out // a.in_step) > a.size:
                here = c < a.size
                self.inside = here if self.inside is None else self.inside & here
                number = number * a.size + f.select(here, c, a.size - 1)
            else:
                number = number * a.size + c
        place = f.as_value(number, "i64")
        self.source = kernel.pixel(0, place, spec.dtype)
        self.index = kernel.pixel(1, place, spec.index) if spec.kind == "put" else None
        self.pixels: list[tuple[int, Value | None, _Pixel]] = []
        for tap, steps in enumerate(itertools.product(*(range(a.taps) for a in spec.axes))):
            condition: Value | None = None
            out = []
            for a, c, t in zip(spec.axes, coordinates, steps, strict=True):
                o = c * a.in_step + t if a.in_step > 1 else c
                if (-(-a.out // a.in_step) - 1) * a.in_step + t >= a.out:
                    condition = o < a.out if condition is None else condition & (o < a.out)
                out.append(o)
            self.pixels.append((tap, condition, kernel.place(out)))

    def group(self, slots: Sequence[_Slot]) -> None:
        """A group of vectors of all pixels of the window."""
        k, f, spec = self.k, self.k.f, self.k.spec
        values = [k.read(self.source, s) for s in slots]
        if self.inside is not None:
            values = [f.select(self.inside, v, f.const(0, v.kind)) for v in values]
        indices = [k.read_index(self.index, s) for s in slots] if self.index is not None else []
        for tap, condition, pixel in self.pixels:
            with f.when(condition) if condition is not None else ExitStack():
                if indices:
                    number = k.number(tap)
                    sums = [
                        f.select(f.compare("eq", i, number), v, f.const(0, v.kind))
                        for i, v in zip(indices, values, strict=True)
                    ]
                elif spec.kind == "weighted":
                    weights = k.weights(tap, slots)
                    sums = [v * weights[s.column] for v, s in zip(values, slots, strict=True)]
                else:
                    sums = values
                k.finish(pixel, slots, sums, [])
