"""Checked mode: guard pages, patterns around buffers and bounds tests find what touches memory that is not its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.native.scatter import Scatter
from ranvier.compiler.passes import kernels
from ranvier.errors import InternalError

from . import mlp
from .processes import child


@pytest.fixture(autouse=True)
def _checked() -> Iterator[None]:
    with rv.config.override(checked=True):
        yield


@pytest.mark.parametrize("sizes, rows", [((64, 32, 10), 32), ((30, 16, 1), 16), ((7, 50, 33, 3), 5)])
def test_a_training_step_keeps_to_its_buffers(sizes, rows):
    net, step = mlp.train(sizes, rows, 3)
    with rv.config.override(checked=False):
        plain, _ = mlp.train(sizes, rows, 3)
    assert mlp.digest(net) == mlp.digest(plain)
    executor = next(iter(step._made.values())).executor
    assert executor.checked
    assert not executor._memory.damaged()


def test_indices_out_of_range_stay_inside():
    """Compiled code limits positions to the axis: nothing outside is touched."""
    f = rv.jit(lambda x, i: [rv.take(x, i), rv.scatter_add(x, i, rv.ones(3, "float64"))])
    x = np.arange(5.0)
    taken, added = f(x, np.array([99, -99, 2]))
    assert taken.tolist() == [4, 0, 2]
    assert added.tolist() == [1, 1, 3, 3, 5]


def test_reads_outside_an_argument_are_reported(monkeypatch):
    """An argument has no slack behind it, unlike everything that the plan allocates."""
    made = kernels._Nest.kernel

    def kernel(self):
        k = made(self)
        first, *rest = k.spec.operands
        k.spec = dataclasses.replace(k.spec, operands=(dataclasses.replace(first, offset=first.offset + 1), *rest))
        return k

    f = rv.jit(lambda x: rv.exp(x) * 2)
    g = rv.jit(lambda x: rv.exp(x) * 2)
    assert f(np.zeros(40)).tolist() == [2.0] * 40
    monkeypatch.setattr(kernels._Nest, "kernel", kernel)
    with pytest.raises(InternalError, match="touched memory outside its buffers"):
        g(np.zeros(40))
    assert f(np.zeros(40)).tolist() == [2.0] * 40


def test_wild_offsets_are_reported_and_do_not_crash():
    done = child(
        """
        import dataclasses, numpy as np, ranvier as rv
        from ranvier.compiler.passes import kernels
        from ranvier.errors import InternalError
        rv.config.set("checked", True)
        rv.config.set("cache", False)
        made = kernels._Nest.kernel
        for shift in (10**6, -50, 300, -(10**9)):
            def kernel(self, shift=shift):
                k = made(self)
                k.spec = dataclasses.replace(k.spec, operands=tuple(
                    dataclasses.replace(o, offset=o.offset + shift) for o in k.spec.operands))
                return k
            kernels._Nest.kernel = kernel
            for f in (lambda x: rv.exp(x) + 1, lambda x: rv.sum(x, axis=1), lambda x: rv.take(x, [1, 0]) * 2):
                try:
                    rv.jit(f)(np.ones((3, 50), "f"))
                    print("nothing noticed")
                except InternalError as error:
                    print("InternalError" if "outside its buffers" in str(error) else error)
        kernels._Nest.kernel = made
        print(rv.jit(lambda x: x + 1)(np.ones(3)).tolist())
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["InternalError"] * 12 + ["[2.0, 2.0, 2.0]"]


def test_a_write_beside_a_buffer_is_reported():
    v = rv.Variable(np.zeros(5))
    f = rv.jit(lambda x: v.assign(v + x))
    f(1.0)
    buffer = v._home._buffer
    offset, fence = buffer._fences[0]
    assert offset < 0 < fence.size
    fence[-1] = 0  # as a kernel would do that starts one byte early
    with pytest.raises(InternalError, match="the bytes around one of them have changed"):
        f(1.0)


def test_a_bad_index_in_a_scatter_is_reported(monkeypatch):
    made = kernels._scatter

    def scatter(v, checked):
        k = made(v, checked)
        assert isinstance(k.spec, Scatter)
        k.spec = dataclasses.replace(k.spec, rows=2)  # so that the position 4 lies outside
        return k

    monkeypatch.setattr(kernels, "_scatter", scatter)
    f = rv.jit(lambda x: rv.scatter_add(x, np.array([1, 4]), rv.ones(2, "float64")))
    with pytest.raises(InternalError, match="touched memory outside its buffers"):
        f(np.zeros(5))


def test_fresh_functions_run_unchecked_again():
    with rv.config.override(checked=False):
        f = rv.jit(lambda x: x + 1)
        f(1.0)
        assert not next(iter(f._made.values())).executor.checked
