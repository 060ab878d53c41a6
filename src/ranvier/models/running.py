"""Running compiled steps many at a time: chunks short enough that Ctrl-C and progress stay lively.

How long a step takes is measured as it runs; a chunk is as many steps as fit into :data:`CHUNK_SECONDS`. Ctrl-C sets
a flag that is looked at between chunks, so that no native call is left half-way; a second Ctrl-C is immediate.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from ranvier.models.engine import Segment

__all__ = ["CHUNK_SECONDS", "Interrupts", "chunks"]

CHUNK_SECONDS = 0.075


class Interrupts:
    """While the block runs, the first Ctrl-C is only noted. Use as a context manager.

    Attributes:
        seen: Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.seen = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        # Only the main thread may set handlers; a handler that a program has set itself is left alone.
        if threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


def chunks(segment: Segment, args: Sequence[Any], single: bool = False) -> Iterator[tuple[int, int]]:
    """Run a segment's steps in chunks; after each, how many steps are done and what the last one returned.

    Args:
        segment: the compiled step, and how often it runs.
        args: its arguments (see :meth:`Segment.bind`).
        single: one step at a time.
    """
    done, clock = 0, time.perf_counter
    segment.bind(*args)
    while done < segment.steps:
        count = 1
        if not single and segment.seconds:
            count = min(segment.steps - done, max(int(CHUNK_SECONDS / segment.seconds), 1), segment.ramp)
        start = clock()
        result = segment.run(count)
        if segment.warm:
            segment.seconds = max((clock() - start) / count, 1e-7)
            segment.ramp *= 8  # the first measurements are rough: do not bet a long call on them
        segment.warm = True  # the first call compiled; its time said nothing
        done += count
        yield done, result
