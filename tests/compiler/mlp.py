"""Training steps of small networks, written in ops: what plans, determinism and speed of compiling are tested on.

As a program it prints a digest of the weights after some steps, and how many kernels were compiled and loaded::

    python mlp.py "784 512 256 10" 128 4
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import ranvier as rv

__all__ = ["Net", "digest"]


class Net:
    """A multilayer perceptron with ReLU, dropout if asked for, softmax cross-entropy and Adam.

    Attributes:
        weights: kernels and biases.
        state: everything that a step changes.
        step: one training step, to be compiled: ``step(x, labels) -> loss``.
    """

    def __init__(self, sizes: tuple[int, ...], dropout: float = 0.0, seed: int = 1):
        rng = np.random.default_rng(seed)
        self.weights: list[rv.Variable] = []
        for i, (m, n) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            kernel = rng.normal(size=(m, n)) * (2 / m) ** 0.5
            self.weights.append(rv.Variable(kernel.astype("f"), name=f"kernel{i}"))
            self.weights.append(rv.Variable(np.zeros(n, "f"), name=f"bias{i}"))
        slots = [rv.Variable(np.zeros(v.shape, "f"), name=f"{v.name}/{s}") for s in "mv" for v in self.weights]
        self.m, self.v = slots[: len(self.weights)], slots[len(self.weights) :]
        self.t = rv.Variable(np.zeros((), "f"), name="step")
        self.random = rv.random.Generator(seed)
        self.dropout = dropout
        self.state = [*self.weights, *slots, self.t, self.random.state]

    def logits(self, x: Any) -> Any:
        """The network's output before softmax."""
        layers = len(self.weights) // 2
        for i in range(layers):
            with rv.ops.table.scope(f"dense{i}"):
                x = x @ self.weights[2 * i] + self.weights[2 * i + 1]
                if i + 1 < layers:
                    x = rv.relu(x)
                    if self.dropout:
                        x = rv.where(self.random.bernoulli(x.shape, 1 - self.dropout), x / (1 - self.dropout), 0.0)
        return x

    def loss(self, x: Any, labels: Any) -> Any:
        """Mean cross-entropy."""
        z = self.logits(x)
        return rv.mean(rv.logsumexp(z, -1) - rv.take_along_axis(z, labels[:, None], -1)[:, 0])

    def step(self, x: Any, labels: Any) -> Any:
        """One step of Adam; returns the loss."""
        value, slopes = rv.value_and_grad(self.loss, wrt=self.weights)(x, labels)
        self.t.assign(self.t + 1.0)
        t = self.t.value
        rate = 1e-3 * rv.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for w, m, v, g in zip(self.weights, self.m, self.v, slopes, strict=True):
            m.assign(0.9 * m + 0.1 * g)
            v.assign(0.999 * v + 0.001 * (g * g))
            w.assign(w - rate * m / (rv.sqrt(v) + 1e-7))
        return value


def batch(sizes: tuple[int, ...], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels."""
    rng = np.random.default_rng(5)
    return rng.normal(size=(rows, sizes[0])).astype("f"), rng.integers(0, sizes[-1], rows)


def digest(net: Net) -> str:
    """Of all bits that a step changes."""
    total = hashlib.sha256()
    for v in net.state:
        total.update(v.numpy().tobytes())
    return total.hexdigest()[:20]


def train(sizes: tuple[int, ...], rows: int, steps: int, call: Callable[..., Any] | None = None) -> tuple[Net, Any]:
    """A fresh network after some steps, and the compiled step."""
    net = Net(sizes, dropout=0.1)
    step = rv.jit(net.step)
    x, y = batch(sizes, rows)
    if call is None:
        step.run(steps, x, y)
    else:
        call(step, x, y)
    return net, step


if __name__ == "__main__":
    made, compiled = train(tuple(map(int, sys.argv[1].split())), int(sys.argv[2]), int(sys.argv[3]))
    store = next(iter(compiled._made.values())).executor.machine.store
    print(digest(made), store.compiled, store.disk_hits)
