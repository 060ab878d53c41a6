"""Formulas in NumPy, and cases for every layer, of normalisation, merging, attention, embedding, noise, activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import layers


def standardised(x: np.ndarray, axes: Any, epsilon: float = 1e-3) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def grouped(x: np.ndarray, groups: int) -> np.ndarray:
    split = x.reshape(*x.shape[:-1], groups, -1)
    axes = (*range(1, x.ndim - 1), x.ndim)
    return standardised(split, axes).reshape(x.shape)


def softmax(x: np.ndarray, axis: Any = -1) -> np.ndarray:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def attention(q: np.ndarray, v: np.ndarray, k: np.ndarray | None = None) -> np.ndarray:
    return softmax(q @ np.swapaxes(v if k is None else k, -1, -2)) @ v


def additive(q: np.ndarray, v: np.ndarray, *scale: np.ndarray) -> np.ndarray:
    scores = np.tanh(q[..., :, None, :] + v[..., None, :, :]) * (scale[0] if scale else 1.0)
    return softmax(scores.sum(-1)) @ v


def heads(x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
    qk, qb, kk, kb, vk, vb, ok, ob = weights
    q, k, v = (np.einsum("ntd,dhk->nhtk", x, a) + b[:, None] for a, b in ((qk, qb), (kk, kb), (vk, vb)))
    means = softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])) @ v
    return np.einsum("nhtk,hkd->ntd", means, ok) + ob


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


PAIR: Any = [(3, 4), (3, 4)]

# Layer -> (arguments, shape of the input or list of shapes, formula of (x, *weights), repr once built). Where the
# shape is followed by a number, the input is made of integers below it.
CASES: dict[str, list[tuple[Any, ...]]] = {
    "BatchNormalization": [
        ({}, (4, 5), lambda x, g, b, m, v: (x - m) / np.sqrt(v + 1e-3) * g + b, "BatchNormalization(5)"),
        (
            {"axis": 1, "epsilon": 0.1, "scale": False, "moving_variance_initializer": "zeros"}, (2, 3, 4),
            lambda x, b, m, v: (x - m[:, None]) / np.sqrt(v[:, None] + 0.1), "BatchNormalization(3)",
        ),
    ],
    "LayerNormalization": [
        ({}, (4, 5), lambda x, g, b: standardised(x, -1) * g + b, "LayerNormalization(5)"),
        (
            {"axis": [1, 2], "center": False, "epsilon": 0.1}, (2, 3, 4),
            lambda x, g: standardised(x, (1, 2), 0.1) * g, "LayerNormalization(3, 4)",
        ),
    ],
    "GroupNormalization": [
        ({"groups": 2}, (3, 2, 4), lambda x, g, b: grouped(x, 2) * g + b, "GroupNormalization(groups=2)"),
        ({"groups": -1, "scale": False}, (3, 4, 2), lambda x, b: grouped(x, 2) + b, "GroupNormalization(groups=-1)"),
    ],
    "RMSNormalization": [
        ({}, (4, 5), lambda x, g: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * g, "RMSNormalization(5)"),
    ],
    "UnitNormalization": [
        ({}, (4, 5), lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True), "UnitNormalization()"),
        (
            {"axis": [1, 2]}, (2, 3, 4), lambda x: x / np.sqrt((x * x).sum((1, 2), keepdims=True)),
            "UnitNormalization(axis=[1, 2])",
        ),
    ],
    "SpatialDropout1D": [({"rate": 0.5}, (2, 3, 4), lambda x: x, "SpatialDropout1D(0.5)")],
    "SpatialDropout2D": [({"rate": 0.5}, (2, 3, 2, 2), lambda x: x, "SpatialDropout2D(0.5)")],
    "SpatialDropout3D": [({"rate": 0.5}, (2, 3, 2, 1, 2), lambda x: x, "SpatialDropout3D(0.5)")],
    "GaussianNoise": [({"stddev": 0.5}, (2, 3), lambda x: x, "GaussianNoise(0.5)")],
    "GaussianDropout": [({"rate": 0.5}, (2, 3), lambda x: x, "GaussianDropout(0.5)")],
    "AlphaDropout": [({"rate": 0.5, "noise_shape": [None, 1]}, (2, 3), lambda x: x, "AlphaDropout(0.5)")],
    "ReLU": [
        ({}, (4, 5), relu, "ReLU()"),
        (
            {"max_value": 1.5, "negative_slope": 0.1, "threshold": 0.5}, (4, 5),
            lambda x: np.minimum(np.where(x > 0.5, x, 0.1 * (x - 0.5)), 1.5),
            "ReLU(max_value=1.5, negative_slope=0.1, threshold=0.5)",
        ),
    ],
    "LeakyReLU": [({}, (4, 5), lambda x: np.where(x > 0, x, 0.3 * x), "LeakyReLU(0.3)")],
    "PReLU": [
        ({"alpha_initializer": "ones"}, (4, 5), lambda x, a: np.where(x > 0, x, a * x), "PReLU()"),
        ({"shared_axes": [1]}, (4, 2, 3), lambda x, a: np.where(x > 0, x, a * x), "PReLU(shared_axes=[1])"),
    ],
    "ELU": [({"alpha": 0.5}, (4, 5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)), "ELU(0.5)")],
    "Softmax": [
        ({}, (4, 5), softmax, "Softmax()"),
        ({"axis": [1, 2]}, (2, 3, 4), lambda x: softmax(x, (1, 2)), "Softmax(axis=[1, 2])"),
    ],
    "Add": [({}, PAIR, lambda a, b: a + b, "Add()"), ({}, [(3, 2, 4), (3, 4)], lambda a, b: a + b[:, None], "Add()")],
    "Subtract": [({}, PAIR, lambda a, b: a - b, "Subtract()")],
    "Multiply": [({}, [(3, 4), (3, 1), (3, 4)], lambda a, b, c: a * b * c, "Multiply()")],
    "Average": [({}, [(3, 4)] * 3, lambda a, b, c: (a + b + c) / 3, "Average()")],
    "Maximum": [({}, PAIR, np.maximum, "Maximum()")],
    "Minimum": [({}, PAIR, np.minimum, "Minimum()")],
    "Concatenate": [
        ({"axis": 1}, [(3, 2, 2), (3, 1, 2)], lambda a, b: np.concatenate([a, b], 1), "Concatenate()"),
    ],
    "Dot": [
        ({"axes": 1}, PAIR, lambda a, b: (a * b).sum(1, keepdims=True), "Dot(axes=1)"),
        ({"axes": [2, 1]}, [(2, 3, 4), (2, 4, 2)], lambda a, b: a @ b, "Dot(axes=[2, 1])"),
    ],
    "Embedding": [({"input_dim": 7, "output_dim": 3}, (4, 5), lambda x, w: w[x.astype(int)], "Embedding(7 -> 3)", 7)],
    "Attention": [
        ({}, [(2, 3, 4), (2, 5, 4)], attention, "Attention()"),
        ({"use_scale": True}, [(2, 3, 4), (2, 5, 2), (2, 5, 4)], lambda q, v, k, s: attention(q, v, k), "Attention()"),
    ],
    "AdditiveAttention": [({}, [(2, 3, 4), (2, 5, 4)], additive, "AdditiveAttention()")],
    "MultiHeadAttention": [
        ({"num_heads": 2, "key_dim": 3}, (2, 3, 4), heads, "MultiHeadAttention(2 heads, 3)"),
    ],
    "Residual": [
        (
            {"layers": [layers.serialize(layers.Dense(3, "tanh", name="in"))]},
            (4, 3), lambda x, w, b: x + np.tanh(x @ w + b), "Residual(Dense(3 -> 3, tanh))",
        ),
        (
            {
                "layers": layers.serialize(layers.Dense(2, name="in")),
                "shortcut": layers.serialize(layers.Dense(2, use_bias=False, name="way")),
            },
            (4, 3), lambda x, w, b, s: x @ s + x @ w + b,
            "Residual(Dense(3 -> 2), shortcut=Dense(3 -> 2))",
        ),
    ],
}  # fmt: skip
