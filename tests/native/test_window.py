"""Window kernels against NumPy, tap by tap: every kind, random axes, odd sizes, NaN, epilogues, unchanged elsewhere."""

from __future__ import annotations

import dataclasses
import itertools
import re

import numpy as np
import pytest

from ranvier.compiler.native.expr import Instr
from ranvier.compiler.native.taps import Axis, adjoint, forward, identity
from ranvier.compiler.native.window import Window, WindowOperand, canonical, side_by_side
from ranvier.compiler.native.window_weights import WindowWeights, chunks_for

from .kernel_runner import ISAS, assembly
from .run_native_nest import HERE, NUMPY, call

isas = pytest.mark.parametrize("isa", HERE, ids=lambda isa: isa.name)

AXES = {
    "2x2": (forward(8, 2, 2, 1, (0, 0)), forward(6, 2, 2, 1, (0, 0))),
    "2x2 with a rest": (forward(7, 2, 2, 1, (0, 0)), forward(9, 2, 2, 1, (0, 0))),
    "2x2 same": (forward(7, 2, 2, 1, (0, 1)), forward(5, 2, 2, 1, (0, 1))),
    "3x3 over 2": (forward(9, 3, 2, 1, (1, 1)), forward(8, 3, 2, 1, (0, 1))),
    "3x3 same": (forward(5, 3, 1, 1, (1, 1)), forward(6, 3, 1, 1, (1, 1))),
    "dilated": (forward(11, 3, 1, 2, (2, 1)), forward(9, 2, 3, 3, (0, 2))),
    "batch first": (identity(3), forward(6, 2, 2, 1, (0, 0)), forward(5, 3, 1, 1, (1, 1))),
    "gaps": (forward(10, 2, 3, 1, (0, 0)),),
    "one axis": (forward(13, 5, 2, 1, (2, 2)),),
    "three axes": (forward(4, 2, 2, 1, (0, 0)), forward(3, 1, 1, 1, (0, 0)), forward(5, 3, 2, 1, (1, 1))),
    "far padding": (forward(3, 2, 3, 4, (4, 4)),),
}


def pairs(axes: tuple[Axis, ...]):
    """(output pixel, input pixel, tap) of all windows, taps in row-major order."""
    for out in itertools.product(*(range(a.out) for a in axes)):
        for taps in itertools.product(*(range(a.taps) for a in axes)):
            place, number = [], 0
            for a, o, t in zip(axes, out, taps, strict=True):
                i, rest = divmod(o * a.out_step + t * a.tap_step + a.offset, a.in_step)
                number = number * a.taps + t
                if rest or not 0 <= i < a.size:
                    break
                place.append(i)
            else:
                yield out, tuple(place), number


