"""Measure the vector math functions (compiler/native/vmath.py): error in ULP, time per element, compile time.

    python scripts/ulp.py                        # a table of every function, both types, this machine's widest vectors
    python scripts/ulp.py --isa avx2 --only exp
    python scripts/ulp.py --stride 1 --only exp  # every float there is (minutes per function)

One ULP is the distance between neighbouring floats at the exact result. The reference for float is NumPy (or SciPy)
in double; for double it is the x87 long double, or mpmath where that has no function or no range.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ranvier.compiler.native import vmath
from ranvier.compiler.native.builder import Function, vector
from ranvier.compiler.native.engine import compile_ir, load_object
from ranvier.compiler.native.target import ISAS, Isa, host_isa

NAMES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


# -- running one function over arrays ---------------------------------------------------------------------------------


def build(op: str, scalar: str, isa: Isa, count: int | None = None, inline: bool = True, copies: int = 1) -> str:
    """IR of ``void kernel(ptr y, ptr a, ptr b, i64 n)``: y[i] = op(a[i], b[i]) with ``count`` lanes a turn.

    With ``copies`` the loop body handles that many vectors: an unrolled epilogue.
    """
    count = count or isa.bits // 32
    pointers = ["y", "a", "b"][: 2 + (op in ("pow", "atan2"))]
    f = Function("kernel", [*((p, "ptr") for p in ("y", "a", "b")), ("n", "i64")], target_width=isa.bits)
    kind = vector(scalar, count)
    whole = f["n"] - f["n"] % (count * copies)
    with f.loop(0, whole, step=count * copies) as i:
        for copy in range(copies):
            at = i + copy * count
            inputs = [f.load(f[p], at, kind) for p in pointers[1:]]
            f.store(vmath.call(f, op, *inputs, inline=inline), f["y"], at)
    if count * copies > 1:
        with f.loop(whole, f["n"], step=count) as i:
            mask = f.first_lanes(f["n"] - i, count) if count > 1 else None
            inputs = [f.load(f[p], i, kind, mask) for p in pointers[1:]]
            f.store(vmath.call(f, op, *inputs, inline=inline), f["y"], i, mask)
    return f.module()


@functools.cache
def kernel(op: str, scalar: str, isa: Isa, count: int | None = None, inline: bool = True, copies: int = 1):
    """The compiled function, taking the addresses of y, a, b and the number of elements."""
    data = compile_ir(build(op, scalar, isa, count, inline, copies), isa)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(load_object(data, ["kernel"])["kernel"])


def evaluate(op: str, *arrays: np.ndarray, isa: Isa | None = None, count: int | None = None, inline: bool = True):
    """``op`` of arrays of float32 or float64."""
    arrays = tuple(np.ascontiguousarray(a) for a in arrays)
    result = np.empty_like(arrays[0])
    run = kernel(op, NAMES[result.dtype], isa or host_isa(), count, inline)
    run(result.ctypes.data, arrays[0].ctypes.data, arrays[-1].ctypes.data, result.size)
    return result


# -- references and errors --------------------------------------------------------------------------------------------


def _sigmoid(x):
    t = np.exp(-np.abs(x))
    return np.where(x < 0, t, x.dtype.type(1)) / (1 + t)


def _mp(name: str) -> Callable:
    """The mpmath function of this name, on an array; exact to 40 digits, as long double."""

    def reference(*arrays):
        import mpmath as mp

        mp.mp.dps = 40
        function = (lambda x: 1 / (1 + mp.exp(-x))) if name == "sigmoid" else getattr(mp, name)
        out = np.empty(arrays[0].shape, np.longdouble)
        for i, row in enumerate(zip(*(a.tolist() for a in arrays), strict=True)):
            exact = function(*map(mp.mpf, row))
            high = float(exact)
            out[i] = np.longdouble(high) + np.longdouble(float(exact - mp.mpf(high)) if np.isfinite(high) else 0)
        return out

    return reference


def _float_erf(x):
    from math import erf

    return np.array([erf(v) for v in x.tolist()])


def reference(op: str, *arrays: np.ndarray) -> np.ndarray:
    """The exact result, to at least ten more bits than the arguments have."""
    with np.errstate(all="ignore"):
        if arrays[0].dtype == np.float32:
            wide = tuple(a.astype(np.float64) for a in arrays)
            if op == "erf":
                return _float_erf(wide[0])
            return _sigmoid(*wide) if op == "sigmoid" else _NUMPY[op](*wide)
        if op == "erf":
            return _mp("erf")(*arrays)
        wide = tuple(a.astype(np.longdouble) for a in arrays)
        return _sigmoid(*wide) if op == "sigmoid" else _NUMPY[op](*wide)


_NUMPY = {"atan2": np.arctan2, "cos": np.cos, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
          "pow": np.power, "sin": np.sin, "tanh": np.tanh}  # fmt: skip


def ulps(result: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The error in units of the last place of the exact value, as rounded. Infinite where only one is not finite."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(result.dtype)
        info = np.finfo(result.dtype)
        exponent = np.frexp(np.abs(exact))[1] - info.nmant - 1
        unit = np.ldexp(exact.dtype.type(1), np.maximum(exponent, np.frexp(info.smallest_subnormal)[1] - 1))
        error = np.abs(result.astype(exact.dtype) - exact) / unit
        same = (result == rounded) | (np.isnan(result) & np.isnan(rounded))
        return np.where(np.isfinite(rounded) & np.isfinite(result), error, np.where(same, 0.0, np.inf)).astype(float)


# -- arguments --------------------------------------------------------------------------------------------------------

# Where the function has something to say, by op: [low, high] for float, then for double; None: every finite number.
RANGES: dict[str, tuple] = {
    "exp": ((-104, 89), (-746, 710)),
    "expm1": ((-18, 89), (-38, 710)),
    "log": (None, None),
    "log1p": ((-1, 3.4e38), (-1, 1.7e308)),
    "sin": ((-1e4, 1e4), (-1e4, 1e4)),
    "cos": ((-1e4, 1e4), (-1e4, 1e4)),
    "tanh": ((-10, 10), (-20, 20)),
    "sigmoid": ((-104, 104), (-746, 746)),
    "erf": ((-4, 4), (-6, 6)),
}


def every_float(stride: int, offset: int = 0, chunk: int = 1 << 22) -> Iterator[np.ndarray]:
    """All float32 bit patterns in steps of ``stride``."""
    for start in range(offset, 1 << 32, stride * chunk):
        yield (
            np.arange(start, min(start + stride * chunk, 1 << 32), stride, dtype=np.uint64)
            .astype(np.uint32)
            .view(np.float32)
        )


def samples(op: str, dtype, count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Random arguments: half spread evenly over the range, half over the exponents (many near zero)."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)

    def spread(low, high, n):
        size = np.exp2(rng.uniform(info.minexp - info.nmant, np.log2(max(abs(low), abs(high))), n))
        sign = np.where(rng.random(n) < (0.5 if low < 0 < high else float(high <= 0)), -1, 1)
        return np.clip(size * sign, low, high)

    if op in ("pow", "atan2"):
        if op == "atan2":
            return tuple((rng.normal(size=count) * np.exp2(rng.uniform(-9, 9, count))).astype(dtype) for _ in "yx")
        power = rng.uniform(-60, 60, count) * rng.random(count) ** 4
        return np.exp2(power).astype(dtype), (rng.uniform(-1, 1, count) * abs(info.minexp) / power).astype(dtype)
    low, high = RANGES[op][dtype == np.float64] or (float(info.smallest_subnormal), float(info.max))
    half = count // 2
    with np.errstate(over="ignore"):
        even = rng.uniform(low, min(high, 100 - low), half) if high > 1e30 else rng.uniform(low, high, half)
        return (np.concatenate([even, spread(low, high, count - half)]).astype(dtype),)


class Error(NamedTuple):
    largest: float
    mean: float
    where: tuple


def measure(op: str, dtype, isa: Isa, count: int, stride: int = 0) -> Error:
    """The largest and mean error over random arguments, or over every ``stride``-th float."""
    worst, where, total, seen = 0.0, (), 0.0, 0
    exhaustive = stride and dtype == np.float32 and op not in ("pow", "atan2")
    for arrays in ((a,) for a in every_float(stride)) if exhaustive else [samples(op, dtype, count)]:
        if exhaustive and op in ("sin", "cos"):
            arrays = (np.where(np.abs(arrays[0]) <= 1e4, arrays[0], np.float32(0)),)
        error = ulps(evaluate(op, *arrays, isa=isa), reference(op, *arrays))
        at = int(np.argmax(error))
        if error[at] > worst:
            worst, where = float(error[at]), tuple(float(a[at]) for a in arrays)
        total, seen = total + float(error.sum()), seen + error.size
    return Error(worst, total / seen, where)


# -- time -------------------------------------------------------------------------------------------------------------


def nanoseconds(op: str, dtype, isa: Isa, inline: bool = True, copies: int = 1, seconds: float = 0.05) -> float:
    """Time per element over 4096 elements near the core, the best of many runs, less the time of an empty call."""
    arrays = samples(op, dtype, 4096)
    if op not in ("pow", "atan2"):
        arrays = (np.random.default_rng(1).uniform(0.1, 4, 4096).astype(dtype),)
    result = np.empty_like(arrays[0])
    run = kernel(op, NAMES[result.dtype], isa, None, inline, copies)
    addresses = (result.ctypes.data, arrays[0].ctypes.data, arrays[-1].ctypes.data)

    def best(size: int) -> float:
        shortest, stop = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < stop:
            start = time.perf_counter()
            for _ in range(8):
                run(*addresses, size)
            shortest = min(shortest, time.perf_counter() - start)
        return shortest / 8

    return (best(result.size) - best(0)) / result.size * 1e9


def compile_ms(op: str, scalar: str, isa: Isa, inline: bool = True, copies: int = 1) -> float:
    """Milliseconds from IR text to object code, the best of three."""
    best = float("inf")
    for _ in range(3):
        text = build(op, scalar, isa, None, inline, copies)
        start = time.perf_counter()
        compile_ir(text, isa)
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="this function only")
    parser.add_argument("--isa", choices=sorted(ISAS), help="instruction set (default: the widest of this machine)")
    parser.add_argument("--count", type=int, default=200_000, help="random arguments per function")
    parser.add_argument("--stride", type=int, default=0, help="test every n-th float32 instead of random ones")
    options = parser.parse_args()
    isa = host_isa(options.isa)
    print(f"{isa.name}, {isa.bits // 32} lanes\n")
    print("| function | type | max ULP | mean ULP | worst argument | ns/element | compile ms |")
    print("|---|---|---|---|---|---|---|")
    for op in sorted(vmath.OPS):
        if options.only not in (None, op):
            continue
        for dtype in (np.float32, np.float64):
            slow = op == "erf" and dtype == np.float64  # mpmath
            error = measure(op, dtype, isa, min(options.count, 20_000) if slow else options.count, options.stride)
            scalar = NAMES[np.dtype(dtype)]
            print(
                f"| {op} | {np.dtype(dtype).name} | {error.largest:.2f} | {error.mean:.2f} | "
                f"{', '.join(f'{v:.9g}' for v in error.where)} | {nanoseconds(op, dtype, isa):.2f} | "
                f"{compile_ms(op, scalar, isa):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
