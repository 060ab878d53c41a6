"""Every record of the op table: complete, and in agreement with its own shape rule and with NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import dtypes
from ranvier.ops.table import Op
from ranvier.tensor import Tensor

from . import op_records as records

OPS = list(records.OPS.values())
NAMES = list(records.OPS)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal values, NaN where NaN, and the same sign of zeros."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    return bool(np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a[a == 0]), np.signbit(b[b == 0])))


# -- the records themselves ---------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_the_table_is_large_and_its_families_are_known() -> None:
    assert len(OPS) > 60
    families = {"elementwise", "reduce", "shape", "contraction", "convolution", "window", "index", "random"}
    assert {op.family for op in OPS} == families


@pytest.mark.smoke
@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_records_are_complete(op: Op) -> None:
    doc = op.__doc__ or ""
    assert doc.strip().endswith("."), "a record says in a sentence what it computes"
    assert op.name in records.ELEMENTWISE or op.samples is not None, "a record brings sample inputs"
    rules = op.vjps or (None,)
    assert None not in rules or op.no_gradient, "an input without a gradient rule says why"
    if op.vjps:
        assert len(op.vjps) == (op.arity if op.arity >= 0 else 1), "one rule for each input"
    assert op.kinds and set(op.kinds.split()) <= {"bool", "int", "float"}
    assert op.name in records.ELEMENTWISE or op.name in records.PUBLIC, "tests know how users call it"


@pytest.mark.smoke
def test_ops_that_can_be_given_wrong_shapes_declare_error_inputs() -> None:
    shaped = {"matmul", "where", "reshape", "broadcast_to", "concatenate", "scatter_add", "take_along_axis"}
    shaped |= {op.name for op in OPS if op.family in ("convolution", "window")}
    assert {name for name in shaped if not records.OPS[name].errors} == set()


# -- shape rule, reference and result agree -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", records.DTYPES, ids=str)
@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_rule_equals_result(op: Op, dtype: dtypes.DType, rng: np.random.Generator) -> None:
    for arrays, attrs in records.samples(op, rng):
        inputs = [records.as_dtype_of(a, dtype) for a in arrays]
        if op.name == "bitcast" or not records.accepts(op, inputs, attrs):
            continue
        shape, expected = op.infer(inputs, **attrs)
        out = records.run(op, inputs, attrs)
        assert (out.shape, out.dtype) == (shape, expected)
        assert out.numpy().shape == shape and out.numpy().dtype == expected.numpy
        with np.errstate(all="ignore"):
            meant = np.asarray(op.reference(*[t.numpy() for t in inputs], **attrs))
        meant = dtypes.round_bfloat16(meant) if expected is dtypes.bfloat16 else meant
        assert same(out.numpy(), meant)
        again = records.public(op)(*inputs, **attrs)
        assert (again.shape, again.dtype) == (shape, expected)
        if op.name != "random_bits":
            assert same(again.numpy(), out.numpy()), "the public function means the record"


@pytest.mark.parametrize("dtype", records.DTYPES, ids=str)
@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_other_dtypes_are_converted_or_refused(op: Op, dtype: dtypes.DType, rng: np.random.Generator) -> None:
    arrays, attrs = records.samples(op, rng)[0]
    inputs = [records.as_dtype_of(a, dtype) for a in arrays]
    if op.name in ("bitcast", "random_bits") or records.accepts(op, inputs, attrs):
        return
    if op.kinds == "float":  # functions of real numbers take integers as float32
        real = [t.astype("float32") if a.dtype == np.float64 else t for t, a in zip(inputs, arrays, strict=True)]
        assert records.public(op)(*inputs, **attrs).dtype is op.infer(real, **attrs).dtype
        return
    with pytest.raises(rv.errors.DTypeError, match=f"expected .* got {dtype}"):
        records.public(op)(*inputs, **attrs)


@pytest.mark.parametrize("op", [op for op in OPS if op.errors], ids=[op.name for op in OPS if op.errors])
def test_declared_errors_are_raised(op: Op) -> None:
    for arrays, attrs, error, text in op.errors:
        inputs = [rv.asarray(a) for a in arrays]
        with pytest.raises(error, match=text):
            op.infer(inputs, **attrs)
        with pytest.raises(error, match=r"expected|cannot|do not|differ|must|same width|other than"):
            records.public(op)(*inputs, **attrs)


@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_inputs_need_not_be_contiguous(op: Op, rng: np.random.Generator) -> None:
    for sample in records.samples(op, rng):
        inputs, attrs = records.fitting(op, sample), sample[1]
        plain = records.run(op, inputs, attrs).numpy()
        for view in (_strided, _reversed, _fortran, _read_only):
            given = [rv.asarray(view(t.numpy()), copy=False) for t in inputs]
            out = records.run(op, given, attrs).numpy()
            assert out.dtype == plain.dtype
            # NumPy's vector code and its scalar code differ in the last places.
            np.testing.assert_allclose(out, plain, rtol=1e-14, strict=True, err_msg=view.__name__)


def _strided(a: np.ndarray) -> np.ndarray:
    wide = np.zeros(tuple(2 * n for n in a.shape), a.dtype)
    every = (slice(None, None, 2),) * a.ndim
    wide[every] = a
    return wide[every]


def _reversed(a: np.ndarray) -> np.ndarray:
    back = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[back]).reshape(a.shape)[back]


def _fortran(a: np.ndarray) -> np.ndarray:
    return a.copy(order="F")


def _read_only(a: np.ndarray) -> np.ndarray:
    fixed = a.copy()
    fixed.flags.writeable = False
    return fixed


# -- elementwise ops against NumPy's own functions ----------------------------------------------------------------


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(v) for v in np.ravel(x)], x.dtype).reshape(x.shape)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.longdouble)))


def _wrapped(values: list[int], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Exact integers as ``x.dtype`` holds them: the low bits."""
    bits = 8 * x.dtype.itemsize
    low = [v % 2**bits for v in values]
    signed = [v - 2**bits if x.dtype.kind == "i" and v >= 2 ** (bits - 1) else v for v in low]
    return np.array(signed, x.dtype).reshape(np.broadcast_shapes(x.shape, y.shape))


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.float_power(x, y)
    modulus = 2 ** (8 * x.dtype.itemsize)
    return _wrapped([0 if q < 0 else pow(int(p), int(q), modulus) for p, q in np.broadcast(x, y)], x, y)


