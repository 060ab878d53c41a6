"""Work behind products in the products' shape (passes/flatten.py): kernels that are left, and values."""

from __future__ import annotations

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.passes.flatten import _part_shape, _parts

from .test_fusion import check, plan_of

B, T, D = 6, 10, 64


@pytest.mark.parametrize(
    ("full", "flat", "parts"),
    [
        ((4, 5, 6), (20, 6), (2, 1)),
        ((4, 5, 6), (4, 30), (1, 2)),
        ((4, 5, 1), (20,), (3,)),
        ((1, 5, 6), (5, 6), (2, 1)),
        ((4, 5, 6), (120,), (3,)),
        ((4, 6), (3, 8), None),
        ((2, 3, 4, 5), (6, 4, 5), (2, 1, 1)),
    ],
)
def test_axes_are_joined(full, flat, parts):
    assert _parts(full, flat) == parts


@pytest.mark.parametrize(
    ("shape", "flat"),
    [
        ((4, 5, 6), (20, 6)),
        ((6,), (1, 6)),
        ((1, 1, 6), (1, 6)),
        ((4, 5, 1), (20, 1)),
        ((4, 1, 6), None),
        ((1, 5, 1), None),
    ],
)
def test_shapes_that_broadcast(shape, flat):
    assert _part_shape(shape, (4, 5, 6), (2, 1)) == flat


@pytest.fixture
def x(rng) -> np.ndarray:
    return rng.normal(size=(B, T, D)).astype("f")


def weights(rng, *shape: int) -> np.ndarray:
    return (rng.normal(size=shape) / np.sqrt(shape[0])).astype("f")


def normalised(x):
    mean = rv.mean(x, -1, keepdims=True)
    apart = x - mean
    return apart / rv.sqrt(rv.mean(apart * apart, -1, keepdims=True) + 1e-5)


def test_bias_and_activation_join_the_product(x, rng):
    w, b = weights(rng, D, 48), weights(rng, 48)
    assert check(lambda x, w, b: rv.tanh(x @ w + b), x, w, b).count("map") == 0


def test_a_residual_and_its_normalisation_are_a_product_and_a_row_kernel(x, rng):
    w, b = rv.Variable(weights(rng, D, D)), rv.Variable(weights(rng, D))
    assert check(lambda x: normalised(x + (x @ w + b)) * b, x, near=1e-4) == ["contraction", "rows"]


def test_weights_gradient_is_one_product(x, rng):
    w, t = weights(rng, D, 24), rng.normal(size=(B, T, 24)).astype("f")

    def gradient(x, w, t):
        return rv.grad(lambda w: rv.sum(rv.tanh(x @ w) * t))(w)

    check(gradient, x, w, t, near=1e-4)
    plan = plan_of(gradient, x, w, t)
    products = [s.spec for s in plan.steps if type(s.spec).__name__ == "Contraction"]
    assert [(p.batch, p.m, p.k, p.n) for p in products] == [(1, B * T, D, 24), (1, D, B * T, 24)]


@pytest.mark.parametrize("mask", [(1, 1, T, T), (B, 1, 1, T), (B, 2, T, T), (T,)])
def test_attention(mask, x, rng):
    heads, width = 2, D // 2
    wq, wk, wv = (weights(rng, D, D) for _ in range(3))
    hidden = np.where(rng.random(mask) < 0.2, np.float32(-1e9), np.float32(0))

    def attention(x, wq, wk, wv):
        q, k, v = (rv.permute_dims(rv.reshape(x @ w, (B, T, heads, width)), (0, 2, 1, 3)) for w in (wq, wk, wv))
        scores = q @ rv.permute_dims(k, (0, 1, 3, 2)) * 0.25 + hidden
        e = rv.exp(scores - rv.max(scores, -1, keepdims=True))
        out = (e / rv.sum(e, -1, keepdims=True)) @ v
        return rv.reshape(rv.permute_dims(out, (0, 2, 1, 3)), (B, T, D))

    check(attention, x, wq, wk, wv, near=1e-4)
    gradients = rv.grad(lambda *given: rv.sum(attention(*given) ** 2), (0, 1, 2, 3))
    check(gradients, x, wq, wk, wv, near=1e-3)


