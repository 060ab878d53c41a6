"""Ranvier's side, with its defaults; through the public API but for ``Native``, which times the compiled step alone."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import ranvier as rv
from benchmarks import mlp
from benchmarks.contenders import keras_like
from benchmarks.worker import resident


class Train(keras_like.TrainByFit):
    """``model.fit``: the Keras program with another import."""

    def __init__(self, spec: dict[str, Any], data: str):
        super().__init__(rv, spec, data)


class Native(Train):
    """The step that ``fit`` compiled, an epoch in one native call: what is left when nothing of ``fit`` is counted.

    ``info["kernels"]`` holds FLOPs and bytes of each kernel of the step, for its roofline.
    """

    def __init__(self, spec: dict[str, Any], data: str):
        super().__init__(spec, data)
        from ranvier.compiler.plan import step_cost
        from ranvier.models.preparing import prepare

        p, model = self.problem, self.model
        compiled = model._compiled("benchmarks")
        prepared = prepare("benchmarks", model, compiled, p.x, self.y, None)
        engine = model._keeper.engine
        (self.segment,) = engine.segments(compiled, prepared.rows, p.spec.batch, training=True)
        self.clock = engine.training
        arguments = (prepared.x, prepared.y, p.orders[0].reshape(-1), prepared.weights)
        self.segment.bind(*arguments)
        made, _ = self.segment.step.specialise(*arguments)
        self.info["kernels"] = [step_cost(s) for s in made.executor.plan.steps]
        self.info["threads"] = made.executor.threads

    def run(self, n: int) -> tuple[float, int]:
        if not hasattr(self, "segment"):
            return super().run(n)  # the first step, which compiles
        steps = self.problem.steps
        epochs = -(-n // steps)
        began = time.perf_counter()
        for _ in range(epochs):
            self.clock.reset()
            self.segment.run(steps)
        return time.perf_counter() - began, epochs * steps


class FirstStep(keras_like.FirstStep):
    """From nothing to the end of the first ``train_on_batch``."""

    def __init__(self, spec: dict[str, Any], data: str):
        super().__init__(rv, spec, data)


class Models:
    """A unit is a whole model: built, compiled, fitted for one epoch, let go."""

    def __init__(self, spec: dict[str, Any], data: str):
        self.problem = mlp.load(spec, data)

    def run(self, n: int) -> tuple[float, int]:
        p = self.problem
        began = time.perf_counter()
        for _ in range(n):
            keras_like.make(rv, p.spec).fit(p.x, p.y, batch_size=p.spec.batch, epochs=1, verbose=0)
        return time.perf_counter() - began, n


class PredictOne(keras_like.PredictByModel):
    """``model.predict(row)`` or ``model(row)``."""

    def __init__(self, spec: dict[str, Any], data: str, how: str):
        super().__init__(rv, spec, data, how)


class Matmul:
    """``rv.matmul`` under ``rv.jit``; threads are set by ``RANVIER_THREADS``.

    ``how="call"``: one call a product. ``how="plan"``: all products of a slice in one native call, as a product costs
    inside a compiled program.
    """

    def __init__(self, how: str):
        self.how = how

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
        if self.how == "plan":
            product.run(n, a, b)
        else:
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
                y = rv.tanh(a) * b
                for _ in range(15):
                    y = rv.tanh(y) * b
                rv.sum(y).backward()
                a.grad = b.grad = None
        return time.perf_counter() - began, n

    def retained(self) -> dict[str, int]:
        """What 200 chains leave behind: Python objects, and bytes of resident memory over 1,000 more."""
        self.op = "chain"
        objects = mlp.objects_left(lambda: self.run(200))
        before = resident()
        self.run(1000)
        return {"objects": objects, "resident": resident() - before}

    def long_chain(self, count: int) -> dict[str, float]:
        """Differentiate ``count`` multiplications in a row: seconds, and how far the gradient is from the exact one."""
        factor = 1 + 1 / count
        x = rv.Variable(np.float64(1.0))
        began = time.perf_counter()
        y = x * factor
        for _ in range(count - 1):
            y = y * factor
        y.backward()
        seconds = time.perf_counter() - began
        exact = factor**count
        assert x.grad is not None
        return {"seconds": seconds, "error": abs(float(x.grad.numpy()) - exact) / exact}
