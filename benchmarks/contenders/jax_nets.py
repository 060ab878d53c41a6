"""JAX's side of the networks in ``nets.py``: the whole step under ``jit``, channels last, recurrence by ``lax.scan``.

Parameters and optimizer state are donated, the batch is gathered inside, and the input product of all time steps of a
recurrence is taken before its loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import nets
from benchmarks.nets import NORM_EPSILON, NORM_MOMENTUM, Net, Part

ACTIVATIONS = {"": lambda x: x, "relu": jax.nn.relu, "gelu": partial(jax.nn.gelu, approximate=False)}


def convolve(x: Any, kernel: Any, part: Part) -> Any:
    """A convolution that keeps the size, or the transposed one."""
    letters = "HW"[-(x.ndim - 2) :]
    layout = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    strides = (part.strides,) * len(letters)
    if part.kind == "conv":
        return lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=layout)
    return lax.conv_transpose(x, kernel, strides, "SAME", dimension_numbers=layout, transpose_kernel=True)


def pool(x: Any, window: int) -> Any:
    """Max pooling by reshaping, which XLA compiles to faster code on a CPU than ``lax.reduce_window``."""
    space = x.shape[1:-1]
    kept = x[(slice(None), *(slice(0, d // window * window) for d in space))]
    split = [n for d in space for n in (d // window, window)]
    return kept.reshape(len(x), *split, x.shape[-1]).max(tuple(range(2, 2 + 2 * len(space), 2)))


def lstm(x: Any, part: Part, w: Any, u: Any, b: Any) -> Any:
    n = part.size
    inputs = (x @ w + b).swapaxes(0, 1)

    def cell(state: Any, before: Any) -> Any:
        h, c = state
        z = before + h @ u
        i, f, o = jax.nn.sigmoid(z[:, :n]), jax.nn.sigmoid(z[:, n : 2 * n]), jax.nn.sigmoid(z[:, 3 * n :])
        c = f * c + i * jnp.tanh(z[:, 2 * n : 3 * n])
        h = o * jnp.tanh(c)
        return (h, c), h

    start = jnp.zeros((len(x), n), x.dtype)
    (h, _), every = lax.scan(cell, (start, start), inputs)
    return every.swapaxes(0, 1) if part.window else h


def gru(x: Any, part: Part, w: Any, u: Any, b: Any) -> Any:
    n = part.size
    inputs = (x @ w + b[0]).swapaxes(0, 1)

    def cell(h: Any, before: Any) -> Any:
        after = h @ u + b[1]
        gates = jax.nn.sigmoid(before[:, : 2 * n] + after[:, : 2 * n])
        z, r = gates[:, :n], gates[:, n:]
        h = z * h + (1 - z) * jnp.tanh(before[:, 2 * n :] + r * after[:, 2 * n :])
        return h, h

    h, every = lax.scan(cell, jnp.zeros((len(x), n), x.dtype), inputs)
    return every.swapaxes(0, 1) if part.window else h


def attention(x: Any, heads: int, taken: list[Any]) -> Any:
    width = x.shape[-1]
    kernel = jnp.concatenate([k.reshape(width, width) for k in taken[0:6:2]], 1)
    bias = jnp.concatenate([b.ravel() for b in taken[1:6:2]])
    q, k, v = jnp.split((x @ kernel + bias).reshape(*x.shape[:2], 3 * heads, width // heads), 3, 2)
    y = jax.nn.dot_product_attention(q, k, v)
    return y.reshape(x.shape) @ taken[6].reshape(width, width) + taken[7]


def forward(parts: tuple[Part, ...], x: Any, left: Iterator[Any], fresh: list[Any] | None) -> Any:
    """The network's output. Under training ``fresh`` collects the moving statistics; without it they are used."""
    for part in parts:
        x = _enter(part, x, left, fresh)
    return x


def _enter(part: Part, x: Any, left: Iterator[Any], fresh: list[Any] | None) -> Any:
    space = tuple(range(1, x.ndim - 1))
    match part.kind:
        case "conv" | "deconv":
            x = convolve(x, next(left), part)
            return ACTIVATIONS[part.activation](x + next(left) if part.bias else x)
        case "dense":
            return ACTIVATIONS[part.activation](x @ next(left) + next(left))
        case "lstm":
            return lstm(x, part, next(left), next(left), next(left))
        case "gru":
            return gru(x, part, next(left), next(left), next(left))
        case "embedding":
            return next(left)[x]
        case "batch_norm":
            gamma, beta, mean, variance = (next(left) for _ in range(4))
            if fresh is not None:
                old = (mean, variance)
                mean, variance = x.mean((0, *space)), x.var((0, *space))
                new = (mean, variance)
                fresh += [NORM_MOMENTUM * a + (1 - NORM_MOMENTUM) * b for a, b in zip(old, new, strict=True)]
            return (x - mean) * (lax.rsqrt(variance + NORM_EPSILON) * gamma) + beta
        case "layer_norm":
            centred = x - x.mean(-1, keepdims=True)
            scale = lax.rsqrt((centred**2).mean(-1, keepdims=True) + NORM_EPSILON)
            return centred * scale * next(left) + next(left)
        case "attention":
            return attention(x, part.size, [next(left) for _ in range(8)])
        case "residual":
            inner = forward(part.inner, x, left, fresh)
            return forward(part.shortcut, x, left, fresh) + inner
        case "pool":
            return pool(x, part.window)
        case "average":
            return x.mean(space)
        case "flatten":
            return x.reshape(len(x), -1)
        case "relu":
            return jax.nn.relu(x)
    raise ValueError(part.kind)


