"""JAX's side: the whole step under ``jit``, parameters and optimizer state donated, batches gathered inside.

Two ways to drive it: one call a step, and ``lax.scan`` over the steps of an epoch inside one call. The step number
lives in the state, so that no Python number has to be sent with a call.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import mlp


def logits(parameters: list[Any], x: Any) -> Any:
    for i in range(0, len(parameters), 2):
        x = x @ parameters[i] + parameters[i + 1]
        x = jax.nn.relu(x) if i < len(parameters) - 2 else x
    return x


def loss(parameters: list[Any], x: Any, y: Any, kind: str) -> Any:
    z = logits(parameters, x)
    if kind == "sigmoid":
        return jnp.mean(jax.nn.softplus(z[:, 0]) - z[:, 0] * y)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))


def step(state: Any, x: Any, y: Any, rows: Any, kind: str, rate: float) -> Any:
    """One step of Adam on the rows given; the new state and the loss."""
    parameters, first, second, turn = state
    value, gradients = jax.value_and_grad(loss)(parameters, x[rows], y[rows], kind)
    turn = turn + 1
    scale = rate / (1 - 0.9 ** turn.astype(jnp.float32))
    root = jnp.sqrt(1 - 0.999 ** turn.astype(jnp.float32))
    first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
    second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
    parameters = [
        w - scale * m / (jnp.sqrt(v) / root + mlp.EPSILON)
        for w, m, v in zip(parameters, first, second, strict=True)
    ]  # fmt: skip
    return (parameters, first, second, turn), value


class TrainStep:
    """One call a step; the batch is picked inside by the step number."""

    def __init__(self, spec: dict[str, Any], data: str):
        self.problem = mlp.load(spec, data)
        p = self.problem
        self.x, self.y = jnp.asarray(p.x), jnp.asarray(p.y)
        self.orders = [jnp.asarray(order) for order in p.orders]
        self.epoch_number = 0
        self.info: dict[str, Any] = {}
        began = time.perf_counter()
        self._reset()
        self._build()
        self.run(1)
        jax.block_until_ready(self.state)
        self.info["compile_s"] = time.perf_counter() - began

    def _reset(self) -> None:
        weights = [jnp.array(w) for w in self.problem.weights]
        first, second = ([jnp.array(np.zeros_like(w)) for w in self.problem.weights] for _ in range(2))
        self.state = (weights, first, second, jnp.array(np.int32(0)))

    def _build(self) -> None:
        kind, rate, steps = self.problem.spec.loss, self.problem.spec.rate, self.problem.steps

        @partial(jax.jit, donate_argnums=0)
        def one(state: Any, x: Any, y: Any, order: Any) -> Any:
            rows = lax.dynamic_index_in_dim(order, state[3] % steps, keepdims=False)
            return step(state, x, y, rows, kind, rate)

        self.one = one

    def _steps(self, order: Any, count: int) -> None:
        state, x, y, one = self.state, self.x, self.y, self.one
        for _ in range(count):
            state, _value = one(state, x, y, order)
        self.state = state

    def run(self, n: int) -> tuple[float, int]:
        began, done = time.perf_counter(), 0
        while done < n:
            count = min(self.problem.steps, n - done)
            self._steps(self.orders[self.epoch_number % len(self.orders)], count)
            self.epoch_number += 1
            done += count
        jax.block_until_ready(self.state)
        return time.perf_counter() - began, done

    def trained(self) -> float:
        self._reset()
        self._steps(self.orders[0], self.problem.steps)
        return mlp.mean_loss(self.problem, [np.asarray(w) for w in self.state[0]])


class TrainScan(TrainStep):
    """One call an epoch; ``n`` is rounded up to whole epochs."""

    def _build(self) -> None:
        kind, rate = self.problem.spec.loss, self.problem.spec.rate

        @partial(jax.jit, donate_argnums=0)
        def epoch(state: Any, x: Any, y: Any, order: Any) -> Any:
            state, values = lax.scan(lambda s, rows: step(s, x, y, rows, kind, rate), state, order)
            return state, values.mean()

        self.epoch = epoch

    def _steps(self, order: Any, count: int) -> None:  # always a whole epoch
        self.state, _value = self.epoch(self.state, self.x, self.y, order)

    def run(self, n: int) -> tuple[float, int]:
        steps = self.problem.steps
        return super().run(-(-n // steps) * steps)


class PredictOne:
    """One row through the jitted network; the input is a NumPy array and the result is waited for."""

    def __init__(self, spec: dict[str, Any], data: str):
        problem = mlp.load(spec, data)
        self.weights = [jnp.asarray(w) for w in problem.weights]
        self.row = problem.x[:1].copy()
        self.predict = jax.jit(lambda weights, x: jax.nn.softmax(logits(weights, x)))
        self.run(10)

    def run(self, n: int) -> tuple[float, int]:
        predict, weights, row = self.predict, self.weights, self.row
        began = time.perf_counter()
        for _ in range(n):
            predict(weights, row).block_until_ready()
        return time.perf_counter() - began, n
