"""Reductions: the loops of row kernels (along the last loop) and column kernels (along the last but one).

Both have the same plan. A body's reductions form *phases*: softmax takes the maximum in phase 0, the sum of
exponentials, which needs it, in phase 1, and divides in phase 2. Each phase is one pass along the reduced loop that
fills accumulators; its results are then at hand for the next. Everything is stored in the last pass, so that an output
may take the place of an input.

The order of every sum is fixed by the problem: lane accumulators, a tree over them, and for long loops sums of blocks,
which also keeps the rounding error of a long sum small.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .builder import Value, Var, element, is_float, vector
from .emit import (
    HEAVY,
    ITEMSIZE,
    KINDS,
    REDUCTIONS,
    combine,
    constant,
    identity,
    round_bfloat16,
    widen_bfloat16,
)
from .nest import COLUMNS
from .nest_body import Frame, Kernel, Slot
from .nest_later import GROUP, Later

__all__ = ["emit_columns", "emit_rows"]

_RUN = 256  # turns after which a running float sum is put aside and a new one begun
_SCRATCH = 1 << 15  # bytes of a row that may be kept between passes


class _Sums:
    """Accumulators of some reductions: ``copies`` vectors for each, combined when the loop is done."""

    def __init__(self, k: Kernel, reductions: Sequence[int], copies: int):
        self.k, self.reductions, self.copies = k, list(reductions), copies
        self.vars: dict[tuple[int, int], Var] = {
            (r, c): k.f.var(self._identity(r)) for r in self.reductions for c in range(copies)
        }

    def _dtype(self, r: int) -> str:
        dtype = self.k.nest.body[r].dtype
        return "float32" if dtype == "bfloat16" else dtype

    def _identity(self, r: int) -> Value:
        return constant(self.k.f, identity(self.k.nest.body[r].op, self._dtype(r)), self._dtype(r), self.k.lanes)

    def reset(self) -> None:
        for (r, _), var in self.vars.items():
            var.set(self._identity(r))

    def add(self, r: int, c: int, value: Value, mask: Value | None = None) -> None:
        """Take a vector into copy ``c`` of reduction ``r``; lanes outside the mask change nothing."""
        f = self.k.f
        if self.k.nest.body[r].dtype == "bfloat16":
            value = widen_bfloat16(f, value)
        if mask is not None:
            value = f.select(mask, value, self._identity(r))
        self._combine(r, c, value)

    def merge(self, other: _Sums) -> None:
        for (r, c), var in other.vars.items():
            self._combine(r, c, var.get())

    def _combine(self, r: int, c: int, value: Value) -> None:
        var = self.vars[r, c]
        var.set(combine(self.k.f, self.k.nest.body[r].op, self._dtype(r), var.get(), value))

    def total(self, r: int, copies: Sequence[int]) -> Value:
        """The given copies of a reduction combined, as a vector."""
        values = [self.vars[r, c].get() for c in copies]
        return tree(self.k, r, self._dtype(r), values)

    def finish(self, r: int, value: Value) -> Value:
        return round_bfloat16(self.k.f, value) if self.k.nest.body[r].dtype == "bfloat16" else value

    def fold(self, r: int, value: Value) -> Value:
        """All lanes of a total combined."""
        f, op, dtype = self.k.f, self.k.nest.body[r].op, self._dtype(r)
        return f.fold(value, lambda a, b: combine(f, op, dtype, a, b))


def tree(k: Kernel, r: int, dtype: str, values: Sequence[Value]) -> Value:
    """Combine values pairwise, in a fixed order."""
    values = list(values)
    while len(values) > 1:
        pairs = [combine(k.f, k.nest.body[r].op, dtype, a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + ([values[-1]] if len(values) % 2 else [])
    return values[0]


@contextlib.contextmanager
def _accumulate(k: Kernel, sums: _Sums, stop: int, step: int) -> Iterator[Value]:
    """``for i in range(0, stop, step)`` round code that adds to ``sums``; float sums of many turns in runs."""
    f = k.f
    floats = any(is_float(var.kind) for var in sums.vars.values())
    if stop // step <= _RUN or not floats:
        with f.loop(0, stop, step) as i:
            yield i
        return
    totals = _Sums(k, sums.reductions, sums.copies)
    with f.loop(0, stop, step * _RUN) as first:
        sums.reset()
        with f.loop(first, k.limit(first + step * _RUN, stop), step) as i:
            yield i
        totals.merge(sums)
    sums.vars = totals.vars


def _phases(k: Kernel) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """For each pass: the reductions it fills and the stores it makes of values that vary along the reduced loop."""
    info, body = k.info, k.nest.body
    stores = [(target, i) for target, i in k.nest.stores if info.deps[i] & info.along or _walks(k, target)]
    return [
        (
            [i for i in info.live if body[i].op in REDUCTIONS and info.phase[i] == phase],
            stores if phase == info.phases - 1 else [],
        )
        for phase in range(info.phases)
    ]


def _walks(k: Kernel, target: int) -> bool:
    """Whether an operand has an element for each index of the reduced loop."""
    return any(s and 1 << d & k.info.along for d, s in enumerate(k.nest.operands[target].strides))


# -- rows -------------------------------------------------------------------------------------------------------------


def emit_rows(k: Kernel) -> None:
    """Write the loops of a row kernel."""
    top, n = k.top(), k.nest.dims[-1]
    valid = k.nest.valid or n
    short = valid <= 4 * k.lanes
    if short:
        slots = k.slots(0, valid)
        k.run(top, k.info.lane, slots)  # what all rows have in common
    later = Later(k) if short else None
    if later is not None and later.values:
        _rows_with_later(k, top, slots, valid, later)
        return
    scratch = {} if short else _scratch(k, valid)
    with k.items() as item:
        row = k.row(top, item, k.last)
        if short:
            _short_row(k, row, slots)
        else:
            _long_row(k, row, valid, scratch)
        _pad(k, row, valid)
        k.store_scalars(row, k.sorted_stores()[0])


def _rows_with_later(k: Kernel, top: Frame, slots: list[Slot], valid: int, later: Later) -> None:
    """Short rows in groups; what each row leaves for later is computed for the whole group."""
    now = set(k.info.live) - later.values
    with k.span() as (start, stop), k.f.loop(start, stop, GROUP) as first:
        if isinstance(stop, int) and stop % GROUP == 0:
            end: Value = first + GROUP
        else:
            end = k.limit(first + GROUP, stop)
        with k.f.loop(first, end) as item:
            row = k.row(top, item, k.last, now)
            _short_row(k, row, slots, now)
            _pad(k, row, valid)
            k.store_scalars(row, [s for s in k.sorted_stores()[0] if s[1] not in later.values])
            later.keep(row, item - first)
        later.finish(top, first, end)


def _short_row(k: Kernel, row: Frame, slots: list[Slot], only: set[int] | None = None) -> None:
    """A row that stays in registers: every value is computed once."""
    masks = [k.meaningful(row, slot) for slot in slots]
    for reductions, stores in _phases(k):
        k.run(row, k.everything, slots, only)
        for r in reductions:
            k.define(row, r, _reduce_vectors(k, row, r, masks))
        k.run(row, k.everything, slots, only)
        k.store_vectors(row, stores, slots)


def _reduce_vectors(k: Kernel, row: Frame, r: int, masks: list[Value | None]) -> Value:
    f, instr = k.f, k.nest.body[r]
    dtype = "float32" if instr.dtype == "bfloat16" else instr.dtype
    neutral = constant(f, identity(instr.op, dtype), dtype, k.lanes)
    values = []
    for u, mask in enumerate(masks):
        value = k.vector_of(row, instr.args[0], u)
        value = widen_bfloat16(f, value) if instr.dtype == "bfloat16" else value
        values.append(value if mask is None else f.select(mask, value, neutral))
    values = values or [neutral]
    if instr.op in ("reduce_max", "reduce_min") and is_float(neutral.kind):
        result = _float_extreme(k, instr.op, values)
    else:
        result = f.fold(tree(k, r, dtype, values), lambda a, b: combine(f, instr.op, dtype, a, b))
    return round_bfloat16(f, result) if instr.dtype == "bfloat16" else result


def _float_extreme(k: Kernel, op: str, values: list[Value]) -> Value:
    """The largest or smallest element, NaN if any is: NaNs are looked for beside the fold, not in each step of it."""
    f, wins = k.f, "gt" if op == "reduce_max" else "lt"

    def choose(a: Value, b: Value) -> Value:
        return f.select(f.compare(wins, a, b), a, b)

    unordered = None
    for a, b in zip(values[::2], [*values[1::2], values[-1]], strict=False):  # one comparison looks at two vectors
        found = f.compare("uno", a, b)
        unordered = found if unordered is None else unordered | found
    best = functools.reduce(choose, values)
    assert unordered is not None
    return f.select(f.any_lane(unordered), f.const(math.nan, element(best.kind)), f.fold(best, choose))


def _scratch(k: Kernel, n: int) -> dict[int, Value]:
    """Stack rows for costly values that more than one pass needs."""
    info, body = k.info, k.nest.body
    uses: dict[int, int] = {}
    for reductions, stores in _phases(k):
        targets = [body[r].args[0] for r in reductions] + [i for _, i in stores]
        for i in info.closure(targets):
            uses[i] = uses.get(i, 0) + 1
    costly = [i for i in info.live if uses.get(i, 0) > 1 and body[i].op in HEAVY and info.deps[i] & info.lane]
    room = [i for i in costly if n * ITEMSIZE[body[i].dtype] <= _SCRATCH][:2]
    return {i: k.f.scratch(KINDS[body[i].dtype], -(-n // k.lanes) * k.lanes) for i in room}


def _long_row(k: Kernel, row: Frame, n: int, scratch: dict[int, Value]) -> None:
    """A row that does not fit into registers: one loop for each phase, cheap values computed anew in each."""
    kept: dict[int, Value] = {}
    for reductions, stores in _phases(k):
        targets = [k.nest.body[r].args[0] for r in reductions] + [i for _, i in stores]
        only = k.info.closure(targets, kept)
        fresh = {i: place for i, place in scratch.items() if i in only}
        _row_phase(k, row, n, _Pass(reductions, stores, only, kept, fresh))
        k.run(row, k.everything & ~k.info.lane)
        kept = kept | fresh


class _Pass(NamedTuple):
    """One pass along a row: what it fills and stores, the values it needs, those kept before and to be kept now."""

    reductions: list[int]
    stores: list[tuple[int, int]]
    only: set[int]
    kept: dict[int, Value]
    fresh: dict[int, Value]


def _row_phase(k: Kernel, row: Frame, n: int, job: _Pass) -> None:
    step = k.unroll(job.only) * k.lanes
    whole = n - n % step
    sums = _Sums(k, job.reductions, step // k.lanes)

    def turn(frame: Frame, slots: list[Slot], at: Value | int) -> None:
        for i, place in job.kept.items():
            kind = vector(KINDS[k.nest.body[i].dtype], k.lanes)
            frame.values[i] = [k.f.load(place, at + slot.offset, kind) for slot in slots]
        k.run(frame, k.everything, slots, job.only)
        for i, place in job.fresh.items():
            for u, slot in enumerate(slots):
                k.f.store(k.vector_of(frame, i, u), place, at + slot.offset)
        for u, slot in enumerate(slots):
            mask = k.meaningful(frame, slot)
            for r in job.reductions:
                sums.add(r, u, k.vector_of(frame, k.nest.body[r].args[0], u), mask)
        k.store_vectors(frame, job.stores, slots)

    if whole:
        with _accumulate(k, sums, whole, step) as i:
            turn(row.enter({k.last: i}), [Slot(at, k.lanes) for at in range(0, step, k.lanes)], i)
    rest = k.slots(whole, n)
    if rest:
        turn(row.enter({}), rest, 0)
    for r in job.reductions:
        k.define(row, r, sums.finish(r, sums.fold(r, sums.total(r, range(sums.copies)))))


def _pad(k: Kernel, row: Frame, valid: int) -> None:
    """Zeros in the vectors of the row that are padding altogether."""
    first = -(-valid // k.lanes) * k.lanes
    for target, i in k.sorted_stores()[1]:
        for slot in k.slots(first, k.nest.dims[-1]):
            k.store(row, target, constant(k.f, 0, k.nest.body[i].dtype, k.lanes), slot)


# -- columns ----------------------------------------------------------------------------------------------------------


def emit_columns(k: Kernel) -> None:
    """Write the loops of a column kernel: items are blocks of columns."""
    f, top, n = k.f, k.top(), k.nest.dims[-1]
    blocks, whole = k.parts.blocks, n // COLUMNS
    with k.items() as item:
        if blocks == 1:
            _column_block(k, k.row(top, item, k.last - 1), None, n)
            return
        row, block = k.row(top, item // blocks, k.last - 1), item % blocks
        if whole == blocks:
            _column_block(k, row, block * COLUMNS, COLUMNS)
            return
        with f.when(block < whole):
            _column_block(k, row.enter({}), block * COLUMNS, COLUMNS)
        with f.when(f.compare("eq", block, whole)):
            _column_block(k, row.enter({}), None, n - whole * COLUMNS, whole * COLUMNS)


def _column_block(k: Kernel, row: Frame, start: Value | None, width: int, offset: int = 0) -> None:
    """``width`` columns from ``start`` (or the constant ``offset``), as many vectors at a time as suit the body."""
    lanes = k.lanes
    most = {4: 8, 2: 4, 1: 2}[k.unroll()]
    if start is not None:
        group = most * lanes if width % (most * lanes) == 0 else lanes
        with k.f.loop(0, width, group) as at:
            place = start if at.name == "0" else start + at
            _columns(k, row.enter({k.last: place}), [Slot(o, lanes) for o in range(0, group, lanes)])
        return
    slots = k.slots(offset, offset + width)
    for first in range(0, len(slots), most):
        _columns(k, row.enter({}), slots[first : first + most])


def _columns(k: Kernel, columns: Frame, slots: list[Slot]) -> None:
    """All phases for a group of vectors of columns."""
    info = k.info
    outside = k.everything & ~info.along
    k.run(columns, outside, slots)
    for reductions, stores in _phases(k):
        targets = [k.nest.body[r].args[0] for r in reductions] + [i for _, i in stores]
        _column_phase(k, columns, slots, reductions, stores, info.closure(targets))
        k.run(columns, outside, slots)
    scalars, vectors = k.sorted_stores()
    k.store_vectors(columns, [s for s in vectors if not _stored_inside(k, s)], slots)
    k.store_scalars(columns, [s for s in scalars if not _stored_inside(k, s)])


def _stored_inside(k: Kernel, store: tuple[int, int]) -> bool:
    return bool(k.info.deps[store[1]] & k.info.along) or _walks(k, store[0])


def _column_phase(
    k: Kernel, columns: Frame, slots: list[Slot], reductions: list[int], stores: list[tuple[int, int]], only: set[int]
) -> None:
    """One pass down the columns: ``copies`` rows a turn, each with accumulators of its own."""
    m, middle = k.nest.dims[-2], k.last - 1
    if not reductions and not stores:
        return
    copies = max(1, min(4, 8 // len(slots))) if k.unroll(only) > 1 else 1
    copies = copies if m >= 4 * copies else 1
    sums = _Sums(k, reductions, copies * len(slots))
    scalars, vectors = k.sorted_stores()

    def turn(at: Value, copy: int) -> None:
        inner = columns.enter({middle: at})
        k.run(inner, k.everything & ~k.info.lane, None, only)
        k.run(inner, k.everything, slots, only)
        for r in reductions:
            for u in range(len(slots)):
                sums.add(r, copy * len(slots) + u, k.vector_of(inner, k.nest.body[r].args[0], u))
        k.store_vectors(inner, [s for s in vectors if s in stores], slots)
        k.store_scalars(inner, [s for s in scalars if s in stores])

    whole = m - m % copies
    if whole:
        with _accumulate(k, sums, whole, copies) as i:
            for copy in range(copies):
                turn(i + copy if copy else i, copy)
    if whole < m:
        with k.f.loop(whole, m) as i:
            turn(i, 0)
    for r in reductions:
        totals = [sums.total(r, [c * len(slots) + u for c in range(copies)]) for u in range(len(slots))]
        results = [sums.finish(r, total) for total in totals]
        k.define(columns, r, results if k.info.deps[r] & k.info.lane else k.f.extract(results[0], 0))
