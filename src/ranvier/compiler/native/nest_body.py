"""Bodies of loop nests as vector code: which value lives in which loop, and how operands are read and written.

A value that does not change along a loop is computed outside it. So every value has *dependencies*: the set of loops
it varies with. Generators open loops from the outside in; each loop is a :class:`Frame`, which knows the loop indices,
the addresses reached so far and the values at hand, and :meth:`Kernel.run` computes what has become computable.

Values that vary along the last loop are vectors, one for each :class:`Slot` (a group of lanes at a constant distance
from the frame's position); all others are scalars, splatted once where they are defined. The lanes of a last, partial
vector are known when the code is written, so masks are constants.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .builder import Function, Value, lanes, vector
from .emit import KINDS, REDUCTIONS, constant, emit_instr, operand_dtypes
from .expr import Instr
from .nest import Nest, partition
from .target import Isa

__all__ = ["Analysis", "Frame", "Kernel", "Slot"]


class Slot(NamedTuple):
    """One vector of the last loop: where it starts, relative to the frame, and how many lanes it uses."""

    offset: int
    active: int


class _Place(NamedTuple):
    """How far an access has come: a pointer; in checked mode the buffer's start and an offset in elements."""

    pointer: Value
    offset: Value | None


class _Access(NamedTuple):
    """An operand as one instruction reaches it. A gather replaces the index of ``axis`` by the value ``which``."""

    operand: int
    axis: int = -1
    which: int = -1

    @classmethod
    def of(cls, instr: Instr) -> _Access:
        return cls(*instr.attrs, *instr.args) if instr.op == "gather" else cls(instr.attrs[0])


class Analysis:
    """What the values of a body depend on.

    Attributes:
        live: instructions that a store needs, in order.
        deps: for each instruction, the loops it varies with, as bits.
        phase: for each instruction, how many reductions it must wait for, one after another.
    """

    def __init__(self, nest: Nest):
        self.nest = nest
        body = nest.body
        needed = {value for _, value in nest.stores}
        for at in range(len(body) - 1, -1, -1):
            if at in needed:
                needed.update(body[at].args)
        self.live = sorted(needed)
        self.lane = 1 << (len(nest.dims) - 1)
        self.along = {"none": 0, "last": self.lane, "middle": self.lane >> 1}[nest.reduce]
        self.deps: list[int] = []
        self.phase: list[int] = []
        for instr in body:
            self.deps.append(self._dependencies(instr))
            self.phase.append(max((self.phase[a] + (body[a].op in REDUCTIONS) for a in instr.args), default=0))
        passes = [self.phase[i] for i in self.live if self._looped(i)]
        for target, i in nest.stores:  # a result that fills a loop is stored in the pass after it is known
            if any(stride and self.along >> d & 1 for d, stride in enumerate(nest.operands[target].strides)):
                passes.append(self.phase[i] + (body[i].op in REDUCTIONS))
        self.phases = 1 + max(passes, default=0)
        # scalars that vectors read, and the gathers that wait for a scalar index
        self.splatted: set[int] = set()
        self.awaiting: dict[int, list[_Access]] = {}
        for i in self.live:
            if self.deps[i] & self.lane:
                self.splatted.update(a for a in body[i].args if not self.deps[a] & self.lane)
            if body[i].op == "gather" and not self.deps[body[i].args[0]] & self.lane:
                self.awaiting.setdefault(body[i].args[0], []).append(_Access.of(body[i]))

    def _dependencies(self, instr: Instr) -> int:
        if instr.op == "iota":
            return 1 << instr.attrs[0]
        found = 0
        for a in instr.args:
            found |= self.deps[a]
        if instr.op in ("load", "gather"):
            axis = instr.attrs[1] if instr.op == "gather" else None
            strides = self.nest.operands[instr.attrs[0]].strides
            found |= sum(1 << d for d, s in enumerate(strides) if s and d != axis)
        return found & ~self.along if instr.op in REDUCTIONS else found

    def _looped(self, i: int) -> bool:
        """Whether the value needs a pass along the reduced loop."""
        return self.nest.body[i].op in REDUCTIONS or bool(self.deps[i] & self.along)

    def closure(self, targets: Iterable[int], at_hand: Iterable[int] = ()) -> set[int]:
        """Everything the targets need, stopping at values at hand and at reductions."""
        body, known = self.nest.body, set(at_hand)
        found: set[int] = set()
        todo = [t for t in targets if t not in known]
        while todo:
            i = todo.pop()
            if i not in found:
                found.add(i)
                todo += [a for a in body[i].args if a not in known and body[a].op not in REDUCTIONS]
        return found


