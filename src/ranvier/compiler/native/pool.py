"""The threads that run programs: native ones, shared by the whole process, asleep when there is nothing to do.

Workers run ``rv_worker`` of ``driver.py`` and never touch Python. One run uses the pool at a time; who finds it busy
runs on its own thread alone, which gives the same results (they do not depend on the number of threads).

A worker that has just finished looks out for work for some 50 microseconds, long enough for Python to start the next
run, and then sleeps. After a fork the child has no workers (threads do not survive one) and starts its own when it
needs them.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import signal
import sys
import threading
import time
import warnings

import numpy as np

from ranvier.compiler.native import driver
from ranvier.compiler.native.limits import default_threads
from ranvier.compiler.native.memory import Buffer, allocate

__all__ = ["MAX_THREADS", "Functions", "Pool", "shared_pool"]

MAX_THREADS = 256
_SPIN_MICROSECONDS = 4.0
_STACK_BYTES = 2 << 20
_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98}


class Functions:
    """The driver's functions as Python callables. A call lets other Python threads run meanwhile."""

    def __init__(self, entry: int):
        # Numbers are passed as void*, which ctypes converts in half the time that it takes for int64.
        word = ctypes.c_void_p
        address = ctypes.CFUNCTYPE(ctypes.c_int64, word)(entry)
        table = [address(which.value) for which in driver.Entry]
        self.worker_address = table[driver.Entry.WORKER]
        self.run = ctypes.CFUNCTYPE(ctypes.c_int64, *[word] * 7)(table[driver.Entry.RUN])
        self.worker = ctypes.CFUNCTYPE(word, word)(self.worker_address)
        self.post = ctypes.CFUNCTYPE(None, *[word] * 8)(table[driver.Entry.POST])
        self.spin = ctypes.CFUNCTYPE(None, word)(table[driver.Entry.SPIN])

    def turns_in(self, microseconds: float) -> int:
        """How many turns of a spin loop take this long. (A pause takes 10 to 140 cycles, depending on the CPU.)"""
        turns, best = 1000, float("inf")
        for _ in range(3):
            start = time.perf_counter()
            self.spin(turns)
            best = min(best, time.perf_counter() - start)
        return max(1, int(turns * microseconds * 1e-6 / best))


class Pool:
    """Workers and the memory they share. ``lock`` must be held while anything uses or changes it.

    Attributes:
        address: of the shared memory, for ``rv_run``.
    """

    def __init__(self, functions: Functions):
        self.functions = functions
        self.lock = threading.Lock()
        self.workers = 0
        self._refused = False
        self._memory: Buffer = allocate(8 * driver.mailbox(MAX_THREADS) + 64)
        # Slots are spread over pairs of cache lines, so start at a multiple of 128 bytes.
        offset = -self._memory.address % 128
        self.address = self._memory.address + offset
        self._words = self._memory.array("int64", (driver.mailbox(MAX_THREADS),), offset)
        self._threads: list[int | threading.Thread] = []
        self._processors = default_threads()
        self._spin = functions.turns_in(_SPIN_MICROSECONDS)
        self._words[driver.SPIN] = self._spin
        self._libc = _system_calls(self._words)

    def spin(self, threads: int) -> int:
        """Turns to spin at a barrier before giving up the processor: few if the others cannot be running."""
        return self._spin if threads <= self._processors else 16

    def ensure(self, threads: int) -> int:
        """Have ``threads - 1`` workers, or as many as the system allows; returns the number of threads to use."""
        while self.workers < threads - 1 and not self._refused:
            number = self.workers + 1
            box = driver.mailbox(number)
            self._words[box + driver.NUMBER] = number
            self._words[box + driver.SHARED] = self.address
            error = self._start(self.address + 8 * box)
            if error:
                self._refused = True
                warnings.warn(
                    f"Ranvier runs on {number} threads instead of {threads}: the system refused another one "
                    f"({os.strerror(error)}). Results are the same. Fix: ask for fewer threads or raise the limit.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            else:
                self.workers = number
        return min(threads, self.workers + 1)

    def stop(self) -> None:
        """End all workers and wait for them."""
        for number in range(1, self.workers + 1):
            box = self.address + 8 * driver.mailbox(number)
            self.functions.post(box, 0, 0, 0, 0, 0, self.address, 0)
        for thread in self._threads:
            if isinstance(thread, threading.Thread):
                thread.join()
            else:
                self._libc.pthread_join(ctypes.c_void_p(thread), None)
        self._threads.clear()
        self.workers = 0
        self._words[driver.SLOTS :] = 0
        self._words[driver.LAST_THREADS] = 0

    def _start(self, box: int) -> int:
        """Start a thread that gets no signals (those are the Python thread's business); 0 or an error number."""
        create = getattr(self._libc, "pthread_create", None)
        if create is None:
            thread = threading.Thread(target=self.functions.worker, args=(box,), daemon=True, name="ranvier")
            thread.start()
            self._threads.append(thread)
            return 0
        attributes = ctypes.create_string_buffer(256)  # larger than any platform's pthread_attr_t
        identity = ctypes.c_void_p()
        self._libc.pthread_attr_init(attributes)
        self._libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(_STACK_BYTES))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            worker = ctypes.c_void_p(self.functions.worker_address)
            error = create(ctypes.byref(identity), attributes, worker, ctypes.c_void_p(box))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._libc.pthread_attr_destroy(attributes)
        if not error:
            self._threads.append(identity.value or 0)
        return error


def _system_calls(words: np.ndarray) -> ctypes.CDLL:
    """Fill in the system functions that native code waits with; returns the library that has them."""

    def address(function: object) -> int:
        return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]

    if sys.platform == "win32":
        system = ctypes.WinDLL("kernel32")
        words[driver.YIELD] = words[driver.NAP] = address(system.SwitchToThread)
        return system
    system = ctypes.CDLL(None)
    words[driver.YIELD], words[driver.NAP] = address(system.sched_yield), address(system.usleep)
    number = _FUTEX_NUMBERS.get(platform.machine())
    if sys.platform == "linux" and number is not None:
        words[driver.SYSCALL], words[driver.FUTEX] = address(system.syscall), number
    return system


_pool: Pool | None = None
_creation = threading.Lock()


def shared_pool(functions: Functions) -> Pool:
    """The process' pool, made on first use. All copies of the driver work the same way, so any may make it."""
    global _pool
    with _creation:
        if _pool is None:
            _pool = Pool(functions)
        return _pool


def _after_fork() -> None:
    global _pool, _creation
    _pool, _creation = None, threading.Lock()


def _at_exit() -> None:
    # Native threads must not run code that is being unloaded. A run that never ends keeps the lock: leave it alone.
    if _pool is not None and _pool.lock.acquire(timeout=1.0):
        try:
            _pool.stop()
        finally:
            _pool.lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
