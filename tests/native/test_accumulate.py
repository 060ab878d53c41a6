"""Accumulating kernels against NumPy, to the bit: every way of using lanes, every dtype, both directions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ranvier.compiler.native.accumulate import Accumulate

from .run_native_nest import HERE, NUMPY, call

isas = pytest.mark.parametrize("isa", HERE, ids=lambda isa: isa.name)
# (outer, count, inner): scalars, few lines, lines as lanes, columns as lanes, several blocks of columns.
SHAPES = [(1, 9, 1), (3, 5, 1), (1, 1, 5), (7, 33, 1), (5, 6, 3), (40, 3, 15), (2, 4, 16), (3, 7, 130), (1, 5, 300)]


def reference(spec: Accumulate, source: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Element by element, one rounding for each operation; bfloat16 carried as float32."""
    shape = (spec.outer, spec.count, spec.inner)
    wide = np.float32 if spec.dtype == "bfloat16" else source.dtype
    x, a = source.reshape(shape).astype(wide), scale.reshape(shape).astype(wide)
    out = np.empty(shape, wide)
    way = range(spec.count - 1, -1, -1) if spec.reverse else range(spec.count)
    before = None
    for i in way:
        now = x[:, i]
        if before is not None:
            if spec.op == "linear":
                now = before * a[:, i] + x[:, i]
            else:
                function = {"sum": np.add, "prod": np.multiply, "max": np.maximum}[spec.op]
                now = function(before, x[:, i])
        out[:, i] = before = now.astype(wide)
    return out.astype(source.dtype)


def same(got: np.ndarray, want: np.ndarray) -> None:
    if want.dtype == NUMPY["bfloat16"]:  # NumPy knows no NaN of this dtype
        got, want = got.astype(np.float32), want.astype(np.float32)
    np.testing.assert_array_equal(got, want)


def run(spec: Accumulate, isa, rng: np.random.Generator) -> None:
    dtype, size = NUMPY[spec.dtype], spec.outer * spec.count * spec.inner
    if dtype.kind in "iub":
        source, scale = (rng.integers(0, 2 if spec.dtype == "bool" else 100, size).astype(dtype) for _ in range(2))
    else:
        source, scale = (rng.uniform(-1, 1, size).astype(dtype) for _ in range(2))
        if size > 4:
            source[3] = np.nan
    with np.errstate(all="ignore"):
        want = reference(spec, source, scale).ravel()
    for cuts in ((), tuple(range(1, spec.units))):
        target = np.zeros(size + 64, dtype)
        call(spec, isa, [target, source, scale], cuts)
        same(target[:size], want)
        assert not target[size:].any()
    if spec.op != "linear":
        inside = np.concatenate([source, np.zeros(64, dtype)])
        call(spec, isa, [inside, inside, scale])
        same(inside[:size], want)  # in the memory of the source


@isas
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("op", ["sum", "prod", "max", "linear"])
def test_shapes(op, reverse, isa, rng):
    for shape in SHAPES:
        run(Accumulate(*shape, "float32", op, reverse), isa, rng)


@isas
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "int8", "int64", "uint8", "bool"])
def test_dtypes(dtype, isa, rng):
    ops = ("sum", "prod", "max", "linear") if "float" in dtype else ("max",) if dtype == "bool" else ("sum", "max")
    for op in ops:
        for shape in ((2, 6, 33), (21, 4, 3), (1, 5, 1)):
            run(Accumulate(*shape, dtype, op), isa, rng)


def test_units_and_keys():
    spec = Accumulate(2, 10, 300, "float32", "sum")
    assert spec.units == 6 and spec.flops == 6000 and spec.bytes == 2 * 4 * 6000
    assert dataclasses.replace(spec, inner=1, outer=33).units == 3
    assert dataclasses.replace(spec, inner=1, outer=3).units == 3
    assert {dataclasses.replace(spec, count=0).units, dataclasses.replace(spec, outer=0).units} == {0}
    changes = {"op": "max", "reverse": True, "dtype": "float64", "inner": 3, "outer": 5, "count": 4}
    keys = {spec.key(), *(dataclasses.replace(spec, **{k: v}).key() for k, v in changes.items())}
    assert len(keys) == 7
