"""What Ranvier's and Keras's sides share: the same program, but for the import.

``make(keras, spec, ...)`` builds and compiles the model with the names both have. A ``fit`` of many epochs is timed
as a whole and divided by its steps.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks import mlp


def make(keras: Any, spec: mlp.Spec, **options: Any) -> Any:
    """The compiled model."""
    hidden = [keras.layers.Dense(n, activation="relu") for n in spec.sizes[1:-1]]
    if spec.loss == "sigmoid":
        last, loss = keras.layers.Dense(1, activation="sigmoid"), keras.losses.BinaryCrossentropy()
    else:
        last, loss = keras.layers.Dense(spec.sizes[-1]), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = keras.Sequential([keras.layers.Input((spec.sizes[0],)), *hidden, last])
    model.compile(optimizer=keras.optimizers.Adam(spec.rate, epsilon=mlp.EPSILON), loss=loss, **options)
    return model


class TrainByFit:
    """Training by ``fit``; ``n`` is rounded up to whole epochs. A subclass names the framework."""

    def __init__(self, keras: Any, spec: dict[str, Any], data: str, **options: Any):
        self.keras, self.options = keras, options
        self.problem = mlp.load(spec, data)
        sigmoid = self.problem.spec.loss == "sigmoid"
        self.y = self.problem.y.astype(np.float32)[:, None] if sigmoid else self.problem.y
        began = time.perf_counter()
        self.model = make(keras, self.problem.spec, **options)
        self.model.set_weights(self.problem.weights)
        self.run(1)
        self.info: dict[str, Any] = {"compile_s": time.perf_counter() - began}

    def run(self, n: int) -> tuple[float, int]:
        p, epochs = self.problem, -(-n // self.problem.steps)
        began = time.perf_counter()
        self.model.fit(p.x, self.y, batch_size=p.spec.batch, epochs=epochs, shuffle=True, verbose=0)
        return time.perf_counter() - began, epochs * p.steps

    def trained(self) -> float:
        p = self.problem
        self.model = make(self.keras, p.spec, **self.options)
        self.model.set_weights(p.weights)
        rows = p.orders[0].reshape(-1)
        self.model.fit(p.x[rows], self.y[rows], batch_size=p.spec.batch, epochs=1, shuffle=False, verbose=0)
        return mlp.mean_loss(p, [np.asarray(w) for w in self.model.get_weights()])


class FirstStep:
    """Builds and compiles the model, and takes one step by ``train_on_batch``; the constructor is what is timed."""

    def __init__(self, keras: Any, spec: dict[str, Any], data: str, **options: Any):
        problem = mlp.load(spec, data)
        batch = problem.spec.batch
        self.model = make(keras, problem.spec, **options)
        self.model.train_on_batch(problem.x[:batch], problem.y[:batch])


class PredictByModel:
    """One row through ``model.predict`` or by calling the model."""

    def __init__(self, keras: Any, spec: dict[str, Any], data: str, how: str):
        problem = mlp.load(spec, data)
        self.how = how
        self.model = make(keras, problem.spec)
        self.model.set_weights(problem.weights)
        self.row = problem.x[:1].copy()
        self.run(5)

    def run(self, n: int) -> tuple[float, int]:
        model, row = self.model, self.row
        began = time.perf_counter()
        if self.how == "predict":
            for _ in range(n):
                model.predict(row, verbose=0)
        else:
            for _ in range(n):
                np.asarray(model(row))
        return time.perf_counter() - began, n
