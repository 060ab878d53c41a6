"""Loop nests against NumPy: maps, row and column reductions, on random shapes, strides and dtypes.

Random nests compute with small integers, so that every sum is exact in any order and results must agree bit for bit.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from ranvier.compiler.native.expr import Instr
from ranvier.compiler.native.nest import Nest, Operand, canonical

from .run_native_nest import HERE, NUMPY, Builder, call, reference

isas = pytest.mark.parametrize("isa", HERE, ids=lambda isa: isa.name)
NUMBERS = ("float32", "float64", "bfloat16", "int32", "int64", "int16")


def guarded(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values inside a larger array of bytes that must stay as they are."""
    outer = np.full(values.nbytes + 256, 0xA5, np.uint8)
    inner = outer[128 : 128 + values.nbytes].view(values.dtype)
    inner[...] = values.ravel()
    return outer, inner


def check(nest: Nest, isa, buffers: list[np.ndarray], cuts: tuple[int, ...] = (), close: float = 0) -> None:
    """Run a nest and its reference on copies of the buffers; compare everything, and the bytes around."""
    outers, inners = zip(*map(guarded, buffers), strict=True)
    want = [b.copy().ravel() for b in buffers]
    assert call(nest, isa, inners, cuts) == 0
    reference(nest, want)
    for number, (outer, got, expected) in enumerate(zip(outers, inners, want, strict=True)):
        assert (outer[:128] == 0xA5).all() and (outer[-128:] == 0xA5).all(), f"operand {number}: written outside"
        if close and got.dtype.kind == "f":
            np.testing.assert_allclose(got, expected, rtol=close, atol=close, err_msg=f"operand {number}")
        else:
            np.testing.assert_array_equal(got, expected, err_msg=f"operand {number} of {nest.key()}")


def small(rng: np.random.Generator, count: int, dtype: str) -> np.ndarray:
    """Small whole numbers."""
    return rng.integers(0 if dtype in ("bool", "uint8") else -3, 2 if dtype == "bool" else 4, count).astype(
        NUMPY[dtype]
    )


