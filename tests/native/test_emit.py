"""Every elementwise op, bit for bit as NumPy has it: NaN, infinities, -0.0, wraparound, division by zero."""

from __future__ import annotations

import itertools
from math import erf

import numpy as np
import pytest

from ranvier.compiler.native.builder import Function
from ranvier.compiler.native.emit import ELEMENTWISE, emit_instr, identity, literal
from ranvier.compiler.native.expr import Instr
from ranvier.compiler.native.nest import Nest, Operand

from .run_native_nest import HERE, NUMPY, call, cast, elementwise

FLOATS = ("float32", "float64", "bfloat16")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32")
isas = pytest.mark.parametrize("isa", HERE, ids=lambda isa: isa.name)


def specials(dtype: str) -> np.ndarray:
    """Values where ops go wrong: zeros, infinities, NaN, denormals, limits, ties, neighbours of powers of two."""
    out = NUMPY[dtype]
    if dtype == "bool":
        return np.array([False, True])
    if out.kind in "iu":
        info = np.iinfo(out)
        values = [0, 1, 2, 3, 5, 7, 10, 31, 100, info.max, info.max - 1, info.min, info.min + 1]
        return np.array(values + ([-1, -2, -3, -7, -10, -100] if out.kind == "i" else []), np.int64).astype(out)
    tiny = [1e-40, -1e-40, 1e-45] if dtype != "float64" else [5e-324, -1e-310]
    large = [3.3e38, -3.3e38] if dtype != "float64" else [1.7e308, -1.7e308]
    values = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, -7.0, 0.1, -0.3, 1e5, -7e9, 255.0, 256.0,
              16777217.0, np.inf, -np.inf, np.nan, *tiny, *large]  # fmt: skip
    return np.array(values, np.float64).astype(out)


def mixed(dtype: str, rng: np.random.Generator, count: int) -> np.ndarray:
    """Special values and random ones."""
    out = NUMPY[dtype]
    if dtype == "bool":
        return rng.random(count) < 0.5
    if out.kind in "iu":
        return rng.integers(np.iinfo(out).min, np.iinfo(out).max, count, np.int64, endpoint=True).astype(out)
    with np.errstate(over="ignore"):
        return (rng.standard_normal(count) * np.exp2(rng.integers(-12, 12, count))).astype(out)


def run(isa, op: str, dtype: str, args: list[np.ndarray], dtypes: list[str]) -> np.ndarray:
    """The op on arrays of one length, through a map kernel."""
    count = len(args[0])
    operands = tuple(Operand(d, (1,), 0, count) for d in (*dtypes, dtype))
    loads = tuple(Instr("load", d, (), (i,)) for i, d in enumerate(dtypes))
    body = (*loads, Instr(op, dtype, tuple(range(len(dtypes)))))
    nest = Nest((count,), "none", operands, body, ((len(dtypes), len(dtypes)),))
    out = np.zeros(count, NUMPY[dtype])
    call(nest, isa, [*map(np.ascontiguousarray, args), out])
    return out


def pairs(dtype: str, rng: np.random.Generator) -> list[np.ndarray]:
    """All pairs of special values, then random pairs; the length is not a multiple of any vector."""
    values = specials(dtype)
    a, b = (np.array(column, values.dtype) for column in zip(*itertools.product(values, values), strict=True))
    more = 41 - (len(a) % 2)
    return [np.concatenate([a, mixed(dtype, rng, more)]), np.concatenate([b, mixed(dtype, rng, more)])]


def assert_same(got: np.ndarray, want: np.ndarray, args: list[np.ndarray], signed_zero: bool = True) -> None:
    """Equal bits; any NaN equals any NaN."""
    if got.dtype.kind not in "fV" or got.dtype == np.bool_:
        wrong = got != want
    else:
        got, want = got.astype(np.float64), want.astype(np.float64)
        wrong = (got != want) & ~(np.isnan(got) & np.isnan(want))
        if signed_zero:
            wrong |= (got == 0) & (want == 0) & (np.signbit(got) != np.signbit(want))
    assert not wrong.any(), [(*(a[i] for a in args), got[i], want[i]) for i in np.flatnonzero(wrong)[:8]]


UNARY = [
    *itertools.product(("neg", "abs", "sign", "relu"), FLOATS + INTEGERS[:5]),
    *itertools.product(("floor", "ceil", "trunc", "round", "sqrt"), FLOATS),
    *itertools.product(("bitwise_not",), ("bool", *INTEGERS)),
]


