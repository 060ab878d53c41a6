"""The native driver: against a Python interpreter of the same programs, for several thread counts."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from ranvier.compiler.native import driver, pool
from ranvier.compiler.native.engine import KernelStore
from ranvier.compiler.native.runtime import CALLBACK, Op, Runtime, program
from ranvier.compiler.native.target import host_isa
from ranvier.errors import ArgumentError

from . import driver_kernels as kernels

THREADS = (1, 2, 3, 5)
N = 37


@pytest.fixture(scope="module")
def store() -> KernelStore:
    return KernelStore(host_isa())


@pytest.fixture(scope="module")
def runtime(store: KernelStore) -> Runtime:
    return Runtime(store.isa, store)


@pytest.fixture
def state() -> np.ndarray:
    return np.zeros(8, np.int64)


def run(runtime: Runtime, rows: list, steps: int, threads: int, state: np.ndarray, profile=None) -> int:
    table = program(rows)
    return runtime.run(
        table.ctypes.data, steps, threads, state.ctypes.data, 0 if profile is None else profile.ctypes.data
    )


@pytest.mark.smoke
@pytest.mark.parametrize("threads", THREADS)
def test_empty_program(runtime, state, threads) -> None:
    assert run(runtime, [(Op.END,)], 5, threads, state) == 5
    assert run(runtime, [(Op.END,)], 0, threads, state) == 0


@pytest.mark.smoke
@pytest.mark.parametrize("threads", THREADS)
def test_every_unit_once(runtime, store, state, threads) -> None:
    (count,) = store.get([kernels.Count()])
    for units in (0, 1, 2, 3, 4, 5, 36, 37):
        for split in (0, 1):
            counts = np.zeros(40, np.int64)
            buffers = kernels.pointers(counts)
            run(runtime, [(Op.KERNEL, count, ctypes.addressof(buffers), units, split, 1), (Op.END,)], 3, threads, state)
            np.testing.assert_array_equal(counts, np.where(np.arange(40) < units, 3, 0))


@pytest.mark.parametrize("threads", THREADS)
def test_barriers_order_kernels(runtime, store, state, threads) -> None:
    (scramble,) = store.get([kernels.Scramble(N)])
    x, y = np.arange(N), np.zeros(N, np.int64)
    there, back = kernels.pointers(x, y), kernels.pointers(y, x)
    expected = np.arange(N)
    for _ in range(2 * 3000):
        expected = expected[::-1] * 3 + np.arange(N)  # int64 wraps, as in the kernel
    rows = [(Op.KERNEL, scramble, ctypes.addressof(b), N, 1, 1) for b in (there, back)]
    assert run(runtime, [*rows, (Op.END,)], 3000, threads, state) == 3000
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("threads", THREADS)
def test_separate_barrier(runtime, store, state, threads) -> None:
    (scramble,) = store.get([kernels.Scramble(N)])
    x, y = np.arange(N), np.zeros(N, np.int64)
    there, back = kernels.pointers(x, y), kernels.pointers(y, x)
    first, second = ((Op.KERNEL, scramble, ctypes.addressof(b), N, 1, 0) for b in (there, back))
    run(runtime, [first, (Op.BARRIER,), second, (Op.END,)], 1, threads, state)
    middle = np.arange(N)[::-1] * 3 + np.arange(N)
    np.testing.assert_array_equal(x, middle[::-1] * 3 + np.arange(N))


def random_program(rng, words: np.ndarray, kernel_rows: list, depth: int = 2) -> list:
    """Nested counted loops and branches with arbitrary contents; targets are absolute, so it grows one list."""
    rows: list = []
    pointer = [words.ctypes.data + 8 * i for i in range(len(words))]

    def block(level: int) -> None:
        for _ in range(rng.integers(1, 5)):
            kind = rng.integers(0, 5 if level < depth else 3)
            if kind == 0:
                rows.append((Op.ADD, pointer[rng.integers(0, 4)], int(rng.integers(-3, 9))))
            elif kind == 1:
                rows.append((Op.SET, pointer[rng.integers(0, 4)], int(rng.integers(-1, 2))))
            elif kind == 2:
                rows.append(kernel_rows[rng.integers(0, len(kernel_rows))])
            elif kind == 3:  # for counter in range(n)
                counter = pointer[4 + level]
                rows.append((Op.SET, counter, 0))
                head = len(rows)
                rows.append(None)
                block(level + 1)
                rows.extend([(Op.ADD, counter, 1), (Op.JUMP, head)])
                indirect = int(rng.integers(0, 2))
                rows[head] = (
                    Op.LESS,
                    counter,
                    pointer[7] if indirect else int(rng.integers(0, 4)),
                    len(rows),
                    indirect,
                )
            else:  # if word:
                head = len(rows)
                rows.append(None)
                block(level + 1)
                rows[head] = (Op.BRANCH_FALSE, pointer[rng.integers(0, 4)], len(rows))

    block(0)
    return [*rows, (Op.END,)]


@pytest.mark.parametrize("case", range(12))
def test_random_programs(runtime, store, rng, case) -> None:
    address = store.get([kernels.Scramble(N, 3)])[0]
    words, x, y = np.zeros(8, np.int64), np.zeros(N, np.int64), np.zeros(N, np.int64)
    there, back = kernels.pointers(x, y), kernels.pointers(y, x)
    sides = {ctypes.addressof(there): (x, y), ctypes.addressof(back): (y, x)}

    def scramble(buffers: int, lo: int, hi: int) -> None:
        source, target = sides[buffers]
        target[lo:hi] = source[::-1] * 3 + np.arange(N)

    rows = random_program(rng, words, [(Op.KERNEL, address, buffers, N, 1, 1) for buffers in sides])
    table = program(rows)

    def outcome(runner) -> tuple:
        words[:], x[:], y[:] = 0, np.arange(N), 0
        words[7] = 2
        return runner(np.zeros(8, np.int64)), words.tolist(), x.tolist(), y.tolist()

    expected = outcome(lambda state: kernels.interpret(table, 20, state, {address: scramble}))
    for threads in THREADS:
        assert outcome(lambda state, t=threads: runtime.run(table.ctypes.data, 20, t, state.ctypes.data)) == expected


@pytest.mark.parametrize("threads", THREADS)
def test_callback_may_stop_the_run(runtime, state, threads) -> None:
    seen = []

    def called(argument: int) -> None:
        seen.append(argument)
        state[1] = len(seen) == 4

    function = CALLBACK(called)
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert run(runtime, [(Op.CALLBACK, address, -12), (Op.END,)], 100, threads, state) == 4
    assert seen == [-12] * 4


@pytest.mark.parametrize("threads", THREADS)
def test_error_ends_the_run(runtime, store, state, threads) -> None:
    (fail,) = store.get([kernels.Fail()])
    word = np.zeros(1, np.int64)
    rows = [
        (Op.KERNEL, fail, 0, 1, 0, 1),
        (Op.LESS, word.ctypes.data, 10, 3),  # an endless loop, were it not for the error
        (Op.JUMP, 1),
        (Op.END,),
    ]
    assert run(runtime, rows, 100, threads, state) == 0
    assert state[0] == 7
    state[:] = 0
    assert run(runtime, [rows[0], (Op.END,)], 100, threads, state) == 1


@pytest.mark.parametrize("threads", THREADS)
def test_unknown_opcode(runtime, state, threads) -> None:
    assert run(runtime, [(99,), (Op.END,)], 10, threads, state) == 0
    assert state[0] == -1


@pytest.mark.parametrize("threads", (1, 2))
def test_profile_counts_what_ran(runtime, store, state, threads) -> None:
    (count,) = store.get([kernels.Count()])
    counts = np.zeros(1000, np.int64)
    buffers = kernels.pointers(counts)
    profile = np.zeros(4, np.int64)
    rows = [
        (Op.KERNEL, count, ctypes.addressof(buffers), 1000, 1, 1),
        (Op.JUMP, 3),
        (Op.JUMP, 0),
        (Op.END,),
    ]
    run(runtime, rows, 50, threads, state, profile)
    assert profile[0] > 0
    assert profile[2] == 0
    once = profile.copy()
    run(runtime, rows, 50, threads, state, profile)
    assert profile[0] > once[0]


def test_thread_count_may_change(runtime, store, state) -> None:
    (count,) = store.get([kernels.Count()])
    counts = np.zeros(64, np.int64)
    buffers = kernels.pointers(counts)
    rows = [(Op.KERNEL, count, ctypes.addressof(buffers), 64, 1, 0), (Op.END,)]
    order = [2, 4, 1, 3, 2, 6, 5, 1, 2] * 20
    for threads in order:
        run(runtime, rows, 2, threads, state)
    np.testing.assert_array_equal(counts, 2 * len(order))


def test_too_many_threads(runtime, state) -> None:
    with pytest.raises(ArgumentError, match="at most 256, got 257"):
        run(runtime, [(Op.END,)], 1, 257, state)


def test_run_inside_a_callback(runtime, state) -> None:
    inner = np.zeros(8, np.int64)
    results = []
    function = CALLBACK(lambda _: results.append(run(runtime, [(Op.END,)], 3, 2, inner)))
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert run(runtime, [(Op.CALLBACK, address, 0), (Op.END,)], 2, 2, state) == 2
    assert results == [3, 3]


def test_python_threads_at_once(runtime, store) -> None:
    (scramble,) = store.get([kernels.Scramble(N)])
    expected = np.arange(N)
    for _ in range(2 * 200):
        expected = expected[::-1] * 3 + np.arange(N)
    wrong = []

    def work() -> None:
        state = np.zeros(8, np.int64)
        for _ in range(20):
            x, y = np.arange(N), np.zeros(N, np.int64)
            there, back = kernels.pointers(x, y), kernels.pointers(y, x)
            rows = [(Op.KERNEL, scramble, ctypes.addressof(b), N, 1, 1) for b in (there, back)]
            steps = run(runtime, [*rows, (Op.END,)], 200, 2, state)
            if steps != 200 or not np.array_equal(x, expected):
                wrong.append((steps, x))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_pool_can_stop_and_start_again(runtime, state) -> None:
    run(runtime, [(Op.END,)], 3, 3, state)
    workers = pool.shared_pool(runtime._functions)
    with workers.lock:
        workers.stop()
        assert workers.workers == 0
    assert run(runtime, [(Op.END,)], 3, 3, state) == 3
    assert workers.workers == 2


def test_refused_threads_are_done_without(runtime, store, state, monkeypatch) -> None:
    (count,) = store.get([kernels.Count()])
    counts = np.zeros(64, np.int64)
    buffers = kernels.pointers(counts)
    rows = [(Op.KERNEL, count, ctypes.addressof(buffers), 64, 1, 1), (Op.END,)]
    workers = pool.Pool(runtime._functions)
    monkeypatch.setattr(pool, "_pool", workers)
    start = workers._start
    monkeypatch.setattr(workers, "_start", lambda box: start(box) if workers.workers < 1 else errno.EAGAIN)
    with pytest.warns(RuntimeWarning, match="runs on 2 threads instead of 4"):
        assert run(runtime, rows, 10, 4, state) == 10
    assert run(runtime, rows, 10, 4, state) == 10
    np.testing.assert_array_equal(counts, 20)
    workers.stop()


def child(source: str, timeout: float = 60.0) -> str:
    """Run a program that has ``runtime``, ``table`` and ``state`` in a fresh process; its output."""
    head = """
        import ctypes, os, sys, numpy as np
        import driver_kernels as kernels
        from ranvier.compiler.native.engine import KernelStore
        from ranvier.compiler.native.runtime import Op, Runtime, program
        from ranvier.compiler.native.target import host_isa
        store = KernelStore(host_isa())
        runtime = Runtime(store.isa, store)
        state = np.zeros(8, np.int64)
        counts = np.zeros(64, np.int64)
        buffers = kernels.pointers(counts)
        count, = store.get([kernels.Count()])
        rows = [(Op.KERNEL, count, ctypes.addressof(buffers), 64, 1, 1)] * 3 + [(Op.END,)]
        table = program(rows)
        def go(steps, threads):
            return runtime.run(table.ctypes.data, steps, threads, state.ctypes.data)
    """
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1] / "src")])}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(source)],
        capture_output=True, text=True, timeout=timeout, env=environment, check=False,
    )  # fmt: skip
    assert result.returncode == 0, (result.returncode, result.stderr)
    return result.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform cannot pin a process to one processor")
def test_two_threads_on_one_processor() -> None:
    source = """
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(go(200, 2), go(200, 4), set(counts.tolist()))
    """
    assert child(source) == "200 200 {1200}"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform cannot pin a process to one processor")
def test_pinned_after_the_pool_has_started() -> None:
    source = """
        go(10, 2)
        for task in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(task), {min(os.sched_getaffinity(0))})
        print(go(200, 2), set(counts.tolist()))
    """
    assert child(source) == "200 {630}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_fork_gives_the_child_its_own_threads() -> None:
    source = """
        import warnings
        warnings.simplefilter("ignore")
        go(10, 3)
        process = os.fork()
        if process == 0:
            ok = go(10, 3) == 10 and set(counts.tolist()) == {60}
            os._exit(0 if ok else 3)
        print(go(10, 3), os.waitpid(process, 0)[1], set(counts.tolist()))
    """
    assert child(source) == "10 0 {60}"


def test_exit_while_workers_spin() -> None:
    assert child("print(go(1, 3), flush=True)") == "1"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_workers_take_no_signals() -> None:
    source = """
        def blocked(task):
            lines = open(f"/proc/self/task/{task}/status").read().splitlines()
            return int(next(line for line in lines if line.startswith("SigBlk")).split()[1], 16)
        before = set(os.listdir("/proc/self/task"))
        go(1, 3)
        workers = set(os.listdir("/proc/self/task")) - before
        both = 1 << 1 | 1 << 14  # SIGINT and SIGTERM
        print(len(workers), all(blocked(task) & both == both for task in workers), blocked(os.getpid()))
    """
    assert child(source) == "2 True 0"


def test_late_threads_of_a_larger_run() -> None:
    """A thread may still be waking up from a run's last barrier while the next run, without it, is well under way."""
    source = """
        import time
        from ranvier.compiler.native.runtime import CALLBACK
        nap = CALLBACK(lambda _: time.sleep(0.001))  # the others fall asleep at the last barrier
        long = program([(Op.CALLBACK, ctypes.cast(nap, ctypes.c_void_p).value, 0), (Op.END,)])
        short = program([(Op.END,)])
        for _ in range(200):
            runtime.run(long.ctypes.data, 1, 8, state.ctypes.data)
            runtime.run(short.ctypes.data, 300, 2, state.ctypes.data)
        print(go(5, 8), set(counts.tolist()))
    """
    assert child(source, timeout=30.0) == "5 {15}"