def _floor_divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.floor_divide(x, y)
    return _wrapped([0 if q == 0 else int(p) // int(q) for p, q in np.broadcast(x, y)], x, y)


def _remainder(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.mod(x, y)
    return _wrapped([0 if q == 0 else int(p) % int(q) for p, q in np.broadcast(x, y)], x, y)


MEANING: dict[str, Callable[..., np.ndarray]] = {
    "abs": np.absolute, "add": np.add, "atan2": np.arctan2, "bitwise_and": np.bitwise_and,
    "bitwise_not": np.bitwise_not, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor, "ceil": np.ceil,
    "cos": np.cos, "div": np.true_divide, "equal": np.equal, "erf": _erf, "exp": np.exp, "expm1": np.expm1,
    "floor": np.floor, "floor_divide": _floor_divide, "isfinite": np.isfinite, "isinf": np.isinf, "isnan": np.isnan,
    "left_shift": np.left_shift, "less": np.less, "less_equal": np.less_equal, "log": np.log, "log1p": np.log1p,
    "logical_and": np.logical_and, "logical_not": np.logical_not, "logical_or": np.logical_or,
    "logical_xor": np.logical_xor, "maximum": np.maximum, "minimum": np.minimum, "mul": np.multiply, "neg": np.negative,
    "not_equal": np.not_equal, "pow": _power, "relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "remainder": _remainder, "right_shift": np.right_shift, "round": np.rint, "sigmoid": _logistic, "sign": np.sign,
    "sin": np.sin, "sqrt": np.sqrt, "sub": np.subtract, "tanh": np.tanh, "trunc": np.trunc,
}  # fmt: skip

# Where the meaning above is computed in another way than in the record, results may differ in the last places.
ROUNDED = {"sigmoid": 4, "pow": 2}


@pytest.mark.smoke
def test_every_elementwise_op_has_a_meaning_to_compare_with() -> None:
    assert set(MEANING) == set(records.ELEMENTWISE)


def _specials(dtype: dtypes.DType) -> np.ndarray:
    if dtype.is_float:
        info = np.finfo(dtype.numpy)
        values = [0.0, 1.0, 0.5, 2.0, 2.5, 3.0, 87.0, 1e4, info.max, info.tiny, info.smallest_subnormal, np.inf]
        return np.array([np.nan, *values, *[-v for v in values]], dtype.numpy)
    if dtype.kind == "bool":
        return np.array([False, True])
    info = np.iinfo(dtype.numpy)
    return np.array(
        sorted({0, 1, 2, 3, 5, info.max, info.max - 1, info.min, max(info.min, -1), max(info.min, -3)}), dtype.numpy
    )


def _agree(name: str, got: np.ndarray, meant: np.ndarray) -> None:
    meant = np.asarray(meant)
    if name not in ROUNDED or got.dtype.kind != "f":
        assert same(got, meant)
        return
    assert got.shape == meant.shape
    with np.errstate(all="ignore"):
        meant = meant.astype(got.dtype)
    finite = np.isfinite(meant)
    assert same(got[~finite], meant[~finite])
    with np.errstate(over="ignore"):
        ulp = np.spacing(np.abs(meant[finite]))
        assert np.all(np.abs(got[finite] - meant[finite]) <= ROUNDED[name] * ulp)


@pytest.mark.parametrize("dtype", [d for d in records.DTYPES if d is not dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("name", list(MEANING))
def test_special_values_are_numpys(name: str, dtype: dtypes.DType) -> None:
    op, values = records.ELEMENTWISE[name], _specials(dtype)
    if op.arity == 1:
        arrays: tuple[np.ndarray, ...] = (values,)
    else:
        arrays = (values[:, None], values[None, :])
        if name in ("left_shift", "right_shift"):
            arrays = (values[:, None], np.arange(8 * dtype.numpy.itemsize).astype(dtype.numpy)[None, :])
    inputs = [rv.asarray(a) for a in arrays]
    if not records.accepts(op, inputs, {}):
        return
    with np.errstate(all="ignore"):
        meant = MEANING[name](*arrays)
    _agree(name, op(*inputs).numpy(), meant)


@pytest.mark.parametrize("name", list(MEANING))
def test_bfloat16_is_float32_rounded(name: str, rng: np.random.Generator) -> None:
    op = records.ELEMENTWISE[name]
    arrays, _ = records.samples(op, rng)[0]
    inputs = [rv.asarray(a, "bfloat16") for a in arrays]
    if not records.accepts(op, inputs, {}):
        return
    wide = op(*[t.astype("float32") for t in inputs]).numpy()
    out = op(*inputs)
    assert same(out.numpy(), wide if out.dtype is dtypes.bool_ else dtypes.round_bfloat16(wide))


def _shapes(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast, with axes of size 0 and 1 among them."""
    full = [int(n) for n in rng.choice([0, 1, 1, 2, 3, 5, 17], size=rng.integers(0, 5))]
    pair = []
    for _ in range(2):
        cut = full[rng.integers(0, len(full) + 1) :]
        pair.append(tuple(1 if rng.random() < 0.3 else n for n in cut))
    return pair[0], pair[1]


@pytest.mark.parametrize("name", list(MEANING))
def test_random_broadcasting_shapes(name: str, rng: np.random.Generator) -> None:
    op = records.ELEMENTWISE[name]
    low, high = op.domain
    for _ in range(12):
        shapes = _shapes(rng)[: op.arity]
        for dtype in ("float32", "int32", "bool"):
            arrays = [rng.uniform(low, high, shape).astype(dtype) for shape in shapes]
            inputs: list[Tensor] = [rv.asarray(a) for a in arrays]
            if not records.accepts(op, inputs, {}):
                continue
            with np.errstate(all="ignore"):
                meant = MEANING[name](*arrays)
            _agree(name, op(*inputs).numpy(), meant)


@pytest.mark.parametrize("name", [n for n, op in records.ELEMENTWISE.items() if op.arity == 2])
def test_shapes_that_do_not_broadcast(name: str) -> None:
    op = records.ELEMENTWISE[name]
    dtype = "float32" if "float" in op.kinds else "int32" if "int" in op.kinds else "bool"
    x, y = (rv.asarray(np.ones(shape), dtype) for shape in ((2, 3), (4, 3)))
    with pytest.raises(
        rv.errors.ShapeError, match=r"\(2, 3\) and \(4, 3\) do not broadcast: axis -2 has sizes 2 and 4"
    ):
        op(x, y)


@pytest.mark.parametrize(
    "call, fraction",
    [
        (lambda x: rv.sum(x, (0, 2)), lambda a: a.sum((0, 2))),
        (lambda x: rv.mean(x, 1), lambda a: a.mean(1)),
        (lambda x: rv.prod(x, -1), lambda a: a.prod(-1)),
        (lambda x: rv.max(x, (0, 1), keepdims=True), lambda a: a.max((0, 1), keepdims=True)),
        (lambda x: rv.min(x), lambda a: a.min()),
        (lambda x: rv.var(x, 0, correction=1), lambda a: a.var(0, ddof=1)),
        (lambda x: rv.std(x, (1, 2)), lambda a: a.std((1, 2))),
        (lambda x: rv.logsumexp(x, 2), lambda a: np.log(np.exp(a).sum(2))),
        (lambda x: rv.logsumexp(x, keepdims=True), lambda a: np.log(np.exp(a).sum(keepdims=True))),
        (lambda x: rv.argmax(x, 1), lambda a: a.argmax(1)),
        (lambda x: rv.argmin(x), lambda a: a.argmin()),
        (lambda x: rv.argmax(x, keepdims=True), lambda a: a.argmax(keepdims=True)),
        (lambda x: rv.all(x > 0, 0), lambda a: (a > 0).all(0)),
        (lambda x: rv.any(x > 2, (0, 1)), lambda a: (a > 2).any((0, 1))),
        (lambda x: rv.dot(x[0, 0], x[1, 1]), lambda a: a[0, 0] @ a[1, 1]),
        (lambda x: rv.outer(x[0, 0], x[1, 1]), lambda a: np.outer(a[0, 0], a[1, 1])),
        (lambda x: rv.tensordot(x, x[0], 2), lambda a: np.tensordot(a, a[0], 2)),
        (lambda x: rv.vecdot(x, x, 1), lambda a: (a * a).sum(1)),
        (lambda x: x[0] @ x[1, 0], lambda a: a[0] @ a[1, 0]),
        (lambda x: x[0, 0] @ rv.matrix_transpose(x), lambda a: a[0, 0] @ np.swapaxes(a, 1, 2)),
    ],
)
def test_composed_functions_equal_numpy(
    call: Callable[[Any], Tensor], fraction: Callable[[np.ndarray], Any], rng: np.random.Generator
) -> None:
    a = rng.normal(size=(3, 4, 5))
    out = call(rv.asarray(a))
    meant = np.asarray(fraction(a))
    assert out.shape == meant.shape
    np.testing.assert_allclose(out.numpy(), meant, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "call, meant",
    [
        (lambda x: rv.repeat(x, 3, 1), lambda a: np.repeat(a, 3, 1)),
        (lambda x: rv.tile(x, (2, 1, 3, 1)), lambda a: np.tile(a, (2, 1, 3, 1))),
        (lambda x: rv.tile(x, 2), lambda a: np.tile(a, 2)),
        (
            lambda x: rv.pad(x, [(1, 2), (0, 0), (0, 3)], value=7),
            lambda a: np.pad(a, [(1, 2), (0, 0), (0, 3)], constant_values=7),
        ),
        (lambda x: rv.moveaxis(x, (0, 1), (2, 0)), lambda a: np.moveaxis(a, (0, 1), (2, 0))),
        (lambda x: rv.moveaxis(x, 0, -1), lambda a: np.moveaxis(a, 0, -1)),
        (lambda x: rv.swapaxes(x, 0, -1), lambda a: np.swapaxes(a, 0, -1)),
        (lambda x: rv.permute_dims(x, (1, 2, 0)), lambda a: np.permute_dims(a, (1, 2, 0))),
        (lambda x: rv.expand_dims(x, (0, -1)), lambda a: np.expand_dims(a, (0, -1))),
        (lambda x: rv.squeeze(rv.expand_dims(x, (0, 2))), lambda a: a),
        (lambda x: rv.stack([x, x + 1], 1), lambda a: np.stack([a, a + 1], 1)),
        (lambda x: rv.stack([x, x], -1), lambda a: np.stack([a, a], -1)),
        (lambda x: rv.concat([x, x], -1), lambda a: np.concat([a, a], -1)),
        (lambda x: rv.concatenate([x, x], None), lambda a: np.concatenate([a, a], None)),
        (lambda x: rv.flip(x), lambda a: np.flip(a)),
        (lambda x: rv.flip(x, (0, -1)), lambda a: np.flip(a, (0, -1))),
        (lambda x: rv.split(x, [1, 3], 1)[1], lambda a: np.split(a, [1, 3], 1)[1]),
        (lambda x: rv.split(x, 5, 2)[4], lambda a: np.split(a, 5, 2)[4]),
        (lambda x: rv.broadcast_arrays(x, 1.0)[1], lambda a: np.ones_like(a)),
        (lambda x: rv.clip(x, -1, 1), lambda a: np.clip(a, -1, 1)),
        (lambda x: rv.clip(x, max=0), lambda a: np.clip(a, None, 0)),
        (lambda x: rv.full_like(x, 2), lambda a: np.full_like(a, 2)),
        (lambda x: rv.zeros_like(x) + rv.ones_like(x) + rv.empty_like(x), lambda a: np.ones_like(a)),
    ],
)
def test_rearrangements_equal_numpy(
    call: Callable[[Any], Tensor], meant: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator
) -> None:
    a = rng.normal(size=(3, 4, 5)).astype(np.float32)
    assert same(call(rv.asarray(a)).numpy(), np.asarray(meant(a)))
