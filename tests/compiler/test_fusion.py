"""Fusion and layout: how many kernels common programs become, what lies in panels, and values at every seam."""

from __future__ import annotations

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.kernel import Callback, Kernel
from ranvier.compiler.native.contraction import Contraction
from ranvier.compiler.native.relayout import Relayout
from ranvier.compiler.plan import Plan

from . import mlp


def plan_of(function, *arguments) -> Plan:
    return rv.jit(function).specialise(*arguments)[0].executor.plan


def kinds(plan: Plan) -> list[str]:
    """The kinds of the plan's steps in order."""
    found = []
    for s in plan.steps:
        spec = getattr(s, "spec", None)
        reduce = getattr(spec, "reduce", "")
        found.append({"none": "map", "last": "rows", "middle": "columns"}.get(reduce, type(spec or s).__name__.lower()))
    return found


def check(function, *arguments, near=1e-5) -> list[str]:
    """The kinds of kernels, after comparing with the reference."""
    got = rv.jit(function)
    with rv.config.override(backend="reference"):
        want = rv.jit(function)(*arguments)
    for a, b in zip(rv.tree.flatten(want)[0], rv.tree.flatten(got(*arguments))[0], strict=True):
        scale = np.abs(a.numpy()).max(initial=1)
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=near, atol=near * scale)
    return kinds(got.specialise(*arguments)[0].executor.plan)


@pytest.fixture
def x(rng) -> np.ndarray:
    return rng.normal(size=(32, 48)).astype("f")


# -- one kernel ---------------------------------------------------------------------------------------------------

ONE = {
    "chain": (lambda x, b: rv.tanh(x * 2 + b) - rv.exp(-rv.abs(x)), "map"),
    "several results": (lambda x, b: [x + 1, rv.sqrt(rv.abs(x)), x > b], "map"),
    "broadcasts": (lambda x, b: x * b + x[:, :1] - b[0], "map"),
    "transposed input": (lambda x, b: rv.transpose(x) * 2 + rv.transpose(x), "map"),
    "flips and slices": (lambda x, b: x[::-1, ::-1] + x[:, :48] * b[::-1], "map"),
    "softmax": (lambda x, b: softmax(x), "rows"),
    "softmax of a sum": (lambda x, b: softmax(x + b) * 2, "rows"),
    "normalisation": (lambda x, b: (x - rv.mean(x, 1, True)) / rv.sqrt(rv.var(x, 1, True) + 1e-5) * b, "rows"),
    "sums of columns": (lambda x, b: rv.sum(x * x, axis=0), "columns"),
    "column means": (lambda x, b: [rv.mean(x, 0), rv.max(x, 0)], "columns"),
    "argmax": (lambda x, b: rv.argmax(x, axis=1), "rows"),
    "gather": (lambda x, b: rv.take(x, [3, 1, 1], axis=0) * 2 + 1, "map"),
}


def softmax(x):
    e = rv.exp(x - rv.max(x, axis=-1, keepdims=True))
    return e / rv.sum(e, axis=-1, keepdims=True)


@pytest.mark.parametrize("name", ONE)
def test_one_kernel(name, x, rng):
    function, kind = ONE[name]
    assert check(function, x, rng.normal(size=48).astype("f")) == [kind]


def test_dense_layers_are_products_with_epilogues(x, rng):
    w, b = rv.Variable(rng.normal(size=(48, 64)).astype("f")), rv.Variable(rng.normal(size=64).astype("f"))
    made = check(lambda x: rv.sum(rv.tanh(x @ w + b) * 0.5, axis=1), x, near=1e-4)
    assert made.count("contraction") == 1
    assert "map" not in made
    assert check(lambda x: rv.where(x @ w + b > 0, x @ w, 0.0) @ rv.transpose(w.value), x, near=1e-4).count("map") == 0


def test_a_product_is_not_fused_with_what_needs_all_of_it(x):
    assert check(lambda x: softmax(x @ rv.transpose(x)), x, near=1e-4)[-2:] == ["contraction", "rows"]


def test_a_value_and_its_rearrangement_meet_in_two_kernels(x):
    made = check(lambda x: rv.exp(x) + rv.exp(x)[:, ::-1] + rv.transpose(rv.exp(rv.transpose(x))), x)
    assert made[-1] == "map"
    assert 2 <= len(made) <= 3


def test_unused_work_is_left_out(x):
    def f(x):
        rv.exp(x) @ rv.transpose(x)
        return x * 2

    assert check(f, x) == ["map"]


def test_equal_work_is_done_once(x):
    assert check(lambda x: (x @ rv.transpose(x)) + (x @ rv.transpose(x)), x, near=1e-4).count("contraction") == 1


def test_no_result_without_work(x):
    assert check(lambda x: [x, x], x) == []
    assert check(lambda x: rv.reshape(x, (48, 32)), x) == []
    assert check(lambda x: rv.zeros((3, 3)), x) in ([], ["map"])


# -- layouts ------------------------------------------------------------------------------------------------------


def layouts(plan: Plan) -> dict[str, int]:
    return {v.attrs["variable"].name: v.layout for v in plan.graph.inputs if "variable" in v.attrs}


