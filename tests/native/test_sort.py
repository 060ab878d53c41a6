"""Sorting kernels against NumPy's stable sort: every length, dtype and direction, with ties, NaN and signed zeros."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ranvier.compiler.native.sort import Sort

from .run_native_nest import HERE, NUMPY, call

isas = pytest.mark.parametrize("isa", HERE, ids=lambda isa: isa.name)


def values(spec: Sort, rng: np.random.Generator) -> np.ndarray:
    dtype, shape = NUMPY[spec.dtype], (spec.rows, spec.count)
    if dtype.kind in "iub":
        low, high = (0, 1) if spec.dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        few, many = rng.integers(0, 2, shape), rng.integers(low, high, shape, np.int64, endpoint=True)
        return np.where(rng.random(shape) < 0.5, few, many).astype(dtype)
    tiny = float(np.finfo(np.float32 if spec.dtype == "bfloat16" else dtype).tiny) / 64
    odd = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, tiny, -tiny], shape)
    return np.where(rng.random(shape) < 0.4, odd, np.round(rng.normal(size=shape) * 4)).astype(dtype)


def order(x: np.ndarray, descending: bool) -> np.ndarray:
    wide = x if x.dtype.kind in "iub" else x.astype(np.float64)
    if not descending:
        return np.argsort(wide, 1, kind="stable")
    return x.shape[1] - 1 - np.argsort(wide[:, ::-1], 1, kind="stable")[:, ::-1]


def run(spec: Sort, isa, rng: np.random.Generator) -> None:
    x = values(spec, rng)
    want = order(x, spec.descending)[:, : spec.keep].ravel()
    for cuts in ((), tuple(range(1, spec.units))):
        target, words = np.full(want.size + 64, -7, np.int64), np.full(spec.workspace + 64, -7, np.int64)
        call(spec, isa, [target, x, words], cuts)
        np.testing.assert_array_equal(target[: want.size], want)
        assert (target[want.size :] == -7).all() and (words[spec.workspace :] == -7).all()


@isas
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_length(dtype, isa, rng):
    for count in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 127, 257, 1000):
        run(Sort(2, count, count, dtype, bool(count % 2)), isa, rng)


@isas
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", NUMPY)
def test_dtypes(dtype, descending, isa, rng):
    run(Sort(3, 75, 75, dtype, descending), isa, rng)
    run(Sort(3, 75, 9, dtype, descending), isa, rng)


@isas
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int32", "float64"])
def test_a_few_of_many(dtype, isa, rng):
    for count in (4, 9, 33, 64, 200, 1001):
        for keep in (1, 2, 5, 16):
            if keep <= count:
                run(Sort(2, count, keep, dtype, bool(keep % 2)), isa, rng)


@isas
def test_a_few_of_rows_in_the_worst_order(isa):
    rows = np.array([np.arange(500), np.arange(500)[::-1]], np.int32)
    for descending in (False, True):
        target = np.zeros((2, 16), np.int64)
        call(Sort(2, 500, 16, "int32", descending), isa, [target, rows])
        np.testing.assert_array_equal(target, order(rows, descending)[:, :16])


def test_every_zero_one_row_of_sixteen():
    """A network that sorts all rows of zeros and ones sorts everything (Knuth 5.3.4, theorem Z)."""
    rows = (np.arange(1 << 13)[:, None] >> np.arange(13) & 1).astype(np.uint8)
    target = np.zeros(rows.shape, np.int64)
    call(Sort(len(rows), 13, 13, "uint8"), HERE[0], [target, rows])
    np.testing.assert_array_equal(target, np.argsort(rows, 1, kind="stable"))


def test_units_and_keys():
    spec = Sort(4, 100, 100, "float32")
    assert spec.units == 4 and spec.workspace == 0 and spec.passes == 28
    assert dataclasses.replace(spec, keep=0).units == 0
    assert dataclasses.replace(spec, keep=30).workspace == 400
    few = dataclasses.replace(spec, keep=5)
    assert few.selects and few.workspace == few.passes == 0 and few.bytes < spec.bytes
    assert dataclasses.replace(spec, dtype="float64").workspace == 400
    assert dataclasses.replace(spec, dtype="int64", keep=5).workspace == 800
    changes = {"keep": 5, "descending": True, "dtype": "float64", "rows": 3, "count": 101}
    keys = {spec.key(), *(dataclasses.replace(spec, **{k: v}).key() for k, v in changes.items())}
    assert len(keys) == 6
