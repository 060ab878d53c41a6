"""Transposing maps: some operand is contiguous along the last loop but one, while lanes run along the last.

Read lane by lane, such an operand costs a cache line for each element. So it is read in square tiles, contiguous
vectors along the other loop, which are turned in registers and left on the stack; then the body runs row by row of
the tile and finds them as if they had been contiguous all along.
"""

from __future__ import annotations

from collections.abc import Sequence

from .builder import Function, Value, lanes, vector
from .emit import KINDS
from .nest import COLUMNS, TILE
from .nest_body import Frame, Kernel, Slot

__all__ = ["emit_tiles", "transpose"]


def transpose(f: Function, rows: Sequence[Value]) -> list[Value]:
    """The transpose of a square of vectors: blocks are exchanged across the diagonal, halves first."""
    rows, count = list(rows), len(rows)
    assert all(lanes(row.kind) == count for row in rows), "a tile is square"
    size = count // 2
    while size:
        low = [j if not j & size else j - size + count for j in range(count)]
        high = [j + size if not j & size else j + count for j in range(count)]
        for i in range(count):
            if not i & size:
                a, b = rows[i], rows[i + size]
                rows[i], rows[i + size] = f.shuffle(a, b, low), f.shuffle(a, b, high)
        size //= 2
    return rows


def emit_tiles(k: Kernel) -> None:
    """Write the loops of a map in tiles."""
    f, top, count = k.f, k.top(), k.lanes
    m, n = k.nest.dims[-2:]
    across = -(-n // COLUMNS)
    turned = _turned_loads(k)
    scratch = {i: f.scratch(_stored(k, i), count * count) for i in turned}
    with k.items() as item:
        row, block = k.row(top, item // k.parts.blocks, k.last - 1), item % k.parts.blocks
        first, start = block // across * TILE, block % across * COLUMNS
        with f.loop(first, k.limit(first + TILE, m), count) as t:
            with f.loop(start, k.limit(start + COLUMNS, n - n % count), count) as v:
                _tile(k, row.enter({k.last - 1: t, k.last: v}), t, count, scratch)
            if n % count:
                with f.when(f.compare("eq", block % across, across - 1)):
                    v = f.const(n - n % count, "i64")
                    _tile(k, row.enter({k.last - 1: t, k.last: v}), t, n % count, scratch)


def _turned_loads(k: Kernel) -> list[int]:
    found = []
    for i in k.info.live:
        instr = k.nest.body[i]
        if instr.op == "load":
            strides = k.nest.operands[instr.attrs[0]].strides
            if strides[-2] == 1 and strides[-1] not in (0, 1):
                found.append(i)
    return found


def _stored(k: Kernel, i: int) -> str:
    scalar = KINDS[k.nest.body[i].dtype]
    return "i8" if scalar == "i1" else scalar


def _tile(k: Kernel, corner: Frame, t: Value, active: int, scratch: dict[int, Value]) -> None:
    """One tile, at ``corner``: ``active`` columns wide, as high as the map goes."""
    f, count, m = k.f, k.lanes, k.nest.dims[-2]
    mask = f.first_lanes(m - t, count) if m % count else None
    for i, place in scratch.items():
        kind, operand = vector(_stored(k, i), count), k.nest.body[i].attrs[0]
        start, jump = k.start(corner, operand), k.nest.operands[operand].strides[-1]
        vectors = [f.load(start, j * jump, kind, mask) for j in range(active)]
        vectors += [f.const(0, kind)] * (count - active)
        for number, turned in enumerate(transpose(f, vectors)):
            f.store(turned, place, number * count, align=min(64, count))
    with f.loop(0, count if m % count == 0 else k.limit(m - t, count)) as r:
        line = corner.enter({k.last - 1: r})
        line.index[k.last - 1] = t + r
        for i, place in scratch.items():
            line.values[i] = [f.load(place, r * count, vector(KINDS[k.nest.body[i].dtype], count))]
        k.run(line, k.everything, [Slot(0, active)])
        k.store_vectors(line, k.sorted_stores()[1], [Slot(0, active)])
