"""Pooling and depthwise convolution, compiled: values and gradients as the reference, in few kernels."""

from __future__ import annotations

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.bind import all_kernels
from ranvier.compiler.graph import Graph, Value, verify
from ranvier.compiler.interpret import run
from ranvier.compiler.kernel import Callback
from ranvier.compiler.native.taps import adjoint, forward
from ranvier.compiler.native.window import Window
from ranvier.compiler.native.window_weights import WindowWeights
from ranvier.compiler.passes.windows import lower_window
from ranvier.errors import InternalError
from ranvier.ops.table import TABLE

# Shape, window, strides, padding of pooling.
POOLS = {
    "2x2": ((3, 8, 6, 5), 2, None, "valid"),
    "2x2 with a rest": ((2, 7, 9, 16), 2, None, "valid"),
    "2x2 same": ((2, 7, 5, 3), 2, None, "same"),
    "3x3 over 2": ((2, 9, 8, 20), 3, 2, "same"),
    "3x3 over 1": ((2, 6, 5, 33), 3, 1, "same"),
    "wide": ((1, 5, 9, 1), (2, 4), (1, 3), ((1, 0), (2, 1))),
    "signal": ((4, 13, 7), 3, 2, "same"),
    "volume": ((2, 4, 5, 6, 3), 2, None, "same"),
}


def native(function, *arguments):
    """The results of a function, compiled, and its plan, which must hold no op that runs on the reference."""
    compiled = rv.jit(function)
    results = compiled(*arguments)
    plan = compiled.specialise(*arguments)[0].executor.plan
    assert not [s for s in plan.steps if isinstance(s, Callback)], compiled.explain(*arguments)
    return rv.tree.flatten(results)[0], plan


def equal(function, *arguments, near=0.0):
    """Compile, compare with the reference, and return the plan."""
    found, plan = native(function, *arguments)
    with rv.config.override(backend="reference"):
        wanted = rv.tree.flatten(rv.jit(function)(*arguments))[0]
    for want, got in zip(wanted, found, strict=True):
        assert got.dtype is want.dtype
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=0, atol=near, equal_nan=True)
    return plan


def windows(plan) -> list[Window]:
    return [k.spec for k in all_kernels(plan) if isinstance(k.spec, Window)]


def whole(rng, shape, dtype="float32") -> rv.Tensor:
    """Small integers: sums of them are exact in every order."""
    return rv.tensor(rng.integers(-4, 5, shape).astype("f"), dtype)


# -- values and gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", POOLS)
def test_max_pooling(name, dtype, rng):
    shape, window, strides, padding = POOLS[name]

    def f(x, w):
        y, back = rv.vjp(lambda x: rv.max_pool(x, window, strides, padding), x)
        return y, back(w * y)[0]

    x = whole(rng, shape, dtype)
    w = whole(rng, rv.max_pool(x, window, strides, padding).shape, dtype)
    plan = equal(f, x, w)
    assert sorted(k.kind for k in windows(plan)) == ["max", "put"]


@pytest.mark.parametrize("name", POOLS)
def test_average_pooling(name, rng):
    """The means of integers over windows of up to 9 elements: one rounding, the same on both sides."""
    shape, window, strides, padding = POOLS[name]

    def f(x, g):
        y, back = rv.vjp(lambda x: rv.average_pool(x, window, strides, padding), x)
        return y, back(g)[0]

    x = whole(rng, shape)
    g = whole(rng, rv.average_pool(x, window, strides, padding).shape) * 36.0  # divided by counts, still integers
    plan = equal(f, x, g)
    assert [k.kind for k in windows(plan)] == ["sum", "sum"]


def test_nan_is_largest(rng):
    x = rng.normal(size=(2, 6, 6, 5)).astype("f")
    x[rng.random(x.shape) < 0.2] = np.nan
    x[rng.random(x.shape) < 0.2] = -np.inf
    plan = equal(lambda x: [rv.max_pool(x, 2), rv.max_pool(x, 3, 2, "same")], x)
    assert len(plan.steps) == 2


def test_gradients_to_the_second_order(rng):
    x, u = whole(rng, (2, 6, 4, 3)), whole(rng, (2, 6, 4, 3))

    def slope(x):
        return rv.grad(lambda x: rv.sum(rv.max_pool(x, 2) ** 3 + rv.average_pool(x, 2) ** 3))(x)

    equal(lambda x, u: rv.grad(lambda x: rv.sum(slope(x) * u))(x), x, u, near=1e-4)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("channels", "dtype"), [(1, "float32"), (8, "float64"), (24, "float32"), (40, "bfloat16")])
