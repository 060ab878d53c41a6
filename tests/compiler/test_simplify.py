"""Simplification: each law, what it must leave alone, and that no bit of a result changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.graph import Graph, constant
from ranvier.compiler.interpret import run
from ranvier.compiler.passes.simplify import simplify, uniform
from ranvier.compiler.trace import trace

X = np.array([[1.5, -0.0, 0.0], [np.nan, np.inf, -np.inf]])


def both(function: Callable[..., Any], *arguments: Any) -> tuple[Graph, Graph]:
    graph = trace([rv.asarray(a) for a in arguments], lambda symbols: function(*symbols))[0]
    return graph, simplify(graph)


def ops(graph: Graph) -> list[str]:
    return sorted(v.op for v in graph.nodes() if v.op not in ("input", "const"))


LAWS: list[tuple[Callable[..., Any], list[str]]] = [
    (lambda x: x + (-0.0), []),
    (lambda x: -0.0 + x, []),
    (lambda x: x - 0.0, []),
    (lambda x: x * 1.0, []),
    (lambda x: x * -1.0, ["neg"]),
    (lambda x: x / 1.0, []),
    (lambda x: x / 4.0, ["mul"]),
    (lambda x: rv.negative(rv.negative(x)), []),
    (lambda x: rv.astype(x, "float64"), []),
    (lambda x: rv.reshape(rv.reshape(x, (6,)), (3, 2)), ["reshape"]),
    (lambda x: rv.reshape(rv.reshape(x, (6,)), (2, 3)), []),
    (lambda x: rv.transpose(rv.transpose(x)), []),
    (lambda x: rv.transpose(rv.reshape(x, (2, 1, 3)), (1, 0, 2)), ["reshape"]),
    (lambda x: rv.broadcast_to(rv.broadcast_to(x, (2, 2, 3)), (4, 2, 2, 3)), ["broadcast_to"]),
    (lambda x: rv.sum(rv.reshape(x, (2, 1, 3)), 1), []),
    (lambda x: rv.where(True, x, x + 1), []),
    (lambda x: rv.where(x > 0, x, x), []),
    (lambda x: x[:, :], []),
    (lambda x: rv.stop_gradient(x), []),
    (lambda x: rv.exp(x) + rv.exp(x), ["add", "exp"]),
    (lambda x: x * (rv.tensor(2.0, "float64") * 3.0), ["mul"]),
    (
        lambda x: rv.embed(x[:, :2], (2, 3), (0, 0)) + rv.embed(x[:, 2:], (2, 3), (0, 2)),
        ["concatenate"] + 2 * ["slice"],
    ),
]


@pytest.mark.parametrize("case", range(len(LAWS)))
def test_laws(case):
    function, meant = LAWS[case]
    before, after = both(function, X)
    assert ops(after) == sorted(meant)
    (a,), (b,) = run(before, [X]), run(after, [X])
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)
    if not {"embed", "reduce_sum"} & set(ops(before)):  # these add 0.0, and so make 0.0 of -0.0
        known = ~np.isnan(a)
        np.testing.assert_array_equal(np.signbit(a[known]), np.signbit(b[known]))


LEFT_ALONE: list[Callable[..., Any]] = [
    lambda x: x + 0.0,  # makes 0.0 of -0.0
    lambda x: 0.0 - x,
    lambda x: x * 0.0,  # NaN stays NaN
    lambda x: x - x,
    lambda x: x / x,
    lambda x: x / 3.0,  # a third is no floating-point number
    lambda x: x / 1e-320,  # its inverse overflows
    lambda x: rv.embed(x[:, :2], (2, 3), (0, 0)) + rv.embed(x[:, 1:], (2, 3), (0, 1)),  # parts that overlap
    lambda x: rv.embed(x[:, :1], (2, 3), (0, 0)) + rv.embed(x[:, 2:], (2, 3), (0, 2)),  # parts that leave a gap
]


@pytest.mark.parametrize("case", range(len(LEFT_ALONE)))
def test_what_would_change_a_bit_is_left_alone(case):
    before, after = both(LEFT_ALONE[case], X)
    assert ops(after) == ops(before)


def test_integers_may_forget_zeros():
    assert ops(both(lambda n: n + 0, np.arange(3))[1]) == []


@pytest.mark.parametrize("size, folded", [(100, True), (5000, False)])
def test_constants_are_folded_while_they_are_small(size, folded):
    source = constant(np.arange(float(size)), rv.float64)
    (out,) = simplify(Graph([], [source.like("neg", [source], {})])).outputs
    assert out.op == ("const" if folded else "neg")
    if folded:
        np.testing.assert_array_equal(out.attrs["value"], -np.arange(float(size)))


def test_parts_side_by_side_become_one_value(rng):
    """The gradient of slices that cover a value, in any order and along any axis."""
    for axis, sizes in ((0, (2, 1, 4)), (1, (3, 3)), (2, (1, 1, 1, 2))):
        shape = [3, 4, 2]
        shape[axis] = sum(sizes)
        x = rng.normal(size=shape)

        def loss(x, axis=axis, sizes=sizes):
            parts = rv.split(x, list(np.cumsum(sizes))[:-1], axis=axis)
            return sum(rv.sum(rv.sin(p) * (k + 1)) for k, p in enumerate(parts))

        graph = both(rv.grad(loss), x)[1]
        assert ops(graph).count("concatenate") == 1
        assert "embed" not in ops(graph)
        np.testing.assert_array_equal(run(graph, [x])[0], rv.grad(loss)(rv.tensor(x)).numpy())


@pytest.mark.parametrize(
    "array, value", [([2.0, 2.0], 2.0), ([1.0, 2.0], None), ([0.0, -0.0], None), ([np.nan, np.nan], None)]
)
def test_uniform_constants(array, value):
    (out,) = both(lambda: rv.tensor(array))[1].outputs
    assert uniform(out) == value
