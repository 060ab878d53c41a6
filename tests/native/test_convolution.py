"""Convolution kernels and the gradient of their weights against loops over pixels and taps, exact on small integers."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from ranvier.compiler.native.contraction import EpilogueOperand, panel_width
from ranvier.compiler.native.convolution import Convolution, Geometry
from ranvier.compiler.native.convolution_gradient import ConvolutionGradient, gradient_chunks
from ranvier.compiler.native.expr import Instr
from ranvier.compiler.native.taps import adjoint, forward

from .kernel_runner import HOST_ISAS, ISAS, Kernel, assembly

SLACK = 64
isas = pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)


def geometry(axes, rows, channels, filters, groups=1):
    """Images as [*pixels, rows, channels]."""

    def steps(sizes, width):
        return tuple(int(np.prod(sizes[i + 1 :])) * rows * width for i in range(len(sizes)))

    wide_a, wide_c = channels * groups, filters * groups
    a_steps, c_steps = steps([a.size for a in axes], wide_a), steps([a.out for a in axes], wide_c)
    return Geometry(tuple(axes), a_steps, c_steps, rows, wide_a, wide_c, channels, filters, groups)


def cases():
    rng = np.random.default_rng(3)
    found = []
    while len(found) < 14:
        groups = int(rng.choice([1, 1, 2, 3]))
        axes = []
        for _ in range(int(rng.integers(1, 4))):
            size, taps, stride, dilation = (int(rng.integers(1, n)) for n in (7, 4, 3, 3))
            padding = tuple(int(p) for p in rng.integers(0, 3, 2))
            if size + sum(padding) <= (taps - 1) * dilation:
                continue
            axes.append(forward(size, taps, stride, dilation, padding))
        if axes:
            found.append(
                geometry(axes, int(rng.integers(1, 20)), int(rng.integers(1, 9)), int(rng.integers(1, 40)), groups)
            )
    found.append(geometry([forward(6, 3, 1, 1, (0, 0)), forward(9, 7, 1, 1, (0, 0))], 3, 3, 17))  # folded taps
    backwards = [geometry([adjoint(a) for a in g.axes], g.rows, g.filters, g.channels, g.groups) for g in found]
    return found, found + backwards


FORWARD, ALL = cases()


def integers(rng, *shape):
    return rng.integers(-4, 5, shape).astype(np.float64)


def padded(array, dtype):
    return np.concatenate([array.astype(dtype).ravel(), np.full(SLACK, np.nan, dtype)])


def pixels(g):
    for o in itertools.product(*(range(a.out) for a in g.axes)):
        for pairs in itertools.product(*(a.pairs(p) for a, p in zip(g.axes, o, strict=True))):
            tap = 0
            for axis, (_, t) in zip(g.axes, pairs, strict=True):
                tap = tap * axis.taps + t
            yield o, tuple(i for i, _ in pairs), tap


def images(g, rng):
    x = integers(rng, *(a.size for a in g.axes), g.rows, g.groups, g.channels)
    y = integers(rng, *(a.out for a in g.axes), g.rows, g.groups, g.filters)
    return x, y


def panels(w, width):
    """[groups, taps, channels, filters] as [groups, panels, taps, channels, width]."""
    groups, taps, channels, filters = w.shape
    count = -(-filters // width)
    wide = np.zeros((groups, taps, channels, count * width))
    wide[..., :filters] = w
    return wide.reshape(groups, taps, channels, count, width).transpose(0, 3, 1, 2, 4)


@isas
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", range(len(ALL)))
def test_equals_loops_over_pixels_and_taps(isa, dtype, number, rng):
    g = ALL[number]
    x, y = images(g, rng)
    w, bias = integers(rng, g.groups, g.taps, g.channels, g.filters), integers(rng, g.groups, g.filters)
    want = np.zeros(y.shape)
    for o, i, t in pixels(g):
        want[o] += np.einsum("rgc,gcf->rgf", x[i], w[:, t])
    want = np.maximum(want + bias, 0)
    width = panel_width(g.filters, isa)
    packed = panels(w, width)
    part = g.taps * g.channels * width
    operands = (EpilogueOperand(dtype, "row"), EpilogueOperand(dtype, "tile"))
    body = (
        Instr("acc", dtype), Instr("load", dtype, (), (0,)), Instr("add", dtype, (0, 1)), Instr("relu", dtype, (2,)),
    )  # fmt: skip
    spec = Convolution(
        g, dtype, width, packed[0].size, part, g.channels * width, operands, body, ((1, 3),), isa.name
    )  # fmt: skip
    out = np.full(y.size + SLACK, 7, dtype)
    Kernel(spec, isa)(padded(x, dtype), padded(packed, dtype), padded(bias, dtype), out, pieces=2)
    np.testing.assert_array_equal(out[: y.size].reshape(y.shape), want)
    assert (out[y.size :] == 7).all(), "wrote past the end"


@isas
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", range(len(FORWARD)))
def test_gradient_of_weights_equals_loops(isa, dtype, number, rng):
    g = FORWARD[number]
    x, y = images(g, rng)
    want = np.zeros((g.taps, g.channels, g.groups, g.filters))
    for o, i, t in pixels(g):
        want[t] += np.einsum("rgc,rgf->cgf", x[i], y[o])
    chunks = gradient_chunks(g, np.dtype(dtype).itemsize)
    spec = ConvolutionGradient(g, dtype, chunks, isa.name)
    out = np.full(chunks * want.size + SLACK, 7, dtype)
    Kernel(spec, isa)(padded(x, dtype), padded(y, dtype), out, pieces=2)
    total = out[: chunks * want.size].reshape(chunks, *want.shape).sum(0)
    np.testing.assert_array_equal(total, want)
    assert (out[chunks * want.size :] == 7).all(), "wrote past the end"


@pytest.mark.parametrize("isa", [i for i in ISAS.values() if i.name in ("avx512", "avx2")], ids=lambda isa: isa.name)
@pytest.mark.parametrize("kernel", ["forward", "adjoint", "gradient"])
def test_no_register_is_spilled_in_the_innermost_loop(isa, kernel):
    axes = [forward(14, 3, 1, 1, (1, 1))] * 2
    axes = [adjoint(a) for a in axes] if kernel == "adjoint" else axes
    g = geometry(axes, 64, 32, 64)
    if kernel == "gradient":
        spec = ConvolutionGradient(g, "float32", gradient_chunks(g, 4), isa.name)
    else:
        body, width = (Instr("acc", "float32"),), panel_width(64, isa)
        tile = (EpilogueOperand("float32", "tile"),)
        spec = Convolution(g, "float32", width, 0, 9 * 32 * width, 32 * width, tile, body, ((0, 0),), isa.name)
    text = assembly(spec, isa)
    loops = [b for b in re.split(r"\n\.LBB\w+:", text) if len(re.findall(r"vfmadd", b)) >= 8]
    assert loops, "no block of multiplications found"
    inner = min(loops, key=len)
    stack = [line for line in inner.splitlines() if re.search(r"[xyz]mm\d.*\(%rsp\)|\(%rsp\).*[xyz]mm\d", line)]
    assert not stack, stack
