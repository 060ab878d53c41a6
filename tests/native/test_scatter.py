"""Scatter kernels against NumPy's ``add.at``: duplicates, every base, both ways of sharing the work."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ranvier.compiler.native.scatter import Scatter

from .run_native_nest import HERE, NUMPY, call

isas = pytest.mark.parametrize("isa", HERE, ids=lambda isa: isa.name)


def reference(spec: Scatter, start: np.ndarray, index: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """Update by update, in order, one rounding each."""
    out = start.reshape(spec.outer, spec.rows, spec.inner).copy()
    shape = (spec.outer, spec.count, spec.inner)

    def view(a: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
        return np.lib.stride_tricks.as_strided(a, shape, [s * a.itemsize for s in strides])

    which, values, columns = view(index, spec.index), view(updates, spec.updates), np.arange(spec.inner)
    for o in range(spec.outer):
        for i in range(spec.count):
            rows = which[o, i].astype(np.int64)
            good = (rows >= 0) & (rows < spec.rows)
            place = (o, rows[good], columns[good])
            with np.errstate(over="ignore"):
                out[place] = out[place] + values[o, i][good] if spec.op == "add" else values[o, i][good]
    return out


def run(spec: Scatter, isa, rng: np.random.Generator, index: np.ndarray | None = None, error: int = 0) -> None:
    out, size = NUMPY[spec.dtype], spec.outer * spec.rows * spec.inner

    def reach(strides: tuple[int, ...]) -> int:
        sizes = (spec.outer, spec.count, spec.inner)
        return 1 + sum(s * (n - 1) for s, n in zip(strides, sizes, strict=True) if n)

    def values(count: int) -> np.ndarray:
        if out.kind in "iub":
            return rng.integers(0, 2 if spec.dtype == "bool" else 100, count).astype(out)
        return rng.standard_normal(count).astype(out)

    if index is None:
        index = rng.integers(0, spec.rows, max(reach(spec.index), 1)).astype(spec.index_dtype)
    updates, base = values(max(reach(spec.updates), 1)), values(size)
    start = {"zero": np.zeros(size, out), "copy": base, "keep": base}[spec.base]
    want = reference(spec, start, index, updates)
    for cuts in ((), tuple(range(1, spec.units))):
        target = np.concatenate([base if spec.base == "keep" else values(size), np.zeros(64, out)])
        buffers = [target, index, updates] + ([base] if spec.base == "copy" else [])
        assert call(spec, isa, buffers, cuts) == error
        np.testing.assert_array_equal(target[:size], want.ravel())
        assert not target[size:].any()


def plain(outer: int, rows: int, count: int, inner: int, dtype="float32", index="int32", **options) -> Scatter:
    return Scatter(outer, rows, count, inner, dtype, index, (0, 1, 0), (count * inner, inner, 1), **options)


@isas
@pytest.mark.parametrize("base", ["zero", "copy", "keep"])
@pytest.mark.parametrize("op", ["add", "set"])
@pytest.mark.parametrize(
    "shape", [(1, 10, 32, 64), (1, 5, 40, 1), (2, 7, 9, 3), (3, 4, 50, 17), (1, 6, 20, 200), (2, 9, 5, 300)]
)
def test_rows(shape, op, base, isa, rng):
    run(plain(*shape, op=op, base=base), isa, rng)


@isas
@pytest.mark.parametrize("inner", [16, 40, 100])
@pytest.mark.parametrize("op", ["add", "set"])
def test_many_short_rows_are_shared_by_ranges(inner, op, isa, rng):
    spec = plain(1, 50, 40000 // inner, inner, op=op)
    assert spec.units == 8
    run(spec, isa, rng)
    run(dataclasses.replace(spec, rows=3), isa, rng)


@isas
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "int8", "int64", "uint8", "bool"])
@pytest.mark.parametrize("index", ["int64", "uint8", "int16"])
def test_dtypes(dtype, index, isa, rng):
    run(plain(2, 11, 30, 21, dtype, index), isa, rng)


@isas
@pytest.mark.parametrize("strides", [(20 * 33, 33, 1), (0, 33, 1), (33, 0, 1), (60, 1, 20)])
@pytest.mark.parametrize("op", ["add", "set"])
def test_index_that_varies_with_the_column(strides, op, isa, rng):
    """The gradient of take-along-axis."""
    run(Scatter(2, 6, 20, 33, "float32", "int64", strides, (660, 33, 1), op=op), isa, rng)
    run(Scatter(1, 6, 2000, 33, "float32", "int32", strides, (0, 33, 1), op=op), isa, rng)


@isas
@pytest.mark.parametrize("updates", [(0, 1, 0), (20, 1, 0), (0, 0, 0), (0, 0, 1)])
def test_updates_that_are_broadcast(updates, isa, rng):
    run(Scatter(2, 6, 20, 40, "float32", "int32", (0, 1, 0), updates), isa, rng)


@isas
def test_histogram(isa, rng):
    labels = rng.integers(0, 10, 5000).astype(np.int64)
    counts, one = np.zeros(10, np.int64), np.ones(1, np.int64)
    call(Scatter(1, 10, 5000, 1, "int64", "int64", (0, 1, 0), (0, 0, 0)), isa, [counts, labels, one])
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=10))


@isas
@pytest.mark.parametrize("spec", [plain(1, 10, 6, 5), plain(1, 10, 6, 1), plain(1, 10, 3000, 20), plain(2, 10, 6, 300),
                                  Scatter(1, 10, 6, 20, "float32", "int32", (0, 20, 1), (0, 20, 1))])  # fmt: skip
def test_checked_mode_skips_bad_indices(spec, isa, rng):
    spec = dataclasses.replace(spec, checked=True)
    index = rng.integers(0, 10, spec.count * max(spec.index[1], 1)).astype(np.int32)
    run(spec, isa, rng, index)
    index[[1, 3, 4]] = -1, 10, 2**31 - 1
    run(spec, isa, rng, index, error=1)


@isas
@pytest.mark.parametrize("shape", [(1, 0, 5, 4), (1, 4, 0, 4), (0, 4, 5, 4), (1, 4, 5, 0)])
def test_empty(shape, isa, rng):
    spec = plain(*shape)
    target = np.full(64, 7, np.float32)
    call(spec, isa, [target, np.zeros(9, np.int32), np.ones(99, np.float32)])
    size = spec.outer * spec.rows * spec.inner
    assert (target[:size] == 0).all() and (target[size:] == 7).all()


def test_keys_and_figures():
    a, b = plain(1, 10, 6, 5), plain(1, 10, 6, 5, op="set")
    assert a.key() != b.key() and a.key() != dataclasses.replace(a, checked=True).key()
    assert a.flops == 30 and b.flops == 0
    assert a.bytes == 4 * 5 * (10 + 18) + 6 * 4
    assert plain(1, 10, 32, 64).units == 1 and plain(1, 10, 32, 512).units == 4
