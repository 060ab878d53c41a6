"""What this machine allows: peak FLOP/s by the register tile of the matrix product, and copy bandwidth.

The tile is written in the package's own kernel language and works on operands that stay in the first-level cache: the
most that any kernel made with it could reach. A unit of ``Peak.run`` is one GFLOP, a unit of ``Copy.run`` one GB moved
(read and written).
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from ranvier.compiler.native.builder import Function, vector

DEPTH = 128  # rows of the panels: small enough that both operands stay in the first-level cache


def tile_shape() -> tuple[int, int, int]:
    """Lanes, rows and vectors of the register tile for this processor."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 12, 2
    if features.get("avx2"):
        return 8, 6, 2
    return 4, 12, 2


def kernel_text() -> tuple[str, int]:
    """IR of ``peak(a, b, c, repeats)`` and the number of FLOPs of one repeat."""
    lanes, rows, vectors = tile_shape()
    kind, width = vector("float", lanes), lanes * vectors
    f = Function("peak", [("a", "ptr"), ("b", "ptr"), ("c", "ptr"), ("repeats", "i64")], target_width=lanes * 32)
    sums = [[f.var(0.0, kind) for _ in range(vectors)] for _ in range(rows)]
    with f.loop(0, f["repeats"]), f.loop(0, DEPTH) as k:
        right = [f.load(f["b"], k * width + j * lanes, kind, align=64) for j in range(vectors)]
        for i in range(rows):
            left = f.load(f["a"], k * rows + i, "float")
            for j in range(vectors):
                sums[i][j].set(f.fma(left, right[j], sums[i][j].get()))
    for i in range(rows):
        for j in range(vectors):
            f.store(sums[i][j].get(), f["c"], i * width + j * lanes)
    return f.module(), 2 * DEPTH * rows * width


def compile_kernel(text: str) -> tuple[Any, Any]:
    """Machine code for ``text``: the engine (keep it alive) and the function, which releases the interpreter lock."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)
    module = llvm.parse_assembly(text)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    pointer = ctypes.c_void_p
    function = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, ctypes.c_int64)(engine.get_function_address("peak"))
    return engine, function


def aligned(count: int) -> np.ndarray:
    """A float32 array that starts on a cache line."""
    raw = np.zeros(count + 16, np.float32)
    skip = -raw.ctypes.data // 4 % 16
    return raw[skip : skip + count]


def in_threads(count: int, work: Callable[[int], None]) -> float:
    """Seconds that ``count`` threads take to do ``work(i)`` each, started together."""
    if count == 1:
        began = time.perf_counter()
        work(0)
        return time.perf_counter() - began
    gate = threading.Barrier(count + 1)

    def body(i: int) -> None:
        gate.wait()
        work(i)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


class Peak:
    """The register tile over and over."""

    def __init__(self, threads: int):
        self.threads = threads
        text, self.flops = kernel_text()
        self.engine, self.function = compile_kernel(text)
        lanes, rows, vectors = tile_shape()
        self.buffers = [
            (aligned(DEPTH * rows), aligned(DEPTH * lanes * vectors), aligned(rows * lanes * vectors))
            for _ in range(threads)
        ]
        self.info = {"tile": f"{rows} rows × {vectors} vectors of {lanes}"}
        self.run(1)

    def run(self, n: int) -> tuple[float, int]:
        repeats = round(n * 1e9 / self.flops / self.threads)

        def work(i: int) -> None:
            self.function(*(buffer.ctypes.data for buffer in self.buffers[i]), repeats)

        return in_threads(self.threads, work), n


class Copy:
    """``np.copyto`` between arrays far larger than the caches."""

    def __init__(self, threads: int, megabytes: int = 256):
        self.threads = threads
        self.bytes = megabytes * 10**6 // threads
        self.pairs = [(np.ones(self.bytes // 8), np.ones(self.bytes // 8)) for _ in range(threads)]
        self.run(1)

    def run(self, n: int) -> tuple[float, int]:
        moved = 2 * self.bytes * self.threads  # by one turn of all threads: every byte is read and written
        times = max(1, round(n * 1e9 / moved))

        def work(i: int) -> None:
            for _ in range(times):
                np.copyto(*self.pairs[i])

        # The unit is an exact GB, so the time is scaled to the whole copies that were made.
        seconds = in_threads(self.threads, work)
        return seconds * n * 1e9 / (times * moved), n
