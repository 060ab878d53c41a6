"""Which input positions a window reaches: the index arithmetic that convolution and pooling share.

Along one axis, tap ``t`` of the window at output position ``o`` reads input position ``i`` where

    i * in_step == o * out_step + t * tap_step + offset        and        0 <= i < size

A convolution forward has ``in_step`` 1 and ``out_step`` its stride; its adjoint (the gradient of its input, a
transposed convolution) has ``out_step`` 1 and ``in_step`` the stride, so that most taps reach nothing: they are
skipped, not multiplied by zero. For a given ``o`` the taps that do reach something form an arithmetic sequence, and so
do their positions: :func:`loop_taps` writes a loop over exactly those, without tests inside.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ranvier.compiler.native.builder import Function, Value

__all__ = ["Axis", "Reach", "adjoint", "forward", "identity", "loop_taps", "reach"]

Index = Value | int


@dataclass(frozen=True)
class Axis:
    """One windowed axis; see the top of this file.

    Attributes:
        out: positions of the output.
        size: positions of the input.
        taps: taps of the window.
        out_step, tap_step, offset, in_step: the equation's constants. Only one of the two steps may differ from 1.
    """

    out: int
    size: int
    taps: int = 1
    out_step: int = 1
    tap_step: int = 1
    offset: int = 0
    in_step: int = 1

    def __post_init__(self) -> None:
        assert self.in_step == 1 or self.out_step == 1, f"{self} steps on both sides"
        assert self.tap_step != 0, f"{self} never moves"

    def pairs(self, o: int) -> list[tuple[int, int]]:
        """The (input position, tap) pairs of output position ``o``, by trying all taps."""
        found = []
        for t in range(self.taps):
            i, rest = divmod(o * self.out_step + t * self.tap_step + self.offset, self.in_step)
            if rest == 0 and 0 <= i < self.size:
                found.append((i, t))
        return found

    @property
    def full(self) -> bool:
        """Whether every output position reaches all taps."""
        if self.in_step != 1 and self.out > 1:
            return False  # neighbouring positions cannot both hit the grid with the same tap
        return all(len(self.pairs(o)) == self.taps for o in {0, max(self.out - 1, 0)})

    @property
    def work(self) -> int:
        """The number of (output position, tap) pairs that reach something."""
        o = np.arange(self.out)
        total = 0
        for t in range(self.taps):
            place = o * self.out_step + t * self.tap_step + self.offset
            total += int(np.sum((place % self.in_step == 0) & (place >= 0) & (place < self.size * self.in_step)))
        return total


def identity(n: int) -> Axis:
    """An axis that is carried along: one tap that reads its own position."""
    return Axis(n, n)


def forward(size: int, taps: int, stride: int, dilation: int, padding: tuple[int, int]) -> Axis:
    """The axis of a convolution or pooling over ``size`` positions."""
    out = (size + sum(padding) - (taps - 1) * dilation - 1) // stride + 1
    return Axis(out, size, taps, stride, dilation, -padding[0])


def adjoint(axis: Axis) -> Axis:
    """The axis of the adjoint: from output positions of ``axis`` (now the input) back to its input positions."""
    return Axis(axis.size, axis.out, axis.taps, axis.in_step, -axis.tap_step, -axis.offset, axis.out_step)


@dataclass(frozen=True)
class Reach:
    """What output position ``o`` reaches: taps ``tap + u * tap_step`` at positions ``place + u * place_step`` for u in
    [start, stop).
    """

    start: Index
    stop: Index
    place: Index
    place_step: int
    tap: Index
    tap_step: int


def reach(f: Function, axis: Axis, o: Index) -> Reach:
    """The arithmetic sequences of output position ``o``."""
    at = o * axis.out_step + axis.offset
    if axis.in_step == 1:
        start, stop = (0, axis.taps) if axis.full else _inside(f, axis, at, axis.tap_step, axis.taps)
        return Reach(start, stop, at, axis.tap_step, 0, 1)
    # The adjoint of a strided window: which taps hit the grid depends on o modulo the stride.
    step = axis.in_step
    period = step // math.gcd(step, abs(axis.tap_step))
    lift = -(-max(-axis.offset, 0) // step) * step  # so that division and remainder see no negative number
    phase = f.as_value(at + lift, "i64") % step
    first, count = f.const(0, "i64"), f.const(0, "i64")
    for p in range(step):
        hits = [t for t in range(min(period, axis.taps)) if (p + t * axis.tap_step) % step == 0]
        if hits:
            here = phase.eq(p)
            first = f.select(here, hits[0], first)
            count = f.select(here, len(range(hits[0], axis.taps, period)), count)
    # (at + first * tap_step) / step, exact; lifted out of the negative numbers for the division.
    low = -(-(axis.taps * abs(axis.tap_step)) // step) * step
    place = (at + lift + low + first * axis.tap_step) // step - (lift + low) // step
    place_step = period * axis.tap_step // step
    start, stop = _inside(f, axis, place, place_step, count)
    return Reach(start, stop, place, place_step, first, period)


def _inside(f: Function, axis: Axis, place: Index, step: int, count: Index) -> tuple[Index, Index]:
    """The u for which ``0 <= place + u * step < axis.size`` and ``0 <= u < count``: those from start to stop."""
    place = f.as_value(place, "i64")

    def quotient(x: Value) -> Value:
        """x / |step| rounded down, 0 for negative x."""
        x = f.select(x > 0, x, 0)
        return x // abs(step) if abs(step) != 1 else x

    if step > 0:
        start, stop = quotient(step - 1 - place), quotient(axis.size + step - 1 - place)
    else:
        start, stop = quotient(place - axis.size - step), quotient(place - step)
    return start, f.select(stop < count, stop, count)


@contextlib.contextmanager
def loop_taps(f: Function, axis: Axis, o: Index) -> Iterator[tuple[Index, Index]]:
    """A loop over the taps that output position ``o`` reaches, as (input position, tap)."""
    r = reach(f, axis, o)
    with f.loop(r.start, r.stop) as u:
        yield r.place + u * r.place_step, r.tap + u * r.tap_step
