"""Maps: the loops of ``reduce="none"`` nests.

Short rows (up to four vectors) are written out in full, and what varies along the row only, such as a bias, is
loaded once for all rows. Longer rows run in a loop over several vectors at a time; the rest of the row, whose length
is known, is written out after it with a constant mask on its last vector. Rows of more than one block are cut into
blocks, so that one long vector can be shared between threads.
"""

from __future__ import annotations

from .builder import Value
from .nest import BLOCK
from .nest_body import Frame, Kernel, Slot

__all__ = ["emit_map"]


def emit_map(k: Kernel) -> None:
    """Write the loops of a map."""
    top = k.top()
    if k.parts.blocks > 1:
        _long_rows(k, top)
        return
    n, step = k.nest.dims[-1], k.unroll() * k.lanes
    short = n <= (4 if step > k.lanes else 2) * k.lanes
    if short:
        slots = k.slots(0, n)
        k.run(top, k.info.lane, slots)  # what all rows have in common
    with k.items() as item:
        row = k.row(top, item, k.last)
        k.store_scalars(row, k.sorted_stores()[0])
        if short:
            _vectors(k, row, slots)
        else:
            whole = n - n % step
            _loop(k, row, 0, whole, step)
            _vectors(k, row, k.slots(whole, n))


def _long_rows(k: Kernel, top: Frame) -> None:
    """Rows cut into blocks: an item is a block of a row; with a single row, a unit is a run of its blocks."""
    f, parts, n = k.f, k.parts, k.nest.dims[-1]
    step = k.unroll() * k.lanes
    whole = n - n % step
    if parts.rows == 1:
        start, stop = f["lo"] * (parts.group * BLOCK), f["hi"] * (parts.group * BLOCK)
        row = k.row(top, f.const(0, "i64"), k.last)
        _store_once(k, row, f["lo"], f["lo"] < f["hi"])
        _loop(k, row, start, k.limit(stop, whole), step)
        if whole < n:
            with f.when((f["lo"] < f["hi"]) & (f.compare("ge", f["hi"], parts.units))):
                _vectors(k, row, k.slots(whole, n))
        return
    with k.items() as item:
        row, block = k.row(top, item // parts.blocks, k.last), item % parts.blocks
        _store_once(k, row, block)
        start = block * BLOCK
        _loop(k, row, start, k.limit(start + BLOCK, whole), step)
        if whole < n:
            with f.when(f.compare("eq", block, parts.blocks - 1)):
                _vectors(k, row, k.slots(whole, n))


def _store_once(k: Kernel, row: Frame, block: Value, also: Value | None = None) -> None:
    """What is stored once a row is stored with its first block."""
    scalars = k.sorted_stores()[0]
    if scalars:
        first = k.f.compare("eq", block, 0)
        with k.f.when(first & also if also is not None else first):
            k.store_scalars(row, scalars)


def _loop(k: Kernel, row: Frame, start: Value | int, stop: Value | int, step: int) -> None:
    if isinstance(stop, int) and stop == start:
        return
    slots = [Slot(at, k.lanes) for at in range(0, step, k.lanes)]
    with k.f.loop(start, stop, step) as i:
        _vectors(k, row.enter({k.last: i}), slots)


def _vectors(k: Kernel, frame: Frame, slots: list[Slot]) -> None:
    if slots:
        inner = frame.enter({})
        k.run(inner, k.everything, slots)
        k.store_vectors(inner, k.sorted_stores()[1], slots)
