"""take, scatter_add and their kin against loops, with gradients and refused indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from ranvier.tensor import Tensor


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
def test_take(axis: int, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 4, 5))
    index = rng.integers(0 if dtype == "uint8" else -3, 3, shape).astype(dtype)
    np.testing.assert_array_equal(
        rv.take(a, index, axis).numpy(), np.take(a, index.astype(np.int64), axis), strict=True
    )


@pytest.mark.parametrize("axis", [0, 1, 2, -2])
def test_scatter_add_adds_repeated_indices(axis: int, rng: np.random.Generator) -> None:
    base, index = rng.normal(size=(3, 4, 5)), rng.integers(-3, 3, (2, 4))
    place = axis % 3
    updates = rng.normal(size=base.shape[:place] + index.shape + base.shape[place + 1 :])
    meant = base.copy()
    for at in np.ndindex(updates.shape):
        i, j = at[place : place + 2]
        meant[(*at[:place], index[i, j], *at[place + 2 :])] += updates[at]
    out = rv.scatter_add(base, index, updates, axis)
    np.testing.assert_allclose(out.numpy(), meant, rtol=1e-13)
    rv.check_gradients(lambda b, u: rv.scatter_add(b, index, u, axis) ** 2, base, updates, order=2)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_along_axis(axis: int, rng: np.random.Generator) -> None:
    a = rng.normal(size=(4, 5))
    shape = (3, 5) if axis == 0 else (4, 3)
    index, updates = rng.integers(-4, 4, shape), rng.normal(size=shape)
    np.testing.assert_array_equal(rv.take_along_axis(a, index, axis).numpy(), np.take_along_axis(a, index, axis))
    meant = a.copy()
    for i, j in np.ndindex(shape):
        meant[(index[i, j], j) if axis == 0 else (i, index[i, j])] += updates[i, j]
    np.testing.assert_allclose(rv.add_along_axis(a, index, updates, axis).numpy(), meant, rtol=1e-13)
    rv.check_gradients(
        lambda x, u: rv.add_along_axis(rv.take_along_axis(x, index, axis), index * 0, u, axis) ** 2, a, updates
    )


def test_sums_of_small_integers_are_exact(rng: np.random.Generator) -> None:
    index, updates = rng.integers(0, 10, 5000), rng.integers(-8, 9, (5000, 3)).astype(np.float32)
    meant = np.zeros((10, 3))
    for i, row in zip(index, updates, strict=True):
        meant[i] += row
    assert rv.scatter_add(rv.zeros((10, 3)), index, updates).numpy().tolist() == meant.tolist()
    counts = rv.scatter_add(rv.zeros(10, "int64"), index, rv.ones(5000, "int64"))
    assert counts.tolist() == np.bincount(index, minlength=10).tolist()


def test_an_embedding_gets_the_gradient_of_each_use() -> None:
    table = rv.Variable(np.arange(8.0).reshape(4, 2))
    rv.sum(rv.take(table, [1, 3, 1]) * rv.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])).backward()
    assert table.grad.tolist() == [[0.0, 0.0], [11.0, 22.0], [0.0, 0.0], [3.0, 4.0]]


def test_one_hot() -> None:
    assert rv.one_hot([0, 2], 3).tolist() == np.eye(3)[[0, 2]].tolist()
    assert rv.one_hot([[1], [0]], 2, "int8").tolist() == [[[0, 1]], [[1, 0]]]
    assert rv.one_hot([3, -1], 3).tolist() == [[0.0] * 3] * 2, "out of range: no class"
    for dtype in ("int8", "uint8"):
        assert rv.one_hot(rv.tensor([44], dtype), 301)[0, 300].item() == 0.0, "classes beyond the dtype do not wrap"
    assert rv.one_hot(rv.tensor([], "int64"), 3).shape == (0, 3)
    with pytest.raises(ArgumentError, match="num_classes to be a positive integer, got 0"):
        rv.one_hot([1], 0)


def test_compiled_indices_are_limited_instead_of_refused() -> None:
    f = rv.jit(lambda x, i: rv.take(x, i))
    assert f(rv.tensor([1.0, 2.0, 3.0]), rv.tensor([-1, -3, 0])).tolist() == [3.0, 1.0, 1.0]
    assert f(rv.tensor([1.0, 2.0, 3.0]), rv.tensor([7, -7, 1])).tolist() == [3.0, 1.0, 2.0]


X = rv.tensor([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: rv.take(X, 3), IndexRangeError, "take: index 3 is out of range for an axis of size 3"),
        (lambda: rv.take(X, [0, -4]), IndexRangeError, "take: index -4 is out of range"),
        (lambda: rv.take(X[:0], [0]), IndexRangeError, "out of range for an axis of size 0"),
        (lambda: rv.take(X, 1.0), DTypeError, r"take: expected integer indices, got float32.*astype\('int64'\)"),
        (lambda: rv.take(X, [True, False]), DTypeError, "take: expected integer indices, got bool"),
        (lambda: rv.take(X, rv.tensor([])), DTypeError, "take: expected integer indices, got float32"),
        (lambda: rv.take(X, 0, True), ArgumentError, "take: axis True is out of range"),
        (lambda: rv.take(1.0, 0), ArgumentError, "take: axis 0 is out of range for a tensor with 0 axes"),
        (lambda: rv.scatter_add(X, [5], [1.0]), IndexRangeError, "scatter_add: index 5 is out of range"),
        (lambda: rv.scatter_add(X, [0, 1], [1.0]), ShapeError, r"expected updates of shape \(2,\), got \(1,\)"),
        (
            lambda: rv.scatter_add(X > 0, [0], [True]),
            DTypeError,
            "scatter_add: expected integer or floating input, got bool",
        ),
        (lambda: rv.take_along_axis(X, [[0]]), ShapeError, r"take_along_axis: indices of shape \(1, 1\) must equal"),
        (lambda: rv.take_along_axis(X, [9]), IndexRangeError, "take_along_axis: index 9 is out of range"),
        (
            lambda: rv.add_along_axis(X, [0], [1.0, 2.0]),
            ShapeError,
            r"add_along_axis: expected updates of shape \(1,\)",
        ),
        (lambda: rv.one_hot(X, 3), DTypeError, "one_hot: expected integer indices, got float32"),
        (lambda: rv.one_hot([1], 2.5), ArgumentError, "num_classes to be a positive integer, got 2.5"),
        (lambda: rv.one_hot([1], True), ArgumentError, "num_classes to be a positive integer, got True"),
    ],
)
def test_indices_that_are_refused(call: Callable[[], Tensor], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_an_index_of_another_width_is_no_reason_to_refuse(rng: np.random.Generator) -> None:
    a: Any = rng.normal(size=(200, 2))
    for dtype in ("uint8", "int16", "uint32"):
        index = np.array([0, 127, 199]).astype(dtype)
        assert rv.take(a, rv.asarray(index)).tolist() == a[[0, 127, 199]].tolist()