@isas
@pytest.mark.parametrize("op, dtype", UNARY)
def test_unary(op, dtype, isa, rng):
    x = np.concatenate([specials(dtype), mixed(dtype, rng, 60)])
    assert_same(run(isa, op, dtype, [x], [dtype]), elementwise(op, dtype, [x]), [x], signed_zero=op != "relu")


@isas
@pytest.mark.parametrize("op", ["isnan", "isinf", "isfinite", "logical_not"])
@pytest.mark.parametrize("dtype", ["bool", "int32", *FLOATS])
def test_tests(op, dtype, isa, rng):
    x = np.concatenate([specials(dtype), mixed(dtype, rng, 20)])
    wide = x.astype(np.float32) if dtype == "bfloat16" else x
    assert_same(run(isa, op, "bool", [x], [dtype]), elementwise(op, "bool", [wide]), [x])


BINARY = [
    *itertools.product(("add", "sub", "mul"), FLOATS + INTEGERS),
    *itertools.product(("div",), FLOATS),
    *itertools.product(("maximum", "minimum"), (*FLOATS, *INTEGERS, "bool")),
    *itertools.product(("bitwise_and", "bitwise_or", "bitwise_xor"), (*INTEGERS, "bool")),
    *itertools.product(("left_shift", "right_shift"), INTEGERS),
    *itertools.product(("remainder", "floor_divide"), FLOATS + INTEGERS),
    *itertools.product(("add", "mul"), ("bool",)),
]


@isas
@pytest.mark.parametrize("op, dtype", BINARY)
def test_binary(op, dtype, isa, rng):
    a, b = pairs(dtype, rng)
    want = elementwise(op, dtype, [a, b])
    if op == "floor_divide" and NUMPY[dtype].kind == "i":  # NumPy leaves the wrapped quotient, with a warning
        want = np.where((b == -1), np.negative(a), want).astype(want.dtype)
    assert_same(run(isa, op, dtype, [a, b], [dtype] * 2), want, [a, b], signed_zero=op not in ("maximum", "minimum"))


