"""Differentiation: known answers, depth, memory, nesting, forward mode, user rules, and what is refused."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.errors import ArgumentError, DTypeError, GradientError
from ranvier.tensor import Tensor

# -- formulas worked out by hand ----------------------------------------------------------------------------------


@pytest.mark.smoke
def test_one_logistic_neuron_by_hand() -> None:
    """a = sigmoid(w x + b), L = (a - y)**2 / 2: dL/dw = (a - y) a (1 - a) x, dL/db the same without x."""
    w, x, b, y = 0.6, 1.0, 0.9, 0.0
    a = 1 / (1 + math.exp(-(w * x + b)))
    assert a == pytest.approx(0.8176, abs=5e-5)  # the saturated neuron that introductions start with

    def loss(w: Tensor, b: Tensor) -> Tensor:
        return (rv.sigmoid(w * x + b) - y) ** 2 / 2

    dw, db = rv.grad(loss, (0, 1))(rv.tensor(w, "float64"), rv.tensor(b, "float64"))
    assert dw.item() == pytest.approx((a - y) * a * (1 - a) * x, rel=1e-14)
    assert db.item() == pytest.approx((a - y) * a * (1 - a), rel=1e-14)


def test_cross_entropy_cancels_the_sigmoid() -> None:
    """L = -[y ln a + (1 - y) ln(1 - a)] with a = sigmoid(z): dL/dz = a - y."""
    z, y = rv.tensor([-2.0, 0.5, 3.0], "float64"), rv.tensor([0.0, 1.0, 1.0], "float64")

    def loss(z: Tensor) -> Tensor:
        a = rv.sigmoid(z)
        return -rv.sum(y * rv.log(a) + (1 - y) * rv.log(1 - a))

    np.testing.assert_allclose(rv.grad(loss)(z).numpy(), rv.sigmoid(z).numpy() - y.numpy(), rtol=1e-12)


def test_softmax_jacobian() -> None:
    """d p_i / d z_j = p_i (delta_ij - p_j)."""
    z = rv.tensor([0.3, -1.0, 2.0], "float64")

    def softmax(z: Tensor) -> Tensor:
        e = rv.exp(z - rv.max(z))
        return e / rv.sum(e)

    p = softmax(z).numpy()
    np.testing.assert_allclose(rv.jacobian(softmax)(z).numpy(), np.diag(p) - np.outer(p, p), atol=1e-15)


def test_two_layers_by_hand(rng: np.random.Generator) -> None:
    x, w1, w2 = rng.normal(size=(5, 3)), rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    h = np.tanh(x @ w1)
    out = h @ w2
    d_out = 2 * out / out.size
    d_w2, d_h = h.T @ d_out, d_out @ w2.T
    d_w1 = x.T @ (d_h * (1 - h * h))
    found = rv.grad(lambda a, b: rv.mean((rv.tanh(rv.asarray(x) @ a) @ b) ** 2), (0, 1))(rv.asarray(w1), rv.asarray(w2))
    np.testing.assert_allclose(found[0].numpy(), d_w1, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[1].numpy(), d_w2, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "function, x, slope",
    [
        (lambda x: x * x * x, 2.0, 12.0),
        (lambda x: x * x + x * x, 3.0, 12.0),  # one value used many times
        (lambda x: x - x, 3.0, 0.0),
        (lambda x: (x * x) * (x * x), 2.0, 32.0),
        (lambda x: x / x, 3.0, 0.0),
        (lambda x: rv.stop_gradient(x) * x, 3.0, 3.0),
        (lambda x: x + rv.stop_gradient(x * 100), 3.0, 1.0),
        (lambda x: rv.floor(x) * x, 2.5, 2.0),
        (lambda x: rv.sum(rv.concatenate([rv.reshape(x, (1,)), rv.reshape(x * x, (1,))])), 3.0, 7.0),
        (lambda x: rv.sum(rv.broadcast_to(x, (4, 5))), 3.0, 20.0),
        (lambda x: 2.0**x, 3.0, 8 * math.log(2)),
        (lambda x: x**x, 2.0, 4 * (math.log(2) + 1)),
    ],
)
def test_known_slopes(function: Callable[[Tensor], Tensor], x: float, slope: float) -> None:
    t = rv.tensor(x, "float64")
    assert rv.grad(function)(t).item() == pytest.approx(slope, rel=1e-14)
    value, again = rv.value_and_grad(function)(t)
    assert value.item() == pytest.approx(float(function(t).item())) and again.item() == pytest.approx(slope, rel=1e-14)
    assert rv.jvp(function, [t], [1.0])[1].item() == pytest.approx(slope, rel=1e-13)


# -- depth and memory ---------------------------------------------------------------------------------------------


def test_a_chain_of_100000_ops_differentiates() -> None:
    w = rv.Variable(1.0, dtype="float64")
    y = w.value
    for _ in range(100_000):
        y = y * 1.00001
    y.backward()
    first = w.grad.item()
    assert first == pytest.approx(1.00001**100_000, rel=1e-9)
    w.grad = None
    y.backward()
    assert w.grad.item() == first, "a second call gives the same answer"
    del y  # and taking the chain apart again must not overflow the stack either
    gc.collect()


def test_a_deep_chain_can_be_dropped_undifferentiated() -> None:
    x = rv.Variable(1.0).value
    for _ in range(100_000):
        x = x + 1.0
    del x
    gc.collect()


def test_backward_calls_agree_and_add_up() -> None:
    w = rv.Variable([1.0, 2.0])
    loss = rv.sum(w * w * w)
    loss.backward()
    assert w.grad.tolist() == [3.0, 12.0]
    loss.backward()
    assert w.grad.tolist() == [6.0, 24.0]


def _alive(make: Callable[[], Any]) -> int:
    """How many tensors are alive after ``make`` beyond those before it, without the help of the cycle collector."""
    gc.collect()
    gc.disable()
    try:
        before = sum(type(o) is Tensor for o in gc.get_objects())
        kept = make()
        after = sum(type(o) is Tensor for o in gc.get_objects())
        del kept
        return after - before
    finally:
        gc.enable()


def test_nothing_is_retained_after_differentiation() -> None:
    w, x = rv.Variable(np.ones((4, 4))), rv.ones((4, 4), "float64")

    def loss() -> Tensor:
        return rv.mean(rv.exp(rv.tanh(x @ w)) ** 2)

    def one_step() -> Tensor:
        loss().backward()
        kept, w.grad = w.grad, None
        return kept

    one_step()
    assert _alive(one_step) == 1  # the gradient itself
    assert _alive(lambda: rv.grad(lambda t: rv.sum(rv.exp(t) * t))(x)) == 1
    value_and_slope = rv.value_and_grad(lambda t: (rv.sum(t * t), {"aux": t * 2}), has_aux=True)
    assert _alive(lambda: value_and_slope(x)) == 3
    assert _alive(lambda: rv.jvp(lambda t: rv.exp(t) * t, [x], [x])) == 2
    assert _alive(lambda: rv.hessian(lambda t: rv.sum(t * t * t))(rv.ones(3))) == 1
    (value, aux), slope = value_and_slope(x)
    assert not (value.requires_grad or aux["aux"].requires_grad or slope.requires_grad)


def test_the_graph_goes_when_its_end_goes() -> None:
    w = rv.Variable([1.0, 2.0])
    middle = w * 2
    end = rv.sum(middle * 3)
    reference = weakref.ref(middle)
    del middle
    assert reference() is not None, "the end still needs it"
    end.backward()
    assert reference() is not None
    del end
    assert reference() is None


def test_cotangents_are_released_on_the_way() -> None:
    alive: list[int] = []

    def rule(g: Tensor) -> Tensor:
        alive.append(sum(type(o) is Tensor for o in gc.get_objects()))
        return g

    probe = rv.custom_gradient(lambda x: (x, rule))
    y = rv.Variable(np.zeros(10)).value
    for _ in range(50):
        y = probe(rv.sin(y))
    loss = rv.sum(y)
    gc.collect()
    loss.backward()
    assert len(alive) == 50 and max(alive) - min(alive) < 10


# -- variables and closures ---------------------------------------------------------------------------------------


def test_gradients_with_respect_to_variables() -> None:
    w, b = rv.Variable([1.0, 2.0], name="w"), rv.Variable(0.5, name="b")
    value, (dw, db) = rv.value_and_grad(lambda x: rv.sum(w * x) + b * 3, wrt=[w, b])(rv.tensor([10.0, 20.0]))
    assert value.item() == 51.5 and dw.tolist() == [10.0, 20.0] and db.item() == 3.0
    assert w.grad is None, "value_and_grad leaves variable.grad alone"
    assert rv.grad(lambda: w[0] * w[1], wrt=[w])()[0].tolist() == [2.0, 1.0]


def test_closures_over_tracked_tensors() -> None:
    w = rv.Variable([1.0, 2.0])
    h = w * w  # recorded before
    inner = rv.grad(lambda x: rv.sum(x * x * h))(rv.tensor([3.0, 4.0]))  # 2 x w**2
    assert inner.tolist() == [6.0, 32.0]
    rv.sum(inner).backward()  # d/dw of 2 x w**2 is 4 x w
    assert w.grad.tolist() == [12.0, 32.0]


def test_no_grad() -> None:
    w = rv.Variable([1.0, 2.0])
    with rv.no_grad():
        y = w * 2
        assert rv.grad(lambda x: rv.sum(x * x))(rv.tensor([3.0])).tolist() == [6.0], "asking explicitly still works"
    assert not y.requires_grad and (w * 2).requires_grad
    rv.sum(y * w).backward()
    assert w.grad.tolist() == [2.0, 4.0]
    with pytest.raises(ZeroDivisionError, match="division"), rv.no_grad():
        1 / 0  # noqa: B018
    assert (w * 2).requires_grad, "an error does not leave recording off"


def test_no_grad_means_the_same_in_compiled_functions() -> None:
    def function(x: Tensor) -> Tensor:
        with rv.no_grad():
            scale = x * 2
        return rv.grad(lambda x: rv.sum(scale * x + _frozen(x) * x))(x)

    def _frozen(x: Tensor) -> Tensor:
        with rv.no_grad():
            return rv.exp(x) * 3

    x = rv.tensor([1.0, 2.0])
    np.testing.assert_allclose(rv.jit(function)(x).numpy(), function(x).numpy(), rtol=1e-6)
    np.testing.assert_allclose(function(x).numpy(), 2 * x.numpy() + 3 * np.exp(x.numpy()), rtol=1e-6)


def test_ops_that_stop_gradients_keep_no_graph() -> None:
    x = rv.Variable([1.5]).value
    for y in (rv.stop_gradient(x), rv.floor(x), rv.sign(x), x > 0, rv.argmax(x), x.astype("int32")):
        assert not y.requires_grad


# -- transforms within transforms -----------------------------------------------------------------------------------


def test_derivatives_of_any_order() -> None:
    f: Any = lambda x: rv.sin(2 * x)  # noqa: E731
    x = rv.tensor(0.3, "float64")
    for order in range(1, 7):
        f = rv.grad(f)
        exact = 2**order * [math.sin, math.cos, lambda v: -math.sin(v), lambda v: -math.cos(v)][order % 4](0.6)
        assert f(x).item() == pytest.approx(exact, rel=1e-12)


def test_nested_differentiation_does_not_mix_variables() -> None:
    # d/dx (x * d/dy (x + y)) = 1, a well-known trap (perturbation confusion).
    assert rv.grad(lambda x: x * rv.grad(lambda y: x + y)(rv.tensor(1.0)))(rv.tensor(5.0)).item() == 1.0
    assert rv.grad(lambda x: x * rv.jvp(lambda y: x * y, [rv.tensor(2.0)], [1.0])[1])(rv.tensor(5.0)).item() == 10.0
    g = rv.grad(lambda x: rv.grad(lambda y: x * x * y * y)(x))(rv.tensor(3.0))  # 2 x**3 -> 6 x**2
    assert g.item() == 54.0


def test_gradient_penalty() -> None:
    """The slope of a slope with respect to a variable, as in a penalised critic."""
    w = rv.Variable(2.0, dtype="float64")

    def penalty(x: Tensor) -> Tensor:
        return (rv.grad(lambda t: w * w * t * t)(x) - 1) ** 2  # (2 w**2 x - 1)**2

    (dw,) = rv.grad(penalty, wrt=[w])(rv.tensor(3.0, "float64"))
    assert dw.item() == pytest.approx(2 * (2 * 4 * 3 - 1) * 4 * 2 * 3)
    penalty(rv.tensor(3.0, "float64")).backward()
    assert w.grad.item() == pytest.approx(dw.item())


@pytest.mark.parametrize("function", [
    lambda x: rv.tanh(x) * x, lambda x: rv.logsumexp(x * x), lambda x: x[::-1] @ x, lambda x: rv.prod(x),
    lambda x: rv.take(x, [2, 0, 0]) ** 3, lambda x: rv.where(x > 0, rv.exp(x), x**2), lambda x: rv.max(x) * rv.sum(x),
    lambda x: rv.custom_gradient(lambda t: (rv.exp(t), lambda g: g * rv.exp(t)))(x),
])  # fmt: skip
def test_jvp_is_the_directional_derivative(function: Callable[[Tensor], Tensor], rng: np.random.Generator) -> None:
    x, v, eps = rng.normal(size=3) + 3 * np.arange(3), rng.normal(size=3), 1e-6
    out, pushed = rv.jvp(function, [rv.asarray(x)], [rv.asarray(v)])
    ahead, behind = function(rv.asarray(x + eps * v)).numpy(), function(rv.asarray(x - eps * v)).numpy()
    np.testing.assert_allclose(out.numpy(), function(rv.asarray(x)).numpy(), rtol=1e-14)
    np.testing.assert_allclose(pushed.numpy(), (ahead - behind) / (2 * eps), rtol=1e-6, atol=1e-6)
    assert pushed.shape == out.shape and pushed.dtype is out.dtype


def test_jvp_of_what_does_not_depend_is_zero() -> None:
    out, pushed = rv.jvp(lambda x, y: y * 2, [rv.tensor([1.0]), rv.tensor([2.0])], [[5.0], [0.0]])
    assert out.tolist() == [4.0] and pushed.tolist() == [0.0]
    assert rv.jvp(lambda x: rv.floor(x), [rv.tensor([1.5])], [[1.0]])[1].tolist() == [0.0]


def test_vjp_of_nests() -> None:
    out, back = rv.vjp(lambda d: {"sum": d["a"] + d["b"], "product": [d["a"] * d["b"]]}, {"a": 2.0, "b": 5.0})
    assert out["sum"].item() == 7.0 and out["product"][0].item() == 10.0
    (slopes,) = back({"sum": 1.0, "product": [10.0]})
    assert slopes["a"].item() == 51.0 and slopes["b"].item() == 21.0
    assert back({"sum": 0.0, "product": [1.0]})[0]["a"].item() == 5.0, "it can be called again"
    out, back = rv.vjp(lambda x, y: x * 2, rv.tensor([1.0]), rv.tensor([3.0]))
    assert [g.tolist() for g in back(rv.tensor([1.0]))] == [[2.0], [0.0]]


def test_jacobian_and_hessian() -> None:
    a = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert rv.jacobian(lambda x: rv.tensor(a) @ x)(rv.tensor([1.0, 1.0], "float64")).tolist() == a.tolist()
    j = rv.jacobian(lambda x: rv.reshape(x, (3, 2)) * 2)(rv.ones((2, 3)))
    assert j.shape == (3, 2, 2, 3) and np.allclose(j.numpy().reshape(6, 6), 2 * np.eye(6))
    q = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 4.0]])
    h = rv.hessian(lambda x: x @ (rv.tensor(q) @ x) / 2)(rv.tensor([0.3, -2.0, 1.0], "float64"))
    np.testing.assert_allclose(h.numpy(), q, rtol=1e-15)
    rosenbrock = rv.hessian(lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)
    np.testing.assert_allclose(rosenbrock(rv.tensor([1.0, 1.0], "float64")).numpy(), [[802, -400], [-400, 200]])
    assert rv.jacobian(lambda x: x[:0])(rv.ones(3)).shape == (0, 3)
    assert rv.hessian(lambda x: rv.sum(x))(rv.ones(2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_nests_of_arguments() -> None:
    params = {"w": rv.tensor([1.0, 2.0]), "b": [rv.tensor(0.5), None]}
    slopes = rv.grad(lambda p, x: rv.sum(p["w"] * x) * p["b"][0])(params, rv.tensor([3.0, 4.0]))
    assert slopes["w"].tolist() == [1.5, 2.0] and slopes["b"][0].item() == 11.0 and slopes["b"][1] is None


def test_keyword_arguments_and_names_pass_through() -> None:
    def energy(x: Tensor, *, power: int = 2) -> Tensor:
        """Sum of powers."""
        return rv.sum(x**power)

    slope = rv.grad(energy)
    assert slope(rv.tensor([2.0]), power=3).tolist() == [12.0]
    assert slope.__name__ == "energy" and slope.__doc__ == "Sum of powers."


def test_python_control_flow_and_loops() -> None:
    def function(x: Tensor) -> Tensor:
        y = x
        for i in range(3):
            y = y * x if i % 2 == 0 else y + x
        while y < 100:
            y = y * 2
        return y

    x = rv.tensor(2.0, "float64")  # ((x**2 + x) * x), doubled until 100: 12, 24, 48, 96, 192
    assert function(x).item() == 192.0
    assert rv.grad(function)(x).item() == 16 * (3 * 4 + 2 * 2)


# -- the user's own rules -------------------------------------------------------------------------------------------


def test_custom_gradients() -> None:
    calls = []

    @rv.custom_gradient
    def scaled_product(x: Tensor, y: Tensor, *, factor: float = 1.0) -> Any:
        """A product with a gradient of its own."""

        def rule(g: Tensor) -> Any:
            calls.append(1)
            return g * y * 10, g * x * 100

        return x * y * factor, rule

    assert (
        scaled_product.__name__ == "scaled_product"
        and scaled_product.__doc__ == "A product with a gradient of its own."
    )
    dx, dy = rv.grad(lambda a, b: scaled_product(a, b, factor=2.0), (0, 1))(rv.tensor(2.0), rv.tensor(3.0))
    assert (dx.item(), dy.item()) == (30.0, 200.0) and calls == [1], "the rule is asked once for all inputs"
    assert scaled_product(2.0, 3.0).item() == 6.0
    second = rv.grad(rv.grad(lambda a: scaled_product(a, a)))(rv.tensor(2.0))  # 110 a -> 110 by the rule's own ops
    assert second.item() == 110.0
    assert float(rv.jit(lambda a: rv.grad(lambda t: scaled_product(t, 3.0))(a))(rv.tensor(2.0))) == 30.0


def test_custom_gradient_may_leave_inputs_out() -> None:
    pick = rv.custom_gradient(lambda x, i: (rv.take(x, i), lambda g: (rv.scatter_add(rv.zeros_like(x), i, g), None)))
    assert rv.grad(lambda x: rv.sum(pick(x, [0, 0])))(rv.tensor([1.0, 2.0])).tolist() == [2.0, 0.0]


@pytest.mark.parametrize(
    "function, text",
    [
        (lambda x: x, "expected the function to return \\(value, rule\\), got Tensor"),
        (lambda x: (x, 3), "expected the function to return \\(value, rule\\)"),
        (lambda x: (x, lambda g: (g, g)), "the rule returned 2 gradients for 1 inputs"),
        (lambda x: (x, lambda g: rv.sum(g)), r"expected a gradient of shape \(2,\) for input 0, got \(\)"),
        (lambda x: (x, lambda g: None), "does not depend differentiably on argument 0"),
    ],
)
def test_custom_gradients_that_are_refused(function: Any, text: str) -> None:
    with pytest.raises(GradientError, match=text):
        rv.grad(lambda x: rv.sum(rv.custom_gradient(function)(x)))(rv.tensor([1.0, 2.0]))


# -- the user's own check -----------------------------------------------------------------------------------------


def test_check_gradients_accepts_what_is_right() -> None:
    w = rv.tensor([[0.3, -0.5], [1.0, 0.2]])
    assert rv.check_gradients(lambda x: rv.tanh(x @ w) ** 2, rv.tensor([[1.0, 2.0]]), order=2) < 1e-6
    assert rv.check_gradients(lambda x, i: rv.take(x, i) ** 2, rv.tensor([1.0, 2.0, 3.0]), rv.tensor([0, 2])) < 1e-6
    assert rv.check_gradients(lambda x: [x * 2, {"a": x * x}], rv.tensor([1.0]), order=2) < 1e-6


@pytest.mark.parametrize(
    "rule, text",
    [
        (lambda x, g: g * 2 * x * 1.01, "the gradient is wrong: analytic .* numerical"),
        (lambda x, g: -g * 2 * x, "the gradient is wrong"),
        (lambda x, g: g * 2 * rv.stop_gradient(x), "the second-order gradient is wrong"),
        (lambda x, g: g * rv.where(x > 1.5, 2 * x, 0.0), "the gradient is wrong"),
    ],
)
def test_check_gradients_finds_what_is_wrong(rule: Any, text: str) -> None:
    def square(x: Tensor) -> Tensor:
        return rv.custom_gradient(lambda t: (t * t, lambda g: rule(x, g)))(x)

    with pytest.raises(GradientError, match=text):
        rv.check_gradients(square, rv.tensor([1.0, 2.0, -0.7]), order=2)


def test_check_gradients_refuses_what_has_none() -> None:
    with pytest.raises(GradientError, match="no gradient flows from the output to any argument"):
        rv.check_gradients(lambda x: rv.floor(x), rv.tensor([1.5]))
    with pytest.raises(GradientError, match="check_gradients: expected a floating output, got int64"):
        rv.check_gradients(lambda x: rv.argmax(x), rv.tensor([1.5]))
    with pytest.raises(ArgumentError, match="check_gradients: expected order 1 or 2, got 3"):
        rv.check_gradients(rv.exp, rv.tensor([1.5]), order=3)


# -- what is refused ----------------------------------------------------------------------------------------------

W, FROZEN, COUNT = rv.Variable([1.0], name="w"), rv.Variable([1.0], "frozen", False), rv.Variable([1], "count")


@pytest.mark.parametrize(
    "call, error, text",
    [
        (
            lambda x: rv.grad(lambda x: x)(x),
            GradientError,
            r"expected the function to return a scalar, got shape \(2,\)",
        ),
        (lambda x: rv.grad(lambda x: 1.0)(x), GradientError, "does not depend differentiably on argument 0"),
        (lambda x: rv.grad(lambda x, y: rv.sum(y), (0, 1))(x, x), GradientError, "does not depend .* on argument 0"),
        (lambda x: rv.grad(lambda p: rv.sum(p[1]))([x, x]), GradientError, "on leaf 0 of argument 0"),
        (lambda x: rv.grad(lambda x: rv.sum(rv.floor(x)))(x), GradientError, "piecewise-constant ops"),
        (lambda x: rv.grad(lambda x: rv.sum(rv.stop_gradient(x)))(x), GradientError, "rv.stop_gradient"),
        (lambda x: rv.grad(lambda x: rv.sum(x > 0))(x), GradientError, "expected a floating output, got int64"),
        (lambda x: rv.grad(lambda x: None)(x), GradientError, "expected the function to return a tensor, got None"),
        (lambda x: rv.grad(lambda x: "a")(x), GradientError, "expected the function to return a tensor, got 'a'"),
        (lambda x: rv.grad(lambda x: rv.sum(x))(x.astype("int32")), DTypeError, "floating tensors only, got int32"),
        (lambda x: rv.grad(lambda x: rv.sum(x), 1)(x), ArgumentError, "argnums 1, but only 1 positional arguments"),
        (lambda x: rv.grad(lambda x: rv.sum(x))(), ArgumentError, "argnums 0, but only 0 positional arguments"),
        (lambda x: rv.grad("f"), ArgumentError, "grad: expected a function, got 'f'"),
        (
            lambda x: rv.value_and_grad(lambda x: rv.sum(x), has_aux=True)(x),
            GradientError,
            "must return \\(scalar, extra\\)",
        ),
        (lambda x: rv.grad(lambda: rv.sum(x), wrt=[W])(), GradientError, "does not depend .* on variable 'w'"),
        (lambda x: rv.grad(lambda: rv.sum(FROZEN), wrt=[FROZEN])(), GradientError, "'frozen' is not trainable: set"),
        (
            lambda x: rv.grad(lambda: rv.sum(COUNT), wrt=[COUNT])(),
            GradientError,
            "'count' is not trainable: it holds int64",
        ),
        (lambda x: rv.grad(lambda: rv.sum(W), wrt=W), ArgumentError, r"expected wrt to be a list.*write wrt=\[w\]"),
        (
            lambda x: rv.grad(lambda: rv.sum(x), wrt=[x])(),
            ArgumentError,
            "expected wrt to be a list of variables, got Tensor",
        ),
        (
            lambda x: rv.vjp(lambda x: x, x)[1](rv.ones(3)),
            GradientError,
            r"expected a cotangent of shape \(2,\), got \(3,\)",
        ),
        (lambda x: rv.vjp(lambda x: [x, x], x)[1](x), GradientError, "nested like the output, 2 tensors, got 1"),
        (lambda x: rv.vjp(lambda x: x > 0, x), GradientError, "vjp: expected a floating output, got bool"),
        (
            lambda x: rv.jvp(lambda x: x, [x], []),
            ArgumentError,
            "expected one tangent for each of the 1 primals, got 0",
        ),
        (lambda x: rv.jvp(lambda x: x, [x], [1.0]), ArgumentError, r"expected a tangent of shape \(2,\), got \(\)"),
        (
            lambda x: rv.jvp(lambda x: rv.argmax(x), [x], [x]),
            GradientError,
            "jvp: expected a floating output, got int64",
        ),
        (lambda x: rv.jacobian(lambda x: x > 0)(x), GradientError, "expected a floating output, got bool"),
        (lambda x: rv.sum(x).backward(), GradientError, "does not depend on any trainable variable"),
        (lambda x: rv.sum(FROZEN * 2).backward(), GradientError, "does not depend on any trainable variable"),
        (
            lambda x: (W * x).backward(),
            GradientError,
            r"backward: expected the function to return a scalar, got shape \(2,\)",
        ),
        (lambda x: rv.sum(COUNT).backward(), GradientError, "backward: expected a floating output, got int64"),
    ],
)
def test_what_cannot_be_differentiated(call: Callable[[Tensor], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(rv.tensor([1.0, 2.0]))
    assert (W * 2).requires_grad, "recording is on again"
