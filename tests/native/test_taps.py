"""The index arithmetic of windows: native loops against trying all taps."""

from __future__ import annotations

import numpy as np
import pytest

from ranvier.compiler.native import target
from ranvier.compiler.native.builder import Function
from ranvier.compiler.native.taps import Axis, adjoint, forward, identity, loop_taps

from .kernel_runner import HOST_ISAS, Kernel


class Listing:
    """A kernel that writes down, for each output position, how many pairs it reaches, and then the pairs."""

    def __init__(self, axis: Axis):
        self.axis, self.units = axis, axis.out

    def ir(self, name: str, isa: target.Isa) -> str:
        f = Function(name, [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")], target_width=isa.bits)
        out, width = f.load(f["buffers"], 0, "ptr"), 2 * self.axis.taps + 1
        with f.loop(f["lo"], f["hi"]) as o:
            count = f.var(0, "i64")
            with loop_taps(f, self.axis, o) as (i, t):
                f.store(f.as_value(i, "i64"), out, o * width + 1 + count.get() * 2)
                f.store(f.as_value(t, "i64"), out, o * width + 2 + count.get() * 2)
                count.set(count.get() + 1)
            f.store(count.get(), out, o * width)
        return f.module()


def listed(axis: Axis) -> list[list[tuple[int, int]]]:
    out = np.full((axis.out, 2 * axis.taps + 1), -7, np.int64)
    Kernel(Listing(axis), HOST_ISAS[0])(out)
    return [[(int(r[1 + 2 * k]), int(r[2 + 2 * k])) for k in range(r[0])] for r in out]


def axes() -> list[Axis]:
    rng = np.random.default_rng(0)
    found = [identity(5), forward(7, 3, 1, 1, (0, 0)), forward(1, 1, 1, 1, (0, 0)), forward(2, 3, 1, 1, (1, 1))]
    while len(found) < 24:
        size, taps, stride, dilation = (int(rng.integers(1, n)) for n in (12, 6, 4, 4))
        padding = (int(rng.integers(0, 6)), int(rng.integers(0, 6)))
        if size + sum(padding) > (taps - 1) * dilation:
            found.append(forward(size, taps, stride, dilation, padding))
    return found + [adjoint(a) for a in found]


@pytest.mark.parametrize("axis", axes(), ids=str)
def test_native_loop_visits_what_the_equation_says(axis):
    want = [axis.pairs(o) for o in range(axis.out)]
    assert listed(axis) == want
    assert axis.work == sum(map(len, want))
    assert axis.full == all(len(pairs) == axis.taps for pairs in want)


def test_pairs_of_a_padded_window():
    axis = forward(4, 3, 2, 1, (1, 1))
    assert axis.out == 2
    assert [axis.pairs(o) for o in range(2)] == [[(0, 1), (1, 2)], [(1, 0), (2, 1), (3, 2)]]
    assert [sorted(adjoint(axis).pairs(i)) for i in range(4)] == [[(0, 1)], [(0, 2), (1, 0)], [(1, 1)], [(1, 2)]]
