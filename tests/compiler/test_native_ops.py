"""Every op of the table, compiled, in every dtype it accepts, on special values: the same as its reference.

Arithmetic, comparisons, integers, casts, roots and moves agree to the bit. The elementary functions keep the bounds
that ``docs/vector-math.md`` states.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.ops.table import TABLE, Op

from .compare import difference

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "bfloat16", "float32", "float64")
FUNCTIONS = ("atan2", "cos", "erf", "exp", "expm1", "log", "log1p", "pow", "sigmoid", "sin", "tanh")
MADE = (
    "scan",
    "cond",
    "while",
    "project",
    "cotangents",
    "alias",
    "custom_gradient",
)  # the compiler's and the differentiator's own
ELEMENTWISE = [n for n, op in TABLE.items() if op.family == "elementwise" and n not in (*MADE, "cast", "bitcast")]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "vector-math.md"


@pytest.fixture(autouse=True)
def _exactly() -> Iterator[None]:
    with rv.config.override(denormals="keep"):
        yield


def specials(dtype: str) -> np.ndarray:
    """Values where ops go wrong."""
    if dtype == "bool":
        return np.array([False, True])
    if dtype not in ("bfloat16", "float32", "float64"):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return np.array([0, 1, 2, 3, 7, 31, 100, high - 1, high, low, low // 2, 255 if low == 0 else -1]).astype(dtype)
    wide = dtype == "float64"
    edges = [5e-324, 1.7e308, -1e-310] if wide else [1e-45, 3.3e38, -1e-40]
    values = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, -2.5, 3.0, 0.1, -7.3, 255.5, 16777217.0, 2.0**31, -(2.0**63), 2.0**63,
              np.inf, -np.inf, np.nan, *edges]  # fmt: skip
    return tensor(np.array(values), dtype).numpy()


def tensor(array: np.ndarray, dtype: str) -> rv.Tensor:
    with np.errstate(over="ignore"):
        return rv.tensor(np.asarray(array).astype("float32" if dtype == "bfloat16" else dtype), dtype)


def kind(dtype: str) -> str:
    """What an op's record calls the dtype."""
    return "bool" if dtype == "bool" else "float" if "float" in dtype else "int"


def accepted(op: Op) -> list[str]:
    return [d for d in DTYPES if kind(d) in op.kinds.split()]


def inputs(op: Op, dtype: str, rng: np.random.Generator) -> list[rv.Tensor]:
    """All combinations of special values, then random ones; an odd number of them."""
    values = specials(dtype)
    columns = [np.array(c) for c in zip(*itertools.product(values, repeat=min(op.arity, 2)), strict=True)]
    if dtype in ("bfloat16", "float32", "float64"):
        more = [rng.normal(size=45 - len(columns[0]) % 2) * 3 for _ in columns]
    else:
        more = [rng.integers(0, 2 if dtype == "bool" else 100, 45 - len(columns[0]) % 2) for _ in columns]
    made = [tensor(np.concatenate([a, b.astype(a.dtype)]), dtype) for a, b in zip(columns, more, strict=True)]
    return [tensor(rng.random(made[0].size) < 0.5, "bool"), *made] if op.name == "where" else made


def unspecified(op: Op, dtype: str, args: Sequence[rv.Tensor]) -> np.ndarray:
    """Where NumPy leaves the answer open or is known to differ: the smallest integer by -1, shifts by negatives."""
    arrays = [a.numpy() for a in args]
    if op.name in ("floor_divide", "remainder") and arrays[0].dtype.kind == "i":
        return (arrays[1] == -1) & (arrays[0] == np.iinfo(dtype).min)
    return np.zeros(arrays[0].shape, bool)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if n not in FUNCTIONS])
def test_exact_ops(name, rng):
    op = TABLE[name]
    cases = [(dtype, inputs(op, dtype, rng)) for dtype in accepted(op)]
    got = rv.jit(lambda *cases: [op(*args) for args in cases])(*[args for _, args in cases])
    for (dtype, args), result in zip(cases, got, strict=True):
        want, found = op(*args).numpy(), result.numpy()
        skip = unspecified(op, dtype, args)
        want, found = np.where(skip, 0, want).astype(want.dtype), np.where(skip, 0, found).astype(found.dtype)
        problem = difference(want, found, 0.0)
        assert problem == "", f"{name} of {dtype}: {problem}"
        if want.dtype.kind == "f" and name not in ("maximum", "minimum", "relu", "where"):
            zero = want == 0
            assert (np.signbit(want) == np.signbit(found))[zero].all(), f"{name} of {dtype}: sign of zero"


@pytest.mark.parametrize("source", [*DTYPES])
def test_casts(source, rng):
    x = inputs(TABLE["neg"], source, rng)[0]
    if source in ("bfloat16", "float32", "float64"):
        edges = np.add.outer([127, 128, 255, 32767, 2.0**31, 2.0**63], [-1, -0.5, 0, 0.5, 1]).ravel()
        x = tensor(np.concatenate([x.numpy().astype(np.float64), edges, -edges]), source)
    got = rv.jit(lambda x: [x.astype(d) for d in DTYPES])(x)
    for dtype, result in zip(DTYPES, got, strict=True):
        assert result.dtype.name == dtype
        problem = difference(x.astype(dtype).numpy(), result.numpy(), 0.0)
        assert problem == "", f"{source} to {dtype}: {problem}"