def reference(spec: Window, x: np.ndarray, second: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(value, tap) of every element, in the dtype of sums."""
    out = (*(a.out for a in spec.axes), spec.rows, spec.width)
    value = np.full(out, -np.inf if spec.kind == "max" else 0.0, NUMPY[spec.acc])
    tap, seen = np.zeros(out, np.int32), np.zeros(out[:-2], bool)
    x = x.astype(NUMPY[spec.acc])
    for o, i, t in pairs(spec.axes):
        if spec.kind == "max":
            best = np.full(out[-2:], not seen[o]) | (x[i] > value[o]) | (np.isnan(x[i]) & ~np.isnan(value[o]))
            value[o], tap[o] = np.where(best, x[i], value[o]), np.where(best, t, tap[o])
        elif spec.kind == "take":
            value[o] = np.where(second[o] == t, x[i], value[o])
        elif spec.kind == "put":
            value[o] += np.where(second[i] == t, x[i], 0)
        elif spec.kind == "sum":
            value[o] += x[i]
        else:
            value[o] += x[i] * second[t].astype(NUMPY[spec.acc])
        seen[o] = True
    return value, tap


def plain(kind, axes, rows, width, dtype="float32", isa=None, value=True, tap=False, **more) -> Window:
    """A window that stores what it finds."""
    dims = (*(a.out for a in axes), rows, width)
    strides = tuple(int(np.prod(dims[d + 1 :])) for d in range(len(dims)))
    acc = "float64" if dtype == "float64" else "float32"
    operands, body, stores = [], [Instr("acc", acc)], []
    if value:
        operands.append(WindowOperand(dtype, strides))
        if dtype == "bfloat16":
            body.append(Instr("cast", dtype, (0,)))
        stores.append((0, len(body) - 1))
    if tap:
        body.append(Instr("tap", "int32"))
        operands.append(WindowOperand("int32", strides))
        stores.append((len(operands) - 1, len(body) - 1))
    return Window(kind, axes, rows, width, dtype, tuple(operands), tuple(body), tuple(stores), isa=isa.name, **more)


def inputs(spec: Window, rng) -> tuple[np.ndarray, np.ndarray | None]:
    """Small integers, so that sums are exact, with NaN and infinities where only comparisons see them."""
    shape = (*(a.size for a in spec.axes), spec.rows, spec.width)
    x = rng.integers(-4, 5, shape).astype(NUMPY[spec.dtype])
    if spec.kind == "max":
        x[rng.random(shape) < 0.1] = np.nan
        x[rng.random(shape) < 0.3] = -np.inf
    if spec.kind in ("take", "put"):
        over = shape if spec.kind == "put" else (*(a.out for a in spec.axes), spec.rows, spec.width)
        return x, rng.integers(0, spec.taps, over).astype(spec.index)
    if spec.kind == "weighted":
        return x, rng.integers(-3, 4, (spec.taps, spec.width)).astype(NUMPY[spec.dtype])
    return x, None


def run(spec: Window, isa, rng) -> None:
    """The stored values, and nothing beside them, for all units at once and one by one."""
    x, second = inputs(spec, rng)
    value, tap = reference(spec, x, second)
    wanted = [tap if spec.body[i].op == "tap" else value.astype(NUMPY[spec.body[i].dtype]) for _, i in spec.stores]
    for cuts in ((), tuple(range(1, spec.units))):
        made = [np.full(w.size + 64, 77, w.dtype) for w in wanted]
        call(spec, isa, [x, *([second] if second is not None else []), *made], cuts)
        for want, got in zip(wanted, made, strict=True):
            wide = np.float64 if want.dtype.kind != "i" else want.dtype  # NumPy sees no NaN in bfloat16
            np.testing.assert_array_equal(got[: want.size].reshape(want.shape).astype(wide), want.astype(wide))
            assert (got[want.size :] == 77).all()


def axes_of(kind: str, name: str) -> tuple[Axis, ...]:
    return tuple(adjoint(a) for a in AXES[name]) if kind == "put" else AXES[name]


@isas
@pytest.mark.parametrize("kind", ["max", "take", "put", "sum", "weighted"])
@pytest.mark.parametrize("name", AXES)
def test_kinds(name, kind, isa, rng):
    if kind == "max" and name == "far padding":
        pytest.skip("a window without elements has no largest one; the ops refuse it")
    run(plain(kind, axes_of(kind, name), 2, 21, isa=isa, tap=kind == "max"), isa, rng)


@isas
@pytest.mark.parametrize("kind", ["sum", "weighted"])
@pytest.mark.parametrize("name", AXES)
def test_adjoints(name, kind, isa, rng):
    run(plain(kind, tuple(adjoint(a) for a in AXES[name]), 3, 16, isa=isa), isa, rng)


@isas
@pytest.mark.parametrize(
    ("rows", "width"),
    [(1, 1), (1, 15), (1, 128), (1, 131), (1, 2500), (5, 1), (4, 8), (6, 4), (8, 16), (3, 40), (2, 300), (40, 32)],
)
@pytest.mark.parametrize(
    ("kind", "name"), [("max", "2x2"), ("put", "2x2"), ("weighted", "3x3 same"), ("weighted", "3x3 over 2")]
)
def test_blocks_of_pixels(rows, width, kind, name, isa, rng):
    run(plain(kind, axes_of(kind, name)[:1], rows, width, isa=isa), isa, rng)


@isas
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("kind", ["max", "take", "put", "sum", "weighted"])
@pytest.mark.parametrize("name", ["2x2", "3x3 over 2"])
def test_dtypes(dtype, kind, name, isa, rng):
    run(plain(kind, axes_of(kind, name), 3, 37, dtype, isa=isa, tap=kind == "max"), isa, rng)


@isas
@pytest.mark.parametrize("kind", ["take", "put"])
def test_narrow_index(kind, isa, rng):
    run(plain(kind, axes_of(kind, "2x2"), 3, 37, isa=isa, index="uint8"), isa, rng)


@isas
@pytest.mark.parametrize("tap", [False, True])
def test_only_what_is_asked_for(tap, isa, rng):
    run(plain("max", AXES["3x3 same"], 2, 33, isa=isa, value=not tap, tap=tap), isa, rng)


@isas
@pytest.mark.parametrize("kind", ["max", "sum", "put", "weighted"])
@pytest.mark.parametrize("name", ["2x2 with a rest", "3x3 same"])
@pytest.mark.parametrize(("rows", "width"), [(4, 32), (3, 5), (6, 4)])
def test_epilogue(kind, name, rows, width, isa, rng):
    """relu((acc + residual) * channel + scalar) * pixel, and the sum itself; operands of every kind of stride."""
    axes = axes_of(kind, name)
    dims = (*(a.out for a in axes), rows, width)
    full = tuple(int(np.prod(dims[d + 1 :])) for d in range(len(dims)))
    rank = len(axes)
    operands = (
        WindowOperand("float32", full), WindowOperand("float32", (0,) * (rank + 1) + (1,)),
        WindowOperand("float32", (0,) * (rank + 2)), WindowOperand("float32", (dims[1], 1, 0, 0)),
        WindowOperand("float32", (0,) * rank + (1, 0)), WindowOperand("float32", full), WindowOperand("float32", full),
    )  # fmt: skip
    body = [
        Instr("acc", "float32"),
        *(Instr("load", "float32", (), (i,)) for i in range(5)),
        Instr("const", "float32", (), (1.0,)),
    ]
    for op, a, b in (("add", 0, 1), ("mul", 7, 2), ("add", 8, 3), ("mul", 9, 4), ("maximum", 10, 6), ("add", 11, 5)):
        body.append(Instr(op, "float32", (a, b)))
    stores = ((5, len(body) - 1), (6, 0))
    spec = Window(kind, axes, rows, width, "float32", operands, tuple(body), stores, isa=isa.name)
    x, second = inputs(spec, rng)
    x = np.where(np.isfinite(x), x, 0).astype(np.float32)
    value, _ = reference(spec, x, second)
    extra = [rng.integers(-4, 5, n).astype(np.float32) for n in (dims, width, 1, (dims[0], dims[1]), rows)]
    want = (value + extra[0]) * extra[1] + extra[2]
    want = np.maximum(want * extra[3][:, :, None, None], 1) + extra[4][:, None]
    made = [np.full(want.size + 64, 77, np.float32) for _ in range(2)]
    call(spec, isa, [x, *([second] if second is not None else []), *extra, *made], tuple(range(1, spec.units, 3)))
    np.testing.assert_array_equal(made[0][: want.size].reshape(dims), want)
    np.testing.assert_array_equal(made[1][: want.size].reshape(dims), value)
    assert all((m[want.size :] == 77).all() for m in made)


def test_rows_are_joined_where_operands_allow():
    isa = HERE[0]
    joined = canonical(plain("max", AXES["2x2"], 6, 24, isa=isa))
    assert (joined.rows, joined.width) == (1, 144)
    few = canonical(plain("weighted", AXES["2x2"], 6, 4, isa=isa))
    assert (few.rows, few.width, few.channels) == (1, 24, 4)
    many = canonical(plain("weighted", AXES["2x2"], 6, 24, isa=isa))
    assert (many.rows, many.width) == (6, 24)


def test_windows_side_by_side():
    isa = HERE[0]

    def tiled(kind, name):
        return side_by_side(plain(kind, tuple(adjoint(a) for a in AXES[name]), 2, 32, isa=isa))

    assert all(tiled("put", name) for name in ("2x2", "2x2 with a rest", "2x2 same"))
    assert not any(tiled("put", name) for name in ("3x3 over 2", "3x3 same", "gaps"))
    assert not side_by_side(plain("sum", AXES["2x2"], 2, 32, isa=isa))


SPILLS = {"neon": r"(?:str|ldr|stp|ldp)\s+q\d+.*\[sp.*"}  # for x86: a vector moved from or to the stack
X86 = r"v?mov\w+\s+%[xyz]mm\d+, -?\d*\(%r[sb]p.*"


@pytest.mark.parametrize("isa", [ISAS["avx512"], ISAS["avx2"], ISAS["neon"]], ids=lambda isa: isa.name)
@pytest.mark.parametrize("kind", ["max", "put", "sum", "weighted", "weights"])
@pytest.mark.parametrize("name", ["2x2", "3x3 same"])
def test_no_register_is_spilled(kind, name, isa):
    """Nothing in flight is parked on the stack."""
    if kind == "weights":
        spec = WindowWeights(AXES[name], 64, 32, "float32", 2, isa.name)
    else:
        spec = plain(kind, axes_of(kind, name), 64, 32, isa=isa, tap=kind == "max")
    parked = re.findall(SPILLS.get(isa.name, X86), assembly(spec, isa))
    assert not parked, parked


def test_key_and_figures():
    isa = HERE[0]
    spec = plain("max", AXES["2x2"], 2, 32, isa=isa)
    assert spec.key() != dataclasses.replace(spec, kind="sum").key()
    assert spec.bytes == 4 * 64 * (8 * 6 + 4 * 3)
    assert spec.flops == 2 * 4 * 12 * 64
    assert spec.units == 12


@isas
@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize(("rows", "width"), [(1, 8), (8, 70), (19, 20)])
def test_weights(name, rows, width, isa, rng):
    axes = AXES[name]
    items = WindowWeights(axes, rows, width, "float32").items
    for chunks in {1, min(3, items)}:
        spec = WindowWeights(axes, rows, width, "float32", chunks, isa.name)
        x = rng.integers(-4, 5, (*(a.size for a in axes), rows, width)).astype(np.float32)
        g = rng.integers(-4, 5, (*(a.out for a in axes), rows, width)).astype(np.float32)
        want = np.zeros((spec.taps, width), np.float32)
        for o, i, t in pairs(axes):
            want[t] += (x[i] * g[o]).sum(0)
        made = np.full(chunks * want.size + 64, 77, np.float32)
        call(spec, isa, [x, g, made], tuple(range(1, spec.units)))
        np.testing.assert_array_equal(made[:-64].reshape(chunks, *want.shape).sum(0), want)
        assert (made[-64:] == 77).all()


@isas
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_weights_in_other_dtypes(dtype, isa, rng):
    axes = AXES["3x3 same"]
    spec = WindowWeights(axes, 4, 37, dtype, 2, isa.name)
    x, g = (
        rng.integers(-4, 5, (*n, 4, 37)).astype(NUMPY[dtype]) for n in ([a.size for a in axes], [a.out for a in axes])
    )
    want = np.zeros((9, 37), NUMPY[spec.acc])
    for o, i, t in pairs(axes):
        want[t] += (x[i].astype(want.dtype) * g[o].astype(want.dtype)).sum(0)
    made = np.zeros((2, 9, 37), want.dtype)
    call(spec, isa, [x, g, made])
    np.testing.assert_array_equal(made.sum(0), want)


def test_chunks_depend_on_the_problem_alone():
    axes = (forward(28, 3, 1, 1, (1, 1)),) * 2
    assert chunks_for(axes, 128, 64) == 16
    assert chunks_for(axes, 128, 512) == 2
    assert chunks_for((forward(4, 3, 1, 1, (1, 1)),), 2, 8) == 1
