"""The sixty random convolutions of the benchmarks, on small integers: bit for bit what a plain loop over taps gives."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

import ranvier as rv

ROOT = Path(__file__).resolve().parents[2]


def _shapes() -> list:
    spec = importlib.util.spec_from_file_location("conv_shapes", ROOT / "benchmarks" / "conv_shapes.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.drawn()


SHAPES = _shapes()


def _taps(shape, padded):
    """Every tap of the kernel, with the part of the padded image that it meets."""
    for tap in itertools.product(*map(range, shape.kernel)):
        rows, columns = (
            slice(t * shape.dilation, t * shape.dilation + (n - 1) * shape.strides + 1, shape.strides)
            for t, n in zip(tap, shape.out, strict=True)
        )
        yield tap, padded[:, rows, columns, :]


def _groups(shape):
    """Slices of the channels in and out of each group."""
    inputs, outputs = shape.channels // shape.groups, shape.filters // shape.groups
    for g in range(shape.groups):
        yield slice(g * inputs, (g + 1) * inputs), slice(g * outputs, (g + 1) * outputs)


def _plain(shape, x, w, g):
    """Convolution and both gradients by a loop over taps and groups. The sums are whole numbers far below 2**24."""
    p = shape.padding
    padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    y = np.zeros((shape.batch, *shape.out, shape.filters), np.float32)
    dx, dw = np.zeros_like(padded), np.zeros_like(w)
    for (tap, part), (_, dpart) in zip(_taps(shape, padded), _taps(shape, dx), strict=True):
        for i, o in _groups(shape):
            kernel, seen = w[*tap][:, o], part[..., i]
            y[..., o] += seen @ kernel
            dpart[..., i] += g[..., o] @ kernel.T
            dw[*tap][:, o] = seen.reshape(-1, seen.shape[-1]).T @ g[..., o].reshape(-1, kernel.shape[-1])
    high, wide = shape.size
    return y, dx[:, p : p + high, p : p + wide], dw


@pytest.mark.parametrize("number", range(len(SHAPES)), ids=[s.text for s in SHAPES])
def test_integers_are_exact(number):
    shape = SHAPES[number]
    rng = np.random.default_rng(number)
    x = rng.integers(-2, 3, (shape.batch, *shape.size, shape.channels)).astype(np.float32)
    w = rng.integers(-2, 3, (*shape.kernel, shape.channels // shape.groups, shape.filters)).astype(np.float32)
    g = rng.integers(-1, 2, (shape.batch, *shape.out, shape.filters)).astype(np.float32)
    padding = ((shape.padding,) * 2,) * 2

    @rv.jit
    def everything(x, w, g):
        def forward(x, w):
            return rv.conv(x, w, strides=shape.strides, padding=padding, dilation=shape.dilation, groups=shape.groups)

        dx, dw = rv.grad(lambda x, w: rv.sum(forward(x, w) * g), (0, 1))(x, w)
        return forward(x, w), dx, dw

    wanted = _plain(shape, x, w, g)
    assert max(np.abs(a).max() for a in wanted) < 2**24
    for got, want in zip(everything(rv.tensor(x), rv.tensor(w), rv.tensor(g)), wanted, strict=True):
        np.testing.assert_array_equal(got.numpy(), want)