class Frame:
    """The state inside one loop: values, indices of the loops around, and where each access stands."""

    __slots__ = ("index", "kernel", "places", "splats", "values")

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.values: dict[int, Value | list[Value]] = {}
        self.splats: dict[int, Value] = {}
        self.index: dict[int, Value] = {}
        self.places: dict[_Access, _Place] = {}

    def enter(self, index: dict[int, Value]) -> Frame:
        """A frame for a loop inside this one, at ``index`` (loop -> its index, relative to what was entered)."""
        kernel, inner = self.kernel, Frame(self.kernel)
        inner.values, inner.splats = dict(self.values), dict(self.splats)
        inner.index = self.index | index
        inner.places = {access: kernel.advance(access, place, index) for access, place in self.places.items()}
        return inner


class Kernel:
    """A nest being written as a function of the kernel ABI."""

    def __init__(self, nest: Nest, name: str, isa: Isa):
        self.nest, self.lanes = nest, isa.lanes("float32")
        self.parts = partition(nest)
        self.info = Analysis(nest)
        self.last = len(nest.dims) - 1
        self.everything = (1 << len(nest.dims)) - 1
        arguments = [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")]
        self.f = Function(name, arguments, target_width=isa.bits)

    # -- loops ----------------------------------------------------------------------------------------------------

    def top(self) -> Frame:
        """The outermost frame, with what depends on no loop."""
        f, nest, frame = self.f, self.nest, Frame(self)
        accesses: list[_Access] = []
        for i in self.info.live:
            instr = nest.body[i]
            if instr.op in ("load", "gather"):
                accesses.append(_Access.of(instr))
        accesses += [_Access(target) for target, _ in nest.stores]
        pointers: dict[int, Value] = {}
        for access in accesses:
            if access.operand not in pointers:
                pointers[access.operand] = f.load(f["buffers"], access.operand, "ptr")
            start = _Place(pointers[access.operand], f.const(0, "i64") if nest.checked else None)
            frame.places[access] = self._move(access.operand, start, nest.operands[access.operand].offset)
        for which in self.info.awaiting:
            if nest.body[which].op == "const":
                self._point(frame, which, f.const(nest.body[which].attrs[0], "i64"))
        self.run(frame, 0)
        return frame

    @contextlib.contextmanager
    def span(self) -> Iterator[tuple[Value | int, Value | int]]:
        """The first of this call's items and the end of them; constants if there is but one unit."""
        f, parts = self.f, self.parts
        if parts.units == 1:
            with f.when(f["lo"] < f["hi"]):
                yield 0, parts.items
        else:
            yield f["lo"] * parts.group, self.limit(f["hi"] * parts.group, parts.items)

    def limit(self, value: Value, most: Value | int) -> Value:
        return self.f.select(value < most, value, most)

    @contextlib.contextmanager
    def items(self) -> Iterator[Value]:
        """The loop over this call's items."""
        with self.span() as (start, stop), self.f.loop(start, stop) as item:
            yield item

    def row(self, top: Frame, row: Value, loops: int, only: set[int] | None = None) -> Frame:
        """The frame of row number ``row`` of the first ``loops`` loops, with the values that vary with these only."""
        index: dict[int, Value] = {}
        for d in range(loops - 1, -1, -1):
            index[d] = row % self.nest.dims[d] if d else row
            row = row // self.nest.dims[d] if d else row
        frame = top.enter(index)
        self.run(frame, (1 << loops) - 1, None, only)
        return frame

    def slots(self, start: int, stop: int) -> list[Slot]:
        """Vectors that cover ``start ... stop``; the last of the whole row may be partial."""
        return [Slot(at, min(self.lanes, self.nest.dims[-1] - at)) for at in range(start, stop, self.lanes)]

    # -- values ---------------------------------------------------------------------------------------------------

    def run(self, frame: Frame, scope: int, slots: Sequence[Slot] | None = None, only: set[int] | None = None) -> None:
        """Compute every value that varies with loops of ``scope`` only, is not at hand yet, and now can be."""
        body, info = self.nest.body, self.info
        for i in info.live:
            instr = body[i]
            if i in frame.values or info.deps[i] & ~scope or instr.op in REDUCTIONS or instr.op == "const":
                continue
            if (only is not None and i not in only) or not all(self._at_hand(frame, a) for a in instr.args):
                continue
            if info.deps[i] & info.lane:
                if slots is not None:
                    frame.values[i] = [self._value(frame, instr, slot, u) for u, slot in enumerate(slots)]
            else:
                self.define(frame, i, self._value(frame, instr, None, 0))

    def define(self, frame: Frame, i: int, value: Value | list[Value]) -> None:
        """Make a value known; a scalar that vectors use is splatted here, outside their loops."""
        frame.values[i] = value
        if isinstance(value, list):
            return
        if i in self.info.splatted:
            frame.splats[i] = self.f.splat(value, self.lanes)
        if i in self.info.awaiting:
            source = [self.nest.body[i].dtype]
            self._point(frame, i, emit_instr(self.f, Instr("cast", "int64"), [value], 1, source))

    def _point(self, frame: Frame, which: int, index: Value) -> None:
        """Move the gathers that read index ``which`` to where it points."""
        for access in self.info.awaiting[which]:
            step = self.nest.operands[access.operand].strides[access.axis]
            frame.places[access] = self._move(access.operand, frame.places[access], index * step)

    def _at_hand(self, frame: Frame, i: int) -> bool:
        return i in frame.values or self.nest.body[i].op == "const"

    def vector_of(self, frame: Frame, i: int, u: int) -> Value:
        """Value ``i`` as a vector, for slot number ``u``."""
        instr = self.nest.body[i]
        if instr.op == "const":
            return constant(self.f, instr.attrs[0], instr.dtype, self.lanes)
        value = frame.values[i]
        if isinstance(value, list):
            return value[u]
        return frame.splats[i] if i in frame.splats else self.f.splat(value, self.lanes)

    def scalar_of(self, frame: Frame, i: int) -> Value:
        instr = self.nest.body[i]
        if instr.op == "const":
            return constant(self.f, instr.attrs[0], instr.dtype)
        value = frame.values[i]
        assert isinstance(value, Value)
        return value

    def _value(self, frame: Frame, instr: Instr, slot: Slot | None, u: int) -> Value:
        f = self.f
        if instr.op == "load":
            return self._load(frame, _Access.of(instr), slot)
        if instr.op == "gather":
            return self._gather(frame, instr, slot, u)
        if instr.op == "iota":
            return self._iota(frame, instr, slot)
        dtypes = operand_dtypes(self.nest.body, instr)
        if slot is None:
            return emit_instr(f, instr, [self.scalar_of(frame, a) for a in instr.args], 1, dtypes)
        return emit_instr(f, instr, [self.vector_of(frame, a, u) for a in instr.args], self.lanes, dtypes)

    def _iota(self, frame: Frame, instr: Instr, slot: Slot | None) -> Value:
        f, d = self.f, instr.attrs[0]
        at = frame.index.get(d, f.const(0, "i64"))
        integer = {"int64": "i64", "float64": "i64"}.get(instr.dtype, "i32")
        value = f.cast("trunc", at, integer)
        if slot is not None:
            first = f.vector_const(range(slot.offset, slot.offset + self.lanes), integer)
            value = first if at.name == "0" else f.splat(value, self.lanes) + first
        source = {"i64": "int64", "i32": "int32"}[integer]
        if instr.dtype == source:
            return value
        return emit_instr(f, Instr("cast", instr.dtype), [value], lanes(value.kind), [source])

    # -- memory ---------------------------------------------------------------------------------------------------

    def _stored(self, operand: int) -> str:
        scalar = KINDS[self.nest.operands[operand].dtype]
        return "i8" if scalar == "i1" else scalar

    def advance(self, access: _Access, place: _Place, index: dict[int, Value]) -> _Place:
        """The place after stepping the given loops."""
        total: Value | None = None
        for d, at in index.items():
            stride = self.nest.operands[access.operand].strides[d]
            if stride and d != access.axis and at.name != "0":
                step = at if stride == 1 else at * stride
                total = step if total is None else total + step
        return place if total is None else self._move(access.operand, place, total)

    def _move(self, operand: int, place: _Place, by: Value | int) -> _Place:
        if isinstance(by, int) and by == 0:
            return place
        if place.offset is not None:
            return _Place(place.pointer, place.offset + by)
        return _Place(self.f.at(place.pointer, by, self._stored(operand)), None)

    def _load(self, frame: Frame, access: _Access, slot: Slot | None) -> Value:
        f, operand, place = self.f, access.operand, frame.places[access]
        scalar = KINDS[self.nest.operands[operand].dtype]
        if slot is None:
            checked = place.offset is not None
            return self._checked_scalar(operand, place) if checked else f.load(place.pointer, 0, scalar)
        stride = self.nest.operands[operand].strides[self.last]
        place = self._move(operand, place, slot.offset * stride)
        if place.offset is not None:
            offsets = f.splat(place.offset, self.lanes) + self._steps(stride, "i64")
            return f.gather(place.pointer, offsets, scalar, self._checked_mask(operand, offsets, slot))
        if stride == 1:
            mask = None if slot.active == self.lanes else f.first_lanes(slot.active, self.lanes)
            return f.load(place.pointer, 0, vector(scalar, self.lanes), mask)
        narrow = self._stored(operand)
        value = f.const(0, vector(narrow, self.lanes))
        for lane in range(slot.active):
            value = f.insert(value, f.load(place.pointer, lane * stride, narrow), lane)
        return f.compare("ne", value, 0) if scalar == "i1" else value

    def _gather(self, frame: Frame, instr: Instr, slot: Slot | None, u: int) -> Value:
        """A load whose index along one loop is a value: one element, a run of elements, or any element per lane."""
        f, access = self.f, _Access.of(instr)
        operand, axis, which = access
        if slot is None or not self.info.deps[which] & self.info.lane:
            return self._load(frame, access, slot)  # the place has moved to where the index points
        spec, place = self.nest.operands[operand], frame.places[access]
        step, source = spec.strides[axis], self.nest.body[which].dtype
        # offsets of 32 bits gather sixteen lanes in one instruction; of 64 bits, eight
        small = 0 < spec.size < 2**31 and source != "int64" and not self.nest.checked
        width = "int32" if small else "int64"
        index = emit_instr(f, Instr("cast", width), [self.vector_of(frame, which, u)], self.lanes, [source])
        offsets = index * step if step != 1 else index
        stride = 0 if axis == self.last else spec.strides[self.last]
        if stride:
            offsets = offsets + self._steps(stride, KINDS[width], slot.offset)
        scalar = KINDS[spec.dtype]
        if place.offset is not None:
            offsets = f.splat(place.offset, self.lanes) + offsets
            return f.gather(place.pointer, offsets, scalar, self._checked_mask(operand, offsets, slot))
        mask = None if slot.active == self.lanes else f.first_lanes(slot.active, self.lanes)
        return f.gather(place.pointer, offsets, scalar, mask)

    def _steps(self, stride: int, integer: str, start: int = 0) -> Value:
        return self.f.vector_const([(start + lane) * stride for lane in range(self.lanes)], integer)

    def start(self, frame: Frame, target: int) -> Value:
        """Where an output's part for a frame begins (not in checked mode)."""
        return frame.places[_Access(target)].pointer

    def store(self, frame: Frame, target: int, value: Value, slot: Slot | None) -> None:
        """Store one vector (or, without a slot, one scalar) of an operand."""
        f, place = self.f, frame.places[_Access(target)]
        if slot is None:
            if place.offset is None:
                f.store(value, place.pointer, 0)
                return
            with f.when(self._in_bounds(target, place.offset)):
                f.store(value, place.pointer, place.offset)
            return
        stride = self.nest.operands[target].strides[self.last]
        place = self._move(target, place, slot.offset * stride)
        if place.offset is not None:
            offsets = f.splat(place.offset, self.lanes) + self._steps(stride, "i64")
            f.scatter(value, place.pointer, offsets, self._checked_mask(target, offsets, slot))
            return
        if stride == 1:
            mask = None if slot.active == self.lanes else f.first_lanes(slot.active, self.lanes)
            f.store(value, place.pointer, 0, mask)
            return
        for lane in range(slot.active):
            f.store(f.extract(value, lane), place.pointer, lane * stride)

    # checked mode: every lane's offset is tested, bad lanes are left out

    def _in_bounds(self, operand: int, offset: Value) -> Value:
        """Whether an offset is legal; if not, the error code is set."""
        f = self.f
        good = f.compare("ult", offset, self.nest.operands[operand].size)
        with f.when(f.binary("xor", good, True)):
            f.store(f.const(1, "i64"), f["state"], 0)
        return good

    def _checked_scalar(self, operand: int, place: _Place) -> Value:
        f, scalar = self.f, KINDS[self.nest.operands[operand].dtype]
        assert place.offset is not None
        result = f.var(f.const(0, scalar))
        with f.when(self._in_bounds(operand, place.offset)):
            result.set(f.load(place.pointer, place.offset, scalar))
        return result.get()

    def _checked_mask(self, operand: int, offsets: Value, slot: Slot) -> Value:
        f = self.f
        active = f.first_lanes(slot.active, self.lanes)
        good = f.compare("ult", offsets, self.nest.operands[operand].size) & active
        bad = good ^ active
        with f.when(f.any_lane(bad)):
            f.store(f.const(1, "i64"), f["state"], 0)
        return good

    # -- stores ---------------------------------------------------------------------------------------------------

    def store_vectors(self, frame: Frame, stores: Sequence[tuple[int, int]], slots: Sequence[Slot]) -> None:
        """The given stores for each slot; lanes past ``valid`` become zeros."""
        f = self.f
        for target, i in stores:
            for u, slot in enumerate(slots):
                value = self.vector_of(frame, i, u)
                mask = self.meaningful(frame, slot)
                if self.nest.valid and mask is not None:
                    value = f.select(mask, value, f.const(0, value.kind))
                self.store(frame, target, value, slot)

    def meaningful(self, frame: Frame, slot: Slot) -> Value | None:
        """The lanes that are neither padding nor past the end; None if that is all of them."""
        left = slot.active
        if self.nest.valid and self.last not in frame.index:
            left = min(left, self.nest.valid - slot.offset)
        return None if left == self.lanes else self.f.first_lanes(left, self.lanes)

    def store_scalars(self, frame: Frame, stores: Sequence[tuple[int, int]]) -> None:
        for target, i in stores:
            self.store(frame, target, self.scalar_of(frame, i), None)

    def sorted_stores(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Stores of scalars (along the last loop), and stores of vectors."""
        scalars: list[tuple[int, int]] = []
        vectors: list[tuple[int, int]] = []
        for target, i in self.nest.stores:
            uniform = not self.nest.operands[target].strides[self.last]
            assert not (uniform and self.info.deps[i] & self.info.lane), "many values are stored into one element"
            (scalars if uniform else vectors).append((target, i))
        return scalars, vectors

    def unroll(self, only: Iterable[int] | None = None) -> int:
        """How many vectors to take at a time: several of light work, to hide latencies; one of heavy work."""
        from .nest import weight

        chosen = self.info.live if only is None else only
        cost = weight(self.nest.body[i] for i in chosen if self.info.deps[i] & self.info.lane)
        return 4 if cost <= 6 else 2 if cost <= 18 else 1
