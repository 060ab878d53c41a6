"""scikit-learn's side: ``MLPClassifier`` with a fixed number of epochs.

``how="fit"`` lets it shuffle by itself and restarts from new weights at every call, so a call holds many epochs.
``how="partial_fit"`` gives it one epoch at a time, already in the order asked for.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from benchmarks import mlp

warnings.simplefilter("ignore", ConvergenceWarning)


class Train:
    """Training by ``fit`` or ``partial_fit``; ``n`` is rounded up to whole epochs."""

    def __init__(self, spec: dict[str, Any], data: str, how: str):
        self.problem, self.how = mlp.load(spec, data), how
        self.classes = np.unique(self.problem.y)
        self.epoch_number = 0
        self.info: dict[str, Any] = {}
        self._reset()
        self.run(1)

    def _reset(self) -> None:
        p = self.problem
        self.model = MLPClassifier(
            p.spec.sizes[1:-1], solver="adam", alpha=0.0, batch_size=p.spec.batch, learning_rate_init=p.spec.rate,
            epsilon=mlp.EPSILON, tol=0.0, n_iter_no_change=10**9, shuffle=self.how == "fit", random_state=0,
        )  # fmt: skip

    def run(self, n: int) -> tuple[float, int]:
        p, epochs = self.problem, -(-n // self.problem.steps)
        began = time.perf_counter()
        if self.how == "fit":
            self.model.max_iter = epochs
            self.model.fit(p.x, p.y)
        else:
            for _ in range(epochs):
                rows = p.orders[self.epoch_number % len(p.orders)].reshape(-1)
                self.model.partial_fit(p.x[rows], p.y[rows], classes=self.classes)
                self.epoch_number += 1
        return time.perf_counter() - began, epochs * p.steps

    def trained(self) -> float:
        """One epoch from the common weights: they are put in place after a first call has made the arrays."""
        p = self.problem
        self._reset()
        self.model.set_params(shuffle=False)
        self.model.partial_fit(p.x[: p.spec.batch], p.y[: p.spec.batch], classes=self.classes)
        del self.model._optimizer  # made anew, with zero moments, by the next call
        self.model.coefs_ = [w.copy() for w in p.weights[0::2]]
        self.model.intercepts_ = [w.copy() for w in p.weights[1::2]]
        rows = p.orders[0].reshape(-1)
        self.model.partial_fit(p.x[rows], p.y[rows])
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return mlp.mean_loss(p, [w for pair in pairs for w in pair])


class PredictOne:
    """``predict_proba`` on one row."""

    def __init__(self, spec: dict[str, Any], data: str):
        problem = mlp.load(spec, data)
        self.model = MLPClassifier(problem.spec.sizes[1:-1], max_iter=1).fit(problem.x, problem.y)
        self.row = problem.x[:1].copy()
        self.run(10)

    def run(self, n: int) -> tuple[float, int]:
        predict, row = self.model.predict_proba, self.row
        began = time.perf_counter()
        for _ in range(n):
            predict(row)
        return time.perf_counter() - began, n
