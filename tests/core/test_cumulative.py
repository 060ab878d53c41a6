"""Cumulative ops against NumPy and PyTorch, on both backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.ops.table import TABLE

PAIRS = [
    (rv.cumulative_sum, np.cumsum),
    (rv.cumulative_prod, np.cumprod),
    (rv.cumulative_max, lambda a, axis: np.maximum.accumulate(a, axis)),
]
NAMES = ["sum", "prod", "max"]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("ours, numpys", PAIRS, ids=NAMES)
def test_values_equal_numpy(ours: Any, numpys: Any, compiled: bool, rng: np.random.Generator) -> None:
    """To the bit: both walk along the axis one element after the other."""
    shapes = ((7,), (1,), (0,), (3, 1), (5, 4), (2, 33, 17), (3, 40, 3), (2, 0, 3), (0, 4), (1, 2, 3, 4), (40, 130))
    for shape in shapes:
        a = rng.normal(size=shape).astype("float32")
        if a.size > 3:
            a.ravel()[3] = np.nan
            a.ravel()[-1] = np.inf

        def call(x: rv.Tensor) -> list[rv.Tensor]:
            return [ours(x, k, reverse=back) for k in range(x.ndim) for back in (False, True)]

        with rv.config.override(denormals="keep"):
            found = (rv.jit(call) if compiled else call)(rv.tensor(a))
        with np.errstate(all="ignore"):
            meant = [f(numpys(f(a), axis=k)) for k in range(a.ndim) for f in (np.asarray, _flipper(k))]
        for x, y in zip(found, meant, strict=True):
            np.testing.assert_array_equal(x.numpy(), y)


def _flipper(axis: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda a: np.flip(a, axis)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "bfloat16", "float64"])
def test_dtypes(dtype: str, compiled: bool) -> None:
    x = rv.tensor([3, 0, 2, 250], "int64").astype(dtype)
    calls = [rv.cumulative_sum, rv.cumulative_prod, rv.cumulative_max]
    out = (rv.jit(lambda x: [c(x) for c in calls]) if compiled else lambda x: [c(x) for c in calls])(x)
    wide = x.dtype if x.dtype.is_float else rv.int64
    assert [t.dtype for t in out] == [wide, wide, x.dtype]
    a = x.numpy().astype("float64")
    for t, meant in zip(out, (np.cumsum(a), np.cumprod(a), np.maximum.accumulate(a)), strict=True):
        np.testing.assert_array_equal(t.numpy(), rv.asarray(meant).astype(t.dtype).numpy())


def test_none_flattens_and_the_initial_value_can_be_included() -> None:
    x = rv.tensor([[1, 2], [3, 4]])
    assert rv.cumulative_sum(x).tolist() == [1, 3, 6, 10]
    assert rv.cumulative_sum(x, 1, include_initial=True).tolist() == [[0, 1, 3], [0, 3, 7]]
    assert rv.cumulative_prod(x, 0, include_initial=True, reverse=True).tolist() == [[3, 8], [3, 4], [1, 1]]
    assert rv.cumulative_sum(rv.zeros((2, 0)), 1, include_initial=True).tolist() == [[0.0], [0.0]]


def test_gradient_of_the_product_where_elements_are_zero(rng: np.random.Generator) -> None:
    """Against PyTorch, and to second order against differences, with one, two and no zeros in a row."""
    a = rng.normal(size=(4, 6))
    a[1, 2] = a[2, 1] = a[2, 4] = a[3, 0] = 0.0
    rv.check_gradients(lambda x: rv.cumulative_prod(x, 1) ** 2, a, order=2)
    rv.check_gradients(lambda x: rv.cumulative_prod(x, 0, reverse=True) ** 2, a, order=2)
    torch = pytest.importorskip("torch")
    t, g = torch.tensor(a, requires_grad=True), rng.normal(size=a.shape)
    t.cumprod(1).backward(torch.tensor(g))
    _, back = rv.vjp(lambda x: rv.cumulative_prod(x, 1), rv.asarray(a))
    np.testing.assert_allclose(back(rv.asarray(g))[0].numpy(), t.grad.numpy(), rtol=1e-12, atol=1e-13)


def test_gradient_of_the_maximum_goes_to_the_first() -> None:
    def slope(values: list[float], reverse: bool = False) -> list[float]:
        return rv.grad(lambda x: rv.sum(rv.cumulative_max(x, reverse=reverse)))(rv.tensor(values)).tolist()

    assert slope([1.0, 3.0, 3.0, 2.0, 4.0]) == [1.0, 3.0, 0.0, 0.0, 1.0]
    assert slope([1.0, 3.0, 3.0, 2.0], reverse=True) == [0.0, 0.0, 3.0, 1.0]
    assert slope([1.0, np.nan, 2.0, np.nan]) == [1.0, 3.0, 0.0, 0.0]
    assert rv.grad(lambda x: rv.sum(rv.cumulative_max(x, 0)))(rv.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("ours", [p[0] for p in PAIRS], ids=NAMES)
def test_compiled_gradients_are_the_eager_ones(ours: Any, rng: np.random.Generator) -> None:
    x = rv.tensor(rng.normal(size=(5, 21, 3)).astype("float32"))
    f = rv.grad(lambda x: rv.sum(ours(x, 1, reverse=True) ** 2))
    # Products of 21 factors and sums of 21 terms in float32.
    np.testing.assert_allclose(rv.jit(f)(x).numpy(), f(x).numpy(), rtol=2e-4, atol=1e-4)


def test_recurrence_equals_the_definition(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 50, 3)), rng.normal(size=(2, 50, 3))
    a[:, 0] = np.inf  # nothing stands before the first element, so its scale does not matter
    y, now = [], np.zeros((2, 3))
    for i in range(50):
        now = a[:, i] * now + b[:, i] if i else b[:, i]
        y.append(now)
    op = TABLE["linear_recurrence"]
    for f in (op, rv.jit(lambda a, b: op(a, b, axis=1, reverse=False))):
        found = f(a, b, axis=1, reverse=False) if f is op else f(a, b)
        # Compiled code may round a product and the sum behind it once: 50 roundings of numbers that shrink or grow.
        np.testing.assert_allclose(found.numpy(), np.stack(y, 1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("ours", [p[0] for p in PAIRS], ids=NAMES)
def test_bad_input(ours: Any) -> None:
    name = ours.__name__
    with pytest.raises(rv.errors.ArgumentError, match=f"{name}: axis 2 is out of range"):
        ours(rv.ones((2, 3)), 2)
    with pytest.raises(rv.errors.ArgumentError, match=f"{name}: expected one axis or None"):
        ours(rv.ones((2, 3)), (0, 1))
    with pytest.raises(rv.errors.ArgumentError, match=f"{name}: expected reverse to be True or False, got 1"):
        ours(rv.ones((2, 3)), 0, reverse=1)
    with pytest.raises(rv.errors.ArgumentError, match=f"{name}: axis 0 is out of range"):
        ours(rv.tensor(1.0), 0)
