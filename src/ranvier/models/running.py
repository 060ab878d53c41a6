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


def chunks(segment: Segment, args: Sequence[Any], single: bool = False) -> Iterator[tuple[int, Any]]:
    """Run a segment's steps in chunks; after each, how many steps are done and what the last one returned.

    Args:
        segment: the compiled step, and how often it runs.
        args: its arguments.
        single: one step at a time.
    """
    done, clock = 0, time.perf_counter
    while done < segment.steps:
        left = segment.steps - done
        if single or segment.seconds < 0:
            count = 1
        elif segment.seconds == 0:  # the first call compiles; its time says nothing
            count = 1
        else:
            count = min(left, max(int(CHUNK_SECONDS / segment.seconds), 1))
        start = clock()
        result = segment.step.run(count, *args)
        _learn(segment, (clock() - start) / count, count)
        done += count
        yield done, result


def _learn(segment: Segment, seconds: float, count: int) -> None:
    """Take a measured time into account. After the first step, the next few are a guess of 1/64 of a chunk each."""
    if segment.seconds == 0:
        segment.seconds = min(seconds, CHUNK_SECONDS / 64)
    elif count >= 16 or seconds > segment.seconds:
        segment.seconds = max(seconds, 1e-7)
    else:
        segment.seconds = max(seconds, segment.seconds / 8)