def test_dropout_keeps_its_numbers_and_joins(x, rng):
    """The mask is drawn over (batch, time, features) and used behind a product of (batch * time, features)."""
    w = weights(rng, D, D)

    def dropped(x, w):
        mask = rv.random.Generator(3).uniform((B, T, D)) < 0.5
        return rv.where(mask, normalised(x @ w) * 2, 0.0)

    assert check(dropped, x, w, near=1e-4) == ["relayout", "contraction", "rows", "map"]  # the map moves the stream on


def test_sums_over_leading_and_all_axes(x, rng):
    w = weights(rng, D, D)
    check(lambda x, w: [rv.sum(x @ w, (0, 1)), rv.sum(x @ w), rv.max(x @ w, 1), rv.sum(x @ w, 0)], x, w, near=1e-4)


def test_a_sum_of_products_that_is_wanted_twice_stays(rng):
    a, b = (rng.normal(size=(B, T, T)).astype("f") for _ in range(2))
    check(lambda a, b: [rv.sum(a @ b, 0), a @ b], a, b, near=1e-4)
    check(lambda a, b: rv.sum(a @ b, 0), a, b, near=1e-4)


@pytest.mark.parametrize("shape", [(16, 2, 8), (16, 4, 32)])
def test_a_variable_updated_in_another_shape(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """A kernel of several heads is multiplied, and so updated, as a matrix; the variable keeps its axes."""
    start = rng.normal(size=shape).astype(np.float32)
    columns = shape[1] * shape[2]
    x, c = (rng.normal(size=s).astype(np.float32) for s in ((192, 16), (192, columns)))
    weight = rv.Variable(start)

    def step(x: rv.Tensor, c: rv.Tensor) -> rv.Tensor:
        def loss() -> rv.Tensor:
            return rv.sum(rv.tanh(x @ rv.reshape(weight.value, (16, columns))) * c)

        (gradient,) = rv.value_and_grad(loss, wrt=[weight])()[1]
        new = weight.value - gradient * 1e-3
        weight.assign(rv.where(rv.sum(new) < 1e9, new, weight.value))
        return rv.sum(new)

    compiled = rv.jit(step)
    for _ in range(3):
        compiled(x, c)
    found = weight.numpy()
    weight.assign(start)
    for _ in range(3):
        step(rv.tensor(x), rv.tensor(c))
    # three steps of 1e-3 times sums of 192 products of single precision, none larger than about 40
    assert np.allclose(found, weight.numpy(), rtol=1e-6, atol=3e-3 * 192 * 40 * 2.0**-24)


def test_new_values_of_variables_have_memory_of_their_own(rng):
    """A weight with axes of size 1 is updated in the shape of a product."""
    w, x = rv.Variable(rng.normal(size=(1, 1, 6, 5)).astype("f")), rng.normal(size=(4, 6)).astype("f")
    slot = rv.Variable(np.zeros((1, 1, 6, 5), "f"))

    def step(x):
        slope = rv.reshape(rv.transpose(x) @ (x @ rv.reshape(w, (6, 5))), (1, 1, 6, 5))
        slot.assign(slot * 0.5 + slope)
        w.assign(w - 0.01 * slot)

    kernel, held, compiled = w.numpy().astype("d")[0, 0], 0.0, rv.jit(step)
    for _ in range(3):
        compiled(x)
        held = 0.5 * held + x.T @ (x @ kernel)
        kernel = kernel - 0.01 * held
        np.testing.assert_allclose(w.numpy()[0, 0], kernel, rtol=1e-4, atol=1e-5)