def moving(net: Net) -> list[bool]:
    """For each weight: is it a moving statistic?"""
    marks: list[bool] = []

    def visit(parts: tuple[Part, ...]) -> None:
        for p in parts:
            counts = {"conv": 1 + p.bias, "deconv": 2, "dense": 2, "lstm": 3, "gru": 3, "embedding": 1}
            counts |= {"layer_norm": 2, "attention": 8}
            marks.extend([False, False, True, True] if p.kind == "batch_norm" else [False] * counts.get(p.kind, 0))
            visit(p.inner)
            visit(p.shortcut)

    visit(net.parts)
    return marks


def loss(net: Net, z: Any, y: Any) -> Any:
    if net.loss in {"classes", "symbols"}:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[..., None], -1))
    if net.loss == "values":
        return jnp.mean((z - y) ** 2)
    return jnp.mean(jax.nn.softplus(z) - z * y)


def step(net: Net, state: Any, x: Any, y: Any, rows: Any) -> Any:
    """One step of Adam on the rows given; the new state and the loss."""
    trained, kept, first, second, turn = state
    marks = moving(net)
    x, y = x[rows], y[rows]

    def objective(parameters: list[Any]) -> Any:
        parameters_left, kept_left, fresh = iter(parameters), iter(kept), []
        left = (next(kept_left if mark else parameters_left) for mark in marks)
        value = loss(net, forward(net.parts, x, left, fresh), y)
        return value, fresh

    (value, fresh), gradients = jax.value_and_grad(objective, has_aux=True)(trained)
    turn = turn + 1
    scale = nets.RATE / (1 - 0.9 ** turn.astype(jnp.float32))
    root = jnp.sqrt(1 - 0.999 ** turn.astype(jnp.float32))
    first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
    second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
    trained = [
        w - scale * m / (jnp.sqrt(v) / root + nets.EPSILON)
        for w, m, v in zip(trained, first, second, strict=True)
    ]  # fmt: skip
    return (trained, fresh, first, second, turn), value


class Train:
    """One call a step."""

    def __init__(self, net: str):
        self.net = nets.NETS[net]
        x, y = nets.data(self.net)
        self.x, self.y = jnp.asarray(x), jnp.asarray(y)
        rng = np.random.default_rng(3)
        self.orders = [jnp.asarray(o) for o in rng.permutation(len(x)).astype(np.int32).reshape(-1, self.net.batch)]
        self.turn = 0
        began = time.perf_counter()
        self._reset()
        self.step = jax.jit(partial(step, self.net), donate_argnums=0)
        self.run(1)
        self.info = {"compile_s": time.perf_counter() - began}

    def _reset(self) -> None:
        marks, arrays = moving(self.net), nets.weights(self.net)
        trained, kept = ([jnp.array(w) for w, m in zip(arrays, marks, strict=True) if m is k] for k in (False, True))
        first, second = ([jnp.zeros_like(w) for w in trained] for _ in range(2))
        self.state = (trained, kept, first, second, jnp.array(np.int32(0)))

    def run(self, n: int) -> tuple[float, int]:
        state, x, y, one = self.state, self.x, self.y, self.step
        began = time.perf_counter()
        for _ in range(n):
            state, _value = one(state, x, y, self.orders[self.turn % len(self.orders)])
            self.turn += 1
        self.state = jax.block_until_ready(state)
        return time.perf_counter() - began, n

    def losses(self, steps: int) -> list[float]:
        self._reset()
        found = []
        for i in range(steps):
            rows = jnp.arange(i * self.net.batch, (i + 1) * self.net.batch)
            self.state, value = self.step(self.state, self.x, self.y, rows)
            found.append(float(value))
        return found


FirstStep = Train  # its constructor takes a step


class Predict:
    """A batch through the jitted network; NumPy in, waited for."""

    def __init__(self, net: str, batch: int):
        table = nets.NETS[net]
        arrays = [jnp.asarray(w) for w in nets.weights(table)]
        self.call = jax.jit(lambda x: forward(table.parts, x, iter(arrays), None))
        self.x = nets.data(table, 1)[0][:batch]
        self.run(3)

    def run(self, n: int) -> tuple[float, int]:
        call, x = self.call, self.x
        began = time.perf_counter()
        for _ in range(n):
            call(x).block_until_ready()
        return time.perf_counter() - began, n
