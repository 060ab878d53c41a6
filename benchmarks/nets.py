"""The networks that are measured, as one table: layers, input, batch, loss.

A network is a tuple of ``Part`` records. Three small builders turn the same table into a PyTorch module, a JAX
function and a Ranvier model (``contenders/torch_nets.py``, ``jax_nets.py``, ``ranvier_nets.py``), each the way its
users write it. Weights are drawn here once, in Keras's order and layout, and handed to all three, so that all start
from the same point and their losses can be compared (``python -m benchmarks --check cnn``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

RATE, EPSILON = 1e-3, 1e-7  # of Adam, everywhere
NORM_EPSILON, NORM_MOMENTUM = 1e-5, 0.9  # of batch and layer normalisation, everywhere


@dataclass(frozen=True)
class Part:
    """One layer. What ``size`` and ``window`` mean depends on ``kind``; see the functions below."""

    kind: str
    size: int = 0
    window: int = 0
    strides: int = 1
    activation: str = ""
    bias: bool = True
    rate: float = 0.0
    inner: tuple[Part, ...] = ()
    shortcut: tuple[Part, ...] = ()


def conv(filters: int, kernel: int, activation: str = "", strides: int = 1, bias: bool = True) -> Part:
    """A convolution over all spatial axes, padded to keep the size (divided by the stride)."""
    return Part("conv", filters, kernel, strides, activation, bias)


def deconv(filters: int, kernel: int, activation: str = "", strides: int = 2) -> Part:
    """A transposed convolution: the size times the stride."""
    return Part("deconv", filters, kernel, strides, activation)


def pool(window: int) -> Part:
    """Max pooling."""
    return Part("pool", window=window)


def dense(units: int, activation: str = "") -> Part:
    return Part("dense", units, activation=activation)


def lstm(units: int, sequences: bool = False) -> Part:
    return Part("lstm", units, window=int(sequences))


def gru(units: int, sequences: bool = False) -> Part:
    return Part("gru", units, window=int(sequences))


def embedding(symbols: int, width: int) -> Part:
    return Part("embedding", width, window=symbols)


def residual(*inner: Part, shortcut: tuple[Part, ...] = ()) -> Part:
    """``shortcut(x) + inner(x)``."""
    return Part("residual", inner=inner, shortcut=shortcut)


def attention(heads: int, width: int, causal: bool = False) -> Part:
    """Self-attention with ``heads`` heads that share the width; ``causal`` ones do not see what comes later."""
    return Part("attention", heads, width, activation="causal" if causal else "")


def dropout(rate: float) -> Part:
    return Part("dropout", rate=rate)


def position(steps: int) -> Part:
    """Adds a learned row for each place."""
    return Part("position", steps)


FLATTEN, AVERAGE, BATCH_NORM, LAYER_NORM, RELU = (
    Part(kind) for kind in ("flatten", "average", "batch_norm", "layer_norm", "relu")
)


@dataclass(frozen=True)
class Net:
    """A network and how it is trained.

    Args:
        title: in words.
        input: the shape of a sample; for ``symbols`` the number of steps.
        batch: samples in a step.
        parts: the layers.
        loss: ``"classes"`` (integer label a sample, from logits), ``"symbols"`` (a label a step), ``"values"``
            (mean squared error) or ``"self"`` (binary cross-entropy against the input).
        classes: labels, or width of the targets.
        symbols: how many there are when the input is integers; 0 for real-valued input.
        steps: in an epoch.
    """

    title: str
    input: tuple[int, ...]
    batch: int
    parts: tuple[Part, ...]
    loss: str = "classes"
    classes: int = 10
    symbols: int = 0
    steps: int = 16


def _block(filters: int, strides: int = 1, widen: bool = False) -> tuple[Part, ...]:
    """A basic block of a residual network: two convolutions, each normalised; the shortcut fits the shape."""
    body = (conv(filters, 3, strides=strides, bias=False), BATCH_NORM, RELU, conv(filters, 3, bias=False), BATCH_NORM)
    way = (conv(filters, 1, strides=strides, bias=False), BATCH_NORM) if widen else ()
    return residual(*body, shortcut=way), RELU


RESNET20 = (
    conv(16, 3, bias=False), BATCH_NORM, RELU,
    *_block(16), *_block(16), *_block(16),
    *_block(32, 2, True), *_block(32), *_block(32),
    *_block(64, 2, True), *_block(64), *_block(64),
    AVERAGE, dense(10),
)  # fmt: skip

NETS = {
    "cnn": Net(
        "CNN 28×28×1, conv 32, pool, conv 64, pool, dense 128, dense 10, batch 128", (28, 28, 1), 128,
        (conv(32, 3, "relu"), pool(2), conv(64, 3, "relu"), pool(2), FLATTEN, dense(128, "relu"), dense(10)),
    ),
    "resnet20": Net("ResNet-20, 32×32×3, batch 64", (32, 32, 3), 64, RESNET20, steps=8),
    "vgg": Net(
        "VGG-like, 3 blocks of 2 convolutions 32/64/128, 32×32×3, batch 64", (32, 32, 3), 64,
        (
            conv(32, 3, "relu"), conv(32, 3, "relu"), pool(2), conv(64, 3, "relu"), conv(64, 3, "relu"), pool(2),
            conv(128, 3, "relu"), conv(128, 3, "relu"), pool(2), FLATTEN, dense(128, "relu"), dense(10),
        ),
        steps=8,
    ),
    "ecg_cnn": Net(
        "1-D CNN on heartbeats of 140 samples, conv 16, pool, conv 32, pool, dense 64, dense 5, batch 32", (140, 1), 32,
        (conv(16, 7, "relu"), pool(2), conv(32, 5, "relu"), pool(2), FLATTEN, dense(64, "relu"), dense(5)),
        classes=5,
    ),
    "lstm": Net("LSTM 64 units, 100 steps of 32 features, batch 32", (100, 32), 32, (lstm(64), dense(10)), steps=32),
    "char_lstm": Net(
        "character LSTM, 2×128 units, 65 symbols, 64 steps, batch 50", (64,), 50,
        (embedding(65, 128), lstm(128, True), lstm(128, True), dense(65)), "symbols", 65, 65,
    ),
    "gru": Net(
        "GRU 32 units, 24 steps of 7 features, batch 32", (24, 7), 32, (gru(32), dense(7)), "values", 7, steps=64,
    ),
    "transformer": Net(
        "transformer block, 4 heads, width 128, 64 tokens, batch 32", (64, 128), 32,
        (
            residual(LAYER_NORM, attention(4, 128)), residual(LAYER_NORM, dense(512, "gelu"), dense(128)),
            AVERAGE, dense(10),
        ),
    ),
    "autoencoder": Net(
        "convolutional autoencoder with transposed convolutions, 28×28, batch 128", (28, 28, 1), 128,
        (
            conv(32, 3, "relu"), pool(2), conv(32, 3, "relu"), pool(2),
            deconv(32, 3, "relu"), deconv(32, 3, "relu"), conv(1, 3),
        ),
        "self", 1,
    ),
    "mlp": Net(
        "MLP 784-512-256-10, batch 128", (784,), 128, (dense(512, "relu"), dense(256, "relu"), dense(10)),
    ),
}  # fmt: skip


@dataclass
class Shapes:
    """What walking through a network finds out: the shape after each part, weights to draw, multiplications."""

    arrays: list[np.ndarray] = field(default_factory=list)
    macs: int = 0  # multiplications and additions in products and convolutions, of one sample, forward
    first: int = 0  # of them, those of the first such layer, whose input needs no gradient


def _glorot(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
    limit = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, shape).astype(np.float32)


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def _walk(parts: tuple[Part, ...], shape: tuple[int, ...], rng: np.random.Generator, out: Shapes) -> tuple[int, ...]:
    """Draw the weights of ``parts`` in order; the shape that leaves."""
    for part in parts:
        shape = _enter(part, shape, rng, out)
    return shape


def _enter(part: Part, shape: tuple[int, ...], rng: np.random.Generator, out: Shapes) -> tuple[int, ...]:
    width, n = shape[-1], part.size
    space = shape[:-1]
    match part.kind:
        case "conv" | "deconv":
            taps = (part.window,) * len(space)
            area, s = math.prod(taps), part.strides
            ends = tuple(-(-d // s) for d in space) if part.kind == "conv" else tuple(d * s for d in space)
            kernel = (*taps, width, n) if part.kind == "conv" else (*taps, n, width)
            out.arrays += [_glorot(rng, kernel, area * width, area * n)] + [_zeros(n)] * part.bias
            _count(out, area * width * n * math.prod(ends if part.kind == "conv" else space))
            return (*ends, n)
        case "dense":
            out.arrays += [_glorot(rng, (width, n), width, n), _zeros(n)]
            _count(out, width * n * math.prod(space))
            return (*space, n)
        case "lstm" | "gru":
            gates = 4 if part.kind == "lstm" else 3
            out.arrays += [_glorot(rng, (width, gates * n), width, n), _glorot(rng, (n, gates * n), n, n)]
            out.arrays += [_zeros(4 * n) if gates == 4 else _zeros(2, 3 * n)]
            _count(out, (width + n) * gates * n * space[0])
            return (*space, n) if part.window else (n,)
        case "embedding":
            out.arrays.append(rng.normal(0, 0.05, (part.window, n)).astype(np.float32))
            return (*shape, n)
        case "position":
            out.arrays.append(rng.normal(0, 0.02, (n, width)).astype(np.float32))
            return shape
        case "batch_norm":
            out.arrays += [_zeros(width) + 1, _zeros(width), _zeros(width), _zeros(width) + 1]
            return shape
        case "layer_norm":
            out.arrays += [_zeros(width) + 1, _zeros(width)]
            return shape
        case "attention":
            per = width // n
            for _ in range(3):
                out.arrays += [_glorot(rng, (width, n, per), width, width), _zeros(n, per)]
            out.arrays += [_glorot(rng, (n, per, width), width, width), _zeros(width)]
            _count(out, space[0] * (4 * width * width + 2 * space[0] * width))
            return shape
        case "residual":
            end = _walk(part.inner, shape, rng, out)
            _walk(part.shortcut, shape, rng, out)
            return end
        case "pool":
            return (*(d // part.window for d in space), width)
        case "average":
            return (width,)
        case "flatten":
            return (math.prod(shape),)
        case "relu" | "dropout":
            return shape
    raise ValueError(f"no part {part.kind!r}")


def _count(out: Shapes, macs: int) -> None:
    out.first = out.first or macs
    out.macs += macs


def shapes(net: Net, seed: int = 20) -> Shapes:
    out = Shapes()
    _walk(net.parts, net.input, np.random.default_rng(seed), out)
    return out


def weights(net: Net, seed: int = 20) -> list[np.ndarray]:
    """The first weights, in Keras's order and layout."""
    return shapes(net, seed).arrays


