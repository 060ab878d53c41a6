"""Recurrent networks as plain loops over time steps in NumPy, written from their formulas, masks included.

And one case for each layer of this kind, for the tests that every layer takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

States = list[np.ndarray]
Step = Callable[[np.ndarray, States], States]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def simple_step(weights: Sequence[np.ndarray]) -> Step:
    kernel, recurrent, *bias = weights
    return lambda x, s: [np.tanh(x @ kernel + s[0] @ recurrent + (bias[0] if bias else 0))]


def lstm_step(weights: Sequence[np.ndarray]) -> Step:
    """The six formulas, one gate after another; weights are kernel, recurrent kernel, bias and recurrent bias."""
    kernel, recurrent, *biases = weights
    n = recurrent.shape[0]
    i, f, g, o = (slice(k * n, (k + 1) * n) for k in range(4))

    def step(x: np.ndarray, states: States) -> States:
        h, c = states

        def gate(part: slice) -> np.ndarray:
            return x @ kernel[:, part] + h @ recurrent[:, part] + sum(b[part] for b in biases)

        c = sigmoid(gate(f)) * c + sigmoid(gate(i)) * np.tanh(gate(g))
        return [sigmoid(gate(o)) * np.tanh(c), c]

    return step


def gru_step(weights: Sequence[np.ndarray], reset_after: bool = True) -> Step:
    kernel, recurrent, *bias = weights
    n = recurrent.shape[0]
    b, d = (bias[0] if reset_after else (bias[0], 0 * bias[0])) if bias else np.zeros((2, 3 * n))
    z, r, m = (slice(k * n, (k + 1) * n) for k in range(3))

    def step(x: np.ndarray, states: States) -> States:
        h = states[0]

        def gate(part: slice) -> np.ndarray:
            return sigmoid(x @ kernel[:, part] + b[part] + h @ recurrent[:, part] + d[part])

        inner = gate(r) * (h @ recurrent[:, m] + d[m]) if reset_after else (gate(r) * h) @ recurrent[:, m]
        new = np.tanh(x @ kernel[:, m] + b[m] + inner)
        return [gate(z) * h + (1 - gate(z)) * new]

    return step


STEPS: dict[str, tuple[Callable[..., Step], int]] = {
    "SimpleRNN": (simple_step, 1), "LSTM": (lstm_step, 2), "GRU": (gru_step, 1),
}  # fmt: skip


def run(
    step: Step,
    x: np.ndarray,
    states: States,
    mask: np.ndarray | None = None,
    backwards: bool = False,
    zero_output: bool = False,
) -> tuple[np.ndarray, States]:
    """All outputs in the order in which they are computed, and the last states."""
    order = range(x.shape[1])
    outputs, previous = [], np.zeros_like(states[0])
    for t in reversed(order) if backwards else order:
        new = step(x[:, t], states)
        m = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None]
        states = [np.where(m, a, b) for a, b in zip(new, states, strict=True)]
        previous = np.where(m, new[0], 0 if zero_output else previous)
        outputs.append(previous)
    return np.stack(outputs, 1), states


def whole(name: str, units: int, x: np.ndarray, *weights: np.ndarray, **options: Any) -> np.ndarray:
    """All outputs of a layer that starts from zeros."""
    make, count = STEPS[name]
    return run(make(weights), x, [np.zeros((len(x), units))] * count, **options)[0]


def config(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class_name": name, "config": arguments}


def inner_dtype(arguments: Any, dtype: Any) -> Any:
    """The arguments with a dtype for the layers configured inside them."""
    if isinstance(arguments, dict) and "class_name" in arguments and dtype is not None:
        return {**arguments, "config": {**arguments["config"], "dtype": dtype}}
    if isinstance(arguments, dict):
        return {k: inner_dtype(v, dtype) for k, v in arguments.items()}
    return [inner_dtype(v, dtype) for v in arguments] if isinstance(arguments, list) else arguments


def both_ways(x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
    half = len(weights) // 2
    ahead = whole("LSTM", 2, x, *weights[:half])
    back = whole("LSTM", 2, x, *weights[half:], backwards=True)[:, ::-1]
    return np.concatenate([ahead, back], -1)


CASES: dict[str, list[tuple[Any, ...]]] = {
    "SimpleRNN": [({"units": 3}, (2, 4, 3), lambda x, *w: whole("SimpleRNN", 3, x, *w)[:, -1], "SimpleRNN(3 -> 3)")],
    "LSTM": [
        ({"units": 3}, (2, 4, 2), lambda x, *w: whole("LSTM", 3, x, *w)[:, -1], "LSTM(2 -> 3)"),
        (
            {"units": 2, "separate_bias": True, "return_sequences": True}, (2, 3, 3),
            lambda x, *w: whole("LSTM", 2, x, *w), "LSTM(3 -> 2)",
        ),
    ],
    "GRU": [
        (
            {"units": 2, "return_sequences": True, "go_backwards": True}, (2, 3, 3),
            lambda x, *w: whole("GRU", 2, x, *w, backwards=True), "GRU(3 -> 2)",
        )
    ],
    "RNN": [
        (
            {"cell": [config("SimpleRNNCell", units=2), config("LSTMCell", units=3)]}, (2, 3, 2),
            lambda x, *w: whole("LSTM", 3, whole("SimpleRNN", 2, x, *w[:3]), *w[3:])[:, -1],
            "RNN(StackedRNNCells(SimpleRNNCell(2 -> 2), LSTMCell(2 -> 3)))",
        )
    ],
    "Bidirectional": [
        (
            {"layer": config("LSTM", units=2, return_sequences=True)}, (2, 3, 2), both_ways,
            "Bidirectional(LSTM(2 -> 2))",
        )
    ],
    "TimeDistributed": [
        (
            {"layer": config("Dense", units=2)}, (2, 3, 4), lambda x, w, b: x @ w + b,
            "TimeDistributed(Dense(4 -> 2))",
        )
    ],
}  # fmt: skip

# What the tests that make every registered layer need; cells are called with states, so they have tests of their own.
CELLS: dict[str, dict[str, Any]] = {
    "SimpleRNNCell": {"units": 3}, "LSTMCell": {"units": 3}, "GRUCell": {"units": 3},
    "StackedRNNCells": {"cells": [config("GRUCell", units=3), config("LSTMCell", units=2)]},
}  # fmt: skip