@isas
@pytest.mark.parametrize("op", ["remainder", "floor_divide"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_remainder_is_exact_over_the_whole_range(op, dtype, isa, rng):
    count, most = 400, 120 if dtype == "float32" else 1000
    a, b = ((rng.standard_normal(count) * np.exp2(rng.integers(-most, most, count))).astype(dtype) for _ in range(2))
    assert_same(run(isa, op, dtype, [a, b], [dtype] * 2), elementwise(op, dtype, [a, b]), [a, b])


@isas
@pytest.mark.parametrize("op", ["equal", "not_equal", "less", "less_equal"])
@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_comparisons(op, dtype, isa, rng):
    a, b = pairs(dtype, rng)
    assert_same(run(isa, op, "bool", [a, b], [dtype] * 2), elementwise(op, "bool", [a, b]), [a, b])


@isas
@pytest.mark.parametrize("op", ["logical_and", "logical_or", "logical_xor"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "float32"])
def test_logic(op, dtype, isa, rng):
    a, b = pairs(dtype, rng)
    assert_same(run(isa, op, "bool", [a, b], [dtype] * 2), elementwise(op, "bool", [a, b]), [a, b])


@isas
@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_where(dtype, isa, rng):
    a, b = pairs(dtype, rng)
    condition = rng.random(len(a)) < 0.5
    want = elementwise("where", dtype, [condition, a, b])
    assert_same(run(isa, "where", dtype, [condition, a, b], ["bool", dtype, dtype]), want, [a, b])


@isas
@pytest.mark.parametrize("source", ["bool", *INTEGERS, *FLOATS])
def test_casts(source, isa, rng):
    x = np.concatenate([specials(source), mixed(source, rng, 50)])
    if NUMPY[source].kind in "fV":
        limits = [
            v + d
            for v in (127, -128, 32767, -32768, 2**31, -(2**31), 2**63, -(2.0**63), 255, 2**32)
            for d in (-1, 0, 1)
        ]
        x = np.concatenate([x, np.array(limits, np.float64).astype(x.dtype)])
    with np.errstate(all="ignore"):
        for target in ("bool", *INTEGERS, *FLOATS):
            wide = x.astype(np.float32) if source == "bfloat16" else x
            assert_same(run(isa, "cast", target, [x], [source]), cast(wide, target), [x])


@isas
@pytest.mark.parametrize("source, target", [("float32", "int32"), ("int32", "float32"), ("float64", "int64"),
                                            ("int64", "float64"),
                                            ("uint32", "float32"), ("int8", "uint8"), ("int32", "uint32")])  # fmt: skip
def test_bitcast(source, target, isa, rng):
    x = np.concatenate([specials(source), mixed(source, rng, 30)])
    got = run(isa, "bitcast", target, [x], [source])
    assert got.tobytes() == x.tobytes()


@isas
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_power_wraps(dtype, isa, rng):
    base = mixed(dtype, rng, 200)
    exponent = rng.integers(0, 70, 200).astype(dtype)
    assert_same(run(isa, "pow", dtype, [base, exponent], [dtype] * 2), np.power(base, exponent), [base, exponent])
    if NUMPY[dtype].kind == "i":
        assert not run(isa, "pow", dtype, [base, -exponent - 1], [dtype] * 2).any()


@isas
def test_high_product(isa, rng):
    a, b = pairs("uint32", rng)
    want = ((a.astype(np.uint64) * b.astype(np.uint64)) >> np.uint64(32)).astype(np.uint32)
    assert_same(run(isa, "mul_high_u32", "uint32", [a, b], ["uint32"] * 2), want, [a, b])


@isas
@pytest.mark.parametrize("op", ["exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_vector_math_is_connected(op, dtype, isa, rng):
    x = np.abs(mixed(dtype, rng, 75)).astype(NUMPY[dtype])
    exact = {"sigmoid": lambda v: 1 / (1 + np.exp(-v)), "erf": np.vectorize(erf)}.get(op) or getattr(np, op)
    with np.errstate(all="ignore"):
        want = exact(x.astype(np.float64))
    got = run(isa, op, dtype, [x], [dtype]).astype(np.float64)
    near = {"float32": 1e-6, "float64": 1e-14, "bfloat16": 2.0**-8}[dtype]  # a few units in the last place
    with np.errstate(over="ignore"):
        want = want.astype(NUMPY[dtype]).astype(np.float64)
    np.testing.assert_allclose(got, want, rtol=near, atol=1e-30)


@isas
def test_float_power_and_atan2(isa, rng):
    a, b = np.abs(mixed("float32", rng, 50)), rng.uniform(-3, 3, 50).astype(np.float32)
    np.testing.assert_allclose(run(isa, "pow", "float32", [a, b], ["float32"] * 2), a.astype("f8") ** b, rtol=1e-6)
    want = np.arctan2(b.astype("f8"), a.astype("f8"))
    np.testing.assert_allclose(run(isa, "atan2", "float32", [b, a], ["float32"] * 2), want, rtol=1e-6)


def test_every_op_is_tested():
    listed = {op for op, _ in [*UNARY, *BINARY]} | {
        "isnan", "isinf", "isfinite", "logical_not", "equal", "not_equal", "less", "less_equal", "logical_and",
        "logical_or", "logical_xor", "where", "cast", "bitcast", "pow", "mul_high_u32", "exp", "expm1", "log", "log1p",
        "sin", "cos", "tanh", "sigmoid", "erf", "atan2",
    }  # fmt: skip
    assert listed == ELEMENTWISE


def test_sign_of_integers_must_be_known():
    f = Function("f", [("x", "i8"), ("y", "<16 x i32>")])
    with pytest.raises(AssertionError, match="less of i8: which dtype"):
        emit_instr(f, Instr("less", "bool"), [f["x"], f["x"]], 1)
    with pytest.raises(AssertionError, match="cast of i32: which dtype"):
        emit_instr(f, Instr("cast", "float32"), [f["y"]], 16)
    assert emit_instr(f, Instr("add", "uint8"), [f["x"], f["x"]], 1).kind == "i8"


@pytest.mark.parametrize("value, kind", [(2.5, "float"), (-3.0, "<16 x double>"), (7, "i32"), (-7, "<8 x i64>")])
def test_literal_reads_constants_back(value, kind):
    f = Function("f", [("x", "float")])
    assert literal(f.const(value, kind)) == value
    assert literal(f["x"]) is None


UFUNCS = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
}
REDUCED = [
    *itertools.product(UFUNCS, ("bool", "int8", "uint8", "int64")),
    *itertools.product(("sum", "prod", "max", "min"), ("float32",)),
]


@pytest.mark.parametrize("op, dtype", REDUCED)
def test_identities_change_nothing(op, dtype):
    values = specials(dtype)
    neutral = np.array(identity(f"reduce_{op}", dtype)).astype(values.dtype)
    assert_same(UFUNCS[op](values, neutral), values, [values], signed_zero=False)
