"""Data types: promotion as the array-API standard has it, bfloat16 rounding, conversions."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import dtypes
from ranvier.errors import ArgumentError, DTypeError

# The promotion tables of the array-API standard (2023.12), row by row ("bf" is bfloat16, which it does not have).
STANDARD = """
i1+i1=i1 i1+i2=i2 i1+i4=i4 i1+i8=i8 i2+i2=i2 i2+i4=i4 i2+i8=i8 i4+i4=i4 i4+i8=i8 i8+i8=i8
u1+u1=u1 u1+u4=u4 u4+u4=u4
i1+u1=i2 i1+u4=i8 i2+u1=i2 i2+u4=i8 i4+u1=i4 i4+u4=i8 i8+u1=i8 i8+u4=i8
f4+f4=f4 f4+f8=f8 f8+f8=f8
b1+b1=b1
""".split()
# Left open by the standard, fixed here: a floating dtype wins over integers, bool gives way, bfloat16 is narrowest.
OURS = """
bf+bf=bf bf+f4=f4 bf+f8=f8
i1+bf=bf i8+bf=bf u1+bf=bf i1+f4=f4 i8+f4=f4 i8+f8=f8 u1+f4=f4 u4+f8=f8
b1+i1=i1 b1+i8=i8 b1+u1=u1 b1+bf=bf b1+f4=f4 b1+f8=f8
""".split()
CODES = {
    "b1": rv.bool_, "i1": rv.int8, "i2": rv.int16, "i4": rv.int32, "i8": rv.int64, "u1": rv.uint8, "u4": dtypes.uint32,
    "bf": rv.bfloat16, "f4": rv.float32, "f8": rv.float64,
}  # fmt: skip


@pytest.mark.smoke
@pytest.mark.parametrize("line", STANDARD + OURS)
def test_promotion(line: str) -> None:
    a, b, c = (CODES[code] for code in line.replace("=", "+").split("+"))
    assert rv.promote(a, b) is rv.promote(b, a) is c
    one = rv.ones(2, a) if a is not rv.bool_ else rv.tensor([True, True])
    if c is not rv.bool_:
        assert (one + rv.ones(2, b)).dtype is c
    assert rv.result_type(a, rv.ones(1, b)) is c
    assert rv.concatenate([one, rv.ones(2, b)]).dtype is c


def test_promotion_forms_a_lattice() -> None:
    for a, b, c in itertools.product(CODES.values(), repeat=3):
        if a.kind in ("int", "uint") and b.kind in ("int", "uint"):
            info = [rv.iinfo(d) for d in (a, b, rv.promote(a, b))]
            assert info[2].min <= min(info[0].min, info[1].min) and info[2].max >= max(info[0].max, info[1].max)
        if {a.kind, b.kind, c.kind} <= {"float", "bool"} or {a.kind, b.kind, c.kind} == {"int"}:
            assert rv.promote(rv.promote(a, b), c) is rv.promote(a, rv.promote(b, c))


@pytest.mark.parametrize("dtype", [d for d in CODES.values() if d is not dtypes.uint32], ids=str)
def test_python_numbers_do_not_widen(dtype: dtypes.DType) -> None:
    x = rv.ones(2, dtype)
    if dtype is not rv.bool_:
        assert (x + 1).dtype is (1 * x).dtype is (x * True).dtype is dtype
    else:
        assert (x + 1).dtype is rv.int64
    assert (x + 1.0).dtype is (dtype if dtype.is_float else rv.float32)
    assert rv.result_type(dtype, 1) is (rv.int64 if dtype is rv.bool_ else dtype)
    assert rv.result_type(dtype, 1.0) is (dtype if dtype.is_float else rv.float32)


def test_result_type_of_numbers_alone() -> None:
    assert (
        rv.result_type(1, True) is rv.int64
        and rv.result_type(1, 2.0) is rv.float32
        and rv.result_type(True) is rv.bool_
    )
    with pytest.raises(ArgumentError, match="result_type: expected at least one"):
        rv.result_type()


@pytest.mark.parametrize(
    "given, meant",
    [
        ("float32", rv.float32), ("bool", rv.bool_), ("int", rv.int64), ("float", rv.float32), (float, rv.float32),
        (int, rv.int64), (bool, rv.bool_), (np.float64, rv.float64), (np.dtype("int8"), rv.int8), (">f4", rv.float32),
        ("bfloat16", rv.bfloat16), (rv.uint8, rv.uint8), (np.dtype(">i4"), rv.int32), ("f8", rv.float64),
    ],
)  # fmt: skip
def test_names_of_dtypes(given: Any, meant: dtypes.DType) -> None:
    assert rv.as_dtype(given) is meant


@pytest.mark.parametrize(
    "given",
    ["float16", "complex64", complex, np.uint64, np.uint16, "U3", object, None, [1], 3, "nonsense", rv.tensor(1.0)],
    ids=str,
)
def test_what_is_no_dtype(given: Any) -> None:
    with pytest.raises(DTypeError, match=r"is not supported\. Ranvier has bool, int8.*float64"):
        rv.as_dtype(given)


def test_dtypes_are_single_objects() -> None:
    assert rv.float32 == "float32" and rv.float32 != "float64" and str(rv.bfloat16) == "bfloat16"
    assert repr(rv.int8) == "ranvier.int8" and {rv.int8: 1}["int8"] == 1
    assert copy.deepcopy(rv.bfloat16) is rv.bfloat16 and pickle.loads(pickle.dumps(rv.float64)) is rv.float64
    assert [d.itemsize for d in CODES.values()] == [1, 1, 2, 4, 8, 1, 4, 2, 4, 8]


def test_kinds() -> None:
    assert (
        rv.isdtype(rv.float32, "real floating") and rv.isdtype("int8", "integral") and rv.isdtype(rv.uint8, "numeric")
    )
    assert rv.isdtype(rv.uint8, "unsigned integer") and rv.isdtype(rv.int8, ("bool", rv.int8))
    assert not rv.isdtype(rv.bool_, "numeric") and not rv.isdtype(rv.float64, "complex floating")
    with pytest.raises(ArgumentError, match=r"isdtype: expected a kind from 'bool'.*got 'real'"):
        rv.isdtype(rv.float32, "real")


def test_limits() -> None:
    for name in ("float32", "float64"):
        ours, theirs = rv.finfo(name), np.finfo(name)
        for field in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(ours, field) == getattr(theirs, field)
    for name in ("int8", "int16", "int32", "int64", "uint8"):
        assert (rv.iinfo(name).min, rv.iinfo(name).max) == (np.iinfo(name).min, np.iinfo(name).max)
    narrow = rv.finfo(rv.tensor(1.0, "bfloat16"))
    for value in (narrow.max, 1 + narrow.eps, narrow.smallest_normal):
        assert rv.tensor(value, "float64").astype("bfloat16").item() == value
    assert rv.tensor(1 + narrow.eps / 2, "bfloat16").item() == 1
    with pytest.raises(DTypeError, match="finfo: expected a floating dtype, got int8"):
        rv.finfo("int8")
    with pytest.raises(DTypeError, match="iinfo: expected an integer dtype, got float32"):
        rv.iinfo(rv.tensor(1.0))


# -- bfloat16 -----------------------------------------------------------------------------------------------------


def _nearest_bfloat16(x: float) -> float:
    """By exact fractions: the nearer of the two neighbours among all bfloat16, the even one on a tie."""
    if math.isnan(x) or math.isinf(x) or x == 0:
        return x
    size = abs(Fraction(x))
    exponent = max(math.frexp(abs(x))[1] - 1, -126)
    step = Fraction(2) ** (exponent - 7)
    whole, rest = divmod(size, step)
    if rest > step / 2 or (rest == step / 2 and whole % 2 == 1):
        whole += 1
    value = whole * step
    limit = Fraction(2) ** 128
    return math.copysign(math.inf if value >= limit else float(value), x)


def _edge_cases(rng: np.random.Generator) -> np.ndarray:
    random = rng.integers(0, 2**32, 3000, np.uint32).view(np.float32)
    ties = ((rng.integers(0, 2**16, 500, np.uint32) << np.uint32(16)) | np.uint32(0x8000)).view(np.float32)
    near = (ties.view(np.uint32) + rng.choice(np.array([1, 2**32 - 1], np.uint32), 500)).view(np.float32)
    info = np.finfo(np.float32)
    special = [
        0.0,
        -0.0,
        1.0,
        np.inf,
        -np.inf,
        info.max,
        info.tiny,
        info.smallest_subnormal,
        3.3895314e38,
        3.3961776e38,
    ]
    return np.concatenate([random, ties, near, np.array(special, np.float32)])


def test_rounding_to_bfloat16_is_exact(rng: np.random.Generator) -> None:
    x = _edge_cases(rng)
    x = x[~np.isnan(x)]
    meant = np.array([_nearest_bfloat16(float(v)) for v in x], np.float64)
    np.testing.assert_array_equal(rv.astype(x, "bfloat16").numpy().astype(np.float64), meant)
    np.testing.assert_array_equal(np.signbit(rv.astype(x, "bfloat16").numpy()), np.signbit(x))


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF, 0x7FC00000])
def test_nan_stays_nan_in_bfloat16(bits: int) -> None:
    x = np.array([struct.unpack("<f", struct.pack("<I", bits))[0], 1.0], np.float32)
    out = rv.astype(x, "bfloat16").numpy()
    assert np.isnan(out[0]) and out[1] == 1
    assert np.isnan(rv.astype(x[0], "bfloat16").item())


def test_bfloat16_equals_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = _edge_cases(rng)
    theirs = torch.from_numpy(x.copy()).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(rv.astype(x, "bfloat16").numpy(), theirs)


def test_results_in_bfloat16_are_representable(rng: np.random.Generator) -> None:
    x = rv.asarray(rng.normal(size=50), "bfloat16")
    for y in (x * x, x + 0.1, x / 3, rv.exp(x), rv.sum(x), rv.mean(x), x @ x, x**3, rv.full_like(x, 0.1), 0.1 * x,
              rv.where(x > 0, x, 0.1),
              rv.full((2,), 0.1, "bfloat16"), rv.linspace(0, 1, 7, "bfloat16"),
              rv.pad(x, [(1, 1)], value=0.1)):  # fmt: skip
        assert y.dtype is rv.bfloat16
        assert np.all(y.numpy().view(np.uint32) & 0xFFFF == 0)


# -- conversions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("target", ["int8", "int16", "int32", "int64", "uint8", "uint32"])
def test_floats_become_integers_by_truncation_and_saturate(source: str, target: str, rng: np.random.Generator) -> None:
    low, high = (int(v) for v in (np.iinfo(target).min, np.iinfo(target).max))
    edges = [low, high, low - 1, high + 1, low + 1, high - 1, 2 * low, 2 * high, low - 0.5, high + 0.5, low + 0.75]
    values = [0.0, -0.0, 0.5, -0.5, 0.99, -0.99, 1e30, -1e30, np.inf, -np.inf, np.nan, *edges, *rng.normal(0, high, 50)]
    x = rv.tensor([float(v) for v in values], "float64").astype(source)

    def exact(v: float) -> int:
        if math.isnan(v):
            return 0
        return high if v >= high else low if v <= low else math.trunc(v)

    assert x.astype(target).tolist() == [exact(v) for v in x.tolist()]
    assert rv.tensor(x.numpy()[0]).astype(target).item() == 0


def test_other_conversions() -> None:
    assert rv.tensor([300, -1, 2**40 + 5]).astype("uint8").tolist() == [44, 255, 5]
    assert rv.tensor([0.0, -0.0, 0.1, np.nan]).astype("bool").tolist() == [False, False, True, True]
    assert rv.tensor([True, False]).astype("float32").tolist() == [1.0, 0.0]
    assert rv.tensor([2**24 + 1]).astype("float32").item() == 2**24
    assert rv.tensor(1e300, "float64").astype("float32").item() == math.inf
    assert rv.tensor(1e300, "float64").astype("bfloat16").item() == math.inf
    x = rv.tensor([1.0])
    assert x.astype("float32") is x
    assert rv.bitcast(rv.tensor([1.0, -0.0]), "int32").tolist() == [0x3F800000, -(2**31)]
