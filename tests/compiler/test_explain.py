"""What the compiler says about its work: golden texts of a small training step, and the parts of plans and profiles."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler import explain as explain_module
from ranvier.compiler.native.target import ISAS, host

from . import mlp

needs_avx2 = pytest.mark.skipif(not host().has(ISAS["avx2"]), reason="the golden texts are for AVX2")
X, Y = np.zeros((5, 3), "f"), np.zeros((5, 4), "f")


@pytest.fixture
def fixed(monkeypatch) -> Iterator[None]:
    """A machine that is the same everywhere: AVX2, one thread, 100 GFLOP/s, 10 GB/s."""
    monkeypatch.setattr(explain_module, "roofline", lambda: (100e9, 10e9))
    with rv.config.override(isa="avx2", threads=1):
        yield


def small_step() -> rv.Jitted:
    """A dense layer with tanh, mean squared error and gradient descent."""
    w = rv.Variable(np.zeros((3, 4), "f"), name="w")
    b = rv.Variable(np.zeros(4, "f"), name="b")

    @rv.jit
    def step(x, y):
        with rv.ops.table.scope("dense"):
            loss, (gw, gb) = rv.value_and_grad(lambda x, y: rv.mean((rv.tanh(x @ w + b) - y) ** 2), wrt=[w, b])(x, y)
        w.assign(w - 0.1 * gw)
        b.assign(b - 0.1 * gb)
        return loss

    return step


@needs_avx2
def test_stages(fixed, golden):
    golden("\n\n".join(f"-- {name}\n{text}" for name, text in small_step().stages(X, Y).items()))


@needs_avx2
def test_plan(fixed, golden):
    golden(small_step().explain(X, Y))


@needs_avx2
def test_loop_in_a_plan(fixed, golden):
    f = rv.jit(lambda x: rv.scan(lambda c, s: (rv.tanh(c + s), c * s), rv.zeros(4), x)[0])
    golden(f.explain(np.zeros((6, 4), "f")))


def test_explain_names_layers_lines_and_costs():
    net = mlp.Net((64, 32, 10))
    text = rv.jit(net.step).explain(*mlp.batch((64, 32, 10), 32))
    head, columns, *rows = text.splitlines()
    figures = r"[\d.]+ MFLOP, [\d.]+ MB moved, [\d.]+ MB of intermediate values, roofline [\d.]+ us"
    assert re.fullmatch(rf"\d+ kernels, \d threads?, {figures}", head)
    assert columns.split() == ["kernel", "kFLOP", "kB", "bound", "us", "ops", "#", "source"]
    assert len(rows) == int(head.split()[0])
    assert "product 32x64x32" in text
    assert "dense0" in text
    assert "dense1" in text
    assert "mlp.py:" in text
    products = sum(float(kflop) for kflop in re.findall(r"product \S+ +([\d.]+)", text))
    least = 2 * 32 * (2 * 64 * 32 + 3 * 32 * 10) / 1e3  # two products of the first layer, three of the second
    assert least < products < least + 60, "the epilogues count too"


def test_profile_times_add_up(rng):
    f = rv.jit(lambda x: rv.sum(rv.tanh(x @ x)))
    text = f.profile(rng.normal(size=(60, 60)).astype("f"), steps=20)
    total = float(text.split()[0])
    measured = [float(us) for us in re.findall(r"([\d.]+) +\d+%  ", text)]
    assert len(measured) == len(text.splitlines()) - 2
    assert abs(sum(measured) - total) <= 0.01 * total + 0.01 * len(measured)


def test_roofline_is_measured():
    peak, bandwidth = explain_module.roofline()
    assert peak > 1e8
    assert bandwidth > 1e7


def test_ops_without_a_kernel_are_named():
    f = rv.jit(lambda a: rv.matmul(a, a))
    text = f.explain(np.ones((3, 3), np.int64))
    assert "; 1 op(s) run on the reference: they have no kernel" in text
    assert re.search(r"^ *0 reference .* matmul", text, re.MULTILINE)


def test_missing_golden_text_says_what_to_do(golden, request):
    if request.config.getoption("--update-golden"):
        pytest.skip("golden texts are being written")
    with pytest.raises(AssertionError, match="python -m pytest tests/compiler --update-golden"):
        golden("anything")
