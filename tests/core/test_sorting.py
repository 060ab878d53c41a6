"""Sorting against NumPy, on both backends: order, stability, NaN, and where gradients go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv

DTYPES = ("bool", "int8", "uint8", "int16", "int32", "int64", "bfloat16", "float32", "float64")


def drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> rv.Tensor:
    """Values with many ties; floats with zeros of both signs, infinities and NaN."""
    if dtype == "bool":
        return rv.tensor(rng.random(shape) < 0.5)
    if "float" not in dtype:
        return rv.tensor(rng.integers(0 if dtype == "uint8" else -100, 100, shape), dtype)
    a = np.round(rng.normal(size=shape) * 4) / 2
    odd = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan], shape)
    return rv.tensor(np.where(rng.random(shape) < 0.3, odd, a), dtype)


def meant(a: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    if not descending:
        return np.argsort(a, axis, kind="stable")
    rows = np.moveaxis(a, axis, -1)
    out = np.empty(rows.shape, np.int64)
    for at in np.ndindex(rows.shape[:-1]):
        row = rows[at].tolist()
        larger = {i: (v != v, 0 if v != v else v) for i, v in enumerate(row)}
        out[at] = sorted(range(len(row)), key=lambda i, larger=larger: larger[i], reverse=True)  # stable in Python too
    return np.moveaxis(out, -1, axis)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_order_equals_numpys(dtype: str, compiled: bool, rng: np.random.Generator) -> None:
    for shape in ((1,), (2,), (9,), (0,), (3, 0), (0, 3), (4, 33), (3, 40, 5), (2, 260), (64, 2)):
        x = drawn(rng, shape, dtype)
        axis = int(rng.integers(0, len(shape)))
        for descending in (False, True):

            def both(x: rv.Tensor, axis: int = axis, descending: bool = descending) -> Any:
                return rv.argsort(x, axis, descending), rv.sort(x, axis, descending)

            order, values = (rv.jit(both) if compiled else both)(x)
            want = meant(x.numpy(), axis, descending)
            assert order.dtype is rv.int64 and values.dtype is x.dtype
            np.testing.assert_array_equal(order.numpy(), want)
            np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x.numpy(), want, axis))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_top_k_is_the_beginning_of_the_order(compiled: bool, rng: np.random.Generator) -> None:
    for n, ks in ((1, (1,)), (7, (1, 3, 7)), (65, (1, 5, 64)), (1000, (1, 10, 500))):
        x = drawn(rng, (4, n), "float32")
        for k in ks:
            f = (lambda x, k=k: rv.top_k(x, k)) if not compiled else rv.jit(lambda x, k=k: rv.top_k(x, k))
            values, positions = f(x)
            want = meant(x.numpy(), 1, True)[:, :k]
            np.testing.assert_array_equal(positions.numpy(), want)
            np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x.numpy(), want, 1))


def test_top_k_equals_pytorch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    a = rng.permutation(300).reshape(3, 100).astype("float32")
    values, positions = rv.top_k(a, 7)
    theirs = torch.topk(torch.tensor(a), 7)
    np.testing.assert_array_equal(values.numpy(), theirs.values.numpy())
    np.testing.assert_array_equal(positions.numpy(), theirs.indices.numpy())


def test_top_k_along_another_axis(rng: np.random.Generator) -> None:
    a = rng.permutation(24).reshape(6, 4)
    values, positions = rv.top_k(a, 2, axis=0)
    assert values.tolist() == np.sort(a, 0)[::-1][:2].tolist()
    assert positions.tolist() == np.argsort(a, 0)[::-1][:2].tolist()


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_gradients_go_back_to_where_values_came_from(compiled: bool, rng: np.random.Generator) -> None:
    x = rv.tensor(rng.permutation(30).reshape(3, 10).astype("float32"))
    weights = rng.normal(size=(3, 10)).astype("float32")
    f = rv.grad(lambda x: rv.sum(rv.sort(x) * weights) + rv.sum(rv.top_k(x, 2)[0] ** 2))
    g = (rv.jit(f) if compiled else f)(x).numpy()
    order = np.argsort(x.numpy(), 1)
    want = np.zeros((3, 10), np.float32)
    np.put_along_axis(want, order, weights, 1)
    best = order[:, :-3:-1]
    np.put_along_axis(want, best, np.take_along_axis(want, best, 1) + 2 * np.take_along_axis(x.numpy(), best, 1), 1)
    np.testing.assert_array_equal(g, want)
    rv.check_gradients(lambda x: rv.sort(x, 0, descending=True) ** 3, x.numpy().astype("float64") / 10, order=2)


def test_order_has_no_gradient() -> None:
    with pytest.raises(rv.errors.GradientError, match="floating output"):
        rv.grad(lambda x: rv.sum(rv.argsort(x)))(rv.ones(3))


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda x: rv.sort(x, 2), "sort: axis 2 is out of range"),
        (lambda x: rv.sort(x, None), "sort: expected one axis"),
        (lambda x: rv.argsort(x, (0, 1)), "argsort: expected one axis"),
        (lambda x: rv.sort(x, descending="yes"), "sort: expected descending to be True or False, got 'yes'"),
        (lambda x: rv.top_k(x, 0), "top_k: expected k between 1 and 3.* got 0"),
        (lambda x: rv.top_k(x, 4), "top_k: expected k between 1 and 3.* got 4"),
        (lambda x: rv.top_k(x, 1.5), r"top_k: expected k to be an integer, got 1.5 \(float\)"),
        (lambda x: rv.top_k(x, True), "top_k: expected k to be an integer"),
        (lambda x: rv.sort(rv.tensor(1.0)), "sort: axis -1 is out of range"),
    ],
)
def test_bad_input(call: Any, text: str) -> None:
    with pytest.raises(rv.errors.ArgumentError, match=text):
        call(rv.ones((2, 3)))
