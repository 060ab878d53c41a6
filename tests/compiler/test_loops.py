"""The passes over loops: what leaves a loop, what is stored instead of computed again, and where carries live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.kernel import Callback, Control
from ranvier.compiler.passes import kernels
from ranvier.compiler.passes.histories import histories
from ranvier.compiler.passes.loops import hoist
from ranvier.compiler.passes.residuals import residuals
from ranvier.compiler.passes.simplify import simplify
from ranvier.compiler.passes.totals import totals
from ranvier.compiler.trace import trace

B, H = 4, 3


def graph_of(function: Callable[..., Any], *arguments: Any) -> Graph:
    return simplify(trace([rv.asarray(a) for a in arguments], lambda symbols: function(*symbols))[0])


def scans(graph: Graph) -> list[Value]:
    return [v for v in graph.nodes() if v.op == "scan"]


def inside(scan: Value) -> list[str]:
    return sorted(v.op for v in scan.attrs["body"].nodes() if v.op != "input")


def controls(function: Callable[..., Any], *arguments: Any) -> list[Control]:
    steps = rv.jit(function).specialise(*arguments)[0].executor.plan.steps
    return [s for s in steps if isinstance(s, Control)]


def tanh_loop(x: Any, u: Any) -> Any:
    return rv.scan(lambda h, s: ((new := rv.tanh(s + h @ u)), new), rv.zeros((B, H), "float64"), x)


@pytest.fixture
def x(rng) -> np.ndarray:
    return rng.normal(size=(5, B, H))


@pytest.fixture
def u(rng) -> np.ndarray:
    return rng.normal(size=(H, H)) * 0.5


# -- one pass at a time -----------------------------------------------------------------------------------------------


def test_what_no_turn_changes_is_computed_once(x, u):
    def f(x, u):
        return rv.scan(lambda h, s: (rv.tanh(h @ rv.exp(u) + rv.sum(u) * s), None), x[0], x)[0]

    (before,) = scans(graph_of(f, x, u))
    (after,) = scans(hoist(graph_of(f, x, u)))
    assert {"exp", "reduce_sum"} <= set(inside(before))
    assert inside(after) == ["add", "matmul", "mul", "tanh"]


def test_a_backward_turn_computes_nothing_slow_again(x, u):
    graph = graph_of(rv.grad(lambda x, u: rv.sum(tanh_loop(x, u)[1] ** 2), (0, 1)), x, u)
    assert [inside(s).count("tanh") for s in scans(graph)] == [1, 1]
    forward, backward = scans(histories(residuals(graph)))
    assert inside(forward) == ["add", "matmul", "tanh"]
    assert "tanh" not in inside(backward)
    assert inside(backward).count("matmul") == 2  # by the weights' transpose, and the weights' gradient


def test_stored_are_the_fewest_bytes(x):
    """``y (1 - y)`` is computed again from y; of what is slow, only what a backward turn reads is stored."""

    def f(x):
        def turn(h, s):
            wide = rv.exp(rv.concatenate([h, h, s, s], 1))
            scale = rv.sum(wide, 1, keepdims=True)  # read by its sine and cosine only
            return rv.sigmoid(s * 2 + rv.sin(scale)) * h, None

        return rv.sum(rv.scan(turn, x[0], x)[0])

    forward, backward = scans(histories(residuals(graph_of(rv.grad(f), x))))
    stored = [v.op for v in forward.attrs["body"].outputs[1:]]
    assert sorted(stored) == ["cos", "exp", "sigmoid"]
    assert "sub" in inside(backward)
    assert not {"cos", "exp", "sigmoid", "sin", "reduce_max"} & set(inside(backward))


def test_sums_over_turns_leave_the_loop(x, u):
    def f(x, u, b):
        return rv.sum(rv.scan(lambda h, s: (rv.tanh(s + h @ u + b), None), x[0], x)[0])

    graph = residuals(graph_of(rv.grad(f, (1, 2)), x, u, u[0]))
    assert [s.attrs["carries"] for s in scans(graph)] == [1, 3]
    graph = histories(totals(graph))
    _, backward = scans(graph)
    assert backward.attrs["carries"] == 1
    assert inside(backward).count("matmul") == 1
    assert "reduce_sum" not in inside(backward)
    assert [v.shape for v in graph.nodes() if v.op == "matmul"] == [(H, H)]


@pytest.mark.parametrize("part", [lambda s: s, lambda s: s * 2, lambda s: rv.sum(s, 0), lambda s: rv.exp(s.T) @ s])
def test_running_sums_of_any_kind(part, x):
    def f(x):
        start = part(x[0]) * 3
        return rv.scan(lambda c, s: (part(s) + c, None), start, x, reverse=True)[0]

    assert not scans(totals(graph_of(f, x))) or not scans(histories(totals(graph_of(f, x))))[0].attrs["carries"]
    np.testing.assert_allclose(rv.jit(f)(x).numpy(), f(rv.asarray(x)).numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "turn",
    [
        lambda c, s: (c + rv.sum(c) * s, None),  # the part depends on the sum
        lambda c, s: (c + c + s, None),
        lambda c, s: (c + s, c),  # somebody reads it turn by turn
    ],
)
def test_sums_that_stay(turn, x):
    graph = totals(graph_of(lambda x: rv.scan(turn, x[0], x), x))
    assert scans(graph)[0].attrs["carries"] == 1
    result = rv.jit(lambda x: rv.scan(turn, x[0], x))(x)
    eager = rv.scan(turn, rv.asarray(x[0]), rv.asarray(x))
    np.testing.assert_allclose(result[0].numpy(), eager[0].numpy(), rtol=1e-12)


def test_slots_of_carries(x, u):
    def last(x, u):
        return tanh_loop(x, u)[0]

    def every(x, u):
        return tanh_loop(x, u)[1]

    for f, slots in ((last, 2), (every, 6), (tanh_loop, 6)):
        (scan,) = scans(histories(graph_of(f, x, u)))
        assert scan.attrs["slots"] == (slots,)
        assert len(scan.attrs["body"].outputs) == 1, "the stack of the new carries is part of the carry's slots"


# -- what becomes of it -----------------------------------------------------------------------------------------------


def test_a_recurrence_copies_nothing(x, u):
    forward, backward = controls(rv.grad(lambda x, u: rv.sum(tanh_loop(x, u)[1] ** 2), (0, 1)), x, u)
    assert [len(s.plans[0].steps) for s in (forward, backward)] == [1, 2]
    assert not forward.phases.get("bottom") and not backward.phases.get("bottom")


def test_gates_are_written_side_by_side(rng):
    def turn(carry, z):
        h, c = carry
        i, f, g, o = rv.split(z + h @ u, 4, axis=1)
        c = rv.sigmoid(f) * c + rv.sigmoid(i) * rv.tanh(g)
        h = rv.sigmoid(o) * rv.tanh(c)
        return (h, c), h

    z, u = rv.asarray(rng.normal(size=(5, B, 4 * H))), rv.asarray(rng.normal(size=(H, 4 * H)))
    zero = rv.zeros((B, H), "float64")
    _, backward = controls(rv.grad(lambda z: rv.sum(rv.scan(turn, (zero, zero), z)[1])), z)
    assert len(backward.plans[0].steps) == 2  # the gates' gradients, and the product


def test_all_cotangents_go_back_in_one_loop(x, u):
    def loss(x, u):
        last, every = tanh_loop(x, u)
        return rv.sum(last) + rv.sum(every * every)

    assert len(controls(rv.grad(loss, (0, 1)), x, u)) == 2


# -- against Python's loop --------------------------------------------------------------------------------------------


def random_turn(rng: np.random.Generator, weights: list[np.ndarray]) -> Callable[[Any, Any], Any]:
    """A random body: two float carries and an integer one, one slice, a few ops of every sort."""
    choices = rng.integers(0, 9, size=5)

    def turn(carry: Any, s: Any) -> Any:
        (a, b), n = carry
        w, v = weights
        pool = [a, b, s]
        for k in choices:
            p, q = pool[-1], pool[-2]
            pool.append(
                [
                    lambda p, q: rv.tanh(p @ w + q),
                    lambda p, q: rv.sigmoid(p) * q,
                    lambda p, q: rv.where(p > q, p, q * 0.5),
                    lambda p, q: rv.concatenate([q[:, 1:], p[:, :1]], 1),
                    lambda p, q: p / (1 + rv.sum(q * q, 1, keepdims=True)),
                    lambda p, q: rv.exp(-p * p),
                    lambda p, q: p * rv.sum(v) + q @ rv.tanh(w).T,
                    lambda p, q: rv.cond(rv.sum(p) > 0, lambda: rv.sin(p), lambda: q * 0.25),
                    lambda p, q: rv.scan(lambda c, t: (rv.tanh(c + t), None), p[0], q)[0] + p,
                ][k](p, q)
            )
        new = pool[-1] * 0.5 + (a * v + b @ w + s) * 0.1  # so that everything is used
        return ((new, pool[-2] * 0.5 + b * 0.5), n + 1), (new * v, n, s)

    return turn


@pytest.mark.parametrize("case", range(15))
def test_random_recurrences(case):
    rng = np.random.default_rng(case)
    turns, rows, columns = int(rng.integers(1, 5)), int(rng.integers(1, 6)), int(rng.integers(2, 40))
    xs = rng.normal(size=(turns, rows, columns))
    a, b = rng.normal(size=(2, rows, columns))
    weights = [rng.normal(size=(columns, columns)) / columns, rng.normal(size=columns)]
    reverse = bool(rng.integers(2))

    def run(xs, a, b, w, v):
        return rv.scan(random_turn(np.random.default_rng(case), [w, v]), ((a, b), 0), xs, reverse=reverse)

    def loss(*given):
        ((a, b), _), (ys, _, _) = run(*given)
        return rv.sum(ys * ys) + rv.sum(a) - rv.sum(b * ys[0])

    given = [xs, a, b, *weights]

    def both(*given):
        return run(*given), rv.grad(loss, (0, 1, 2, 3, 4))(*given)

    eager = [t.numpy() for t in rv.tree.flatten(both(*map(rv.asarray, given)))[0]]
    outcomes = []
    for threads in (1, 2):
        with rv.config.override(threads=threads, checked=case % 3 == 0):
            outcomes.append([t.numpy() for t in rv.tree.flatten(rv.jit(both)(*given))[0]])
    for meant, one, two in zip(eager, *outcomes, strict=True):
        np.testing.assert_array_equal(one, two)
        # float64: a few thousand roundings of 1e-16, relative to the largest number that is added up
        np.testing.assert_allclose(one, meant, rtol=1e-9, atol=1e-11 * (1 + np.abs(meant).max(initial=0)))


def add(c: Any, s: Any) -> Any:
    return c + s, c * s


ODD: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "no elements": (lambda x: rv.scan(add, x[0], x), (3, 0, 4)),
    "scalars": (lambda x: rv.scan(add, x[0], x, reverse=True), (5,)),
    "carries change places": (lambda x: rv.scan(lambda c, s: ((c[1], c[0]), c[0] + s), (x[0], x[1]), x), (5, 3)),
    "one value, many uses": (
        lambda x: rv.scan(lambda c, s: ((d := c[0] + s, d), (d, d, s, c[1])), (x[0], x[1]), x),
        (5, 3),
    ),
    "a carry that stays": (lambda x: rv.scan(lambda c, s: (c, c * s), x[0], x), (5, 3)),
    "a carry that is a slice": (lambda x: rv.scan(lambda c, s: (s, c), x[0], x), (5, 3)),
    "views": (lambda x: rv.scan(lambda c, s: (c.T, (c[:, ::-1], c.T, c[0])), x[0], x), (5, 3, 3)),
    "slices far apart": (lambda x: rv.scan(add, x[:, 0], rv.transpose(x, (1, 0, 2))), (4, 6, 3)),
    "slices backwards": (lambda x: rv.scan(add, x[0], x[::-1]), (4, 6)),
    "every second slice": (lambda x: rv.scan(add, x[0], x[1::2]), (7, 6)),
    "the same slice": (lambda x: rv.scan(add, x, rv.broadcast_to(x, (3, 6))), (6,)),
    "constant slices": (lambda x: rv.scan(add, x, rv.tensor(np.arange(12.0).reshape(2, 6))), (6,)),
    "constant outputs": (lambda x: rv.scan(lambda c, s: (c, rv.ones(3, "float64")), x[0], x), (4, 6)),
    "a loop in a loop": (lambda x: rv.scan(lambda c, s: rv.scan(add, c, s, reverse=True), x[0, 0], x), (4, 3, 6)),
    "an open loop in a loop": (
        lambda x: rv.scan(lambda c, s: (rv.while_loop(lambda d: rv.sum(d) < 9, lambda d: d * 2 + 1, c), c), x[0], x),
        (4, 6),
    ),
    "a loop's outputs looped over": (
        rv.grad(lambda x: rv.sum(rv.scan(add, x[0], rv.tanh(rv.scan(add, x[0], x)[1]))[1])),
        (4, 6),
    ),
}


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("name", list(ODD))
def test_odd_loops(name, checked, rng):
    function, shape = ODD[name]
    x = rng.normal(size=shape)
    eager = [t.numpy() for t in rv.tree.flatten(function(rv.asarray(x)))[0]]
    with rv.config.override(checked=checked):
        compiled = [t.numpy() for t in rv.tree.flatten(rv.jit(function)(x))[0]]
    for a, b in zip(eager, compiled, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_second_derivatives(reverse, rng):
    xs, w = rng.normal(size=(3, 2, 3)), rng.normal(size=(3, 3)) * 0.5

    def slope(xs, w):
        def loss(xs, w):
            h, ys = rv.scan(lambda h, s: (rv.tanh(s + h @ w), h * s), rv.zeros((2, 3), "float64"), xs, reverse=reverse)
            return rv.sum(h**3) + rv.sum(ys * ys)

        gx, gw = rv.grad(loss, (0, 1))(xs, w)
        return rv.sum(gx * gx) + rv.sum(rv.sin(gw))

    eager = rv.grad(slope, (0, 1))(rv.asarray(xs), rv.asarray(w))
    for a, b in zip(eager, rv.jit(rv.grad(slope, (0, 1)))(xs, w), strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-9, atol=1e-12)


def test_callbacks_follow_the_turn(monkeypatch, rng):
    """An op that runs on the reference reads and writes this turn's parts of the stacks."""
    x = rng.normal(size=(4, 3, 2))
    _concatenate_on_the_reference(monkeypatch)
    f = rv.jit(lambda x: rv.scan(lambda c, s: ((d := rv.concatenate([s[:, :1], c[:, :1]], 1)), d), x[0], x))
    last, every = f(x)
    steps = f.specialise(x)[0].executor.plan.steps
    assert any(isinstance(s, Callback) for c in steps if isinstance(c, Control) for s in c.plans[0].steps)
    meant = rv.scan(lambda c, s: ((d := rv.concatenate([s[:, :1], c[:, :1]], 1)), d), rv.asarray(x[0]), rv.asarray(x))
    np.testing.assert_array_equal(last.numpy(), meant[0].numpy())
    np.testing.assert_array_equal(every.numpy(), meant[1].numpy())


def test_a_failing_callback_ends_the_run(monkeypatch, rng):
    calls = []

    def fail(v, inputs):
        calls.append(v)
        raise ValueError("not today")

    _concatenate_on_the_reference(monkeypatch)
    monkeypatch.setattr(kernels, "evaluate", fail)
    f = rv.jit(lambda x: rv.scan(lambda c, s: (rv.concatenate([s[:, :1], c[:, :1]], 1), None), x[0], x)[0])
    with pytest.raises(ValueError, match="not today"):
        f(rng.normal(size=(50, 3, 2)))
    assert len(calls) == 1


def _concatenate_on_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_concatenate", lambda v, checked, within: [kernels._callback([v])])
    monkeypatch.setattr(kernels, "parts", lambda graph, groups: {})