def test_depthwise_convolution(channels, dtype, padding, strides, rng):
    def f(x, w, g):
        y, back = rv.vjp(lambda x, w: rv.conv(x, w, strides, padding, groups=channels), x, w)
        return y, back(g * y)

    x, w = whole(rng, (2, 8, 7, channels), dtype), whole(rng, (3, 2, 1, channels), dtype)
    g = rv.sign(rv.conv(x, w, strides, padding, groups=channels) + 0.5)
    if dtype == "bfloat16":  # products must stay below 256 to be exact
        x, w = rv.sign(x), rv.sign(w)
    plan = equal(f, x, w, g)
    assert [k.kind for k in windows(plan)] == ["weighted", "weighted"]
    assert sum(isinstance(k.spec, WindowWeights) for k in all_kernels(plan)) == 1


@pytest.mark.parametrize("batch", [2, 9])
@pytest.mark.parametrize(("channels", "filters"), [(3, 6), (16, 48)])
def test_several_filters_for_each_channel(channels, filters, batch, rng):
    def f(x, w):
        y, back = rv.vjp(lambda x, w: rv.conv(x, w, 2, "same", groups=channels), x, w)
        return y, back(y)

    plan = equal(f, whole(rng, (batch, 7, 6, channels)), whole(rng, (3, 3, 1, filters)))
    assert [k.kind for k in windows(plan)] == ["weighted", "weighted"]


def test_one_channel_and_many_filters_is_a_product(rng):
    plan = equal(lambda x, w: rv.conv(x, w), whole(rng, (9, 7, 6, 1)), whole(rng, (3, 3, 1, 8)))
    assert not windows(plan)


def test_weight_gradients_in_chunks(rng):
    x, g = whole(rng, (8, 28, 28, 16)), whole(rng, (8, 28, 28, 16))

    def f(x, g, w):
        return rv.vjp(lambda w: rv.conv(x, w, 1, "same", groups=16), w)[1](g)

    plan = equal(f, x, g, whole(rng, (3, 3, 1, 16)))
    (spec,) = [k.spec for k in all_kernels(plan) if isinstance(k.spec, WindowWeights)]
    assert spec.chunks > 1


@pytest.mark.parametrize("op", ["window_argmax", "window_take", "window_put", "window_sum", "window_spread"])
def test_ops_of_the_table(op, rng):
    """Their own samples: padding, dilation, up to three axes."""
    for args, attrs in TABLE[op].samples(rng):
        equal(lambda *args, attrs=attrs: TABLE[op](*args, **attrs), *args, near=1e-12)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_indices_of_other_dtypes(dtype, rng):
    x = rv.tensor(rng.normal(size=(2, 6, 3)).astype("f"))
    attrs = {"window": (2,), "strides": (2,), "padding": ((0, 0),), "dilation": (1,)}
    index = rv.tensor(rng.integers(0, 2, (2, 3, 3)).astype(dtype))
    found = rv.jit(lambda x, index: TABLE["window_take"](x, index, **attrs))(x, index)
    np.testing.assert_array_equal(found.numpy(), TABLE["window_take"](x, index, **attrs).numpy())


# -- fusion -----------------------------------------------------------------------------------------------------------


def test_max_pooling_is_one_kernel_without_an_index(rng):
    plan = equal(lambda x: rv.max_pool(x, 2), rng.normal(size=(4, 8, 8, 16)).astype("f"))
    (spec,) = windows(plan)
    assert len(plan.steps) == 1
    assert len(spec.stores) == 1
    assert not any(i.op == "tap" for i in spec.body)


def test_work_behind_a_window_joins_it(rng):
    """Bias, activation, a residual, a mask for each sample and a constant for each pixel."""
    x, b = rng.normal(size=(4, 8, 6, 16)).astype("f"), rng.normal(size=16).astype("f")
    rest, mask = rng.normal(size=(4, 4, 3, 16)).astype("f"), rng.normal(size=(4, 1, 1, 16)).astype("f")
    pixel = rng.normal(size=(4, 3, 1)).astype("f")

    def f(x, b, rest, mask):
        y = rv.relu(rv.average_pool(x, 2) + b) * mask + rest
        return y, rv.tanh(y) * pixel

    plan = equal(f, x, b, rest, mask, near=1e-6)
    assert [k.kind for k in windows(plan)] == ["sum"]
    assert len(plan.steps) == 1


def test_the_mask_of_the_backward_pass_joins_the_window(rng):
    x = rng.normal(size=(4, 8, 6, 16)).astype("f")

    def f(x):
        return rv.value_and_grad(lambda x: rv.sum(rv.max_pool(rv.relu(x), 2) ** 2))(x)

    plan = equal(f, x, near=1e-2)  # of a sum of 768 squares; gradients are exact but for one rounding
    put = next(s for s in windows(plan) if s.kind == "put")
    assert len(put.body) > 1


