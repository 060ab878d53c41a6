"""Products of bfloat16: words of two numbers, the dot-product tile and its emulation, products in plans."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.native.contraction import (
    Contraction,
    EpilogueOperand,
    a_panels_k,
    a_panels_m,
    a_rows,
    choose_tile,
    panel_width,
)
from ranvier.compiler.native.expr import Instr
from ranvier.compiler.native.pairs import Pairs
from ranvier.compiler.native.relayout import in_panels, in_rows
from ranvier.compiler.native.target import multiplies_pairs

from .kernel_runner import HOST_ISAS, ISAS, Kernel, assembly
from .test_contraction import loops_of, to_panels

SIZES = [(1, 1), (2, 16), (3, 5), (7, 33), (64, 32), (65, 48), (100, 10), (33, 100)]


def bits(x):
    """float32 rounded to the nearest bfloat16, ties to even, as 16 bits."""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def numbers(b):
    return (b.astype(np.uint32) << 16).view(np.float32)


def words(b):
    """[..., K, N] of 16 bits as [..., K / 2, N] words of two rows, zeros behind an odd last one."""
    rows = b.shape[-2]
    padded = np.concatenate([b, np.zeros_like(b[..., :1, :])], -2) if rows % 2 else b
    return padded[..., 0::2, :].astype(np.uint32) | padded[..., 1::2, :].astype(np.uint32) << 16


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("panels", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_pairs(rows, columns, dtype, panels, isa, rng):
    x = rng.normal(size=(2, rows, columns)).astype("f")
    x[0, 0, 0], x[1, -1, -1] = np.inf, -0.0
    width = panel_width(columns, isa)
    source = x if dtype == "float32" else bits(x)
    if panels:
        array = to_panels(source, width)
        place = in_panels(rows, width, array[0].size)
    else:
        array, place = source, in_rows(columns, rows * columns)
    target = np.full((2, -(-columns // width), -(-rows // 2), width), 0xDEAD, np.uint32)
    spec = Pairs(2, rows, columns, dtype, place, width, isa.name)
    Kernel(spec, isa)(np.ascontiguousarray(array), target, pieces=min(3, spec.units))
    np.testing.assert_array_equal(target, to_panels(words(bits(x)), width))


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
def test_pairs_of_not_a_number(isa):
    x = np.full((2, 16), np.nan, np.float32)
    x.view(np.uint32)[0] = 0x7F800001  # its upper half alone would be infinity
    target = np.zeros((1, 1, 16), np.uint32)
    Kernel(Pairs(1, 2, 16, "float32", in_rows(16), 16, isa.name), isa)(x, target)
    assert np.isnan(numbers((target & 0xFFFF).astype(np.uint16))).all()
    assert np.isnan(numbers((target >> 16).astype(np.uint16))).all()


# -- the tile ---------------------------------------------------------------------------------------------------------


def instructions(isa):
    """With and, where there is no such instruction, without the dot product."""
    return [True, False] if multiplies_pairs(isa) else [False]


CASES = [(isa, dot) for isa in HOST_ISAS for dot in instructions(isa)]
NAMES = [f"{isa.name}-{'dot' if dot else 'halves'}" for isa, dot in CASES]


def product(a, b, layout, isa, dot, epilogue=None):
    """The kernel's A @ B for A [m, k] and B [k, n] of 16 bits, and its spec."""
    (m, k), n = a.shape, b.shape[1]
    half, width = -(-k // 2), panel_width(n, isa)
    even = np.concatenate([a, np.zeros((m, 2 * half - k), np.uint16)], 1)
    if layout == "rows":
        where, array = a_rows(half), even
    elif layout == "panels_k":
        w = 2 * isa.lanes("float32")
        where, array = a_panels_k(m, w // 2), to_panels(even, w)
    else:
        w = panel_width(m, isa)
        where, array = a_panels_m(half, w), to_panels(words(np.ascontiguousarray(a.T)), w)
    spec = Contraction(
        1, m, n, half, "pairs", where, 0, width, "rows", 0, n, (EpilogueOperand("float32", "tile"),),
        (Instr("acc", "float32"),), ((0, 0),), dot=dot, isa=isa.name,
    )  # fmt: skip
    out = np.zeros((m, n), np.float32)
    Kernel(spec, isa)(np.ascontiguousarray(array), to_panels(words(b), width), out, pieces=2)
    return out


@pytest.mark.parametrize(("isa", "dot"), CASES, ids=NAMES)
@pytest.mark.parametrize("layout", ["rows", "panels_k", "panels_m"])
@pytest.mark.parametrize("size", [(1, 1, 1), (5, 7, 9), (16, 64, 32), (33, 65, 47), (100, 130, 10), (9, 2, 200)])
def test_integers_are_exact(size, layout, isa, dot, rng):
    m, k, n = size
    a, b = rng.integers(-9, 10, (m, k)).astype("f"), rng.integers(-9, 10, (k, n)).astype("f")
    np.testing.assert_array_equal(product(bits(a), bits(b), layout, isa, dot), a @ b)


@pytest.mark.parametrize(("isa", "dot"), CASES, ids=NAMES)
def test_real_numbers_are_within_the_bound_of_float32_sums(isa, dot, rng):
    a, b = bits(rng.normal(size=(20, 301))), bits(rng.normal(size=(301, 33)))
    x, y = numbers(a).astype("d"), numbers(b).astype("d")
    # products of two bfloat16 are exact in float32; each of the 302 additions rounds once
    bound = 302 * 2.0**-24 * (np.abs(x) @ np.abs(y))
    assert (np.abs(product(a, b, "rows", isa, dot) - x @ y) <= bound).all()


def modelled(a, b):
    """What the instruction does, as its manual says: the upper product first, a rounding after each addition."""
    x, y = numbers(a), numbers(b)
    total = np.zeros((x.shape[0], y.shape[1]), np.float32)
    for k in range(0, x.shape[1], 2):
        for at in (k + 1, k):
            total = (total.astype("d") + x[:, at : at + 1].astype("d") * y[at].astype("d")).astype(np.float32)
    return total


@pytest.mark.skipif(not any(dot for _, dot in CASES), reason="no dot-product instruction here")
def test_the_instruction_rounds_as_its_model(rng):
    a, b = bits(rng.normal(size=(8, 64))), bits(rng.normal(size=(64, 32)))
    np.testing.assert_array_equal(product(a, b, "rows", ISAS["avx512"], True), modelled(a, b))


@pytest.mark.parametrize("isa", [ISAS["avx512"], ISAS["avx2"], ISAS["neon"]], ids=lambda isa: isa.name)
def test_no_register_of_the_inner_loop_is_spilled(isa):
    body = ((Instr("acc", "float32"),), ((0, 0),))
    for m, n in ((128, 512), (14, 64), (33, 48), (100, 10)):
        width = panel_width(n, isa)
        spec = Contraction(
            1, m, n, 35, "pairs", a_rows(36), 0, width, "panels", 0, 0, (EpilogueOperand("float32", "tile"),), *body,
            isa=isa.name,
        )  # fmt: skip
        loops = loops_of(assembly(spec, isa))
        assert loops, "no inner loop found"
        for loop in loops:
            spilled = [line for line in loop if re.search(r"\(%rsp[,)]|\[sp\b", line)]
            assert not spilled, f"{choose_tile(spec)} spills {spilled}"


@pytest.mark.skipif(not any(dot for _, dot in CASES), reason="no dot-product instruction here")
def test_the_dot_product_tile_holds_nothing_else():
    from ranvier.compiler.native.engine import optimised
    from ranvier.compiler.native.target import target_machine

    isa = ISAS["avx512"]
    spec = Contraction(
        1, 128, 512, 392, "pairs", a_rows(392), 0, 32, "panels", 0, 0, (EpilogueOperand("float32", "tile"),),
        (Instr("acc", "float32"),), ((0, 0),), dot=True,
    )  # fmt: skip
    machine = target_machine(isa)
    text = machine.emit_assembly(optimised(spec.ir("kernel", isa), machine))
    tile = choose_tile(spec)
    assert text.count("vdpbf16ps") in {u * tile.rows * tile.vectors for u in range(1, 9)}
    assert choose_tile(replace(spec, dot=False)).rows <= tile.rows


# -- in plans ---------------------------------------------------------------------------------------------------------


def turned(x):
    return rv.permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@pytest.mark.parametrize("size", [(4, 6, 8), (5, 7, 9), (33, 65, 47), (128, 100, 10), (10, 31, 64), (1, 1, 1)])
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_products_in_plans(size, batch, ta, tb, rng):
    m, k, n = size
    a = rng.integers(-4, 5, (*batch, *((k, m) if ta else (m, k)))).astype("f")
    b = rng.integers(-4, 5, (*batch, *((n, k) if tb else (k, n)))).astype("f")
    weights = rv.Variable(b)

    def products(a, b):
        x = rv.astype(a, "bfloat16")
        x = turned(x) if ta else x
        found = []
        for factor in (b, weights.value):
            y = rv.astype(factor, "bfloat16")
            found.append(rv.astype(x @ (turned(y) if tb else y), "float32"))
        return found

    want = (np.swapaxes(a, -1, -2) if ta else a) @ (np.swapaxes(b, -1, -2) if tb else b)
    for found in rv.jit(products)(a, b):
        np.testing.assert_array_equal(found.numpy(), numbers(bits(want)))


@pytest.mark.parametrize("threads", [1, 2])
def test_what_does_not_exist_is_not_multiplied(threads, rng):
    """Behind an odd row lies the next one: an infinity there must not reach this one."""
    a = rng.normal(size=(40, 33)).astype("f")
    a[1::2] = np.inf
    b = np.ones((33, 20), "f")
    with rv.config.override(threads=threads):
        found = rv.jit(lambda a, b: rv.astype(a, "bfloat16") @ rv.astype(b, "bfloat16"))(a, b).numpy()
    assert np.isfinite(found[::2]).all()
    assert np.isinf(found[1::2]).all()
