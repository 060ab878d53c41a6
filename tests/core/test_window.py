"""Pooling against PyTorch and Keras, and the window ops against their definitions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.ops.table import TABLE

from .peers import import_keras

KINDS = list(itertools.product((1, 2, 3), (1, 2, 3), ("valid", "same")))


def windows(x: np.ndarray, k: int, s: int, low: int, count: int, d: int = 1) -> list[np.ndarray]:
    """What lies inside each window of a signal ``(batch, size, channels)``."""
    found = []
    for o in range(count):
        at = [o * s + t * d - low for t in range(k)]
        found.append(x[:, [i for i in at if 0 <= i < x.shape[1]]])
    return found


@pytest.mark.parametrize("k, s, d", list(itertools.product((1, 2, 3), (1, 2, 3), (1, 2))))
def test_signals_equal_the_definition(k: int, s: int, d: int, rng: np.random.Generator) -> None:
    x, low, high = rng.normal(size=(2, 7, 3)), (k - 1) // 2, k // 2
    count = (7 + low + high - (k - 1) * d - 1) // s + 1
    parts = windows(x, k, s, low, count, d)
    arguments = (k, s, ((low, high),), d)
    np.testing.assert_array_equal(rv.max_pool(x, *arguments).numpy(), np.stack([p.max(1) for p in parts], 1))
    meant = np.stack([p.mean(1) for p in parts], 1)
    np.testing.assert_allclose(rv.average_pool(x, *arguments).numpy(), meant, rtol=1e-13, atol=1e-14)
    attrs = {"window": (k,), "strides": (s,), "padding": ((low, high),), "dilation": (d,)}
    np.testing.assert_allclose(TABLE["window_sum"](x, **attrs).numpy(), np.stack([p.sum(1) for p in parts], 1), 1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_values_and_gradients_equal_pytorch(rank: int, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    largest = [f.max_pool1d, f.max_pool2d, f.max_pool3d][rank - 1]
    mean = [f.avg_pool1d, f.avg_pool2d, f.avg_pool3d][rank - 1]
    front, back = (0, rank + 1, *range(1, rank + 1)), (0, *range(2, rank + 2), 1)
    for k, s, p, d in itertools.product((1, 2, 3), (1, 2, 3), (0, 1), (1, 2)):
        if p > k // 2:
            continue
        x = rng.normal(size=(2, *(5, 6, 5)[:rank], 3))
        pairs = ((p, p),) * rank
        calls = [
            (lambda t, k=k, s=s, p=p, d=d: largest(t, k, s, p, d), lambda t, a=(k, s, pairs, d): rv.max_pool(t, *a))
        ]
        if d == 1:
            calls.append((
                lambda t, k=k, s=s, p=p: mean(t, k, s, p, count_include_pad=False),
                lambda t, a=(k, s, pairs): rv.average_pool(t, *a),
            ))  # fmt: skip
        for theirs, ours in calls:
            a = torch.tensor(x, requires_grad=True)
            out, pull = theirs(a.permute(front)).permute(back), rv.vjp(ours, rv.asarray(x))
            g = rng.normal(size=tuple(out.shape))
            out.backward(torch.tensor(g))
            np.testing.assert_allclose(pull[0].numpy(), out.detach().numpy(), rtol=1e-13, atol=1e-14)
            np.testing.assert_allclose(pull[1](rv.asarray(g))[0].numpy(), a.grad.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("k, s, padding", KINDS)
def test_pooling_equals_keras(k: int, s: int, padding: str, rng: np.random.Generator) -> None:
    keras = import_keras()
    x = rng.normal(size=(2, 7, 5, 3)).astype("float32")
    theirs = keras.ops.convert_to_numpy(keras.ops.max_pool(x, k, s, padding))
    np.testing.assert_array_equal(rv.max_pool(x, k, s, padding).numpy(), theirs)
    if keras.backend.backend() == "torch" and padding == "same":
        return  # Keras repeats the edge there instead of leaving the padding out
    theirs = keras.ops.convert_to_numpy(keras.ops.average_pool(x, k, s, padding))
    np.testing.assert_allclose(rv.average_pool(x, k, s, padding).numpy(), theirs, rtol=0, atol=1e-6)  # 9 float32 sums


def test_ties_go_to_the_first_and_nan_wins() -> None:
    attrs = {"window": (3,), "strides": (3,), "padding": ((0, 0),), "dilation": (1,)}
    x = np.array([1, 2, 2, np.nan, 5, np.nan, -np.inf, -np.inf, -np.inf, 3, np.nan, 4]).reshape(1, 12, 1)
    assert TABLE["window_argmax"](x, **attrs).flatten().tolist() == [1, 0, 0, 1]
    assert np.isnan(rv.max_pool(x, 3).numpy().ravel()).tolist() == [False, True, False, True]
    slope = rv.grad(lambda t: rv.sum(rv.max_pool(t, 3)))(rv.tensor([[[1.0], [2.0], [2.0]]]))
    assert slope.flatten().tolist() == [0.0, 1.0, 0.0]


def test_padding_is_never_the_largest() -> None:
    out = rv.max_pool(-rv.ones((1, 3, 1)), 3, 1, "same")
    assert out.flatten().tolist() == [-1.0, -1.0, -1.0]


def test_an_infinite_cotangent_stays_where_it_belongs() -> None:
    _, back = rv.vjp(lambda t: rv.max_pool(t, 2), rv.tensor([[[1.0], [2.0]]]))
    assert back(rv.tensor([[[np.inf]]]))[0].flatten().tolist() == [0.0, np.inf]


def test_second_derivatives(rng: np.random.Generator) -> None:
    x = rng.permutation(30).reshape(1, 5, 3, 2) / 10 - 1.0
    rv.check_gradients(lambda t: rv.max_pool(t, 2, 1, "same") ** 3, x, order=2)
    rv.check_gradients(lambda t: rv.average_pool(t, (2, 3), 1, "same") ** 3, x, order=2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64", "int32", "bool"])
def test_dtypes(dtype: str) -> None:
    x = rv.ones((1, 4, 1), dtype)
    meant = rv.float32 if dtype in ("int32", "bool") else x.dtype
    for pool in (rv.max_pool, rv.average_pool):
        out = pool(x, 3, 1, "same")
        assert out.dtype is meant and out.flatten().tolist() == [1.0] * 4


_X = np.ones((2, 5, 5, 3), np.float32)


@pytest.mark.parametrize("pool", [rv.max_pool, rv.average_pool], ids=["max", "average"])
@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ((_X, 0), "ArgumentError", "expected the size of the window .* at least 1"),
        ((_X, 6), "ShapeError", r"window size \(6, 6\) and spatial size \(5, 5\)"),
        ((_X, 2, 0), "ArgumentError", "expected strides"),
        ((_X, (2, 2, 2)), "ArgumentError", "one for each of the 2 spatial axes"),
        ((_X, 2, 2, "causal"), "ArgumentError", "expected padding to be 'valid', 'same' or 2 pairs"),
        ((_X, 2, 2, ((0, -1), (0, 0))), "ArgumentError", "expected padding"),
        ((_X, 2, 1, ((2, 0), (0, 0))), "ShapeError", "every window to have an element inside"),
        ((_X, 2, 1, ((0, 0), (0, 10**12))), "ShapeError", "every window to have an element inside"),
        ((_X, 3, 1, "valid", 3), "ShapeError", "stretches it over"),
        ((_X[0, 0], 2), "ShapeError", r"an image .*got shape \(5, 3\)"),
        ((_X[:, :0], 2), "ShapeError", "window that fits"),
    ],
)
def test_bad_input(pool: Any, arguments: Any, error: str, text: str) -> None:
    with pytest.raises(getattr(rv.errors, error), match=rf"(?s)^{pool.__name__}: .*{text}"):
        pool(*arguments)


def test_empty_batches() -> None:
    assert rv.max_pool(rv.ones((0, 4, 3)), 2).shape == (0, 2, 3)
    assert rv.average_pool(rv.ones((2, 4, 0)), 2).shape == (2, 2, 0)


def test_values_that_take_the_place_of_what_is_read() -> None:
    """A compiled window whose epilogue stores several values, some of them in the memory of others that it reads."""
    x = rv.tensor((np.arange(32 * 2 * 33) % 97 / 10 - 4).reshape(32, 2, 33).astype("float32"))

    def loss(x: rv.Tensor) -> rv.Tensor:
        mean = rv.average_pool(rv.erf(rv.clip(x, -3, 3)), 2, 1, "same")
        total = rv.sum(rv.clip(x, -50, 50), (0, 1))
        folded = rv.conv(rv.clip(x, -3, 3), rv.ones((2, 33, 2)))
        return rv.mean(rv.tanh(mean)) + rv.mean(rv.tanh(total / 100)) + rv.mean(rv.tanh(folded / 100))

    # Means of at most 2112 values near 1 in float32.
    np.testing.assert_allclose(rv.jit(rv.grad(loss))(x).numpy(), rv.grad(loss)(x).numpy(), rtol=1e-4, atol=1e-7)
