"""Convolutions in compiled code: random shapes, both gradients, exact on small integers; what the plans look like."""

from __future__ import annotations

import numpy as np
import pytest

import ranvier as rv


def shapes(seed: int) -> dict:
    """Sizes, strides, dilation, padding and groups at random, of one to three axes."""
    rng = np.random.default_rng(seed)
    while True:
        rank, groups = int(rng.integers(1, 4)), int(rng.choice([1, 1, 2, 3]))
        sizes = rng.integers(1, 9 if rank < 3 else 5, rank)
        kernel, strides, dilation = rng.integers(1, 5, rank), rng.integers(1, 4, rank), rng.integers(1, 3, rank)
        padding = rng.integers(0, 4, (rank, 2))
        if (sizes + padding.sum(1) >= (kernel - 1) * dilation + 1).all():
            break
    batch, channels, filters = (
        int(rng.choice([1, 2, 5, 8, 13])),
        groups * rng.integers(1, 7),
        groups * rng.integers(1, 20),
    )
    attrs = {
        "strides": tuple(strides.tolist()), "dilation": tuple(dilation.tolist()), "groups": groups,
        "padding": tuple((int(a), int(b)) for a, b in padding),
    }  # fmt: skip
    x = rng.integers(-3, 4, (batch, *sizes, channels)).astype(np.float32)
    w = rng.integers(-3, 4, (*kernel, channels // groups, filters)).astype(np.float32)
    return {"x": x, "w": w, "b": rng.integers(-3, 4, filters).astype(np.float32), "attrs": attrs}


@pytest.mark.parametrize("seed", range(16))
def test_compiled_convolution_and_gradients_equal_the_reference(seed):
    case = shapes(seed)

    def layer(x, w, b):
        return rv.relu(rv.conv(x, w, **case["attrs"]) + b)

    def gradients(x, w, b):
        return rv.grad(lambda *a: rv.sum(layer(*a) ** 2), (0, 1, 2))(x, w, b)

    inputs = [rv.tensor(case[name]) for name in "xwb"]
    np.testing.assert_array_equal(rv.jit(layer)(*inputs).numpy(), layer(*inputs).numpy())
    for got, want in zip(rv.jit(gradients)(*inputs), gradients(*inputs), strict=True):
        np.testing.assert_array_equal(got.numpy(), want.numpy())


@pytest.mark.parametrize("batch", [1, 16])
def test_second_order_gradient_is_exact(batch, rng):
    x = rng.integers(-2, 3, (batch, 6, 5, 3)).astype(np.float64)
    w = rng.integers(-2, 3, (3, 2, 3, 4)).astype(np.float64)

    def penalty(x, w):
        def total(x):
            return rv.sum(rv.conv(x, w, strides=2, padding="same") ** 3)

        return rv.sum(rv.grad(total)(x) ** 2)

    g = rv.grad(penalty, (0, 1))
    args = rv.tensor(x), rv.tensor(w)
    for got, want in zip(rv.jit(g)(*args), g(*args), strict=True):
        np.testing.assert_array_equal(got.numpy(), want.numpy())


@pytest.mark.parametrize("batch", [2, 16])
def test_transposed_convolution_is_exact(batch, rng):
    x, w = rng.integers(-3, 4, (batch, 5, 4, 3)), rng.integers(-3, 4, (3, 3, 6, 3))
    args = rv.tensor(x, dtype="float32"), rv.tensor(w, dtype="float32")

    def up(x, w):
        return rv.conv_transpose(x, w, strides=2, padding="same")

    np.testing.assert_array_equal(rv.jit(up)(*args).numpy(), up(*args).numpy())


def test_images_stay_in_the_inner_order_between_layers(rng):
    """Between two convolutions nothing is moved: bias, activation and residual happen in the epilogues."""
    x = rv.tensor(rng.standard_normal((16, 8, 8, 16)).astype(np.float32))
    w, b = rv.tensor(rng.standard_normal((3, 3, 16, 16)).astype(np.float32)), rv.ones((16,))

    def block(x, w, b):
        y = rv.relu(rv.conv(x, w, padding="same") + b)
        return rv.sum(rv.relu(rv.conv(y, w, padding="same") + b + y), axis=(1, 2))

    text = rv.jit(block).explain(x, w, b)
    kernels = [line for line in text.splitlines() if line[:1].isdigit() or line.lstrip()[:1].isdigit()]
    assert sum("convolve" in line for line in kernels) == 2
    assert sum("copy" in line for line in kernels) == 1, text  # the image on its way in


def test_elementwise_work_on_images_of_one_channel_is_one_long_loop(rng):
    x = rv.tensor(rng.standard_normal((16, 8, 8, 1)).astype(np.float32))
    w = rv.tensor(rng.standard_normal((3, 3, 1, 1)).astype(np.float32))

    def f(x, w):
        return rv.sum(rv.exp(rv.conv(x, w, padding="same")), axis=(1, 2, 3))

    np.testing.assert_allclose(rv.jit(f)(x, w).numpy(), f(x, w).numpy(), rtol=64 * 1.2e-7)  # 64 positive terms


@pytest.mark.parametrize(
    ("batch", "channels", "filters", "strides"),
    [(8, 16, 32, 1), (16, 32, 16, 2), (10, 16, 16, 1), (9, 16, 16, 1), (8, 3, 16, 1), (8, 16, 20, 1), (2, 16, 16, 1)],
)
def test_bfloat16_is_exact_where_every_sum_is(batch, channels, filters, strides, rng):
    """Sparse small integers: no sum needs more than the eight bits of a bfloat16, so nothing may be rounded. Even and
    odd batches and channels take different tiles: words of two numbers, or single ones.
    """
    x = rng.integers(-1, 2, (batch, 5, 4, channels))
    first = rng.integers(0, 30, (3, 3, channels, filters)) == 0
    second = rng.integers(0, 30, (3, 3, filters, 16)) == 0
    args = [rv.tensor(a, dtype="bfloat16") for a in (x, first, second)]

    def net(x, first, second):
        return rv.conv(rv.relu(rv.conv(x, first, strides=strides, padding="same")), second, padding="same")

    def gradients(*args):
        return rv.grad(lambda *a: rv.sum(rv.astype(net(*a), "float32") * 0.125), (0, 1, 2))(*args)

    wanted, found = [net(*args), *gradients(*args)], [rv.jit(net)(*args), *rv.jit(gradients)(*args)]
    for got, want in zip(found, wanted, strict=True):
        assert np.abs(want.numpy()).max() > 0
        np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_convolutions_of_bfloat16_multiply_words(rng):
    """Weights and images come to the tiles as words of two numbers where the sizes allow it."""
    x = rv.tensor(rng.standard_normal((8, 6, 6, 16)), dtype="bfloat16")
    w = rv.tensor(rng.standard_normal((3, 3, 16, 16)), dtype="bfloat16")

    def net(x, w):
        return rv.value_and_grad(lambda w: rv.sum(rv.astype(rv.conv(rv.relu(rv.conv(x, w)), w), "float32")))(w)

    plan = rv.jit(net).specialise(x, w)[0].executor.plan
    specs = [step.spec for step in plan.steps if type(step.spec).__name__.startswith("Convolution")]
    assert len(specs) == 5
    assert {spec.dtype for spec in specs} == {"pairs"}
