"""Ranvier's side, through the public API only, with its defaults."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import ranvier as rv
from benchmarks import mlp
from benchmarks.contenders import keras_like


class Train(keras_like.TrainByFit):
    """``model.fit``: the Keras program with another import."""

    def __init__(self, spec: dict[str, Any], data: str):
        super().__init__(rv, spec, data)


class PredictOne(keras_like.PredictByModel):
    """``model.predict(row)`` or ``model(row)``."""

    def __init__(self, spec: dict[str, Any], data: str, how: str):
        super().__init__(rv, spec, data, how)


class Matmul:
    """``rv.matmul`` under ``rv.jit``, one call a product; threads are set by ``RANVIER_THREADS``."""

    def prepare(self, m: int, n: int, k: int, transpose: str) -> None:
        rng = np.random.default_rng(1)
        first, second = transpose[0] == "t", transpose[1] == "t"
        self.a = rv.tensor(rng.random((k, m) if first else (m, k), np.float32))
        self.b = rv.tensor(rng.random((n, k) if second else (k, n), np.float32))
        self.product = rv.jit(lambda a, b: rv.matmul(a.T if first else a, b.T if second else b))
        self.run(2)

    def run(self, n: int) -> tuple[float, int]:
        a, b, product = self.a, self.b, self.product
        began = time.perf_counter()
        for _ in range(n):
            product(a, b)
        return time.perf_counter() - began, n


class EagerOp:
    """One small op on variables, which records its gradient; ``chain`` does 32 of them and goes back through all."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.a = rv.Variable(rng.random(32, np.float32))
        self.b = rv.Variable(rng.random(32, np.float32))
        self.m = rv.Variable(rng.random((8, 8), np.float32))

    def prepare(self, op: str) -> None:
        self.op = op
        self.run(3)

    def run(self, n: int) -> tuple[float, int]:
        a, b, m = self.a, self.b, self.m
        began = time.perf_counter()
        if self.op == "multiply":
            for _ in range(n):
                a * b
        elif self.op == "tanh":
            for _ in range(n):
                rv.tanh(a)
        elif self.op == "matmul":
            for _ in range(n):
                m @ m
        else:
            for _ in range(n):
                y = a
                for _ in range(16):
                    y = rv.tanh(y) * b
                rv.sum(y).backward()
                a.grad = b.grad = None
        return time.perf_counter() - began, n

    def retained(self) -> int:
        """Python objects that 200 chains leave behind."""
        self.op = "chain"
        return mlp.objects_left(lambda: self.run(200))
