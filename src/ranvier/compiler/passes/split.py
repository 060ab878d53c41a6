"""Reductions shared among threads: one nest of few units becomes several of many.

A column kernel over [65536, 16] has one unit of work, the sixteen columns, and so runs on one thread. Here such a
kernel is cut along the reduced loop into fixed chunks, after fusion, so that whatever was fused with the reduction
stays with it. A nest of P dependent reductions becomes, for each of them,

* a *partial* kernel, one result for each chunk (and the stores that need no later reduction),
* a *combining* kernel over the few partial results, which also stores what does not vary along the reduced loop,

and a map for the stores that need all reductions. Batch normalisation forward is partial sums, mean, partial squares,
variance (and the moving averages), and the map that normalises.

The chunks depend on the problem alone, never on the threads, so neither do the bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ranvier import dtypes
from ranvier.compiler.graph import Value
from ranvier.compiler.kernel import Access, Kernel
from ranvier.compiler.native.contraction import Contraction
from ranvier.compiler.native.emit import REDUCTIONS
from ranvier.compiler.native.expr import Instr
from ranvier.compiler.native.nest import Nest, Operand, canonical, partition, weight
from ranvier.compiler.native.nest_body import Analysis
from ranvier.compiler.passes.copies import SLACK, extent
from ranvier.compiler.views import row_strides

__all__ = ["inplace_pairs", "split", "split_product"]

_FEW = 8  # units of a nest that is left as it is
_ELEMENTS = 16384  # of a light body, in one chunk: a few microseconds
_CHUNKS = 256  # at most


def split(kernel: Kernel, at: Mapping[int, int]) -> list[Kernel]:
    """The kernel, or the kernels that do its work in chunks.

    Args:
        kernel: a nest.
        at: id of a node of it -> index of its value in the body.
    """
    nest = kernel.spec
    size = _chunk(nest)
    return _Split(kernel, at, size).kernels() if size else [kernel]


def _chunk(nest: Nest) -> int:
    """Turns of the reduced loop in a chunk; 0 if the nest stays whole."""
    if nest.reduce == "none" or nest.valid or 0 in nest.dims:
        return 0
    axis = _axis(nest)
    if any(i.op == "gather" and i.attrs[1] == axis for i in nest.body):
        return 0
    if partition(canonical(nest)).units >= _FEW:
        return 0
    length, total = nest.dims[axis], math.prod(nest.dims)
    heavy = weight(nest.body)
    target = _ELEMENTS if heavy < 24 else _ELEMENTS // 2 if heavy < 60 else _ELEMENTS // 4
    count = min(total // target, _CHUNKS, length // 8)
    if count < 2:
        return 0
    size = -(-length // count)
    whole = (s for s in range(size, 2 * size) if length % s == 0)  # best without a rest
    return next((s for s in whole if s < length), size)


def _axis(nest: Nest) -> int:
    return len(nest.dims) - {"last": 1, "middle": 2}[nest.reduce]


def inplace_pairs(
    accesses: Sequence[Access], operands: Sequence[Operand], body: Sequence[Instr], writes: Sequence[int]
) -> frozenset[tuple[int, int]]:
    """(id of an input, id of an output) whose elements are read just before they are written, at the same places."""
    places: dict[int, set[tuple[int, ...]]] = {}
    for access, o in zip(accesses, operands, strict=True):
        places.setdefault(id(access.value), set()).add((o.offset, *o.strides))
    gathered = {id(accesses[i.attrs[0]].value) for i in body if i.op == "gather"}
    return frozenset(
        (id(access.value), id(accesses[w].value))
        for w in writes
        for access, o in zip(accesses, operands, strict=True)
        if o.strides == operands[w].strides and len(places[id(access.value)]) == 1 and id(access.value) not in gathered
    )


def split_product(kernel: Kernel, checked: bool = False) -> list[Kernel]:
    """A product of few numbers with very much to add up, in chunks: a kernel of partial products, and a column kernel
    that adds these and does what followed the product.
    """
    spec = kernel.spec
    if not isinstance(spec, Contraction) or spec.batch > 1 or any(i.op == "iota" for i in spec.body):
        return [kernel]
    size = spec.long_k_chunk
    if not size:
        return [kernel]
    parts = spec.split(size)
    node, total = kernel.nodes[0], parts.c_chunk * parts.chunks
    partial = Value("partial", (), {}, (total,), dtypes.as_dtype(spec.acc), node.where, node.scope)
    first = Kernel(parts, [*kernel.operands[:2], Access(partial)], [2], kernel.nodes[:1])
    wide = spec.c == "panels"
    dims = (spec.panels, spec.m, parts.chunks, spec.width) if wide else (spec.m, parts.chunks, spec.n)

    def steps(panel: int, row: int, chunk: int, column: int) -> tuple[int, ...]:
        return (panel, row, chunk, column) if wide else (row, chunk, column)

    width = spec.width
    row = width if wide else spec.n
    strides = {
        "tile": steps(spec.c_ld or spec.m * width, width, 0, 1) if wide else steps(0, spec.c_ld, 0, 1),
        "row": steps(width, 0, 0, 1), "column": steps(0, 1, 0, 0), "scalar": steps(0, 0, 0, 0),
    }  # fmt: skip
    operands = [Operand(spec.acc, steps(spec.m * width, row, parts.c_chunk, 1), 0, total + SLACK)]
    operands += [
        Operand(o.dtype, strides[o.mode], access.offset, extent(access.value))
        for o, access in zip(spec.operands, kernel.operands[2:], strict=True)
    ]
    body: list[Instr] = [Instr("load", spec.acc, (), (0,)), Instr("reduce_sum", spec.acc, (0,))]
    at: list[int] = []
    for instr in spec.body:
        if instr.op == "acc":
            at.append(1)
            continue
        attrs = (instr.attrs[0] + 1,) if instr.op == "load" else instr.attrs
        body.append(Instr(instr.op, instr.dtype, tuple(at[a] for a in instr.args), attrs))
        at.append(len(body) - 1)
    stores = tuple((target + 1, at[i]) for target, i in spec.stores)
    writes = [w - 1 for w in kernel.writes]
    nest = Nest(dims, "middle", tuple(operands), tuple(body), stores, 0, checked)
    accesses = [Access(partial), *(Access(a.value) for a in kernel.operands[2:])]
    return [first, Kernel(nest, accesses, writes, kernel.nodes, inplace_pairs(accesses, operands, body, writes))]


class _Split:
    """One nest being cut into chunks of ``size``."""

    def __init__(self, kernel: Kernel, at: Mapping[int, int], size: int):
        self.kernel, self.nest, self.at, self.size = kernel, kernel.spec, at, size
        self.axis, self.info = _axis(self.nest), Analysis(self.nest)
        self.length = self.nest.dims[self.axis]
        self.chunks = -(-self.length // size)
        self.finished: dict[int, Value] = {}  # reduction -> where its result lies
        self.stored: dict[int, int] = {}  # value that varies along the loop -> the operand that it was stored into

    def kernels(self) -> list[Kernel]:
        info, body = self.info, self.nest.body
        reductions = [i for i in info.live if body[i].op in REDUCTIONS]
        phases = 1 + max(info.phase[r] for r in reductions)
        made: list[Kernel] = []
        for phase in range(phases):
            now = [r for r in reductions if info.phase[r] == phase]
            parts = {r: self._scratch(r, self.chunks) for r in now}
            stores = [s for s in self.nest.stores if self._walks(s) and self._ready(s) == phase]
            whole = self.length // self.size
            made.append(self._partial(parts, stores, 0, whole, self.size))
            if whole < self.chunks:
                done = whole * self.size
                made.append(self._partial(parts, stores, whole, 1, self.length - done))
            self.stored.update((i, target) for target, i in stores if self.info.deps[i] & self.info.along)
            made.append(self._combine(parts, phase, phase == phases - 1))
        rest = [s for s in self.nest.stores if self._walks(s) and self._ready(s) >= phases]
        if rest:
            made.append(self._map(rest))
        return made

    # -- what goes where ------------------------------------------------------------------------------------------

    def _walks(self, store: tuple[int, int]) -> bool:
        """Whether the store has an element for each turn of the reduced loop."""
        return bool(self.nest.operands[store[0]].strides[self.axis])

    def _ready(self, store: tuple[int, int]) -> int:
        """How many reductions, one after another, must be finished before the value can be stored."""
        i = store[1]
        return self.info.phase[i] + (self.nest.body[i].op in REDUCTIONS)

    def _outside(self) -> tuple[int, ...]:
        """The loops without the reduced one."""
        return self.nest.dims[: self.axis] + self.nest.dims[self.axis + 1 :]

    def _scratch(self, r: int, chunks: int = 0) -> Value:
        """Memory for the results of reduction ``r``, for each chunk or combined."""
        dims, name = self._outside(), self.nest.body[r].dtype
        if chunks:
            dims = (*dims[: self.axis], chunks, *dims[self.axis :])
            name = "float32" if name == "bfloat16" else name
        node = self.kernel.nodes[0]
        return Value("partial", (), {}, dims, dtypes.as_dtype(name), node.where, node.scope)

    def _strides(self, kept: Sequence[int]) -> tuple[int, ...]:
        """Row-major strides over the outside loops, with the entries ``kept`` where the reduced loop was."""
        outside = row_strides(self._outside())
        return (*outside[: self.axis], *kept, *outside[self.axis :])

    # -- the kernels ----------------------------------------------------------------------------------------------

    def _partial(
        self, parts: Mapping[int, Value], stores: Sequence[tuple[int, int]], first: int, chunks: int, size: int
    ) -> Kernel:
        """Results for ``chunks`` chunks of ``size`` turns, from chunk ``first``."""
        a, dims = self.axis, self.nest.dims
        part = _Part(self, (*dims[:a], chunks, size, *dims[a + 1 :]), self.nest.reduce)
        part.begin, part.inner = first * self.size, size
        for r, value in parts.items():
            instr = self.nest.body[r]
            x = part.value(instr.args[0])
            if instr.dtype == "bfloat16":
                x = part.emit(Instr("cast", "float32", (x,)))
            total = part.emit(Instr(instr.op, value.dtype.name, (x,)))
            inside = row_strides(value.shape)
            strides = (*inside[: a + 1], 0, *inside[a + 1 :])
            part.store(value, Operand(value.dtype.name, strides, first * inside[a], value.size + SLACK), total)
        for target, i in stores:
            part.store(*part.place(target), part.value(i))
        return part.kernel()

    def _combine(self, parts: Mapping[int, Value], phase: int, last: bool) -> Kernel:
        """Results of all chunks combined, and the stores of values outside the reduced loop that are now known."""
        a, dims = self.axis, self.nest.dims
        part = _Part(self, (*dims[:a], self.chunks, *dims[a + 1 :]), self.nest.reduce)
        for r, value in parts.items():
            instr, name = self.nest.body[r], value.dtype.name
            x = part.load(value, Operand(name, row_strides(value.shape), 0, value.size + SLACK))
            total = part.emit(Instr(instr.op, name, (x,)))
            part.known[r] = total if instr.dtype == name else part.emit(Instr("cast", instr.dtype, (total,)))
        later = not last or any(self._walks(s) and self._ready(s) > phase for s in self.nest.stores)
        for r in parts if later else ():
            value = self._scratch(r)
            part.store(value, self._result(value, (0,)), part.known[r])
            self.finished[r] = value
        for target, i in self.nest.stores:
            if not self._walks((target, i)) and max(self._ready((target, i)) - 1, 0) == phase:
                part.store(*part.place(target), part.value(i))
        return part.kernel()

    def _map(self, stores: Sequence[tuple[int, int]]) -> Kernel:
        part = _Part(self, self.nest.dims, "none")
        for target, i in stores:
            part.store(*part.place(target), part.value(i))
        return part.kernel()

    def _result(self, value: Value, kept: Sequence[int]) -> Operand:
        return Operand(value.dtype.name, self._strides(kept), 0, value.size + SLACK)


class _Part:
    """One of the kernels, under construction: a body of what its stores need, and operands along its own loops."""

    def __init__(self, whole: _Split, dims: tuple[int, ...], reduce: str):
        self.whole, self.dims, self.reduce = whole, dims, reduce
        self.begin = self.inner = 0  # first turn of the first chunk, turns of a chunk (partial kernels)
        self.body: list[Instr] = []
        self.index: dict[Instr, int] = {}
        self.known: dict[int, int] = {}  # value of the whole nest -> value here
        self.operands: list[Operand] = []
        self.accesses: list[Access] = []
        self.numbers: dict[tuple[int, Operand, bool], int] = {}
        self.stores: list[tuple[int, int]] = []

    # -- operands -------------------------------------------------------------------------------------------------

    def operand(self, value: Value, operand: Operand, written: bool = False) -> int:
        key = (id(value), operand, written)
        if key not in self.numbers:
            self.numbers[key] = len(self.operands)
            self.operands.append(operand)
            self.accesses.append(Access(value))
        return self.numbers[key]

    def place(self, number: int) -> tuple[Value, Operand]:
        """An operand of the whole nest as this kernel reaches it."""
        whole, operand = self.whole, self.whole.nest.operands[number]
        a, s = whole.axis, operand.strides
        if self.inner:
            s = (*s[:a], s[a] * whole.size, *s[a:])
            operand = replace(operand, offset=operand.offset + operand.strides[a] * self.begin)
        access = whole.kernel.operands[number]
        assert not access.offset, "a nest's operands carry their offsets themselves"
        return access.value, replace(operand, strides=s)

    def load(self, value: Value, operand: Operand) -> int:
        return self.emit(Instr("load", operand.dtype, (), (self.operand(value, operand),)))

    def store(self, value: Value, operand: Operand, i: int) -> None:
        self.stores.append((self.operand(value, operand, written=True), i))

    # -- values ---------------------------------------------------------------------------------------------------

    def emit(self, instr: Instr) -> int:
        if instr not in self.index:
            self.index[instr] = len(self.body)
            self.body.append(instr)
        return self.index[instr]

    def value(self, i: int) -> int:
        """Value ``i`` of the whole nest, here."""
        needed, todo = {i}, [i]
        while todo:  # (bodies may be deep: no recursion)
            at = todo.pop()
            if not self._leaf(at):
                todo += [a for a in self.whole.nest.body[at].args if a not in needed]
                needed.update(self.whole.nest.body[at].args)
        for at in sorted(needed):
            if at not in self.known:
                self.known[at] = self._made(at)
        return self.known[i]

    def _leaf(self, i: int) -> bool:
        return i in self.known or i in self.whole.finished or i in self.whole.stored

    def _made(self, i: int) -> int:
        whole, instr = self.whole, self.whole.nest.body[i]
        if i in whole.finished:
            kept = (0, 0) if self.inner else (0,)
            return self.load(whole.finished[i], whole._result(whole.finished[i], kept))
        if i in whole.stored:
            return self.load(*self.place(whole.stored[i]))
        if instr.op == "load":
            return self.load(*self.place(instr.attrs[0]))
        if instr.op == "gather":
            number = self.operand(*self.place(instr.attrs[0]))
            return self.emit(
                instr._replace(args=(self.known[instr.args[0]],), attrs=(number, self._loop(instr.attrs[1])))
            )
        if instr.op == "iota":
            return self._iota(instr)
        return self.emit(instr._replace(args=tuple(self.known[a] for a in instr.args)))

    def _loop(self, d: int) -> int:
        return d + 1 if self.inner and d > self.whole.axis else d

    def _iota(self, instr: Instr) -> int:
        """The index along a loop; along the reduced one, from the chunk's number and the place in it."""
        (d,), dtype = instr.attrs, instr.dtype
        if not self.inner or d != self.whole.axis:
            return self.emit(instr._replace(attrs=(self._loop(d),)))
        chunk, within = (self.emit(Instr("iota", dtype, (), (at,))) for at in (d, d + 1))
        size, begin = (self.emit(Instr("const", dtype, (), (n,))) for n in (self.whole.size, self.begin))
        start = self.emit(Instr("mul", dtype, (chunk, size)))
        return self.emit(Instr("add", dtype, (self.emit(Instr("add", dtype, (start, begin))), within)))

    # -- the end --------------------------------------------------------------------------------------------------

    def kernel(self) -> Kernel:
        whole = self.whole
        writes = [target for target, _ in self.stores]
        spec = Nest(
            self.dims, self.reduce, tuple(self.operands), tuple(self.body), tuple(self.stores), 0, whole.nest.checked
        )
        nodes = [v for v in whole.kernel.nodes if whole.at.get(id(v)) in self.known]
        pairs = inplace_pairs(self.accesses, self.operands, self.body, writes)
        return Kernel(spec, self.accesses, writes, nodes or whole.kernel.nodes, pairs)
