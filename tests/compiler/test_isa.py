"""Other instruction sets: AVX2 code runs here beside AVX-512; code for AArch64 is compiled to assembly and read."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.bind import all_kernels
from ranvier.compiler.native.target import ISAS, assembly, host
from ranvier.compiler.pipeline import compile_plan
from ranvier.ops.table import TABLE

from . import mlp
from .compare import outcome, same_bits
from .programs import Program

needs_avx2 = pytest.mark.skipif(not host().has(ISAS["avx2"]), reason="this machine has no AVX2")


@pytest.fixture
def narrow() -> Iterator[None]:
    with rv.config.override(isa="avx2"):
        yield


@needs_avx2
def test_the_setting_reaches_the_kernels(narrow, rng):
    f = rv.jit(lambda x: rv.tanh(x @ x))
    f(rng.normal(size=(20, 20)).astype("f"))
    executor = next(iter(f._made.values())).executor
    assert executor.machine.isa.name == "avx2"
    assert all(getattr(k.spec, "isa", "avx2") == "avx2" for k in all_kernels(executor.plan))


@needs_avx2
def test_both_widths_in_one_process(rng):
    """Executors keep what they were made for; a variable moves between their layouts."""
    start = rng.normal(size=(24, 40)).astype("f")
    w = rv.Variable(start)
    x = rng.normal(size=(6, 24)).astype("f")

    def make():
        return rv.jit(lambda x: (x @ w, w.assign(w * 0.5))[0])

    wide = make()
    first = wide(x).numpy()
    with rv.config.override(isa="avx2"):
        thin = make()
        second = thin(x).numpy()
    third = wide(x).numpy()
    for turn, got in enumerate((first, second, third)):
        np.testing.assert_allclose(got, x @ start * 0.5**turn, rtol=2e-5, atol=1e-5)
    np.testing.assert_array_equal(w.numpy(), start * 0.125)


@needs_avx2
@pytest.mark.parametrize("seed", range(40, 52))
def test_elementwise_work_has_the_same_bits(seed):
    """What is not summed does not depend on the width of vectors."""
    program = Program(seed)
    made = [outcome(program, denormals="keep", isa=isa) for isa in ("auto", "avx2")]
    for a, b, error in zip(made[0].results, made[1].results, program.errors, strict=False):
        assert error or same_bits(a, b)


@needs_avx2
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "erf", "sin", "cos", "expm1", "log1p"])
def test_elementary_functions_have_the_same_bits(name, rng):
    low, high = TABLE[name].domain
    x = [rng.uniform(low, high, 333).astype(d) for d in ("f", "d")]
    made = []
    for isa in ("auto", "avx2"):
        with rv.config.override(isa=isa):
            made.append([t.numpy() for t in rv.jit(lambda *x: [TABLE[name](v) for v in x])(*x)])
    assert all(same_bits(a, b) for a, b in zip(*made, strict=True))


# -- AArch64 ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arm() -> dict[str, list[str]]:
    """Assembly of every kernel of a training step, by kind of kernel."""
    net = mlp.Net((64, 32, 10), dropout=0.1)
    step = rv.jit(net.step)
    graph = step.specialise(*mlp.batch((64, 32, 10), 32))[0].graph
    plan = compile_plan(graph, ISAS["neon"])
    found: dict[str, list[str]] = {}
    for k in all_kernels(plan):
        kind = type(k.spec).__name__.lower()
        found.setdefault(kind, []).append(assembly(k.spec.ir("kernel", ISAS["neon"]), ISAS["neon"]))
    return found


def test_arm_has_the_same_kinds_of_kernel(arm):
    assert set(arm) >= {"contraction", "nest"}


def test_arm_products_are_vector_fma(arm):
    for text in arm["contraction"]:
        fused = re.findall(r"^\s*fmla\s+v\d+\.4s", text, re.MULTILINE)
        scalar = re.findall(r"^\s*fmadd\s", text, re.MULTILINE)
        assert len(fused) >= 8, "the inner tile is made of fmla on four lanes"
        assert len(scalar) < len(fused) / 4


def test_arm_kernels_call_nothing(arm):
    """No libm, no helper routines: every function is code of the kernel's own module."""
    for texts in arm.values():
        for text in texts:
            own = set(re.findall(r"^(\w+):", text, re.MULTILINE))
            called = set(re.findall(r"^\s*bl\s+(\w+)", text, re.MULTILINE))
            assert called - own <= {"memset", "memcpy"}, called - own


def test_arm_maps_are_vectors(arm):
    text = "\n".join(arm["nest"])
    assert len(re.findall(r"\.4s", text)) > 200
    assert re.search(r"^\s*fdiv\s+v\d+\.4s", text, re.MULTILINE), "Adam's division"
    assert re.search(r"^\s*fsqrt\s+v\d+\.4s", text, re.MULTILINE), "Adam's root"
