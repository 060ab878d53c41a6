"""Gradient of a depthwise convolution's kernel: what each tap collects, channel by channel, over all pixels.

    partial[chunk, t, c] = sum of x[i, r, c] * g[o, r, c] over the output pixels o of the chunk whose tap t reaches a
                           pixel i, and over the rows r of a pixel

The pixels are cut into fixed chunks, one result for each, which are added up afterwards in their order: the bits do not
depend on threads. A unit is a chunk times a few vectors of channels. Sums over the rows of a pixel stay in registers,
several at a time; sums over pixels lie in the result, which is small enough to stay in the first cache.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ranvier.compiler.native.builder import Function, Value, vector
from ranvier.compiler.native.emit import ITEMSIZE, KINDS, widen_bfloat16
from ranvier.compiler.native.taps import Axis, reach
from ranvier.compiler.native.window import decompose

if TYPE_CHECKING:
    from ranvier.compiler.native.target import Isa

__all__ = ["WindowWeights", "chunks_for"]

_UNITS = 16  # so many units are enough for any number of threads that this work could feed
_LEAST = 1 << 14  # products in a chunk worth its own result


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
    def pixels(self) -> int:
        """Pixels of g."""
        return math.prod(a.out for a in self.axes)

    @property
    def columns(self) -> int:
        """Columns of a unit: two vectors where there are as many."""
        lanes = {"avx512": 16, "avx2": 8}.get(self.isa, 4)
        return lanes if self.width <= lanes or self.dtype == "float64" else 2 * lanes

    @property
    def units(self) -> int:
        return self.chunks * -(-self.width // self.columns)

    @property
    def flops(self) -> int:
        return 2 * math.prod(a.work for a in self.axes) * self.rows * self.width

    @property
    def bytes(self) -> int:
        read = self.pixels + math.prod(a.size for a in self.axes)
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


def chunks_for(axes: tuple[Axis, ...], rows: int, width: int) -> int:
    """A number of chunks that depends on the problem alone: enough units for some threads, none too small."""
    work = math.prod(a.work for a in axes) * rows * width
    most = max(1, _UNITS // -(-width // 32))
    return max(1, min(most, work // _LEAST, math.prod(a.out for a in axes)))


class _Kernel:
    """Writes one kernel."""

    def __init__(self, spec: WindowWeights, name: str, isa: Isa):
        self.spec, self.lanes = spec, isa.lanes("float32")
        arguments = [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")]
        self.f = Function(name, arguments, target_width=isa.bits)
        self.scalar = KINDS[spec.dtype]
        self.vec = vector(KINDS[spec.acc], self.lanes)
        self.fused = isa.name != "generic"

    def module(self) -> str:
        f, spec = self.f, self.spec
        self.x, self.g, self.out = (f.load(f["buffers"], i, "ptr") for i in range(3))
        blocks, whole = -(-spec.width // spec.columns), spec.width // spec.columns
        with f.loop(f["lo"], f["hi"]) as unit:
            chunk, block = (unit, f.const(0, "i64")) if blocks == 1 else (unit // blocks, unit % blocks)
            if whole:
                with f.when(block < whole) if whole < blocks else ExitStack():
                    self._chunk(chunk, block * spec.columns, spec.columns)
            if whole < blocks:
                with f.when(block.eq(whole)) if whole else ExitStack():
                    self._chunk(chunk, f.const(whole * spec.columns, "i64"), spec.width - whole * spec.columns)
        return f.module()

    def _chunk(self, chunk: Value, column: Value, width: int) -> None:
        """One unit: ``width`` columns of a chunk."""
        f, spec = self.f, self.spec
        masks = [
            None if width - at >= self.lanes else f.first_lanes(width - at, self.lanes)
            for at in range(0, width, self.lanes)
        ]
        target = f.at(self.out, chunk * (spec.taps * spec.width) + column, KINDS[spec.acc])
        with f.loop(0, spec.taps) as t:
            for k, mask in enumerate(masks):
                f.store(f.const(0, self.vec), target, t * spec.width + k * self.lanes, mask)
        first = chunk * spec.pixels // spec.chunks
        last = (chunk + 1) * spec.pixels // spec.chunks
        with f.loop(first, last) as pixel:
            coordinates = decompose(f, pixel, [a.out for a in spec.axes])
            reaches = [reach(f, a, o) for a, o in zip(spec.axes, coordinates, strict=True)]
            g = f.at(self.g, pixel * (spec.rows * spec.width) + column, self.scalar)
            with ExitStack() as stack:
                place: Value | int = 0
                number: Value | int = 0
                for a, r in zip(spec.axes, reaches, strict=True):
                    u = stack.enter_context(f.loop(r.start, r.stop))
                    place = place * a.size + (r.place + u * r.place_step)
                    number = number * a.taps + (r.tap + u * r.tap_step)
                x = f.at(self.x, place * (spec.rows * spec.width) + column, self.scalar)
                self._rows(x, g, f.at(target, number * spec.width, KINDS[spec.acc]), masks)

    def _rows(self, x: Value, g: Value, target: Value, masks: list[Value | None]) -> None:
        """Add the products of all rows of a pixel to the sums of one tap."""
        f, spec = self.f, self.spec
        apart = min(4, 1 << spec.rows.bit_length() - 1)
        sums = [[f.var(0, self.vec) for _ in masks] for _ in range(apart)]
        whole = spec.rows - spec.rows % apart

        def add(row: Value, into: int) -> None:
            for k, mask in enumerate(masks):
                at = row * spec.width + k * self.lanes
                a, b, total = self._read(x, at, mask), self._read(g, at, mask), sums[into][k]
                total.set(f.fma(a, b, total.get()) if self.fused else a * b + total.get())

        with f.loop(0, whole, apart) as row:
            for r in range(apart):
                add(row + r if r else row, r)
        if whole < spec.rows:
            with f.loop(whole, spec.rows) as row:
                add(row, 0)
        for k, mask in enumerate(masks):
            values = [line[k].get() for line in sums]
            while len(values) > 1:
                values = [values[i] + values[i + 1] for i in range(0, len(values), 2)]
            old = f.load(target, k * self.lanes, self.vec, mask)
            f.store(old + values[0], target, k * self.lanes, mask)

    def _read(self, base: Value, at: Value, mask: Value | None) -> Value:
        x = self.f.load(base, at, vector(self.scalar, self.lanes), mask)
        return widen_bfloat16(self.f, x) if self.spec.dtype == "bfloat16" else x