class Random:
    """A random nest: operands with random strides, a random body of exact ops, stores."""

    def __init__(self, rng: np.random.Generator, dims: tuple[int, ...], reduce: str, dtype: str):
        self.rng, self.dims, self.reduce, self.dtype = rng, dims, reduce, dtype
        self.operands: list[Operand] = []
        self.buffers: list[np.ndarray] = []
        self.body = Builder(dtype)
        self.axis = len(dims) - {"none": 0, "last": 1, "middle": 2}[reduce]

    def operand(self, dtype: str, keep: list[bool], values: bool = True) -> int:
        """An operand that varies along the loops in ``keep``, in a random order of axes, with gaps and an offset."""
        order = self.rng.permutation(len(self.dims)) if self.rng.random() < 0.3 else np.arange(len(self.dims))
        strides, step = [0] * len(self.dims), 1 if self.rng.random() < 0.8 else 2
        for d in reversed(order):
            if keep[d]:
                strides[d] = step
                step *= self.dims[d]
        if self.dims[-1] > 1 and keep[-1] and self.rng.random() < 0.1:  # backwards
            offset, strides[-1] = strides[-1] * (self.dims[-1] - 1), -strides[-1]
        else:
            offset = int(self.rng.integers(0, 3))
        size = offset + step + 1
        self.operands.append(Operand(dtype, tuple(strides), offset, size))
        self.buffers.append(small(self.rng, size, dtype) if values else np.zeros(size, NUMPY[dtype]))
        return len(self.operands) - 1

    def pattern(self) -> list[bool]:
        return [bool(self.rng.random() < 0.8) for _ in self.dims]

    def grow(self, values: list[int], count: int) -> None:
        """Append random exact ops; sums are clipped so that everything stays small."""
        e, rng = self.body, self.rng
        for _ in range(count):
            a, b = (values[i] for i in rng.integers(0, len(values), 2))
            op = str(rng.choice(["add", "sub", "maximum", "minimum", "neg", "abs", "where", "mul", "sqrt"]))
            if op in ("neg", "abs"):
                value = e(op, a)
            elif op == "where":
                value = e("where", e("less", a, b, dtype="bool"), a, b)
            elif op == "sqrt" and self.dtype.startswith(("f", "b")):
                value = e("floor", e("sqrt", e("abs", a)))
            else:
                value = e("add" if op == "sqrt" else op, a, b)
            values.append(e("minimum", e("maximum", value, e.const(-5)), e.const(5)))

    def make(self) -> tuple[Nest, list[np.ndarray]]:
        e, rng, rank = self.body, self.rng, len(self.dims)
        values = [e.load(self.operand(self.dtype, self.pattern())) for _ in range(int(rng.integers(1, 4)))]
        other = str(rng.choice(["bool", "uint8", "float32", "int64"]))
        values.append(e("cast", e.load(self.operand(other, self.pattern()), other)))
        d = int(rng.integers(rank))
        values.append(e("minimum", e("cast", e.iota(d, "int32")), e.const(5)))
        self.grow(values, 4)
        for _ in range(0 if self.reduce == "none" else int(rng.integers(1, 4))):
            op = str(rng.choice(["reduce_sum", "reduce_max", "reduce_min"]))
            total = e(op, values[int(rng.integers(len(values)))])
            values.append(e("minimum", e("maximum", total, e.const(-100)), e.const(100)))
            self.grow(values, 2)
        kept = {values[-1], values[int(rng.integers(len(values)))]}
        stores = [(self.operand(self.dtype, self.keep_for(value), values=False), value) for value in sorted(kept)]
        nest = Nest(self.dims, self.reduce, tuple(self.operands), tuple(e.body), tuple(stores))
        return nest, self.buffers

    def keep_for(self, value: int) -> list[bool]:
        """The loops an output must have for a value; sometimes one more."""
        depends = self.depends(value)
        return [d in depends or self.rng.random() < 0.2 for d in range(len(self.dims))]

    def depends(self, value: int) -> set[int]:
        instr = self.body.body[value]
        if instr.op == "iota":
            return {instr.attrs[0]}
        found = {d for a in instr.args for d in self.depends(a)}
        if instr.op == "load":
            found |= {d for d, s in enumerate(self.operands[instr.attrs[0]].strides) if s}
        return found - {self.axis} if instr.op.startswith("reduce_") else found


def random_dims(rng: np.random.Generator, rank: int) -> tuple[int, ...]:
    pool = [1, 1, 2, 3, 5, 7, 8, 10, 15, 16, 17, 31, 33, 64, 70]
    return tuple(int(n) for n in rng.choice(pool, rank))


