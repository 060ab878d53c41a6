"""scan, cond and while_loop: eagerly, compiled, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.errors import ArgumentError, DTypeError, GradientError, ShapeError
from ranvier.tensor import Tensor


def _recurrence(w: Tensor, xs: Tensor, reverse: bool = False) -> tuple[Tensor, Tensor]:
    return rv.scan(lambda h, x: ((new := rv.tanh(h @ w + x)), new * 2), rv.zeros_like(xs[0]), xs, reverse=reverse)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_is_the_loop(reverse: bool, rng: np.random.Generator) -> None:
    w, xs = rng.normal(size=(3, 3)), rng.normal(size=(7, 3))
    h, outputs = np.zeros(3), []
    for x in xs[::-1] if reverse else xs:
        h = np.tanh(h @ w + x)
        outputs.append(h * 2)
    meant = np.array(outputs[::-1] if reverse else outputs)
    for run in (_recurrence, rv.jit(lambda w, xs: _recurrence(w, xs, reverse))):
        last, ys = run(rv.asarray(w), rv.asarray(xs), *([reverse] if run is _recurrence else []))
        np.testing.assert_allclose(last.numpy(), h, rtol=1e-12)
        np.testing.assert_allclose(ys.numpy(), meant, rtol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_differentiates(reverse: bool, rng: np.random.Generator) -> None:
    w, xs = rv.asarray(rng.normal(size=(3, 3))), rv.asarray(rng.normal(size=(4, 3)))

    def function(w: Tensor, xs: Tensor) -> Any:
        return _recurrence(w, xs, reverse)

    rv.check_gradients(function, w, xs, order=2)

    def loss(w: Tensor, xs: Tensor) -> Tensor:
        last, ys = function(w, xs)
        return rv.sum(last) + rv.sum(ys * ys)

    eager = rv.grad(loss, (0, 1))(w, xs)
    compiled = rv.jit(lambda w, xs: rv.grad(loss, (0, 1))(w, xs))(w, xs)
    for a, b in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-12)


def test_scan_with_nests() -> None:
    def turn(carry: Any, x: Any) -> Any:
        return {"n": carry["n"] + 1, "total": carry["total"] + x["a"] * x["b"]}, (x["a"], [carry["n"]])

    init = {"n": 0, "total": 0.0}
    carry, (a, (n,)) = rv.scan(turn, init, {"a": rv.tensor([1.0, 2.0, 3.0]), "b": rv.tensor([10.0, 20.0, 30.0])})
    assert carry["n"].item() == 3 and carry["total"].item() == 140.0
    assert a.tolist() == [1.0, 2.0, 3.0] and n.tolist() == [0, 1, 2]
    carry, ys = rv.scan(lambda c, x: (c * 2, None), rv.tensor(1.0), length=5)
    assert carry.item() == 32.0 and ys is None


@pytest.mark.parametrize(
    "call, error, text",
    [
        (
            lambda: rv.scan(lambda c, x: (c, x), 0.0, []),
            ShapeError,
            "one common length along the first axis, got no slices",
        ),
        (
            lambda: rv.scan(lambda c, x: (c, x), 0.0),
            ShapeError,
            "one common length along the first axis, got no slices",
        ),
        (lambda: rv.scan(lambda c, x: (c, x), 0.0, rv.tensor(1.0)), ShapeError, r"one common length .*, got \(\)"),
        (lambda: rv.scan(lambda c, x: (c, None), 0.0, [rv.ones(2), rv.ones(3)]), ShapeError, r"got \(2,\), \(3,\)"),
        (lambda: rv.scan(lambda c, x: (c, x), 0.0, rv.ones(3), length=2), ShapeError, r"got \(3,\) and length=2"),
        (lambda: rv.scan(lambda c, x: (c, x), 0.0, rv.ones(0)), ArgumentError, "at least one turn, got 0"),
        (lambda: rv.scan(lambda c, x: (c, x), 0.0, length=0), ArgumentError, "at least one turn, got 0"),
        (
            lambda: rv.scan(lambda c, x: (c, x), 0.0, length=-1),
            ArgumentError,
            "length to be a positive integer, got -1",
        ),
        (
            lambda: rv.scan(lambda c, x: (c, x), 0.0, length=2.5),
            ArgumentError,
            "length to be a positive integer, got 2.5",
        ),
        (lambda: rv.scan(lambda c, x: c, 0.0, rv.ones(3)), ArgumentError, r"return \(carry, output\), got Tensor"),
        (
            lambda: rv.scan(lambda c, x: (rv.ones(2), x), 0.0, rv.ones(3)),
            ShapeError,
            r"\(\) float32 became \(2,\) float32",
        ),
        (lambda: rv.scan(lambda c, x: (1, x), 0.0, rv.ones(3)), ShapeError, r"\(\) float32 became \(\) int64"),
        (lambda: rv.scan(lambda c, x: ((c, c), x), 0.0, rv.ones(3)), ShapeError, "1 values became 2"),
        (
            lambda: rv.scan(lambda n, x: (n + 1, x[: int(n)]), 0, rv.ones((3, 4))),
            ShapeError,
            r"outputs.*\(0,\) .*\(1,\)",
        ),
    ],
)
def test_scans_that_are_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("flag", [True, False])
def test_cond_takes_one_branch(flag: bool) -> None:
    def function(x: Tensor, p: Tensor) -> Tensor:
        return rv.sum(rv.cond(p, lambda t: t * t, lambda t: t * 3, x))

    x, p = rv.tensor([2.0, 5.0]), rv.tensor(flag)
    meant, slope = (29.0, [4.0, 10.0]) if flag else (21.0, [3.0, 3.0])
    for run in (lambda f: f, rv.jit):
        assert run(function)(x, p).item() == meant
        assert run(lambda x, p: rv.grad(function)(x, p))(x, p).tolist() == slope


def test_cond_runs_only_what_it_takes() -> None:
    taken = []
    rv.cond(True, lambda: taken.append("yes") or 1, lambda: taken.append("no") or 2)
    assert taken == ["yes"]
    out = rv.cond(rv.tensor([False]), lambda d: d, lambda d: {"a": d["a"] + 1}, {"a": 1.0})
    assert out["a"].item() == 2.0


def test_while_loop() -> None:
    def function(x: Tensor) -> Tensor:
        return rv.while_loop(lambda c: c[0] < 100, lambda c: (c[0] * 2, c[1] + 1), (x, 0))[0]

    assert function(rv.tensor(3.0)).item() == rv.jit(function)(rv.tensor(3.0)).item() == 192.0
    assert rv.grad(function)(rv.tensor(3.0)).item() == 64.0
    assert rv.while_loop(lambda c: c < 0, lambda c: c * 2, rv.tensor(3)).item() == 3
    with pytest.raises(GradientError, match=r"loop of unknown length.*rv\.scan"):
        rv.jit(lambda x: rv.grad(function)(x))(rv.tensor(3.0))


@pytest.mark.parametrize(
    "call, error, text",
    [
        (
            lambda: rv.cond(rv.tensor([True, False]), lambda: 1, lambda: 2),
            ShapeError,
            r"cond: expected a single boolean, got .*\(2,\)",
        ),
        (lambda: rv.cond(1, lambda: 1, lambda: 2), DTypeError, "cond: expected a boolean, got int64"),
        (lambda: rv.cond("a", lambda: 1, lambda: 2), DTypeError, "expected numbers, got text"),
        (
            lambda: rv.while_loop(lambda c: c, lambda c: c, 1.0),
            DTypeError,
            "condition.*expected a boolean, got float32",
        ),
        (
            lambda: rv.while_loop(lambda c: c < 3, lambda c: c, rv.ones(2)),
            ShapeError,
            "condition.*expected a single boolean",
        ),
        (lambda: rv.while_loop(lambda c: c < 3, lambda c: c + 0.5, 0), ShapeError, r"\(\) int64 became \(\) float32"),
        (lambda: rv.while_loop(lambda c: c < 3, lambda c: (c, c), 0), ShapeError, "1 values became 2"),
    ],
)
def test_branches_and_loops_that_are_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
