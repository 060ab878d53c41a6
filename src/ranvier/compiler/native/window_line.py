"""Depthwise convolution along lines: windows that slide by one pixel read each number once for all of them.

Where neighbouring windows of a line (the pixels along the last axis) overlap, most of what one reads is read again by
the next. Here a unit walks a whole line of input pixels instead. Each vector of a pixel is loaded once and multiplied
by the weights of all taps of the last axis, which are kept in registers; the products go to as many sums, one for each
window that contains the pixel. The oldest of these is complete then, is stored, and the others move up.

Which taps of the other axes exist depends on the line; there are a few cases, each with code of its own.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ranvier.compiler.native.builder import Function, Value, Var
from ranvier.compiler.native.taps import Axis, Reach, reach

if TYPE_CHECKING:
    from ranvier.compiler.native.window import Window

__all__ = ["CASES", "Line", "slides", "tap_cases", "where_case"]

_TAPS = 12  # weights that are kept in registers
CASES = 4  # combinations of taps of the other axes that get code

Range = tuple[int, int]


def _order(axis: Axis) -> tuple[int, list[int]]:
    """(input position that output 0 reaches first, taps in the order of the positions they reach)."""
    ends = (axis.offset, axis.offset + (axis.taps - 1) * axis.tap_step)
    return min(ends), list(range(axis.taps)) if axis.tap_step > 0 else list(reversed(range(axis.taps)))


def tap_cases(axes: Sequence[Axis]) -> list[tuple[Range, ...]]:
    """The ranges of taps that exist along each axis, over all lines."""
    found: list[list[Range]] = []
    for a in axes:
        if a.full:
            found.append([(0, a.taps)])
            continue
        ranges: collections.Counter[Range] = collections.Counter()
        for o in range(a.out):
            taps = [t for _, t in a.pairs(o)]
            ranges[(taps[0], taps[-1] + 1) if taps else (0, 0)] += 1
        found.append([r for r, _ in ranges.most_common()])
        if len(found[-1]) > CASES:
            break
    return list(itertools.product(*found))


def where_case(f: Function, axes: Sequence[Axis], reaches: Sequence[Reach]) -> Iterator[tuple[Range, ...]]:
    """Each case, to write code that runs where it holds."""
    cases = tap_cases(axes)
    for case in cases:
        here = f.const(True, "i1")
        for a, r, (start, stop) in zip(axes, reaches, case, strict=True):
            if not a.full:
                begin, end = (f.as_value(x, "i64") for x in (r.start, r.stop))
                here = here & (begin.eq(start) & end.eq(stop) if start < stop else f.compare("le", end, begin))
        with f.when(here) if len(cases) > 1 else contextlib.nullcontext():
            yield case


@functools.lru_cache(maxsize=1024)
def slides(spec: Window) -> bool:
    """Whether a window kernel walks lines; ``spec`` is canonical."""
    *others, last = spec.axes
    if spec.kind != "weighted" or spec.isa not in ("avx512", "neon") or spec.acc == "float64" or spec.taps > _TAPS:
        return False
    if last.taps < 2 or last.out_step != 1 or last.in_step != 1 or abs(last.tap_step) != 1:
        return False
    first, _ = _order(last)
    ends = last.out + first + last.taps - 1  # behind the last position that a window reaches
    if first + last.taps < 1 or last.size < first + last.taps or ends - last.size > last.taps - 1:
        return False  # some window lies outside altogether
    return all(a.in_step == 1 for a in others) and len(tap_cases(others)) <= CASES


class Line:
    """The code of one unit: some vectors of all pixels of a line.

    Args:
        kernel: the kernel being written (``window.py``).
        coordinates: of the line along the other axes, and a zero.
    """

    def __init__(self, kernel: Any, coordinates: list[Value]):
        self.k, self.coordinates = kernel, coordinates[:-1]
        *self.others, self.last = kernel.spec.axes
        self.reaches = [reach(kernel.f, a, o) for a, o in zip(self.others, self.coordinates, strict=True)]

    def group(self, slots: Sequence[Any]) -> None:
        """A group of vectors: the code of each case."""
        for case in where_case(self.k.f, self.others, self.reaches):
            self._case(case, slots)

    def _case(self, case: tuple[Range, ...], slots: Sequence[Any]) -> None:
        """A line of which the taps in ``case`` exist."""
        k, f, last = self.k, self.k.f, self.last
        first, taps = _order(last)
        sources: list[Value] = []  # the beginnings of the lines that are read
        weights: list[list[dict[int, Value]]] = []  # for each of them, those of the taps along it
        for steps in itertools.product(*(range(*r) for r in case)):
            place: Value | int = 0
            number = 0
            for a, r, t in zip(self.others, self.reaches, steps, strict=True):
                place = place * a.size + (r.place + t * a.tap_step)
                number = number * a.taps + t
            sources.append(k.pixel(0, f.as_value(place * last.size, "i64"), k.spec.dtype))
            weights.append([k.weights(number * last.taps + t, slots) for t in taps])
        sums = [[f.var(f.const(0, k.vec)) for _ in slots] for _ in taps]
        behind = first + last.taps - 1  # input position at which output 0 is complete
        stop = min(last.size, last.out + behind)
        for i in range(max(0, first), max(0, behind)):
            self._read(f.const(i, "i64"), sources, weights, slots, sums)
            self._move(sums)
        with f.loop(max(0, behind), stop) as position:
            self._read(position, sources, weights, slots, sums)
            self._finish(position - behind, slots, sums)
        for i in range(stop, last.out + behind):
            self._finish(f.const(i - behind, "i64"), slots, sums)

    def _read(
        self, position: Value, sources: Sequence[Value], weights: Sequence[Sequence[dict[int, Value]]],
        slots: Sequence[Any], sums: Sequence[Sequence[Var]],
    ) -> None:  # fmt: skip
        """Add what one input position gives to all windows that contain it."""
        k, f = self.k, self.k.f
        for source, line in zip(sources, weights, strict=True):
            pixel = f.at(source, position * k.size, k.scalar)
            for u, slot in enumerate(slots):
                x = k.read(pixel, slot)
                for tap, total in zip(line, sums, strict=True):
                    total[u].set(k.multiply_add(x, tap[slot.column], total[u].get()))

    def _finish(self, out: Value, slots: Sequence[Any], sums: Sequence[Sequence[Var]]) -> None:
        """The oldest window is complete."""
        k = self.k
        k.finish(k.place([*self.coordinates, out]), slots, [s.get() for s in sums[-1]], [])
        self._move(sums)

    def _move(self, sums: Sequence[Sequence[Var]]) -> None:
        """The next input position is one tap further on for every window."""
        for newer, older in reversed(list(itertools.pairwise(sums))):
            for a, b in zip(newer, older, strict=True):
                b.set(a.get())
        for s in sums[0]:
            s.set(0)
