"""Loops and branches, compiled: against Python's own loops, with gradients, inside each other, and with variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.kernel import Callback, Control
from ranvier.errors import ArgumentError, GradientError, ShapeError, TraceError


def leaves(nest: Any) -> list[np.ndarray]:
    return [t.numpy() for t in rv.tree.flatten(nest)[0]]


def agree(function: Callable[..., Any], *arguments: Any, near: float = 1e-12) -> rv.Jitted:
    """Eager, compiled and reference values of a function are the same; nothing runs on the reference."""
    eager = leaves(function(*map(rv.tensor, arguments)))
    compiled = rv.jit(function)
    with rv.config.override(backend="reference"):
        reference = leaves(rv.jit(function)(*arguments))
    for a, b, c in zip(eager, leaves(compiled(*arguments)), reference, strict=True):
        assert a.shape == b.shape == c.shape
        assert a.dtype == b.dtype == c.dtype
        np.testing.assert_allclose(b, a, rtol=near, atol=near)
        np.testing.assert_allclose(c, a, rtol=near, atol=near)
    steps = compiled.specialise(*arguments)[0].executor.plan.steps
    assert not [s for s in steps if isinstance(s, Callback)]
    return compiled


def cell(w, u):
    return lambda h, x: ((new := rv.tanh(x @ w + h @ u)), new * 2)


@pytest.fixture
def weights(rng) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(5, 7)) * 0.4, rng.normal(size=(7, 7)) * 0.4


# -- scan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("turns", [1, 2, 9])
def test_recurrence(turns, reverse, weights, rng):
    x, h = rng.normal(size=(turns, 3, 5)), rng.normal(size=(3, 7))
    f = agree(lambda x, h, w, u: rv.scan(cell(w, u), h, x, reverse=reverse), x, h, *weights)
    assert any(isinstance(s, Control) for s in f.specialise(x, h, *weights)[0].executor.plan.steps)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_a_recurrence(reverse, weights, rng):
    x, h = rng.normal(size=(6, 3, 5)), rng.normal(size=(3, 7))

    def loss(x, h, w, u):
        last, every = rv.scan(cell(w, u), h, x, reverse=reverse)
        return rv.sum(last**2) + rv.sum(rv.sin(every))

    agree(rv.grad(loss, (0, 1, 2, 3)), x, h, *weights, near=1e-10)


def test_second_gradients_of_a_recurrence(rng):
    def loss(x, w):
        last, _ = rv.scan(lambda h, s: (rv.tanh(h * w + s), None), rv.zeros(3, "float64"), x)
        return rv.sum(last**3)

    def twice(x, w):
        return rv.grad(lambda x, w: rv.sum(rv.grad(loss, 1)(x, w) ** 2), (0, 1))(x, w)

    agree(twice, rng.normal(size=(4, 3)), rng.normal(size=3), near=1e-9)


def test_nests_integers_and_booleans_are_carried(rng):
    def body(carry, x):
        n, (seen, best) = carry
        return (n + 1, (rv.logical_or(seen, x > 1), rv.maximum(best, x))), {"n": n, "x": x.astype("int32")}

    def f(x):
        return rv.scan(body, (rv.tensor(0), (rv.zeros(4, "bool"), x[0])), x)

    agree(f, rng.normal(size=(8, 4)))


def test_loops_without_slices_or_outputs():
    agree(lambda a: rv.scan(lambda c, _: (c * 1.5 + a, None), a, length=10)[0], np.array([1.0, -2.0]))
    agree(lambda a: rv.scan(lambda c, _: ((c[1], c[0] + c[1]), c[0]), (a, a), length=12), np.array(1))


def test_unused_results_are_not_computed(rng):
    x = rng.normal(size=(5, 2))
    agree(lambda x: rv.scan(lambda c, s: (c + s, rv.exp(s)), x[0], x)[0], x)
    agree(lambda x: rv.scan(lambda c, s: (c + s, rv.exp(s)), x[0], x)[1], x)
    assert rv.jit(lambda x: (rv.scan(lambda c, s: (c + s, s), x[0], x), x * 2)[1]).explain(x).count("scan") == 0


def test_what_is_used_from_outside_may_depend_on_each_other(rng):
    """A weight and something made from it, a first carry cut out of what is looped over: nothing counts twice."""

    def loop(x, w):
        double, carry = w * 2.0, x[0] * w
        last, every = rv.scan(lambda c, s: (rv.sin(c * w) + s * double, c * s), carry, x)
        return rv.sum(last**2) + rv.sum(every)

    def branch(x, w):
        other = rv.exp(w)
        return rv.sum(rv.cond(rv.sum(x) > 0, lambda x: x * w + other, lambda x: x * other - w, x * w))

    x, w = rng.normal(size=(4, 3)), rng.normal(size=3)
    for loss in (loop, branch):
        slope = rv.grad(loss, (0, 1))
        agree(slope, x, w, near=1e-10)
        agree(rv.grad(lambda x, w, slope=slope: sum(rv.sum(g**2) for g in slope(x, w)), (0, 1)), x, w, near=1e-8)
        for i in range(3):
            step = np.eye(3)[i] * 1e-6
            up, down = (rv.jit(loss)(x, w + d).item() for d in (step, -step))
            np.testing.assert_allclose(rv.jit(slope)(x, w)[1].numpy()[i], (up - down) / 2e-6, rtol=1e-4, atol=1e-6)


def test_names_that_mean_something_else_later(rng):
    """A gradient is that of what was recorded, whatever the names in the function are bound to by then."""

    def rebound_in_a_branch(x):
        def body(h, s):
            h = rv.cond(rv.sum(s) > 0, lambda: h + s, lambda: h * 2.0)
            return h, None

        return rv.sum(rv.scan(body, x[0], x)[0] ** 2)

    def rebound_after_a_loop(x):
        w = x[0] * 0.5
        every = rv.scan(lambda c, s: (c * w + s, c), x[1], x)[1]
        w = w * 0.0 + 2.0
        return rv.sum(every**2) + rv.sum(w)

    for loss in (rebound_in_a_branch, rebound_after_a_loop):
        agree(rv.grad(loss), rng.normal(size=(5, 3)), near=1e-10)
        agree(rv.grad(lambda x, loss=loss: rv.sum(rv.grad(loss)(x) ** 2)), rng.normal(size=(5, 3)), near=1e-9)


def test_variables_assigned_after_a_loop(rng):
    """A stateful recurrence: the loss itself moves the state on, before the gradient is taken."""
    w, h = rv.Variable(rng.normal(size=3)), rv.Variable(np.zeros(3))
    start, x = w.numpy(), rng.normal(size=(4, 3))

    def loss(x):
        last, _ = rv.scan(lambda c, s: (rv.tanh(c * w + s), None), h.value, x)
        h.assign(last)
        w.assign(w * 0.0)
        return rv.sum(last)

    (slope,) = rv.jit(lambda x: rv.grad(loss, wrt=[w])(x))(x)
    w.assign(start)
    h.assign(np.zeros(3))
    (want,) = rv.grad(loss, wrt=[w])(x)
    np.testing.assert_allclose(slope.numpy(), want.numpy(), rtol=1e-10)


def test_users_gradient_rules_in_loops(rng):
    """The rule uses what its forward pass computed; inside a loop that is of this turn."""

    @rv.custom_gradient
    def halved(x):
        y = rv.exp(x)
        return y, lambda g: g * y * 0.5

    def loss(x):
        return rv.sum(rv.scan(lambda c, s: (halved(c * 0.1 + s), c), x[0], x)[0])

    agree(rv.grad(loss), rng.normal(size=(4, 3)), near=1e-10)


def test_views_in_and_out(rng):
    """Slices, carries and what is read from outside may lie in any arrangement."""

    def f(x, a):
        def body(c, s):
            return rv.transpose(c) + s[::-1] * a[0], rv.flip(c, 1)[:2]

        return rv.scan(body, rv.transpose(x[0]), rv.transpose(x, (0, 2, 1))[::-1])

    agree(f, rng.normal(size=(6, 4, 4)), rng.normal(size=(3, 4)))


def test_loops_in_loops(rng):
    def outer(c, x):
        inner, every = rv.scan(lambda d, y: (d * 0.5 + y * c[0], d), c, x)
        return inner + 1, rv.sum(every)

    agree(lambda x: rv.scan(outer, x[0, 0], x), rng.normal(size=(3, 4, 5)))
    agree(rv.grad(lambda x: rv.sum(rv.scan(outer, x[0, 0], x)[0])), rng.normal(size=(3, 4, 5)), near=1e-10)


def test_batches_in_a_loop_train_like_steps(rng):
    """Weights live in panels outside and are read inside a loop; the carry starts from a variable."""
    w = rv.Variable(rng.normal(size=(20, 33)).astype("f"))
    state = rv.Variable(np.zeros((4, 33), "f"))
    x = rng.normal(size=(5, 4, 20)).astype("f")

    @rv.jit
    def f(x):
        last, every = rv.scan(lambda h, s: (rv.tanh(s @ w + h), rv.sum(h)), state.value, x)
        state.assign(last)
        w.assign(w * 0.9)
        return every

    h, kernel = np.zeros((4, 33)), w.numpy().astype("f8")
    for _ in range(3):
        want = []
        for s in x:
            want.append(h.sum())
            h = np.tanh(s @ kernel + h)
        np.testing.assert_allclose(f(x).numpy(), want, rtol=1e-3, atol=1e-3)
        kernel = kernel * 0.9
        np.testing.assert_allclose(state.numpy(), h, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(w.numpy(), kernel, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_large_bodies_on_threads(threads, rng):
    w, x = rng.normal(size=(300, 300)).astype("f") * 0.05, rng.normal(size=(6, 128, 300)).astype("f")
    with rv.config.override(threads=threads):
        last, every = rv.jit(lambda w, x: rv.scan(lambda h, s: (rv.tanh(h @ w + s), rv.sum(h, 1)), x[0], x))(w, x)
    h = x[0].astype("f8")
    for t, s in enumerate(x):
        np.testing.assert_allclose(every.numpy()[t], h.sum(1), rtol=1e-3, atol=1e-2)
        h = np.tanh(h @ w + s)
    np.testing.assert_allclose(last.numpy(), h, rtol=1e-3, atol=1e-4)


def test_random_numbers_drawn_before_a_loop():
    g = rv.random.Generator(3)
    f = rv.jit(lambda: rv.scan(lambda c, s: (c + s, c), rv.tensor(0.0), g.uniform((5,)))[0])
    values = [f().item() for _ in range(3)]
    again = rv.random.Generator(3)
    np.testing.assert_allclose(values, [again.uniform((5,)).numpy().sum() for _ in range(3)], rtol=1e-6)


# -- cond ---------------------------------------------------------------------------------------------------------


def test_branches(rng):
    x = rng.normal(size=(3, 4))

    def f(flag, x):
        made = rv.cond(flag, lambda x: (rv.exp(x), x[0]), lambda x: (x[::-1] * 2, rv.sum(x, 0)), x)
        return made, rv.cond(rv.sum(x) > 0, lambda: x + 1, lambda: rv.transpose(rv.transpose(x) - 1))

    for flag in (np.array(True), np.array(False)):
        agree(f, flag, x)
        agree(f, flag, -x)


def test_gradients_of_branches(rng):
    def loss(a, x):
        return rv.sum(rv.cond(rv.sum(x) > 0, lambda x: rv.exp(x) * a, lambda x: x**2 + a, x))

    x = np.abs(rng.normal(size=4))
    for value in (x, -x):
        agree(rv.grad(loss, (0, 1)), np.array(0.7), value, near=1e-11)


def test_only_one_branch_runs():
    """The other one would divide for ever: it never stops."""

    def f(x):
        return rv.cond(
            x[0] > 0, lambda x: x * 2, lambda x: rv.while_loop(lambda c: rv.all(c < 1), lambda c: c * 1.0, x), x
        )

    assert rv.jit(f)(np.array([3.0, 0.0])).tolist() == [6, 0]


def test_branches_in_loops_and_loops_in_branches(rng):
    def body(c, s):
        c = rv.cond(rv.sum(s) > 0, lambda: c + s, lambda: c * rv.scan(lambda d, y: (d + y, None), s[0], s)[0])
        return c, rv.sum(c)

    agree(lambda x: rv.scan(body, x[0], x), rng.normal(size=(12, 3)))
    agree(rv.grad(lambda x: rv.sum(rv.scan(body, x[0], x)[0])), rng.normal(size=(12, 3)), near=1e-9)


# -- while --------------------------------------------------------------------------------------------------------


def test_loops_of_unknown_length(rng):
    agree(lambda x: rv.while_loop(lambda c: rv.sum(c) < 100, lambda c: c * 1.7 + x, x), np.abs(rng.normal(size=3)))
    for start in (0, 5, 99, 100, 1000):
        agree(
            lambda n: rv.while_loop(lambda c: c[0] < 100, lambda c: (c[0] * 2 + 1, c[1] + 1), (n, rv.tensor(0))), start
        )


def test_newtons_method(rng):
    def root(a):
        def step(carry):
            x, n, _ = carry
            new = 0.5 * (x + a / x)
            return new, n + 1, rv.max(rv.abs(new - x))

        return rv.while_loop(lambda c: rv.logical_and(c[2] > 1e-14, c[1] < 50), step, (a, rv.tensor(0), rv.max(a)))

    a = rng.uniform(0.1, 50, 9)
    x, n, _ = rv.jit(root)(a)
    np.testing.assert_allclose(x.numpy(), np.sqrt(a), rtol=1e-13)
    assert 5 <= n.item() <= 20


def test_steps_of_a_loop_of_unknown_length():
    v = rv.Variable(np.array(1))
    f = rv.jit(lambda: v.assign(rv.while_loop(lambda c: c % 10 != 0, lambda c: c + 3, v + 1)))
    f.run(4)
    value = 1
    for _ in range(4):
        value += 1
        while value % 10:
            value += 3
    assert int(v) == value


# -- errors -------------------------------------------------------------------------------------------------------


def test_errors():
    x = np.ones((3, 2))
    v = rv.Variable(np.zeros(2), name="total")

    def assigning(c, s):
        v.assign(s)
        return c, None

    with pytest.raises(
        TraceError, match=r"variable 'total' is assigned inside the body of a loop or branch\. Carry it"
    ):
        rv.jit(lambda x: rv.scan(assigning, x[0], x))(x)
    with pytest.raises(ShapeError, match=r"scan: .*shape and dtype.* but \(2,\) float64 became \(\)"):
        rv.jit(lambda x: rv.scan(lambda c, s: (rv.sum(c), s), x[0], x))(x)
    with pytest.raises(ShapeError, match=r"scan: .*structure"):
        rv.jit(lambda x: rv.scan(lambda c, s: ((c, c), s), x[0], x))(x)
    with pytest.raises(ShapeError, match="scan: expected one common length"):
        rv.jit(lambda x: rv.scan(lambda c, s: (c, None), x[0], (x, x[:2])))(x)
    with pytest.raises(ShapeError, match=r"cond: both branches must return the same structure.*\(2,\).*\(\)"):
        rv.jit(lambda x: rv.cond(x[0, 0] > 0, lambda: x[0], lambda: x[0, 0]))(x)
    with pytest.raises(ShapeError, match="cond: expected a single boolean"):
        rv.jit(lambda x: rv.cond(x > 0, lambda: x, lambda: x))(x)
    with pytest.raises(ShapeError, match="while_loop: the condition must be a single boolean"):
        rv.jit(lambda x: rv.while_loop(lambda c: c > 0, lambda c: c, x))(x)
    with pytest.raises(GradientError, match=r"while_loop: .*cannot be differentiated backwards.*rv\.scan"):
        rv.jit(rv.grad(lambda x: rv.sum(rv.while_loop(lambda c: rv.sum(c) < 9, lambda c: c * 2, x))))(x)
    with pytest.raises(ArgumentError, match="expected at least one turn, got 0"):
        rv.scan(lambda c, s: (c, s), rv.tensor(0.0), rv.zeros((0, 2)))
    assert rv.jit(lambda x: rv.scan(lambda c, s: (c + s, None), x[0], x)[0])(x).tolist() == [4, 4]
