"""Convolution and pooling as plain loops over places and taps in NumPy: slow, and plainly what is meant.

And one case for each layer of this kind, for the tests that every layer takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Sizes = tuple[int, ...]


def per_axis(value: Any, rank: int) -> Sizes:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def places(size: int, window: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """How many results an axis has, and how many elements are missing in front of the first window."""
    reach = (window - 1) * dilation + 1
    if padding == "valid":
        return (size - reach) // stride + 1, 0
    count = -(-size // stride)
    missing = max((count - 1) * stride + reach - size, 0)
    return count, reach - 1 if padding == "causal" else missing // 2


def windows(
    space: Sizes, window: Sizes, strides: Sizes, dilation: Sizes, padding: str
) -> Iterator[tuple[Sizes, list[tuple[Sizes, Sizes]]]]:
    """Every place of the result with the taps that lie inside the input there: (tap, element) pairs."""
    axes = [places(*a, padding) for a in zip(space, window, strides, dilation, strict=True)]
    for out in itertools.product(*(range(count) for count, _ in axes)):
        inside = []
        for tap in itertools.product(*map(range, window)):
            at = tuple(
                o * s + t * d - low for o, s, t, d, (_, low) in zip(out, strides, tap, dilation, axes, strict=True)
            )
            if all(0 <= i < n for i, n in zip(at, space, strict=True)):
                inside.append((tap, at))
        yield out, inside


def conv(
    x: np.ndarray, kernel: np.ndarray, strides: Any = 1, padding: str = "valid", dilation: Any = 1, groups: int = 1
) -> np.ndarray:
    """Convolution in float64."""
    rank = x.ndim - 2
    space, window = x.shape[1:-1], kernel.shape[:-2]
    steps, spread = per_axis(strides, rank), per_axis(dilation, rank)
    shape = [places(*a, padding)[0] for a in zip(space, window, steps, spread, strict=True)]
    y = np.zeros((len(x), *shape, kernel.shape[-1]))
    part, filters = kernel.shape[-2], kernel.shape[-1] // groups
    for out, inside in windows(space, window, steps, spread, padding):
        for tap, at in inside:
            for g in range(groups):
                own = slice(g * filters, (g + 1) * filters)
                pixel = x[(slice(None), *at, slice(g * part, (g + 1) * part))].astype(np.float64)
                y[(slice(None), *out, own)] += pixel @ kernel[tap][:, own].astype(np.float64)
    return y


def depthwise(x: np.ndarray, kernel: np.ndarray, strides: Any = 1, padding: str = "valid", dilation: Any = 1) -> Any:
    """Each channel convolved with its own kernels, one after another."""
    each = [conv(x[..., c : c + 1], kernel[..., c : c + 1, :], strides, padding, dilation) for c in range(x.shape[-1])]
    return np.concatenate(each, -1)


def conv_transpose(
    x: np.ndarray, kernel: np.ndarray, strides: Any, low: Sequence[int], size: Sequence[int], dilation: Any = 1
) -> np.ndarray:
    """Every input added to all outputs that it reaches."""
    rank = x.ndim - 2
    steps, spread = per_axis(strides, rank), per_axis(dilation, rank)
    y = np.zeros((len(x), *size, kernel.shape[-2]))
    for at in itertools.product(*map(range, x.shape[1:-1])):
        for tap in itertools.product(*map(range, kernel.shape[:-2])):
            out = tuple(i * s + t * d - a for i, s, t, d, a in zip(at, steps, tap, spread, low, strict=True))
            if all(0 <= o < n for o, n in zip(out, size, strict=True)):
                y[(slice(None), *out)] += x[(slice(None), *at)].astype(np.float64) @ kernel[tap].T.astype(np.float64)
    return y


def pool(x: np.ndarray, size: Any, strides: Any = None, padding: str = "valid", reduce: Any = np.max) -> np.ndarray:
    """``reduce`` over the elements of each window that lie inside."""
    rank = x.ndim - 2
    window = per_axis(size, rank)
    steps, ones = per_axis(window if strides is None else strides, rank), (1,) * rank
    space = x.shape[1:-1]
    shape = [places(*a, padding)[0] for a in zip(space, window, steps, ones, strict=True)]
    y = np.zeros((len(x), *shape, x.shape[-1]))
    for out, inside in windows(space, window, steps, ones, padding):
        y[(slice(None), *out)] = reduce(np.stack([x[(slice(None), *at)] for _, at in inside]), axis=0)
    return y


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def separable(x: np.ndarray, first: np.ndarray, second: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return conv(depthwise(x, first), second) + bias


def twice_as_high(x: np.ndarray) -> np.ndarray:
    """Between rows a and b lie 3/4 a + 1/4 b and 1/4 a + 3/4 b; the outermost stay."""
    rows = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    between = [(3 * rows[:, :-1] + rows[:, 1:]) / 4, (rows[:, :-1] + 3 * rows[:, 1:]) / 4]
    return np.stack(between, 2).reshape(len(x), -1, *x.shape[2:])[:, 1:-1]


# Layer -> (arguments, input shape, formula of (x, *weights), repr once built)
CASES: dict[str, list[tuple[dict[str, Any], Sizes, Any, str]]] = {
    "Conv1D": [
        ({"filters": 3, "kernel_size": 2}, (2, 5, 2), lambda x, k, b: conv(x, k) + b, "Conv1D(2 -> 3, 2)"),
        (
            {"filters": 2, "kernel_size": 2, "padding": "causal", "dilation_rate": 2, "use_bias": False},
            (2, 6, 1), lambda x, k: conv(x, k, 1, "causal", 2), "Conv1D(1 -> 2, 2, dilation 2, causal)",
        ),
    ],
    "Conv2D": [
        (
            {"filters": 3, "kernel_size": 3, "padding": "same", "activation": "relu"}, (2, 4, 5, 2),
            lambda x, k, b: relu(conv(x, k, 1, "same") + b), "Conv2D(2 -> 3, 3x3, same, relu)",
        ),
        (
            {"filters": 4, "kernel_size": (2, 1), "strides": (1, 2), "groups": 2, "bias_initializer": "ones"},
            (2, 3, 4, 2), lambda x, k, b: conv(x, k, (1, 2), groups=2) + b,
            "Conv2D(2 -> 4, 2x1, strides 1x2, groups 2)",
        ),
    ],
    "Conv3D": [
        (
            {"filters": 2, "kernel_size": (1, 2, 2)}, (2, 2, 3, 3, 2), lambda x, k, b: conv(x, k) + b,
            "Conv3D(2 -> 2, 1x2x2)",
        ),
    ],
    "Conv1DTranspose": [
        (
            {"filters": 3, "kernel_size": 3, "strides": 2}, (2, 3, 2),
            lambda x, k, b: conv_transpose(x, k, 2, (0,), (7,)) + b, "Conv1DTranspose(2 -> 3, 3, strides 2)",
        ),
    ],
    "Conv2DTranspose": [
        (
            {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "tanh"}, (2, 2, 3, 2),
            lambda x, k, b: np.tanh(conv_transpose(x, k, 2, (0, 0), (4, 6)) + b),
            "Conv2DTranspose(2 -> 2, 3x3, strides 2x2, same, tanh)",
        ),
    ],
    "Conv3DTranspose": [
        (
            {"filters": 1, "kernel_size": 2, "use_bias": False}, (1, 2, 2, 2, 2),
            lambda x, k: conv_transpose(x, k, 1, (0, 0, 0), (3, 3, 3)), "Conv3DTranspose(2 -> 1, 2x2x2)",
        ),
    ],
    "DepthwiseConv1D": [
        (
            {"kernel_size": 2, "depth_multiplier": 2}, (2, 5, 3), lambda x, k, b: depthwise(x, k) + b,
            "DepthwiseConv1D(3 -> 6, 2)",
        ),
    ],
    "DepthwiseConv2D": [
        (
            {"kernel_size": 2, "strides": 2, "padding": "same"}, (2, 5, 4, 3),
            lambda x, k, b: depthwise(x, k, 2, "same") + b, "DepthwiseConv2D(3 -> 3, 2x2, strides 2x2, same)",
        ),
    ],
    "SeparableConv1D": [
        ({"filters": 4, "kernel_size": 2}, (2, 5, 3), separable, "SeparableConv1D(3 -> 4, 2)"),
    ],
    "SeparableConv2D": [
        (
            {"filters": 2, "kernel_size": 2, "depth_multiplier": 2}, (2, 4, 3, 2), separable,
            "SeparableConv2D(2 -> 2, 2x2)",
        ),
    ],
    "MaxPooling1D": [({}, (2, 5, 3), lambda x: pool(x, 2), "MaxPooling1D(2)")],
    "MaxPooling2D": [
        (
            {"pool_size": 3, "strides": 2, "padding": "same"}, (2, 5, 4, 3), lambda x: pool(x, 3, 2, "same"),
            "MaxPooling2D(3x3, strides 2x2, same)",
        ),
    ],
    "MaxPooling3D": [({"pool_size": (1, 2, 2)}, (1, 2, 4, 5, 2), lambda x: pool(x, (1, 2, 2)), "MaxPooling3D(1x2x2)")],
    "AveragePooling1D": [
        (
            {"pool_size": 3, "padding": "same"}, (2, 5, 3), lambda x: pool(x, 3, None, "same", np.mean),
            "AveragePooling1D(3, same)",
        ),
    ],
    "AveragePooling2D": [
        (
            {"pool_size": (2, 3), "strides": 1}, (2, 4, 4, 3), lambda x: pool(x, (2, 3), 1, reduce=np.mean),
            "AveragePooling2D(2x3, strides 1x1)",
        ),
    ],
    "AveragePooling3D": [
        ({"pool_size": 2}, (1, 2, 4, 5, 2), lambda x: pool(x, 2, reduce=np.mean), "AveragePooling3D(2x2x2)"),
    ],
    "GlobalMaxPooling1D": [({}, (2, 5, 3), lambda x: x.max(1), "GlobalMaxPooling1D()")],
    "GlobalMaxPooling2D": [
        ({"keepdims": True}, (2, 4, 3, 2), lambda x: x.max((1, 2), keepdims=True), "GlobalMaxPooling2D()"),
    ],
    "GlobalMaxPooling3D": [({}, (2, 2, 3, 2, 2), lambda x: x.max((1, 2, 3)), "GlobalMaxPooling3D()")],
    "GlobalAveragePooling1D": [
        ({"keepdims": True}, (2, 5, 3), lambda x: x.mean(1, keepdims=True), "GlobalAveragePooling1D()"),
    ],
    "GlobalAveragePooling2D": [({}, (2, 4, 3, 2), lambda x: x.mean((1, 2)), "GlobalAveragePooling2D()")],
    "GlobalAveragePooling3D": [({}, (2, 2, 3, 2, 2), lambda x: x.mean((1, 2, 3)), "GlobalAveragePooling3D()")],
    "UpSampling1D": [({}, (2, 3, 2), lambda x: x.repeat(2, 1), "UpSampling1D(2)")],
    "UpSampling2D": [
        ({"size": (1, 3)}, (2, 3, 2, 2), lambda x: x.repeat(3, 2), "UpSampling2D(1x3)"),
        (
            {"size": (2, 1), "interpolation": "bilinear"}, (2, 3, 2, 2), twice_as_high,
            "UpSampling2D(2x1, bilinear)",
        ),
    ],
    "UpSampling3D": [
        ({}, (1, 2, 3, 2, 2), lambda x: x.repeat(2, 1).repeat(2, 2).repeat(2, 3), "UpSampling3D(2x2x2)"),
    ],
    "ZeroPadding1D": [
        ({"padding": (2, 0)}, (2, 3, 2), lambda x: np.pad(x, ((0, 0), (2, 0), (0, 0))), "ZeroPadding1D((2, 0))"),
    ],
    "ZeroPadding2D": [
        (
            {"padding": (1, (0, 2))}, (2, 3, 2, 2), lambda x: np.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0))),
            "ZeroPadding2D(((1, 1), (0, 2)))",
        ),
    ],
    "ZeroPadding3D": [
        (
            {}, (1, 2, 1, 2, 2), lambda x: np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0))),
            "ZeroPadding3D(((1, 1), (1, 1), (1, 1)))",
        ),
    ],
    "Cropping1D": [({}, (2, 4, 2), lambda x: x[:, 1:-1], "Cropping1D((1, 1))")],
    "Cropping2D": [
        ({"cropping": ((1, 0), (0, 2))}, (2, 4, 4, 2), lambda x: x[:, 1:, :-2], "Cropping2D(((1, 0), (0, 2)))"),
    ],
    "Cropping3D": [
        (
            {"cropping": (0, 1, 1)}, (1, 2, 3, 4, 2), lambda x: x[:, :, 1:-1, 1:-1],
            "Cropping3D(((0, 0), (1, 1), (1, 1)))",
        ),
    ],
}  # fmt: skip