# -- loops of known length --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("split", [0, 1])
def test_buffers_move_with_the_turns(runtime, store, state, threads, split) -> None:
    """Two loops, one inside the other: a kernel reads slot after slot of a stack, and writes two places in turn."""
    address = store.get([kernels.Scramble(N, 3)])[0]
    outer, inner = 3, 4
    x = np.arange(outer * inner * N).reshape(outer, inner, N)
    y, out = np.zeros((2, N), np.int64), np.zeros((outer, inner, N), np.int64)
    counters = np.zeros((2, driver.COUNTER * pool.MAX_THREADS), np.int64)
    rows, columns = counters.ctypes.data, counters[1].ctypes.data
    size = x.itemsize * N

    def moves(*each: tuple[int, int, int, int]) -> np.ndarray:
        return np.array([len(each), *(word for move in each for word in move)])

    there, back = kernels.pointers(x, y), kernels.pointers(y, out)
    stack = [(rows, inner * size, -1), (columns, size, -1)]
    first = moves((0, *stack[0]), (0, *stack[1]), (1, columns, size, 1))
    second = moves((0, columns, size, 1), (1, *stack[0]), (1, *stack[1]))
    calls = [
        (Op.MOVING, address, ctypes.addressof(b), N, split, 1, m.ctypes.data, 2)
        for b, m in ((there, first), (back, second))
    ]
    program_rows = [
        (Op.ENTER, rows), (Op.ENTER, columns), *calls, (Op.LOOP, columns, inner, 2), (Op.LOOP, rows, outer, 1),
        (Op.END,),
    ]  # fmt: skip
    run(runtime, program_rows, 2, threads, state)
    middle = x[..., ::-1] * 3 + np.arange(N)
    np.testing.assert_array_equal(out, middle[..., ::-1] * 3 + np.arange(N))
    np.testing.assert_array_equal(y, middle[-1, -2:])


def test_moves_as_the_interpreter_understands_them() -> None:
    counters, base = np.array([5]), np.array([1000, 2000])
    moves = np.array([2, 0, counters.ctypes.data, -16, -1, 1, counters.ctypes.data, 8, 1])
    assert kernels.moved(base.ctypes.data, moves.ctypes.data, 2) == (1000 - 80, 2000 + 8)