def test_results_may_lie_where_operands_did(rng):
    """Two results, and an operand that ends here and gives its place to the first: it must be read before."""
    x, w, g = whole(rng, (16, 5, 4)), whole(rng, (4, 1, 4)), whole(rng, (16, 1, 4))

    def f(x, w, g):
        y, back = rv.vjp(lambda x, w: rv.relu(rv.conv(x, w, 3, groups=4)), x, w)
        return y, back(g * 60.0)

    equal(f, x, w, g)


def test_transposed_and_sliced_operands(rng):
    x, other = rng.normal(size=(4, 8, 6, 16)).astype("f"), rng.normal(size=(6, 3, 16, 4)).astype("f")

    def f(x, other):
        return rv.max_pool(x, 2) + rv.transpose(other, (3, 0, 1, 2))[:, 1:5], rv.max_pool(x[:, ::-1, :, 3:9], 2)

    equal(f, x, other)


def test_two_windows_of_one_input(rng):
    x = rng.normal(size=(4, 8, 6, 16)).astype("f")
    plan = equal(lambda x: rv.max_pool(x, 2) - rv.average_pool(x, 2), x, near=1e-6)
    assert sorted(k.kind for k in windows(plan)) == ["max", "sum"]
    assert len(plan.steps) == 2


def test_results_are_shared_between_threads(rng):
    x, w = rng.normal(size=(16, 28, 28, 32)).astype("f"), rng.normal(size=(3, 3, 1, 32)).astype("f")

    def f(x, w):
        y, back = rv.vjp(lambda x, w: rv.max_pool(rv.conv(x, w, 1, "same", groups=32), 2), x, w)
        return y, back(rv.tanh(y))

    found = []
    for threads in (1, 2):
        with rv.config.override(threads=threads):
            found.append(native(f, x, w)[0])
    for a, b in zip(*found, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


def test_checked_mode(rng):
    with rv.config.override(checked=True):
        test_max_pooling("2x2 with a rest", "float32", rng)
        test_depthwise_convolution(24, "float32", "same", 2, rng)


def test_nothing_to_pool(rng):
    x = np.zeros((0, 4, 4, 3), "f")
    assert rv.jit(lambda x: rv.max_pool(x, 2))(x).shape == (0, 2, 2, 3)


# -- the graph --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["window_argmax", "window_take", "window_put", "window_sum", "window_spread"])
@pytest.mark.parametrize("inside", [False, True])
def test_lowered_nodes_mean_what_the_ops_mean(op, inside, rng):
    """Also with the batch inside: (*spatial, batch, channels)."""
    for args, attrs in TABLE[op].samples(rng):
        arrays = [np.asarray(a) for a in args]
        want = TABLE[op].reference(*arrays, **attrs)
        dtypes = [rv.tensor(a).dtype for a in arrays]
        inputs = [Value("input", (), {}, a.shape, d) for a, d in zip(arrays, dtypes, strict=True)]
        made = Value(op, inputs, attrs, want.shape, dtypes[-1] if op == "window_argmax" else dtypes[0])
        made.dtype = rv.tensor(want).dtype
        turn = (*range(1, want.ndim - 1), 0, want.ndim - 1) if inside else tuple(range(want.ndim))
        if inside:
            arrays = [a.transpose(turn) for a in arrays]
            inputs = [Value("input", (), {}, a.shape, d) for a, d in zip(arrays, dtypes, strict=True)]
        graph = Graph(inputs, [lower_window(made, inputs, inside)])
        verify(graph)
        (got,) = run(graph, arrays)
        np.testing.assert_allclose(got, want.transpose(turn), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "attrs", "reason"),
    [
        ((3, 4), {"kind": "median"}, "unknown kind"),
        ((3, 5), {"kind": "sum"}, r"expected float32\[3, 4\]"),
        ((3, 4), {"kind": "sum", "axes": (forward(9, 2, 2, 1, (0, 0)),)}, "of a value of shape"),
        ((3, 4), {"kind": "take"}, "wrong number of inputs"),
    ],
)
def test_the_verifier_knows_windows(shape, attrs, reason):
    x = Value("input", (), {}, (6, 4), rv.float32)
    bad = Value("window", [x], {"axes": (forward(6, 2, 2, 1, (0, 0)),), **attrs}, shape, rv.float32)
    with pytest.raises(InternalError, match=reason):
        verify(Graph([x], [bad]))


def test_axes_and_their_adjoints():
    axis = forward(9, 3, 2, 1, (1, 1))
    assert adjoint(adjoint(axis)) == axis
