"""Sort: the positions that put rows in order, stably, by a network of comparisons that needs no branches.

Every element becomes a 64-bit word: above, its value as an integer that orders as the value does (turned round for
descending order); below, its position. Words are all different, and of equal values the one that came first is
smaller, so any way of sorting them is stable. Batcher's merge exchange (Knuth, The Art of Computer Programming 5.2.2,
algorithm M) sorts them in place, a vector of compare-exchanges at a time: about ``log2(n)**2 / 2`` passes whose steps
depend on the row's length alone, never on the data. Elements of 64 bits do not fit beside their positions; their
positions travel in a second row. Where only a few of many are wanted, one walk along the row keeps the best so far in
order instead: most vectors hold nothing better than the worst of these, which one comparison tells.

NaN counts as larger than everything, all NaN as equal, and so do zeros of both signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .builder import Function, Value, vector
from .emit import ITEMSIZE

if TYPE_CHECKING:
    from .target import Isa

__all__ = ["Sort"]

_FEW = 16  # wanted positions up to which inserting each better element one by one is cheap even at worst

# dtype -> IR type of its bits in memory, and whether the values are floats
_BITS = {
    "bool": "i8", "uint8": "i8", "int8": "i8", "int16": "i16", "int32": "i32", "uint32": "i32", "int64": "i64",
    "bfloat16": "i16", "float32": "i32", "float64": "i64",
}  # fmt: skip


@dataclass(frozen=True)
class Sort:
    """A sorting kernel. Buffers: target (int64, ``rows x keep``), source (``rows x count``), words (int64, ``rows x
    count``), both contiguous; the words are left out where the target can hold them.

    Attributes:
        rows: how many rows are sorted, each for itself.
        count: elements of a row.
        keep: how many positions are wanted, from the front.
        dtype: of the source.
        descending: the largest first.
    """

    rows: int
    count: int
    keep: int
    dtype: str
    descending: bool = False

    def key(self) -> str:
        """Canonical text of everything that affects the code."""
        way = "down" if self.descending else "up"
        return f"sort {self.dtype} {self.rows}x{self.count}->{self.keep} {way}"

    @property
    def wide(self) -> bool:
        """Whether elements take 64 bits, so that positions need words of their own."""
        return ITEMSIZE[self.dtype] == 8

    @property
    def selects(self) -> bool:
        """Whether the best are kept in one walk instead of sorting the row."""
        return self.keep <= _FEW and self.count >= 4 * self.keep and not self.wide

    @property
    def workspace(self) -> int:
        """Words of the third buffer; 0 if there is none."""
        if self.selects:
            return 0
        if self.wide:
            return self.rows * self.count * (1 if self.keep == self.count else 2)
        return 0 if self.keep == self.count else self.rows * self.count

    @property
    def units(self) -> int:
        """How many independent pieces the work has."""
        return self.rows if self.keep else 0

    @property
    def passes(self) -> int:
        """How often the network goes through a row."""
        if self.selects:
            return 0
        steps = (self.count - 1).bit_length()
        return steps * (steps + 1) // 2

    @property
    def flops(self) -> int:
        return 0

    @property
    def bytes(self) -> int:
        row = self.count * (ITEMSIZE[self.dtype] + 8 * (2 if self.wide else 1) * (1 + self.passes)) + 8 * self.keep
        return self.rows * row

    def ir(self, name: str, isa: Isa) -> str:
        """The LLVM module that defines the kernel as ``name``."""
        assert 0 <= self.keep <= self.count < 2**31, self
        generator = _Generator(self, name, isa)
        if self.units:
            generator.write()
        return generator.f.module()


class _Generator:
    def __init__(self, spec: Sort, name: str, isa: Isa):
        self.spec, self.lanes = spec, isa.lanes("int64")
        self.f = Function(
            name, [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")], target_width=isa.bits
        )

    def write(self) -> None:
        f, spec = self.f, self.spec
        target, source = (f.load(f["buffers"], i, "ptr") for i in range(2))
        extra = f.load(f["buffers"], 2, "ptr") if spec.workspace else None
        with f.loop(f["lo"], f["hi"]) as row:
            out = f.at(target, row * spec.keep, "i64")
            words = f.at(extra, row * (spec.workspace // spec.rows), "i64") if extra is not None else out
            self.words, self.positions = words, None
            if spec.wide:
                self.positions = out if spec.keep == spec.count else f.at(words, spec.count, "i64")
            elements = f.at(source, row * spec.count, _BITS[spec.dtype])
            if spec.selects:
                self._select(elements)
            else:
                self._fill(elements)
                if spec.count > 1:
                    self._network()
            self._finish(out)

    def _each(self, stop: int):
        """(first element, mask) of every vector of ``stop`` elements."""
        f, lanes = self.f, self.lanes
        whole = stop - stop % lanes
        if whole:
            with f.loop(0, whole, lanes) as at:
                yield at, None
        if stop > whole:
            yield f.const(whole, "i64"), f.first_lanes(stop - whole, lanes)

    # -- words ------------------------------------------------------------------------------------------------------

    def _fill(self, source: Value) -> None:
        f, spec, lanes = self.f, self.spec, self.lanes
        for at, mask in self._each(spec.count):
            if self.positions is not None:
                value = self._ordered(f.load(source, at, vector(_BITS[spec.dtype], lanes), mask))
                f.store(value, self.words, at, mask)
                f.store(f.splat(at, lanes) + f.lane_numbers(lanes), self.positions, at, mask)
            else:
                f.store(self._word(source, at, mask), self.words, at, mask)

    def _word(self, source: Value, at: Value, mask: Value | None) -> Value:
        """A vector of elements above their positions."""
        f, lanes = self.f, self.lanes
        value = self._ordered(f.load(source, at, vector(_BITS[self.spec.dtype], lanes), mask))
        return (f.cast("sext", value, "i64") << 32) | (f.splat(at, lanes) + f.lane_numbers(lanes))

    def _ordered(self, bits: Value) -> Value:
        """The bits of elements as signed integers (of 32 or 64 bits) in the order of the elements."""
        f, dtype = self.f, self.spec.dtype
        if dtype == "bool":
            bits = f.cast("zext", f.compare("ne", bits, 0), "i32")
        elif dtype == "uint8":
            bits = f.cast("zext", bits, "i32")
        elif dtype in ("int8", "int16"):
            bits = f.cast("sext", bits, "i32")
        elif dtype == "uint32":
            bits = bits ^ -(2**31)
        elif dtype == "bfloat16":
            bits = self._float(f.cast("zext", bits, "i32") << 16, 32, 0x7F800000)
        elif dtype == "float32":
            bits = self._float(bits, 32, 0x7F800000)
        elif dtype == "float64":
            bits = self._float(bits, 64, 0x7FF0000000000000)
        return bits ^ -1 if self.spec.descending else bits

    def _float(self, bits: Value, width: int, infinity: int) -> Value:
        """Sign and magnitude as two's complement. By integers only: denormals must not be flushed."""
        f, most = self.f, 2 ** (width - 1) - 1
        magnitude = bits & most
        signed = f.select(bits < 0, 0 - magnitude, magnitude)
        return f.select(magnitude > infinity, most, signed)

    def _finish(self, out: Value) -> None:
        f, spec, lanes = self.f, self.spec, self.lanes
        if self.positions is not None and spec.keep == spec.count:
            return
        for at, mask in self._each(spec.keep):
            if self.positions is not None:
                f.store(f.load(self.positions, at, vector("i64", lanes), mask), out, at, mask)
            else:
                f.store(f.load(self.words, at, vector("i64", lanes), mask) & 0xFFFFFFFF, out, at, mask)

    # -- a few of many ----------------------------------------------------------------------------------------------

    def _select(self, source: Value) -> None:
        """The smallest words in order, found in one walk."""
        f, spec, lanes, none = self.f, self.spec, self.lanes, 2**63 - 1
        for i in range(spec.keep):
            f.store(f.const(none, "i64"), self.words, i)
        worst, apart = f.var(f.const(none, "i64")), f.scratch("i64", lanes)
        for at, mask in self._each(spec.count):
            word = self._word(source, at, mask)
            word = word if mask is None else f.select(mask, word, none)
            with f.when(f.any_lane(word < worst.get())):
                f.store(word, apart, 0)
                with f.loop(0, lanes) as lane:
                    one = f.load(apart, lane, "i64")
                    with f.when(one < worst.get()):
                        self._insert(one)
                        worst.set(f.load(self.words, spec.keep - 1, "i64"))

    def _insert(self, word: Value) -> None:
        """A word that is smaller than the last one of those kept goes to its place among them."""
        f = self.f
        place = f.var(f.const(self.spec.keep - 1, "i64"))
        with f.forever() as found:
            f.leave(found, place.get() < 1)
            before = f.load(self.words, place.get() - 1, "i64")
            f.leave(found, before < word)
            f.store(before, self.words, place.get())
            place.set(place.get() - 1)
        f.store(word, self.words, place.get())

    # -- the network ------------------------------------------------------------------------------------------------

    def _network(self) -> None:
        f = self.f
        largest = 1 << ((self.spec.count - 1).bit_length() - 1)
        p, q, r, d = (f.var(f.const(largest, "i64")) for _ in range(4))
        with f.forever() as sorted_:
            q.set(largest)
            r.set(0)
            d.set(p.get())
            with f.forever() as merged:
                self._pass(p.get(), r.get(), d.get())
                f.leave(merged, q.get().eq(p.get()))
                d.set(q.get() - p.get())
                q.set(q.get() >> 1)
                r.set(p.get())
            f.leave(sorted_, p.get().eq(1))
            p.set(p.get() >> 1)

    def _pass(self, p: Value, r: Value, d: Value) -> None:
        """Compare elements ``i`` and ``i + d`` for all ``i < count - d`` with ``i & p == r``."""
        f, lanes = self.f, self.lanes
        limit = self.spec.count - d
        wide = p >= lanes
        with f.when(wide):  # such i come in runs of p
            turns = (limit - r + (p + p - 1)) // (p + p)
            with f.loop(0, f.select(limit > r, turns, 0)) as turn:
                start = r + turn * (p + p)
                stop = start + p
                stop = f.select(stop < limit, stop, limit)
                whole = start + ((stop - start) & -lanes)
                with f.loop(start, whole, lanes) as at:
                    self._exchange(at, d, None)
                with f.when(whole < stop):
                    self._exchange(whole, d, f.first_lanes(stop - whole, lanes))
        with f.when(wide ^ True):  # such i are the same lanes of every vector
            chosen = (f.lane_numbers(lanes) & f.splat(p, lanes)).eq(f.splat(r, lanes))
            whole = limit & -lanes
            with f.loop(0, whole, lanes) as at:
                self._exchange(at, d, chosen)
            with f.when(whole < limit):
                self._exchange(whole, d, chosen & f.first_lanes(limit - whole, lanes))

    def _exchange(self, at: Value, d: Value, mask: Value | None) -> None:
        """The smaller words to ``at``, the larger ones to ``at + d``."""
        f, kind, other = self.f, vector("i64", self.lanes), at + d
        a, b = f.load(self.words, at, kind, mask), f.load(self.words, other, kind, mask)
        swap = a > b
        if self.positions is not None:
            i, j = f.load(self.positions, at, kind, mask), f.load(self.positions, other, kind, mask)
            swap = swap | (a.eq(b) & (i > j))
            f.store(f.select(swap, j, i), self.positions, at, mask)
            f.store(f.select(swap, i, j), self.positions, other, mask)
        f.store(f.select(swap, b, a), self.words, at, mask)
        f.store(f.select(swap, a, b), self.words, other, mask)