def test_casts_of_floats_to_integers_saturate():
    x = tensor(np.array([2.0**31, -(2.0**31) - 1e3, np.nan, 1e30, -1e30, np.inf, 2.0**63, 300.7]), "float32")
    got = rv.jit(lambda x: [x.astype(d) for d in ("int32", "int64", "uint8", "int8")])(x)
    high, low = 2**31 - 1, -(2**31)
    assert got[0].tolist() == [high, low, 0, high, low, high, high, 300]
    assert got[1].tolist()[3:7] == [2**63 - 1, -(2**63), 2**63 - 1, 2**63 - 1]
    assert got[2].tolist() == [255, 0, 0, 255, 0, 255, 255, 255]
    assert got[3].tolist() == [127, -128, 0, 127, -128, 127, 127, 127]


@pytest.mark.parametrize(
    "source, target",
    [
        *[("float32", "int32"), ("int32", "float32"), ("float64", "int64"), ("int64", "float64")],
        *[("int8", "uint8"), ("uint8", "int8"), ("int32", "uint32")],
    ],
)
def test_bitcasts(source, target, rng):
    x = inputs(TABLE["neg"], source, rng)[0]
    got = rv.jit(lambda x: rv.bitcast(x, target))(x)
    assert got.dtype.name == target
    assert got.numpy().tobytes() == x.numpy().tobytes()


# -- elementary functions -----------------------------------------------------------------------------------------


def documented() -> dict[tuple[str, str], float]:
    """The bound of each function and dtype, in ULP, as the documentation states it."""
    rows = re.findall(r"^\| (\w+) \| (float\d\d) \| ([\d.]+) \|", DOCS.read_text(), re.MULTILINE)
    return {(op, dtype): float(bound) for op, dtype, bound in rows}


def spacing(exact: np.ndarray, dtype: str) -> np.ndarray:
    """The distance between neighbouring numbers of a dtype around each value."""
    bits, least = {"bfloat16": (8, -133), "float32": (24, -149), "float64": (53, -1074)}[dtype]
    with np.errstate(all="ignore"):
        exponent = np.frexp(np.where(np.isfinite(exact), exact, 1))[1] - bits
    return np.ldexp(np.ones_like(exact), np.maximum(exponent, least))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions(name, dtype, rng):
    op = TABLE[name]
    low, high = op.domain
    args = inputs(op, dtype, rng)
    spread = [np.concatenate([a.numpy().astype(np.float64), rng.uniform(low, high, 400)]) for a in args]
    args = [tensor(a, dtype) for a in spread]
    got = rv.jit(lambda *xs: op(*xs))(*args).numpy().astype(np.longdouble)
    with np.errstate(all="ignore"):
        wide = [a.numpy().astype(np.float64 if name in ("erf", "sigmoid") else np.longdouble) for a in args]
        exact = np.asarray(op.reference(*wide)).astype(np.longdouble)
        if name == "pow":  # glibc's powl(-inf, -2**63) is inf
            exact = np.where(np.isinf(wide[0]), np.power(*(w.astype(np.float64) for w in wide)), exact)
    if name in ("sin", "cos"):
        far = np.abs(wide[0]) > 2.0**48
        assert np.isnan(got[far & np.isfinite(wide[0])]).all()  # as documented
        got, exact = got[~far], exact[~far]
    largest = {"float64": np.finfo(np.float64).max, "float32": np.finfo(np.float32).max}.get(dtype, 3.39e38)
    finite = np.isfinite(exact) & (np.abs(exact) <= largest)
    with np.errstate(all="ignore"):
        rounded = np.where(np.abs(exact) > largest, np.copysign(np.inf, exact), exact)
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    assert same[~finite].all(), f"{name} of {dtype}: {[float(a[~finite][~same[~finite]][0]) for a in wide]}"
    slack = 0.51 if dtype == "bfloat16" else documented()[name, dtype] + (1.0 if name in ("erf", "sigmoid") else 0.0)
    error = np.abs(got[finite] - exact[finite]) / spacing(exact[finite], dtype)
    worst = int(np.argmax(error))
    assert error[worst] <= slack, f"{name} of {dtype} at {[float(a[finite][worst]) for a in wide]}: {error[worst]} ULP"


def test_bounds_are_documented_for_all():
    assert {op for op, _ in documented()} == set(FUNCTIONS)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d not in ("bool", "bfloat16", "float32", "float64")])
def test_integer_powers_wrap(dtype, rng):
    base = tensor(rng.integers(-6 if dtype != "uint8" else 0, 100, 300), dtype)
    exponent = tensor(rng.integers(-2 if dtype != "uint8" else 0, 12, 300), dtype)
    assert difference(rv.power(base, exponent).numpy(), rv.jit(rv.power)(base, exponent).numpy(), 0.0) == ""