def test_weights_live_in_panels_and_nothing_is_moved_in_a_step():
    sizes = (784, 512, 256, 10)
    net = mlp.Net(sizes)
    plan = plan_of(net.step, *mlp.batch(sizes, 128))
    found = layouts(plan)
    for i in range(3):
        weight = found[f"kernel{i}"]
        assert weight > 0
        assert found[f"kernel{i}/m"] == found[f"kernel{i}/v"] == weight, "slots lie like their weight"
        assert found[f"bias{i}"] == 0
    moved = [s for s in plan.steps if isinstance(s, Kernel) and isinstance(s.spec, Relayout)]
    # The backward products of two layers need the weight transposed; the loss picks logits row by row.
    assert len(moved) <= 3
    assert not [s for s in plan.steps if isinstance(s, Callback)]


def test_columns_arguments_and_integers_stay_in_rows(x, rng):
    column = rv.Variable(rng.normal(size=(48, 1)).astype("f"), name="column")
    count = rv.Variable(rng.integers(0, 9, (48, 5)), name="count")
    plan = plan_of(lambda x, i: [x @ column, rv.matmul(i, count)], x, np.ones((2, 48), np.int64))
    assert all(v.layout == 0 for v in plan.graph.arguments)
    assert all(v.layout == 0 for v in plan.graph.results)
    assert layouts(plan)["count"] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 32, 33, 48, 49, 100])
def test_every_width_of_panel(n, dtype, rng):
    """Values in panels through every kind of kernel: padding must never show."""
    w = rv.tensor(rng.normal(size=(20, n)), dtype)
    v = rv.tensor(rng.normal(size=n), dtype)
    x = rv.tensor(rng.normal(size=(6, 20)), dtype)

    def f(x, w, v):
        h = rv.exp(x @ w * 0.1 + v)
        products = [rv.transpose(h) @ h, h @ rv.transpose(h)]
        reduced = [rv.sum(h, 0), rv.sum(h, 1), rv.max(h, 1), softmax(h)]
        moved = [h, h[:, ::-1], rv.concatenate([h, h], 1), rv.take(h, [0, 2], 0)]
        return [products, reduced, moved, rv.where(h > 1, h, v), rv.log(h) / v]

    check(f, x, w, v, near={"float32": 2e-5, "float64": 1e-13, "bfloat16": 0.06}[dtype])


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize("where", ["arguments", "variables", "computed"])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (1, 3)])
def test_products_of_every_origin(ta, tb, where, batch, rng):
    a = rng.normal(size=(*batch, *((9, 7) if ta else (7, 9)))).astype("f")
    b = rng.normal(size=(*(batch[-1:] if batch else ()), *((21, 9) if tb else (9, 21)))).astype("f")
    u, v = rv.Variable(a), rv.Variable(b)

    def f(x, y):
        if where == "variables":
            x, y = u.value, v.value
        if where == "computed":
            x, y = rv.tanh(x), y * 2
        x = rv.swapaxes(x, -1, -2) if ta else x
        y = rv.swapaxes(y, -1, -2) if tb else y
        return rv.relu(x @ y) + 1

    check(f, a, b, near=1e-4)


# -- empty and tiny -----------------------------------------------------------------------------------------------


def test_empty_axes(rng):
    e, m = rng.normal(size=(0, 5)), rng.normal(size=(5, 3))

    def f(e, m):
        t = rv.transpose(e)
        reduced = [rv.sum(e, 0), rv.sum(e), rv.mean(e, 1)]
        joined = rv.concatenate([e, e[:0]], 0)
        return [e, e @ m, t @ e, rv.tanh(e), joined, t @ rv.zeros((0, 4), "float64") + 1.0, reduced]

    check(f, e, m)


def test_ones_everywhere(rng):
    a = rng.normal(size=(1, 1, 1)).astype("f")

    def f(a):
        b = rv.reshape(a, (1, 1))
        reduced = [rv.sum(a, 1), rv.max(a), softmax(a)]
        return [a + b, b @ b, rv.squeeze(a) * a, rv.transpose(a, (2, 0, 1)), a[0, 0, 0] + 1, reduced]

    check(f, a)


def test_scalars_gather_in_one_kernel(rng):
    t = rv.Variable(np.zeros((), "f"))

    def f(x):
        t.assign(t + 1)
        rate = rv.sqrt(1 - 0.99**t.value) / (1 - 0.9**t.value)
        return rate * 0.1, rv.exp(rate)

    assert len(plan_of(f, 1.0).steps) <= 2


def test_what_is_only_summed_is_computed_where_the_sum_is(rng):
    """As in the gradient of batch normalisation: ``g * x`` behind a product is not written and read again."""
    a, b, x = rng.normal(size=(192, 64)), rng.normal(size=(64, 32)), rng.normal(size=(192, 32))

    def function(a, b, x):
        g = rv.relu(a @ b)
        return g, rv.sum(g, 0), rv.sum(g * x, 0)

    arrays = [v.astype("f") for v in (a, b, x)]
    assert "columns" in check(function, *arrays, near=1e-4)
    steps = [s for s in plan_of(function, *arrays).steps if isinstance(getattr(s, "spec", None), Contraction)]
    assert [len(s.writes) for s in steps] == [1]  # g alone