@isas
@pytest.mark.parametrize("reduce", ["none", "last", "middle"])
@pytest.mark.parametrize("trial", range(24))
def test_random_nests(reduce, trial, isa, rng):
    rank = int(rng.integers({"none": 1, "last": 1, "middle": 2}[reduce], 5))
    dims = random_dims(rng, rank)
    while math.prod(dims) > 30000:
        dims = tuple(max(n // 2, 1) for n in dims)
    nest, buffers = Random(rng, dims, reduce, str(rng.choice(NUMBERS))).make()
    units = nest.units
    check(nest, isa, buffers, (units // 3, units // 2) if units > 3 else ())


@isas
@pytest.mark.parametrize("n", [1, 15, 16, 17, 63, 64, 65, 2047, 2410, 3072, 3073, 4096, 6161])
@pytest.mark.parametrize("reduce", ["none", "last", "middle"])
def test_long_rows(reduce, n, isa, rng):
    """Lengths round every boundary: vectors, unrolled steps, blocks, units."""
    dims = {"none": (n,), "last": (2, n), "middle": (n, 3)}[reduce]
    nest, buffers = Random(rng, dims, reduce, "float64").make()
    check(nest, isa, buffers, tuple(range(1, nest.units)))


@isas
@pytest.mark.parametrize("n", [1, 16, 100, 127, 128, 129, 200, 256, 300])
@pytest.mark.parametrize("m", [1, 2, 9, 40])
def test_columns(m, n, isa, rng):
    nest, buffers = Random(rng, (2, m, n), "middle", "int64").make()
    check(nest, isa, buffers, tuple(range(1, nest.units)))


@isas
@pytest.mark.parametrize("m, n", [(8, 8), (16, 16), (17, 40), (40, 17), (33, 300), (128, 64), (9, 1000)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "bool", "int8"])
def test_transposing_maps(m, n, dtype, isa, rng):
    """One operand transposed, one plain, one row and one column; also in a batch."""
    e = Builder(dtype)
    y = e("maximum", e("add", e("maximum", e.load(0), e.load(1)), e.load(2)), e.load(3))
    operands = (
        Operand(dtype, (m * n, 1, m)), Operand(dtype, (0, n, 1)), Operand(dtype, (0, 0, 1)), Operand(dtype, (1, 3, 0)),
        Operand(dtype, (m * n, n, 1)),
    )  # fmt: skip
    nest = Nest((3, m, n), "none", operands, tuple(e.body), ((4, y),))
    buffers = [small(rng, size, dtype) for size in (3 * m * n, m * n, n, 3 * m, 3 * m * n)]
    check(nest, isa, buffers, tuple(range(1, nest.units)))
    copy = Nest(
        (m, n), "none", (Operand(dtype, (1, m)), Operand(dtype, (n, 1))), (Instr("load", dtype, (), (0,)),), ((1, 0),)
    )
    check(copy, isa, [buffers[1], np.zeros_like(buffers[1])], (1,) if copy.units > 1 else ())


def adam(n: int) -> Nest:
    e = Builder("float32")
    p, m, v, g, lr = (e.load(i) for i in range(5))
    m2 = e("add", e("mul", e.const(0.9), m), e("mul", e.const(0.1), g))
    v2 = e("add", e("mul", e.const(0.999), v), e("mul", e("mul", e.const(0.001), g), g))
    p2 = e("sub", p, e("div", e("mul", lr, m2), e("add", e("sqrt", v2), e.const(1e-7))))
    flat, one = Operand("float32", (1,), 0, n), Operand("float32", (0,), 0, 1)
    return Nest((n,), "none", (flat,) * 4 + (one,), tuple(e.body), ((0, p2), (1, m2), (2, v2)))


@isas
@pytest.mark.parametrize("n", [1, 33, 2410, 5000])
def test_adam_in_place_rounds_every_op(n, isa, rng):
    """Float arithmetic is bit-exact: nothing is contracted to a fused multiply-add."""
    p, m, v, g = (rng.standard_normal(n).astype(np.float32) for _ in range(4))
    check(adam(n), isa, [p, m, v * v, g, np.array([0.01], np.float32)])


def cross_entropy(m: int, width: int, classes: int) -> Nest:
    """Softmax cross-entropy with its gradient: logits, labels -> gradient, loss per row."""
    e = Builder("float32")
    x, label = e.load(0), e.load(1, "int32")
    top = e("reduce_max", x)
    power = e("exp", e("sub", x, top))
    total = e("reduce_sum", power)
    hot = e("cast", e("equal", e.iota(1, "int32"), label, dtype="bool"))
    gradient = e("mul", e("sub", e("div", power, total), hot), e.const(1 / m))
    loss = e("sub", e("add", e("log", total), top), e.gather(0, 1, label))
    wide, column = Operand("float32", (width, 1), 0, m * width), (1, 0)
    operands = (wide, Operand("int32", column, 0, m), wide, Operand("float32", column, 0, m))
    return Nest((m, width), "last", operands, tuple(e.body), ((2, gradient), (3, loss)), valid=classes)


@isas
@pytest.mark.parametrize(
    "m, width, classes",
    [(32, 16, 10), (128, 16, 10), (3, 48, 33), (5, 128, 100), (1, 16, 16), (1000, 16, 3), (128, 48, 33)],
)
def test_cross_entropy_with_gradient(m, width, classes, isa, rng):
    logits = np.full((m, width), np.nan, np.float32)  # padding may hold anything
    logits[:, :classes] = rng.standard_normal((m, classes)) * 3
    labels = rng.integers(0, classes, m).astype(np.int32)
    gradient, loss = np.full((m, width), 7, np.float32), np.zeros(m + 16, np.float32)
    nest = cross_entropy(m, width, classes)
    for cuts in ((), tuple(range(1, nest.units))):
        call(nest, isa, [logits, labels, gradient, loss], cuts)
        _check_cross_entropy(logits, labels, gradient, loss, classes)


def _check_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, gradient: np.ndarray, loss: np.ndarray, classes: int
) -> None:
    m = len(labels)
    exact = logits[:, :classes].astype(np.float64)
    p = np.exp(exact - exact.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(loss[:m], -np.log(p[np.arange(m), labels]), rtol=2e-6, atol=2e-6)
    assert (loss[m:] == 0).all()
    p[np.arange(m), labels] -= 1
    np.testing.assert_allclose(gradient[:, :classes], p / m, rtol=2e-5, atol=2e-7 / m)
    assert (gradient[:, classes:] == 0).all()


@isas
@pytest.mark.parametrize("n", [5, 64, 200, 1000, 9000])
def test_softmax_in_place_and_nan(n, isa, rng):
    e = Builder("float32")
    x = e.load(0)
    power = e("exp", e("sub", x, e("reduce_max", x)))
    y = e("div", power, e("reduce_sum", power))
    nest = Nest((3, n), "last", (Operand("float32", (n, 1), 0, 3 * n),), tuple(e.body), ((0, y),))
    values = rng.standard_normal((3, n)).astype(np.float32)
    values[1, n // 2] = np.nan
    values[2, 0] = -np.inf
    got = values.copy()
    call(nest, isa, [got])
    with np.errstate(invalid="ignore"):
        want = np.exp(values.astype(np.float64) - values.max(1, keepdims=True))
    want /= want.sum(1, keepdims=True)
    np.testing.assert_allclose(got, want, rtol=3e-6)
    assert np.isnan(got[1]).all() and got[2, 0] == 0


@isas
@pytest.mark.parametrize("m, n", [(7, 5), (64, 130), (700, 20)])
def test_batch_normalisation_in_one_column_kernel(m, n, isa, rng):
    """Mean, then variance, then a store of every element: three passes down the columns."""
    e = Builder("float32")
    x = e.load(0)
    mean = e("mul", e("reduce_sum", x), e.const(1 / m))
    apart = e("sub", x, mean)
    variance = e("mul", e("reduce_sum", e("mul", apart, apart)), e.const(1 / m))
    y = e("div", apart, e("sqrt", e("add", variance, e.const(1e-3))))
    whole, row = Operand("float32", (n, 1), 0, m * n), Operand("float32", (0, 1), 0, n)
    nest = Nest((m, n), "middle", (whole, whole, row, row), tuple(e.body), ((1, y), (2, mean), (3, variance)))
    values = (rng.standard_normal((m, n)) + 5).astype(np.float32)
    check(nest, isa, [values, np.zeros_like(values), *np.zeros((2, n), np.float32)], close=2e-5)


@isas
@pytest.mark.parametrize("reduce", ["last", "middle"])
@pytest.mark.parametrize("op", ["max", "min", "sum"])
def test_reductions_see_nan_and_infinity(op, reduce, isa):
    x = np.zeros((40, 40), np.float32)
    for i, special in enumerate([np.nan, np.inf, -np.inf, -np.nan]):
        x[i, 3 * i] = special
        x[20 + i, 39] = special
    x[10, [1, 2]] = np.inf, -np.inf
    x[11, [1, 30]] = np.nan, np.inf
    e = Builder("float32")
    total = e(f"reduce_{op}", e.load(0))
    strides = (40, 1) if reduce == "last" else (1, 40)
    out = (1, 0) if reduce == "last" else (0, 1)
    operands = (Operand("float32", strides, 0, 1600), Operand("float32", out, 0, 40))
    nest = Nest((40, 40), reduce, operands, tuple(e.body), ((1, total),))
    got = np.zeros(40, np.float32)
    call(nest, isa, [x, got])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(got, getattr(np, op)(x, axis=1))


@isas
@pytest.mark.parametrize("reduce", ["last", "middle"])
def test_sums_have_one_value_and_it_is_accurate(reduce, isa, rng):
    """Bits do not depend on how units are cut, and a long float32 sum is good to a few units in the last place."""
    n = 70000
    e = Builder("float32")
    total = e("reduce_sum", e.load(0))
    strides, out = ((n, 1), (1, 0)) if reduce == "last" else ((1, n), (0, 1))
    dims = (3, n) if reduce == "last" else (n, 3)
    nest = Nest(dims, reduce, (Operand("float32", strides), Operand("float32", out)), tuple(e.body), ((1, total),))
    x = rng.random((3, n)).astype(np.float32)
    first, second = np.zeros(3, np.float32), np.zeros(3, np.float32)
    call(nest, isa, [x, first])
    call(nest, isa, [x, second], tuple(range(1, nest.units)))
    assert first.tobytes() == second.tobytes()
    np.testing.assert_allclose(first, x.astype(np.float64).sum(1), rtol=5e-7)


@isas
@pytest.mark.parametrize("op, dtype", [("and", "bool"), ("or", "bool"), ("max", "bool"), ("sum", "int64"),
                                       ("prod", "int32"), ("and", "uint8"), ("or", "int16"), ("max", "uint8"),
                                       ("sum", "int8")])  # fmt: skip
@pytest.mark.parametrize("n", [3, 100, 777])
def test_reductions_of_other_dtypes(op, dtype, n, isa, rng):
    e = Builder(dtype)
    total = e(f"reduce_{op}", e.load(0))
    x = rng.integers(0, 2 if dtype == "bool" else 120, (5, n)).astype(NUMPY[dtype])
    x[0] = 1
    for nest in (
        Nest((5, n), "last", (Operand(dtype, (n, 1)), Operand(dtype, (1, 0))), tuple(e.body), ((1, total),)),
        Nest((n, 5), "middle", (Operand(dtype, (1, n)), Operand(dtype, (0, 1))), tuple(e.body), ((1, total),)),
    ):
        check(nest, isa, [x, np.zeros(5, NUMPY[dtype])])


@isas
@pytest.mark.parametrize("index", ["int32", "int64", "uint8", "int8"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "bool", "int8"])
def test_gather_rows(index, dtype, isa, rng):
    """Rows of a table by index: runs of elements."""
    table = small(rng, 100 * 37, dtype)
    which = rng.integers(0, 100, 9).astype(index)
    e = Builder(dtype)
    value = e.gather(0, 0, e.load(1, index))
    operands = (Operand(dtype, (37, 1), 0, 3700), Operand(index, (1, 0), 0, 9), Operand(dtype, (37, 1), 0, 333))
    nest = Nest((9, 37), "none", operands, tuple(e.body), ((2, value),))
    got = np.zeros((9, 37), NUMPY[dtype])
    call(nest, isa, [table, which, got])
    np.testing.assert_array_equal(got, table.reshape(100, 37)[which.astype(int)])


@isas
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("index", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("size", [0, 12 * 21])
def test_take_along_axis(axis, index, size, isa, rng):
    """The index varies from lane to lane."""
    x = rng.standard_normal((12, 21)).astype(np.float32)
    shape = (30, 21) if axis == 0 else (12, 50)
    which = rng.integers(0, x.shape[axis], shape).astype(index)
    e = Builder("float32")
    value = e.gather(0, axis, e.load(1, index))
    full = (shape[1], 1)
    operands = (Operand("float32", (21, 1), 0, size), Operand(index, full), Operand("float32", full))
    nest = Nest(shape, "none", operands, tuple(e.body), ((2, value),))
    got = np.zeros(shape, np.float32)
    call(nest, isa, [x, which, got])
    np.testing.assert_array_equal(got, np.take_along_axis(x, which.astype(int), axis))


@isas
def test_gather_of_labels_and_constants(isa, rng):
    """An index that is the same for all lanes of a row, and one that is a constant."""
    x, labels = rng.standard_normal((20, 33)).astype(np.float32), rng.integers(0, 33, 20).astype(np.int64)
    e = Builder("float32")
    y = e("sub", e.gather(0, 1, e.load(1, "int64")), e.gather(0, 1, e.const(2, "int32")))
    operands = (Operand("float32", (33, 1)), Operand("int64", (1, 0)), Operand("float32", (1, 0)))
    got = np.zeros(20, np.float32)
    call(Nest((20, 33), "last", operands, tuple(e.body), ((2, y),)), isa, [x, labels, got])
    np.testing.assert_array_equal(got, x[np.arange(20), labels] - x[:, 2])


@isas
@pytest.mark.parametrize("reduce", ["none", "last", "middle"])
def test_checked_mode_agrees_and_reports(reduce, isa, rng):
    nest, buffers = Random(rng, (3, 9, 37), reduce, "float32").make()
    good = Nest(nest.dims, nest.reduce, nest.operands, nest.body, nest.stores, checked=True)
    check(good, isa, buffers)
    target = nest.stores[0][0]
    for victim in (0, target):
        operands = list(nest.operands)
        old = operands[victim]
        reach = old.offset + sum(max(s, 0) * (n - 1) for s, n in zip(old.strides, nest.dims, strict=True))
        operands[victim] = Operand(old.dtype, old.strides, old.offset, reach)  # one element too small
        bad = Nest(nest.dims, nest.reduce, tuple(operands), nest.body, nest.stores, checked=True)
        inners = [guarded(b)[1] for b in buffers]
        live = victim == target or _reads(nest, victim)
        assert call(bad, isa, inners) == (1 if live else 0)
        if victim == target:
            assert inners[victim][reach] == buffers[victim][reach], "the element past the end was written"


def _reads(nest: Nest, operand: int) -> bool:
    needed = {i for _, i in nest.stores}
    for at in range(len(nest.body) - 1, -1, -1):
        if at in needed:
            needed.update(nest.body[at].args)
    return any(nest.body[i].op == "load" and nest.body[i].attrs[0] == operand for i in needed)


@isas
@pytest.mark.parametrize("last", [False, True])
def test_checked_gather_skips_bad_indices(last, isa):
    table = np.arange(10, dtype=np.float32)
    which = np.array([3, 11, 0, -1, 9, 2**31 - 1, 5], np.int32)
    e = Builder("float32")
    value = e.gather(0, 0, e.load(1, "int32"))
    other = (0, 1) if last else (1, 0)
    shape = (1, 7) if last else (7, 1)
    operands = (Operand("float32", (1, 0), 0, 10), Operand("int32", other, 0, 7), Operand("float32", other, 0, 7))
    got = np.full(7, -5, np.float32)
    nest = Nest(shape, "none", operands, tuple(e.body), ((2, value),), checked=True)
    assert call(nest, isa, [table, which, got]) == 1
    np.testing.assert_array_equal(got, [3, 0, 0, 0, 9, 0, 5])


@isas
@pytest.mark.parametrize("dims, reduce", [((0,), "none"), ((3, 0), "none"), ((0, 5), "last"), ((4, 0), "middle")])
def test_nothing_to_do(dims, reduce, isa):
    strides, load = (1,) * len(dims), Instr("load", "float32", (), (0,))
    nest = Nest(dims, reduce, (Operand("float32", strides),) * 2, (load,), ((1, 0),))
    assert nest.units == 0
    buffer = np.full(1, 9, np.float32)
    call(nest, isa, [buffer, buffer])
    assert buffer[0] == 9


@isas
@pytest.mark.parametrize("reduce, dims", [("last", (4, 0)), ("middle", (0, 4))])
def test_empty_sums_are_zero(reduce, dims, isa):
    e = Builder("float32")
    total = e("reduce_sum", e.load(0))
    out = (1, 0) if reduce == "last" else (0, 1)
    nest = Nest(dims, reduce, (Operand("float32", (1, 1)), Operand("float32", out)), tuple(e.body), ((1, total),))
    got = np.full(4, 9, np.float32)
    call(nest, isa, [np.zeros(1, np.float32), got])
    assert (got == 0).all()


def test_canonical_joins_and_drops_loops():
    load = Instr("load", "float32", (), (0,))
    full, bias = Operand("float32", (120, 0, 20, 1)), Operand("float32", (0, 0, 0, 1))
    plain = Nest((5, 1, 6, 20), "none", (full, full), (load,), ((1, 0),))
    assert canonical(plain).dims == (600,)
    assert canonical(Nest((5, 1, 6, 20), "none", (bias, full), (load,), ((1, 0),))).dims == (30, 20)
    assert canonical(Nest((5, 1, 6, 20), "last", (full, full), (load,), ((1, 0),))).dims == (30, 20)
    turned = Operand("float32", (1, 0, 5, 30))
    assert canonical(Nest((5, 1, 6, 20), "none", (turned, turned), (load,), ((1, 0),))).dims[-1] == 5
    out, index = Operand("int32", full.strides), Instr("iota", "int32", (), (2,))
    named = Nest((5, 1, 6, 20), "none", (full, out), (index,), ((1, 0),))
    assert canonical(named).dims == (5, 6, 20)


def test_small_work_is_one_unit_and_keys_tell_nests_apart():
    assert adam(2410).units == 1
    assert cross_entropy(32, 16, 10).units == 1
    assert adam(535818).units == math.ceil(535818 / 2048)
    keys = {adam(5).key(), adam(6).key(), cross_entropy(3, 16, 10).key(), cross_entropy(3, 16, 11).key()}
    assert len(keys) == 4
    assert adam(100).bytes == 4 * 4 * 100 + 4
    assert adam(100).flops == 100 * 12


def test_malformed_nests_are_refused():
    load = Instr("load", "float32", (), (0,))
    o = Operand("float32", (1,))
    with pytest.raises(AssertionError, match="one stride per loop"):
        Nest((3, 3), "none", (o, o), (load,), ((1, 0),)).check()
    with pytest.raises(AssertionError, match="a float32 value is stored into a int32 operand"):
        Nest((3,), "none", (o, Operand("int32", (1,))), (load,), ((1, 0),)).check()
    with pytest.raises(AssertionError, match="a map has no reductions"):
        Nest((3,), "none", (o, o), (load, Instr("reduce_sum", "float32", (0,))), ((1, 1),)).check()


@isas
@pytest.mark.parametrize(
    "dtype, wide", [("bfloat16", "float32"), ("int8", "int32"), ("int16", "int64"), ("uint8", "float32")]
)
@pytest.mark.parametrize("n", [1, 17, 33, 2049])
def test_a_single_last_element_is_all_that_is_written(dtype, wide, n, isa, rng):
    """LLVM 22 writes too far when a masked store of one lane takes a narrowed value."""
    e = Builder(dtype)
    value = e("cast", e("add", e.load(0, wide), e.load(0, wide), dtype=wide))
    nest = Nest((n,), "none", (Operand(wide, (1,)), Operand(dtype, (1,))), tuple(e.body), ((1, value),))
    check(nest, isa, [rng.integers(0, 50, n).astype(wide), np.zeros(n, NUMPY[dtype])])