# -- everything else, on the samples of its record ----------------------------------------------------------------

RECORDS = [n for n, op in TABLE.items() if op.samples is not None and op.family != "elementwise"]
NEAR = {"float32": 2e-6, "float64": 1e-14, "bfloat16": 2.0**-6}
EXACT = {"reshape", "transpose", "broadcast_to", "slice", "embed", "flip", "concatenate", "take", "take_along_axis",
         "reduce_max", "reduce_min", "reduce_and", "reduce_or", "random_bits"}  # fmt: skip


def _converted(name: str, i: int, array: np.ndarray, dtype: str) -> rv.Tensor:
    if name == "random_bits" or (array.dtype.kind == "i" and i == 1):
        return rv.tensor(array)  # a state, or positions
    if kind(dtype) == "int":
        array = np.abs(array * 3) if dtype == "uint8" else array * 3
    return tensor(array, dtype)


def records(name: str, seed: int) -> list[tuple[tuple[rv.Tensor, ...], dict[str, Any], str]]:
    """The op's samples in each dtype it accepts; positions and states keep theirs."""
    op = TABLE[name]
    kinds = op.kinds
    found: list[tuple[tuple[rv.Tensor, ...], dict[str, Any], str]] = []
    for arrays, attrs in op.samples(np.random.default_rng(seed)):
        fitting = [d for d in DTYPES if kind(d) in kinds.split()] if name != "random_bits" else ["int64"]
        found += [(tuple(_converted(name, i, a, d) for i, a in enumerate(arrays)), attrs, d) for d in fitting]
    return found


@pytest.mark.parametrize("name", RECORDS)
def test_records(name):
    op, cases = TABLE[name], records(name, zlib.crc32(name.encode()))
    got = rv.jit(lambda *cases: [op(*args, **attrs) for args, (_, attrs, _) in zip(cases, all_cases, strict=True)])
    all_cases = cases
    for (args, attrs, dtype), result in zip(cases, got(*[args for args, _, _ in cases]), strict=True):
        want, found = op(*args, **attrs), result
        assert found.dtype is want.dtype
        near = 0.0 if name in EXACT else NEAR.get(dtype, 0.0) * float(np.abs(want.numpy()).max(initial=1))
        problem = difference(want.numpy(), found.numpy(), near)
        assert problem == "", f"{name} {attrs} of {dtype}: {problem}"


def test_no_op_is_left_out():
    tested = {*ELEMENTWISE, *FUNCTIONS, *RECORDS, "cast", "bitcast", *MADE}
    assert set(TABLE) - tested == set()


# -- long reductions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, axis", [((70_001,), 0), ((2, 70_001), 1), ((70_001, 3), 0), ((300, 301), None)])
def test_long_reductions(shape, axis, rng):
    x, i = rng.normal(size=shape).astype(np.float32), rng.integers(-100, 100, shape)
    f = rv.jit(lambda x, i: [rv.sum(x, axis), rv.max(x, axis), rv.argmax(x, axis), rv.sum(i, axis), rv.min(i, axis)])
    total, most, at, count, least = (t.numpy() for t in f(x, i))
    np.testing.assert_allclose(total, x.astype(np.float64).sum(axis), rtol=1e-6, atol=1e-3)
    np.testing.assert_array_equal(most, x.max(axis))
    np.testing.assert_array_equal(at, x.argmax(axis))
    np.testing.assert_array_equal(count, i.sum(axis))
    np.testing.assert_array_equal(least, i.min(axis))


@pytest.mark.parametrize("columns", [1, 3, 16, 47, 48, 49, 63, 64, 65, 200, 1000])
def test_softmax_rows(columns, rng):
    x = (rng.normal(size=(5, columns)) * 30).astype(np.float32)
    x[1, 0] = np.nan
    x[2] = -np.inf
    x[3, -1] = np.inf

    def softmax(x):
        power = rv.exp(x - rv.max(x, axis=1, keepdims=True))
        return power / rv.sum(power, axis=1, keepdims=True)

    with np.errstate(all="ignore"):
        power = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
        want = power / power.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rv.jit(softmax)(x).numpy(), want, rtol=2e-5, atol=1e-30)


# -- denormal numbers ---------------------------------------------------------------------------------------------


def test_denormals_are_zero_unless_asked_for():
    x = np.full(40, 1e-30, np.float32)
    for setting, want in (("keep", np.float32(1e-30) * np.float32(1e-10)), ("flush", np.float32(0))):
        with rv.config.override(denormals=setting):
            got = rv.jit(lambda x: [x * 1e-10, x * 1e10])(x)
        assert (got[0].numpy() == want).all()
        np.testing.assert_array_equal(got[1].numpy(), x * np.float32(1e10))
    assert (x * np.float32(1e-10) != 0).all(), "the calling thread's own floating-point mode is put back"
