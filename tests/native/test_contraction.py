"""Contractions against NumPy, bit for bit: operands are small integers, so every sum is exact in any order."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from ranvier.compiler.native.contraction import (
    Contraction,
    EpilogueOperand,
    a_panels_k,
    a_panels_m,
    a_rows,
    choose_tile,
    panel_width,
    should_pack_a,
)
from ranvier.compiler.native.expr import Instr

from .kernel_runner import HOST_ISAS, ISAS, Kernel, assembly

SIZES = [1, 2, 3, 5, 7, 8, 10, 13, 16, 17, 30, 31, 32, 33, 40, 48, 64, 65, 100, 128]
LAYOUTS = ["rows", "columns", "panels_k", "panels_m"]
ACC = (Instr("acc", "float32"),)
TILE, ROW, COLUMN, SCALAR = (EpilogueOperand("float32", mode) for mode in ("tile", "row", "column", "scalar"))
PLAIN = ((TILE,), ACC, ((0, 0),))
# y = relu(acc + bias), and acc itself
BIAS_RELU = (
    (ROW, TILE, TILE),
    (*ACC, Instr("load", "float32", (), (0,)), Instr("add", "float32", (0, 1)), Instr("relu", "float32", (2,))),
    ((1, 3), (2, 0)),
)
# p -= (scalar * 0.5) * acc, in place, more than a light body: and a column and a comparison that picks
UPDATE = (
    (TILE, SCALAR, COLUMN),
    (
        *ACC,
        Instr("load", "float32", (), (0,)),
        Instr("load", "float32", (), (1,)),
        Instr("const", "float32", (), (0.5,)),
        Instr("mul", "float32", (2, 3)),
        Instr("mul", "float32", (4, 0)),
        Instr("sub", "float32", (1, 5)),
        Instr("load", "float32", (), (2,)),
        Instr("add", "float32", (6, 7)),
        Instr("less", "bool", (8, 7)),
        Instr("where", "float32", (9, 7, 8)),
        Instr("neg", "float32", (10,)),
        Instr("abs", "float32", (11,)),
    ),
    ((0, 12),),
)

NUMPY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "less": np.less, "where": np.where, "neg": np.negative,
    "abs": np.abs, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh,
}  # fmt: skip


def to_panels(x, width):
    """[..., R, N] as [..., panels, R, width], zeros in the pad."""
    rows, columns = x.shape[-2:]
    count = -(-columns // width)
    padded = np.zeros((*x.shape[:-1], count * width), x.dtype)
    padded[..., :columns] = x
    return np.ascontiguousarray(np.moveaxis(padded.reshape(*x.shape[:-2], rows, count, width), -2, -3))


def from_panels(panels, columns):
    """The plain matrix that panels hold."""
    moved = np.moveaxis(panels, -3, -2)
    return moved.reshape(*moved.shape[:-2], -1)[..., :columns]


def a_operand(layout, a, isa):
    """(AOperand, array) for A [batch, m, k] in the layout named."""
    batch, m, k = a.shape
    if layout == "rows":
        padded = np.full((batch, m, k + 3), np.nan, a.dtype)  # a row stride that is not k
        padded[:, :, :k] = a
        return a_rows(k + 3, batch=m * (k + 3)), padded
    if layout == "columns":
        return a_rows(1, m, batch=m * k), np.ascontiguousarray(a.transpose(0, 2, 1))
    if layout == "panels_k":
        width = panel_width(k, isa)
        panels = to_panels(a, width)
        return a_panels_k(m, width, panels[0].size), panels
    width = panel_width(m, isa)
    panels = to_panels(a.transpose(0, 2, 1), width)
    return a_panels_m(k, width, panels[0].size), panels


def evaluate(body, acc, operands):
    """The body on whole arrays in NumPy."""
    values = []
    for op, dtype, args, attrs in body:
        if op == "acc":
            values.append(acc)
        elif op in ("load", "const"):
            values.append(operands[attrs[0]] if op == "load" else np.float32(attrs[0]))
        else:
            values.append(NUMPY[op](*[values[i] for i in args]).astype(dtype))
    return values


def as_bfloat16(x):
    """The upper halves of float32 numbers that bfloat16 holds exactly."""
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)


class Problem:
    """One contraction with random integer operands, its kernel's buffers, and what NumPy says must come out."""

    def __init__(self, isa, m, n, k, layout="rows", c="panels", epilogue=PLAIN, batch=1, dtype="float32", seed=0):
        self.random = np.random.default_rng(seed + 1000 * m + 100 * n + k)
        operands, body, stores = epilogue
        acc_dtype = "float64" if dtype == "float64" else "float32"
        a, b = self.integers((batch, m, k), acc_dtype), self.integers((batch, k, n), acc_dtype)
        where, a_array = a_operand(layout, a, isa)
        width = panel_width(n, isa)
        b_array = to_panels(b, width)
        self.n, self.width, self.c, self.m, self.batch = n, width, c, m, batch
        c_ld = n + 2 if c == "rows" else 0
        c_batch = m * c_ld if c == "rows" else -(-n // width) * width * m
        self.spec = Contraction(
            batch, m, n, k, dtype, where, b_array[0].size, width, c, c_batch, c_ld, operands, body, stores, isa=isa.name
        )
        if dtype == "bfloat16":
            a_array, b_array = as_bfloat16(a_array), as_bfloat16(b_array)
        acc = np.matmul(a, b)
        plain = [self.operand(o.mode, o.dtype) for o in operands]
        self.buffers = [a_array, b_array, *(self.stored(o.mode, x) for o, x in zip(operands, plain, strict=True))]
        values = evaluate(body, acc, [self.spread(o.mode, x) for o, x in zip(operands, plain, strict=True)])
        self.expected = {i: np.broadcast_to(values[v], acc.shape) for i, v in stores}

    def integers(self, shape, dtype="float32"):
        return self.random.integers(-4, 5, shape).astype(dtype)

    def operand(self, mode, dtype):
        shape = {"tile": (self.batch, self.m, self.n), "row": (self.n,), "column": (self.m,), "scalar": ()}[mode]
        return self.integers(shape, dtype)

    def spread(self, mode, x):
        return x[:, None] if mode == "column" else x

    def stored(self, mode, x):
        """The operand as it lies in memory; gaps of a row layout hold 99 and must keep it."""
        if mode == "tile" and self.c == "rows":
            gaps = np.full((self.batch, self.m, self.n + 2), 99, x.dtype)
            gaps[:, :, : self.n] = x
            return gaps
        if mode == "tile":
            return to_panels(x, self.width)
        if mode == "row":
            return np.pad(x, (0, -self.n % self.width))
        return np.array(x)

    def check(self, isa, pieces=1):
        Kernel(self.spec, isa)(*self.buffers, pieces=pieces)
        for i, expected in self.expected.items():
            found = self.buffers[2 + i]
            if self.c == "rows":
                assert (found[:, :, self.n :] == 99).all(), "wrote past the end of a row"
                found = found[:, :, : self.n]
            else:
                found = from_panels(found, self.n)
            np.testing.assert_array_equal(found, expected, err_msg=str(choose_tile(self.spec)))


def shapes(count, seed):
    """Shapes in which every size stands at each place equally often."""
    random = np.random.default_rng(seed)
    rounds = -(-count // len(SIZES))
    columns = [np.concatenate([random.permutation(SIZES) for _ in range(rounds)]) for _ in range(3)]
    return [tuple(int(x) for x in shape) for shape in zip(*columns, strict=True)][:count]


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("c", ["panels", "rows"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes(layout, c, isa):
    for i, (m, n, k) in enumerate(shapes(20, LAYOUTS.index(layout) * 2 + (c == "rows"))):
        epilogue = (PLAIN, BIAS_RELU, UPDATE)[i % 3]
        Problem(isa, m, n, k, layout, c, epilogue).check(isa, pieces=1 + i % 2)


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("epilogue", [BIAS_RELU, UPDATE], ids=["light", "heavy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_batch(layout, epilogue, isa):
    for c in ("panels", "rows"):
        Problem(isa, 17, 20, 35, layout, c, epilogue, batch=3).check(isa, pieces=3)


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_dtypes(dtype, isa):
    acc = "float64" if dtype == "float64" else "float32"
    epilogue = ((EpilogueOperand(acc, "tile"),), (Instr("acc", acc),), ((0, 0),))
    for i, (m, n, k) in enumerate(shapes(12, 77)):
        Problem(isa, m, n, k, LAYOUTS[i % 4], ("panels", "rows")[i % 2], epilogue, dtype=dtype).check(isa)


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
def test_bfloat16_in_and_out(isa):
    random = np.random.default_rng(3)
    a, b = random.integers(-3, 4, (13, 40)), random.integers(-3, 4, (40, 21))
    width = panel_width(21, isa)
    body = (*ACC, Instr("cast", "bfloat16", (0,)))
    spec = Contraction(
        1, 13, 21, 40, "bfloat16", a_rows(40), 0, width, "rows", 0, 21, (EpilogueOperand("bfloat16", "tile"),), body,
        ((0, 1),), isa=isa.name,
    )  # fmt: skip
    out = np.zeros((13, 21), np.uint16)
    Kernel(spec, isa)(as_bfloat16(a), as_bfloat16(to_panels(b.astype(np.float32), width)), out)
    assert abs(a @ b).max() < 256  # so that bfloat16 holds every result exactly
    np.testing.assert_array_equal(out, as_bfloat16(a @ b))


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_k_zero_gives_zeros(layout, isa):
    width = panel_width(20, isa)
    a = {
        "rows": a_rows(1), "columns": a_rows(1, 9), "panels_k": a_panels_k(9, width), "panels_m": a_panels_m(0, width)
    }[layout]  # fmt: skip
    spec = Contraction(1, 9, 20, 0, "float32", a, 0, width, "rows", 0, 20, *PLAIN, isa=isa.name)
    out = np.full((9, 20), 5, np.float32)
    Kernel(spec, isa)(np.zeros(1, np.float32), np.zeros(1, np.float32), out)
    assert (out == 0).all()


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("layout", ["rows", "panels_k", "panels_m"])
def test_a_large_a_is_visited_in_bands(layout, isa, monkeypatch):
    from ranvier.compiler.native import contraction

    monkeypatch.setattr(contraction, "_A_LARGE", 1000)
    for rows in (2, 3):
        problem = Problem(isa, 100, 130, 65, layout, "panels", UPDATE)
        monkeypatch.setattr(contraction, "_A_BAND", rows * choose_tile(problem.spec).rows * 65 * 4)
        problem.check(isa, pieces=5)


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("c", ["panels", "rows"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_split_over_k(layout, c, isa):
    problem = Problem(isa, 24, 10, 700, layout, c, PLAIN, batch=2)
    for chunk in (96, 192, 350 // 96 * 96, 700 // 96 * 96):
        spec = problem.spec.split(chunk)
        parts = np.zeros((spec.chunks, spec.c_chunk), np.float32)
        Kernel(spec, isa)(*problem.buffers[:2], parts, pieces=2)
        total = parts.sum(0)
        if c == "panels":
            found = from_panels(total.reshape(2, -1, 24, spec.width), 10)
        else:
            found = total.reshape(2, 24, 10)
        np.testing.assert_array_equal(found, problem.expected[0])


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
def test_operands_per_matrix_of_the_batch_and_shared_tiles(isa):
    """A mask shared by the batch, and a scalar and a row that each matrix has of its own."""
    random = np.random.default_rng(5)
    a, b = random.integers(-4, 5, (3, 9, 12)), random.integers(-4, 5, (3, 12, 16))
    mask, bias, scale = (random.integers(-4, 5, s) for s in ((9, 16), (3, 16), (3,)))
    width = panel_width(16, isa)
    operands = (
        EpilogueOperand("float32", "tile", 0), EpilogueOperand("float32", "row", 16),
        EpilogueOperand("float32", "scalar", 1), TILE,
    )  # fmt: skip
    loads = tuple(Instr("load", "float32", (), (i,)) for i in range(3))
    body = (
        *ACC,
        *loads,
        Instr("mul", "float32", (0, 3)),
        Instr("add", "float32", (4, 2)),
        Instr("add", "float32", (5, 1)),
    )
    spec = Contraction(
        3, 9, 16, 12, "float32", a_rows(12, batch=108), 12 * 16, width, "rows", 9 * 16, 16, operands, body, ((3, 6),),
        isa=isa.name,
    )  # fmt: skip
    out = np.zeros((3, 9, 16), np.float32)
    floats = [x.astype(np.float32) for x in (a, to_panels(b, width), mask, bias, scale)]
    Kernel(spec, isa)(*floats, out)
    np.testing.assert_array_equal(out, a @ b * scale[:, None, None] + bias[:, None, :] + mask)


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("heavy", [False, True])
def test_places_of_elements(heavy, isa):
    """The leaf ``iota``: what a dropout mask is counted by."""
    body = (*ACC, *(Instr("iota", "int32", (), (dim,)) for dim in range(3)), Instr("mul", "int32", (2, 3)))
    body = (*body, Instr("add", "int32", (1, 4)), Instr("cast", "float32", (5,)), Instr("add", "float32", (0, 6)))
    if heavy:
        body = (*body, Instr("neg", "float32", (7,)), Instr("neg", "float32", (8,)))
    width = panel_width(20, isa)
    spec = Contraction(
        2, 17, 20, 0, "float32", a_rows(0), 0, width, "rows", 17 * 20, 20, (TILE,), body, ((0, len(body) - 1),),
        isa=isa.name,
    )  # fmt: skip
    out = np.zeros((2, 17, 20), np.float32)
    Kernel(spec, isa)(np.zeros(1, np.float32), np.zeros(1, np.float32), out)
    b, m, n = np.indices(out.shape)
    np.testing.assert_array_equal(out, b + m * n)


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
def test_rows_and_panels_of_a_larger_array(isa):
    """B's and C's panels may lie further apart than the product needs: a time step of a recurrence."""
    random = np.random.default_rng(6)
    whole = random.integers(-4, 5, (30, 40)).astype(np.float32)
    width = panel_width(40, isa)
    b, c = to_panels(whole, width), np.zeros((-(-40 // width), 30, width), np.float32)
    a = random.integers(-4, 5, (10, 10)).astype(np.float32)
    spec = Contraction(
        1,
        10,
        40,
        10,
        "float32",
        a_rows(10),
        0,
        width,
        "panels",
        0,
        30 * width,
        *PLAIN,
        b_panel=30 * width,
        isa=isa.name,
    )
    Kernel(spec, isa)(a, b.reshape(-1)[20 * width :], c[:, 10:])
    expected = np.zeros((30, 40), np.float32)
    expected[10:20] = a @ whole[20:]
    np.testing.assert_array_equal(from_panels(c, 40), expected)


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
def test_nan_in_one_row_of_a_stays_in_its_row(isa):
    problem = Problem(isa, 10, 40, 20, "rows", "panels", BIAS_RELU)
    problem.buffers[0][0, 3, 5] = np.nan
    Kernel(problem.spec, isa)(*problem.buffers)
    found = from_panels(problem.buffers[4], 40)[0]
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, 0)).all()


# -- the choice of tiles and layouts, and the code itself --------------------------------------------------------------


def loops_of(text):
    """The bodies of innermost loops in assembly that hold fused multiply-adds."""
    blocks, found = re.split(r"^(\.?L\w+):", text, flags=re.MULTILINE), []
    for label, body in zip(blocks[1::2], blocks[2::2], strict=True):
        lines = body.splitlines()
        ends = [
            i for i, line in enumerate(lines) if re.search(rf"\b(j\w+|b\.\w+|cbnz|tbnz)\b.*{re.escape(label)}\b", line)
        ]
        if ends and re.search("fmadd|fmla", body):
            found.append(lines[: ends[0]])
    return found


@pytest.mark.parametrize("isa", [ISAS["avx512"], ISAS["avx2"], ISAS["neon"]], ids=lambda isa: isa.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_register_of_the_inner_loop_is_spilled(layout, dtype, isa):
    acc = (Instr("acc", dtype),)
    for m, n, epilogue in [
        (128, 512, PLAIN),
        (14, 64, BIAS_RELU),
        (33, 48, UPDATE),
        (100, 10, BIAS_RELU),
        (22, 64, UPDATE),
    ]:
        if dtype == "float64":
            epilogue = ((EpilogueOperand(dtype, "tile"),), acc, ((0, 0),))
        spec = replace(Problem(isa, m, n, 70, layout, "panels", epilogue).spec, dtype=dtype)
        text = assembly(spec, isa)
        loops = loops_of(text)
        assert loops, "no inner loop found"
        stack = [r"\(%rsp[,)]", r"\[sp\b"]
        if "movq\t%rsp, %rbp" in text:  # else rbp is a register like any other
            stack.append(r"-\d+\(%rbp\)")
        for loop in loops:
            spilled = [line for line in loop if re.search("|".join(stack), line)]
            assert not spilled, f"{spec}: {choose_tile(spec)} spills {spilled}"


@pytest.mark.parametrize("isa", ISAS.values(), ids=lambda isa: isa.name)
def test_panel_width(isa):
    lanes = isa.lanes("float32")
    for n, vectors in [
        (1, 1),
        (lanes, 1),
        (lanes + 1, 2),
        (2 * lanes, 2),
        (2 * lanes + 1, 3),
        (3 * lanes, 3),
        (999, 2),
    ]:
        assert panel_width(n, isa) == vectors * lanes


@pytest.mark.parametrize("isa", ISAS.values(), ids=lambda isa: isa.name)
def test_tiles_cover_every_row_once_and_never_straddle_panels(isa):
    for m in (*SIZES, 784, 1000):
        for layout, a in [("rows", a_rows(8)), ("panels_m", a_panels_m(8, panel_width(m, isa)))]:
            spec = Contraction(1, m, 64, 8, "float32", a, 0, panel_width(64, isa), "rows", 0, 64, *PLAIN, isa=isa.name)
            tile = choose_tile(spec)
            assert 1 <= tile.rows <= m
            assert spec.units == -(-64 // (tile.vectors * isa.lanes("float32"))) * -(-m // tile.rows)
            if layout == "panels_m":
                assert a.width % tile.rows == 0 or m <= a.width


def test_only_a_long_k_with_few_tiles_is_split():
    isa = ISAS["avx512"]
    problem = Problem(isa, 8, 40, 4100, "panels_k").spec
    assert problem.long_k_chunk == 1024
    wide = replace(problem, a=a_panels_k(8, 48))
    assert wide.long_k_chunk == 1008  # a chunk ends with a panel of A
    assert replace(problem, k=4000).long_k_chunk == 0
    assert replace(problem, m=1000, n=1000).long_k_chunk == 0


def test_flops_and_bytes():
    spec = Problem(ISAS["avx512"], 32, 64, 16, epilogue=BIAS_RELU).spec
    assert spec.flops == 2 * 32 * 64 * 16 + 2 * 32 * 64
    assert spec.bytes == 4 * (32 * 16 + 16 * 64 + 64 + 2 * 32 * 64)


def test_key_tells_specs_apart():
    spec = Problem(ISAS["avx512"], 32, 64, 16, epilogue=BIAS_RELU).spec
    assert spec.key() == replace(spec).key()
    changes = [{"m": 31}, {"c_ld": 7}, {"isa": "avx2"}, {"a": a_rows(17)}, {"stores": ((1, 2),)}, {"chunk": 8}]
    assert len({replace(spec, **change).key() for change in changes} | {spec.key()}) == len(changes) + 1


def test_a_spec_is_written_only_for_its_own_isa():
    spec = Problem(ISAS["avx512"], 4, 4, 4).spec
    with pytest.raises(AssertionError, match="planned for avx512 cannot be written for avx2"):
        spec.ir("k", ISAS["avx2"])


def test_packing_pays_only_for_long_or_badly_strided_columns():
    assert not should_pack_a(128, 512, 1024, row=1024)  # rows along k
    assert not should_pack_a(784, 512, 128, row=1, column=784)
    assert should_pack_a(1024, 512, 128, row=1, column=1024)  # 4 KiB from one k to the next
    assert should_pack_a(512, 32, 4096, row=1, column=512)  # more cache lines than the first cache has
    assert not should_pack_a(10, 512, 1024, row=1, column=1024)
