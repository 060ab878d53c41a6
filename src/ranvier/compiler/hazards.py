"""Who must wait for whom: what was touched since all threads last waited for each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ranvier.compiler.graph import Value
from ranvier.compiler.kernel import Callback, Control
from ranvier.compiler.plan import reads, writes

__all__ = ["Hazards"]

Range = tuple[Any, int, int]  # what the memory belongs to, first byte, byte behind the last


class Hazards:
    """Memory read and written since the last barrier.

    Args:
        locate: where a value lies.
        size: bytes that a value takes.
    """

    def __init__(self, locate: Callable[[Value], Any], size: Callable[[Value], int]):
        self._locate, self._size = locate, size
        self._reads: list[tuple[Range, bool]] = []
        self._writes: list[tuple[Range, bool]] = []

    def _range(self, v: Value) -> Range:
        place = self._locate(v)
        if place.moves:  # a turn's own part of a stack: what moves in another way lies elsewhere
            return place, 0, 1
        owner = place.kind if place.kind == "fixed" else (place.kind, place.base)
        start = place.base if place.kind == "fixed" else place.offset
        return owner, start, start + self._size(v)

    @property
    def pending(self) -> bool:
        """Whether anything was touched since the last barrier."""
        return bool(self._reads or self._writes)

    def before(self, step: Any, split: bool) -> bool:
        """Whether a barrier must stand before this step; the step is then taken note of."""
        if isinstance(step, Callback | Control):  # these begin or end with barriers of their own
            waiting = self.pending
            self._reads, self._writes = [], []
            return waiting
        read, written = [self._range(v) for v in reads(step)], [self._range(v) for v in writes(step)]
        # Two steps that thread 0 does alone follow each other anyway.
        wait = any(
            (split or other_split) and _overlap(a, b)
            for mine, others in ((read, self._writes), (written, self._writes), (written, self._reads))
            for a in mine
            for b, other_split in others
        )
        if wait:
            self._reads, self._writes = [], []
        self._reads += [(r, split) for r in read]
        self._writes += [(r, split) for r in written]
        return wait


def _overlap(a: Range, b: Range) -> bool:
    return a[0] == b[0] and a[1] < b[2] and b[1] < a[2]
