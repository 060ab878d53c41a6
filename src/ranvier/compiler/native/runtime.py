"""The native driver: runs a whole program of kernels, many times, on several threads, in one call from Python.

A *program* is an int64 array of instructions, eight words each: an opcode of :class:`Op` and its operands (unused
words are 0). All threads walk through the table in lockstep; nothing in between is Python.

    END                                          one step is done; the program starts again or returns
    KERNEL    fn, buffers, units, split, barrier call fn(buffers, lo, hi, state). split 0: thread 0 does all units;
                                                 1: thread t of T does units [U*t//T, U*(t+1)//T)
    BARRIER                                      all threads wait for each other
    JUMP      target
    BRANCH_FALSE pointer, target                 jump if the byte there is 0
    LESS      pointer, limit, target, indirect   jump unless *pointer < limit (indirect 1: limit is an address, too)
    ADD       pointer, amount, quiet             *pointer += amount, then a barrier (quiet 1: none)
    SET       pointer, value, quiet              *pointer = value, then a barrier (quiet 1: none)
    CALLBACK  fn, argument                       thread 0 calls fn(argument), then a barrier
    ENTER     counters                           every thread sets its own counter of turns to 0
    LOOP      counters, turns, target            every thread adds 1 to its counter and jumps while it is below turns
    MOVING    as KERNEL, then moves, count       a kernel of ``count`` buffers, some of which move from turn to turn

``counters`` are words of each thread's own, ``driver.COUNTER`` apart, so loops of known length need no barrier.
``moves``
is a list of words: how many, and for each move (buffer number, counters, stride in bytes, mask): that buffer is
``(turn & mask) * stride`` bytes behind where the list of buffers has it. Mask -1 walks through a stack; mask 1 changes
between two places.

Targets are instruction numbers. Who must wait for whom is the compiler's business: a kernel whose output another
thread reads next needs its barrier. ADD, SET, CALLBACK, the two conditional jumps' tests and the end of a step are
done by thread 0 alone, and the decision is handed to the others through a barrier, so that all threads take the same
path whatever happens to the tested value meanwhile.

``state`` is an array of int64: word 0 is an error code, word 1 a request to stop, word 2 asks for denormal numbers to
be treated as zero while the program runs (0: they stay what IEEE 754 says). A step in which an error turns up is
the last one (it is left at once at the next BRANCH_FALSE or LESS; a LOOP runs to its end); a request to stop is
honoured when a step is complete.

The threads (native ones, that never touch Python) are shared by the whole process: see ``pool.py``. The driver is
written with the builder like any kernel and is cached with them. The floating-point mode of the calling thread is put
back when a run ends.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

import numpy as np

from ranvier.compiler.native import driver, pool
from ranvier.compiler.native.engine import KernelStore
from ranvier.compiler.native.limits import default_threads
from ranvier.compiler.native.target import Isa
from ranvier.errors import ArgumentError

__all__ = ["CALLBACK", "MAX_THREADS", "Op", "Runtime", "default_threads", "program"]

Op = driver.Op
MAX_THREADS = pool.MAX_THREADS
CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int64)  # the type of CALLBACK's fn; the caller keeps the object alive


def program(instructions: Iterable[Iterable[int]]) -> np.ndarray:
    """The table for a list of ``(opcode, operand, ...)`` rows; keep it alive while the program may run."""
    rows = [[*map(int, row)] for row in instructions]
    return np.array([row + [0] * (driver.WORDS - len(row)) for row in rows], np.int64).reshape(-1, driver.WORDS)


class Runtime:
    """Runs programs on this machine.

    Args:
        isa: the instruction set to compile the driver for.
        store: where the driver is compiled and cached; by default a store of its own without a disk cache.
    """

    def __init__(self, isa: Isa, store: KernelStore | None = None):
        store = KernelStore(isa) if store is None else store
        (entry,) = store.get([driver.DRIVER])
        self._functions = pool.Functions(entry)
        self._run = self._functions.run

    def run(self, program_address: int, steps: int, threads: int, state_address: int, profile_address: int = 0) -> int:
        """Run a program ``steps`` times, or until the state says stop.

        Args:
            program_address: of the table made by :func:`program`.
            steps: how often.
            threads: on how many threads, the calling one included.
            state_address: of the state: at least three int64.
            profile_address: of an int64 for each instruction, to which the cycles that thread 0 spends on it are
                added (waiting at its barrier included); 0 for none.

        Returns:
            How many steps were completed.
        """
        if threads > 1:
            return self._run_on_pool(program_address, steps, threads, state_address, profile_address)
        return self._run(program_address, steps, 1, state_address, profile_address, 0, 0)

    def _run_on_pool(self, program_address: int, steps: int, threads: int, state: int, profile: int) -> int:
        if threads > MAX_THREADS:
            raise ArgumentError(f"threads: expected at most {MAX_THREADS}, got {threads}. Use fewer threads.")
        workers = pool.shared_pool(self._functions)
        # Busy: another Python thread is running, or this one is inside a CALLBACK. Alone is as good.
        if not workers.lock.acquire(blocking=False):
            return self._run(program_address, steps, 1, state, profile, 0, 0)
        try:
            threads = workers.ensure(threads)
            return self._run(program_address, steps, threads, state, profile, workers.spin(threads), workers.address)
        finally:
            workers.lock.release()
