"""Convolution against a naive loop (exact on integers), PyTorch and Keras."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.ops.spatial import padding_pairs, span

from .peers import import_keras


def naive(x: np.ndarray, kernel: np.ndarray, strides: Any, padding: Any, dilation: Any, groups: int) -> np.ndarray:
    """The definition, one element at a time, in Python integers."""
    *window, each, filters = kernel.shape
    size, share = x.shape[1:-1], filters // groups
    reach = span(window, dilation)
    counts = [(n + low + high - k) // s + 1 for n, (low, high), k, s in zip(size, padding, reach, strides, strict=True)]
    out = np.zeros((x.shape[0], *counts, filters), object)
    for n, f in itertools.product(range(x.shape[0]), range(filters)):
        for place in np.ndindex(*counts):
            for tap in np.ndindex(*window):
                at = [
                    o * s + t * d - p[0] for o, s, t, d, p in zip(place, strides, tap, dilation, padding, strict=True)
                ]
                if all(0 <= i < m for i, m in zip(at, size, strict=True)):
                    for c in range(each):
                        value = x[(n, *at, f // share * each + c)]
                        out[(n, *place, f)] += int(value) * int(kernel[(*tap, c, f)])
    return out.astype(np.int64)


def random_case(rng: np.random.Generator, rank: int) -> dict[str, Any]:
    """Sizes, strides, paddings and groups drawn at random, such that a window fits."""
    window = tuple(int(n) for n in rng.integers(1, 4, rank))
    dilation = tuple(int(n) for n in rng.integers(1, 3, rank))
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (rank, 2)))
    least = [max(1, k - a - b) for k, (a, b) in zip(span(window, dilation), padding, strict=True)]
    groups = int(rng.integers(1, 4))
    return {
        "size": tuple(n + int(rng.integers(0, 4)) for n in least),
        "window": window,
        "channels": groups * int(rng.integers(1, 3)),
        "filters": groups * int(rng.integers(1, 3)),
        "attrs": {
            "strides": tuple(int(n) for n in rng.integers(1, 4, rank)),
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
        },
    }


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_small_integers_are_exact(rank: int, rng: np.random.Generator) -> None:
    for _ in range(8):
        case = random_case(rng, rank)
        attrs = case["attrs"]
        x = rng.integers(-9, 10, (2, *case["size"], case["channels"]))
        kernel = rng.integers(-9, 10, (*case["window"], case["channels"] // attrs["groups"], case["filters"]))
        out = rv.conv(x.astype(np.float32), kernel.astype(np.float32), **attrs)
        np.testing.assert_array_equal(out.numpy(), naive(x, kernel, **attrs))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_three_ops_are_adjoint_to_one_another(rank: int, rng: np.random.Generator) -> None:
    """<conv(x, k), g> = <x, conv_input(g, k)> = <k, conv_kernel(x, g)>, exactly on integers."""
    from ranvier.ops.table import TABLE

    for _ in range(8):
        case = random_case(rng, rank)
        attrs = case["attrs"]
        x = rng.integers(-5, 6, (2, *case["size"], case["channels"])).astype(float)
        kernel = rng.integers(-5, 6, (*case["window"], case["channels"] // attrs["groups"], case["filters"]))
        kernel = kernel.astype(float)
        y = rv.conv(x, kernel, **attrs).numpy()
        g = rng.integers(-5, 6, y.shape).astype(float)
        back = TABLE["conv_input"](g, kernel, size=case["size"], **attrs).numpy()
        weights = TABLE["conv_kernel"](x, g, size=case["window"], **attrs).numpy()
        assert np.sum(y * g) == np.sum(x * back) == np.sum(kernel * weights)
        assert back.shape == x.shape and weights.shape == kernel.shape


def _torch_conv(torch: Any, x: Any, kernel: Any, rank: int, attrs: dict[str, Any]) -> Any:
    """PyTorch's convolution with channels last and padding on each side for itself."""
    front = (0, rank + 1, *range(1, rank + 1))
    widths = [n for pair in reversed(attrs["padding"]) for n in pair]
    # Contiguous: PyTorch's own gradient refuses some weights that are not.
    image = torch.nn.functional.pad(x.permute(front), widths).contiguous()
    weights = kernel.permute(rank + 1, rank, *range(rank)).contiguous()
    function = [torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d][rank - 1]
    out = function(image, weights, None, attrs["strides"], 0, attrs["dilation"], attrs["groups"])
    return out.permute(0, *range(2, rank + 2), 1)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_values_and_gradients_equal_pytorch(rank: int, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    for _ in range(12):
        case = random_case(rng, rank)
        attrs = case["attrs"]
        x = rng.normal(size=(3, *case["size"], case["channels"]))
        kernel = rng.normal(size=(*case["window"], case["channels"] // attrs["groups"], case["filters"]))
        a, b = torch.tensor(x, requires_grad=True), torch.tensor(kernel, requires_grad=True)
        theirs = _torch_conv(torch, a, b, rank, attrs)
        ours, back = rv.vjp(lambda x, k, attrs=attrs: rv.conv(x, k, **attrs), rv.asarray(x), rv.asarray(kernel))
        g = rng.normal(size=ours.shape)
        theirs.backward(torch.tensor(g))
        # Sums of at most 27 taps * 2 channels (values) or of all pixels (weights), in float64.
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-12)
        for found, meant in zip(back(rv.asarray(g)), (a.grad, b.grad), strict=True):
            np.testing.assert_allclose(found.numpy(), meant.numpy(), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolution_equals_pytorch(rank: int, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    function = [torch.nn.functional.conv_transpose1d, torch.nn.functional.conv_transpose2d,
                torch.nn.functional.conv_transpose3d][rank - 1]  # fmt: skip
    back = (0, *range(2, rank + 2), 1)
    for k, s, d, extra in itertools.product((1, 2, 3), (1, 2, 3), (1, 2), (0, 1)):
        reach = (k - 1) * d + 1
        if extra >= s or extra >= max(s, d):
            continue
        cut = min(1, (reach - 1) // 2)
        x, kernel = rng.normal(size=(2, *(3,) * rank, 3)), rng.normal(size=(*(k,) * rank, 2, 3))
        image, weights = torch.tensor(x).permute(0, rank + 1, *range(1, rank + 1)), torch.tensor(kernel)
        weights = weights.permute(rank + 1, rank, *range(rank))
        theirs = function(image, weights, None, s, cut, extra, 1, d).permute(back).numpy()
        ours = rv.conv_transpose(x, kernel, s, ((cut, cut),) * rank, d, extra).numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_transposed_convolution_equals_keras(rng: np.random.Generator) -> None:
    keras = import_keras()
    for k, s, d, padding, extra in itertools.product(
        (1, 2, 3, 4), (1, 2, 3, 5), (1, 2), ("valid", "same"), (None, 0, 1, 2)
    ):
        if extra is not None and extra >= s:
            continue
        x, kernel = rng.normal(size=(2, 4, 3)).astype("float32"), rng.normal(size=(k, 2, 3)).astype("float32")
        theirs = keras.ops.conv_transpose(x, kernel, s, padding, output_padding=extra, dilation_rate=d)
        ours = rv.conv_transpose(x, kernel, s, padding, d, extra)
        # Four taps of three channels at most: 12 float32 products and sums of size about 10.
        np.testing.assert_allclose(ours.numpy(), np.asarray(keras.ops.convert_to_numpy(theirs)), rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", range(1, 12))
def test_same_padding_gives_one_result_for_each_stride(size: int) -> None:
    for k, s, d in itertools.product(range(1, 6), range(1, 5), range(1, 3)):
        out = rv.conv(rv.ones((1, size, 1)), rv.ones((k, 1, 1)), s, "same", d)
        assert out.shape == (1, -(-size // s), 1)
        ((low, high),) = padding_pairs("conv", "same", (size,), (k,), (s,), (d,))
        assert 0 <= high - low <= 1, "the odd one comes after"
        assert rv.conv_transpose(out, rv.ones((k, 1, 1)), s, "same", d).shape == (1, out.shape[1] * s, 1)


def test_causal_results_do_not_read_what_comes_later(rng: np.random.Generator) -> None:
    x, kernel = rng.normal(size=(1, 9, 2)), rng.normal(size=(3, 2, 2))
    plain = rv.conv(x, kernel, padding="causal", dilation=2).numpy()
    changed = x.copy()
    changed[:, 5:] += 1.0
    again = rv.conv(changed, kernel, padding="causal", dilation=2).numpy()
    assert plain.shape == (1, 9, 2)
    np.testing.assert_array_equal(plain[:, :5], again[:, :5])
    assert (plain[:, 5:] != again[:, 5:]).any(axis=(0, 2)).all()


def test_padding_is_absent_and_not_zero() -> None:
    """An infinite weight beside the image must not become NaN."""
    kernel = rv.reshape(rv.tensor([np.inf, 1.0, 1.0]), (3, 1, 1))
    out = rv.conv(rv.ones((1, 3, 1)), kernel, padding="same").flatten().tolist()
    assert out == [2.0, np.inf, np.inf]


def test_empty_batches_and_no_filters() -> None:
    assert rv.conv(rv.ones((0, 5, 2)), rv.ones((3, 2, 4))).shape == (0, 3, 4)
    assert rv.conv(rv.ones((2, 5, 2)), rv.ones((3, 2, 0))).shape == (2, 3, 0)
    assert rv.conv(rv.ones((2, 5, 0)), rv.ones((3, 0, 4))).tolist() == rv.zeros((2, 3, 4)).tolist()
    assert rv.conv_transpose(rv.ones((0, 5, 2)), rv.ones((3, 4, 2))).shape == (0, 7, 4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64", "int32", "uint8", "bool"])
def test_dtypes(dtype: str) -> None:
    x = rv.ones((1, 4, 1), dtype)
    kernel = rv.ones((2, 1, 1), dtype)
    meant = rv.float32 if dtype in ("int32", "uint8", "bool") else x.dtype
    assert rv.conv(x, kernel).dtype is meant and rv.conv_transpose(x, kernel).dtype is meant
    assert rv.conv(x, rv.ones((2, 1, 1), "float64")).dtype is rv.float64


_X, _K = np.ones((2, 5, 5, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: rv.conv(_X, np.ones((6, 6, 3, 4))), "ShapeError", r"kernel size \(6, 6\) and spatial size \(5, 5\)"),
        (lambda: rv.conv(_X, _K, dilation=3), "ShapeError", r"dilation \(3, 3\) stretches it over \(7, 7\)"),
        (lambda: rv.conv(_X, _K, strides=0), "ArgumentError", "expected strides .* at least 1.*got 0"),
        (lambda: rv.conv(_X, _K, strides=(1, 1, 1)), "ArgumentError", "one for each of the 2 spatial axes"),
        (lambda: rv.conv(_X, _K, strides=1.5), "ArgumentError", r"got 1.5 \(float\)"),
        (lambda: rv.conv(_X, _K, dilation=(1, 0)), "ArgumentError", "expected dilation"),
        (lambda: rv.conv(_X, _K, padding="full"), "ArgumentError", "'valid', 'same', 'causal' or 2 pairs .*'full'"),
        (lambda: rv.conv(_X, _K, padding="causal"), "ArgumentError", "one spatial axis only, got 2"),
        (lambda: rv.conv(_X, _K, padding=1), "ArgumentError", "pairs .before, after. .*got 1"),
        (lambda: rv.conv(_X, _K, padding=((1, 1),)), "ArgumentError", "2 pairs"),
        (lambda: rv.conv(_X, _K, groups=0), "ArgumentError", "expected groups .* at least 1, got 0"),
        (lambda: rv.conv(_X, _K, groups=True), "ArgumentError", "expected groups"),
        (lambda: rv.conv(_X, np.ones((3, 3, 1, 4)), groups=3), "ShapeError", "groups=3 divides, got 3 in and 4 out"),
        (lambda: rv.conv(_X, np.ones((3, 3, 2, 4))), "ShapeError", "an image with 2 channels.* got 3 channels"),
        (lambda: rv.conv(_X[0], _K), "ShapeError", r"an image of shape \(5, 5, 3\) and a kernel of shape"),
        (lambda: rv.conv(np.ones((2, 0, 3)), np.ones((1, 3, 4))), "ShapeError", "fits into the input"),
        (lambda: rv.conv(_X, np.ones((0, 3, 3, 4))), "ArgumentError", "expected the size of the kernel"),
        (lambda: rv.conv(["a"], _K), "DTypeError", "expected numbers"),
        (lambda: rv.conv_transpose(_X, _K), "ShapeError", "an image with 4 channels.* got 3"),
        (lambda: rv.conv_transpose(_X, np.ones((3, 3, 2, 3)), padding="causal"), "ArgumentError", "'valid', 'same' or"),
        (lambda: rv.conv_transpose(_X, np.ones((3, 3, 2, 3)), 2, output_padding=2), "ArgumentError", "stride 2, got 2"),
        (lambda: rv.conv_transpose(_X, np.ones((3, 3, 2, 3)), 2, output_padding=-1), "ArgumentError", "at least 0"),
        (lambda: rv.conv_transpose(_X, np.ones((1, 1, 2, 3)), 1, ((3, 3), (0, 0))), "ShapeError", "at least one"),
        (lambda: rv.conv_transpose(np.ones((2, 0, 3)), np.ones((1, 2, 3))), "ShapeError", r"got \(0,\)"),
    ],
)
def test_bad_input(call: Any, error: str, text: str) -> None:
    with pytest.raises(getattr(rv.errors, error), match=rf"(?s)conv.*: .*{text}"):
        call()


def test_a_layer_gives_the_same_compiled(rng: np.random.Generator) -> None:
    x, kernel = rng.normal(size=(2, 6, 5, 3)).astype("float32"), rng.normal(size=(3, 2, 3, 4)).astype("float32")

    def loss(x: rv.Tensor, kernel: rv.Tensor) -> rv.Tensor:
        h = rv.relu(rv.conv(x, kernel, (2, 1), "same"))
        return rv.sum(rv.max_pool(h, 2) ** 2) + rv.sum(rv.average_pool(h, 2, 1, "same"))

    eager = rv.value_and_grad(loss, (0, 1))(rv.tensor(x), rv.tensor(kernel))
    compiled = rv.jit(rv.value_and_grad(loss, (0, 1)))(rv.tensor(x), rv.tensor(kernel))
    for a, b in zip((eager[0], *eager[1]), (compiled[0], *compiled[1]), strict=True):
        # A few hundred products in float32, added in another order.
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-3)