def flops(net: Net) -> int:
    """FLOPs of products and convolutions in a training step (the first layer needs no gradient of its input)."""
    found = shapes(net)
    return 2 * net.batch * (3 * found.macs - (0 if net.symbols else found.first))


def data(net: Net, steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Made-up samples, channels last, and their targets: a whole number of batches.

    Labels are random: nothing can be learned by heart in the time of a measurement, so that gradients stay ordinary
    numbers (denormal ones are slow, and frameworks treat them differently).
    """
    rng = np.random.default_rng(7)
    rows = net.batch * (steps or net.steps)
    if net.symbols:
        text = rng.integers(0, net.symbols, (rows, net.input[0] + 1))
        return text[:, :-1].astype(np.int32), text[:, 1:].astype(np.int32)
    x = rng.normal(0, 1, (rows, *net.input)).astype(np.float32)
    if net.loss == "self":
        x = (x > 0.5).astype(np.float32) * 0.9
        return x, x
    if net.loss == "values":
        return x, rng.normal(0, 1, (rows, net.classes)).astype(np.float32)
    return x, rng.integers(0, net.classes, rows).astype(np.int32)


def walk(parts: tuple[Part, ...]) -> Iterator[Part]:
    """Every part, those within others included."""
    for part in parts:
        yield part
        yield from walk(part.inner)
        yield from walk(part.shortcut)


def arguments(**more: Any) -> dict[str, Any]:
    """Options of a contender, without those that are not set."""
    return {key: value for key, value in more.items() if value not in (None, False, "")}
