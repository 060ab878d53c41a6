"""NumPy's side: its matrix product (OpenBLAS; threads are set by ``OPENBLAS_NUM_THREADS``)."""

from __future__ import annotations

import time

import numpy as np


class Matmul:
    """``np.matmul`` into a ready output."""

    def prepare(self, m: int, n: int, k: int, transpose: str) -> None:
        rng = np.random.default_rng(1)
        self.a = rng.random((k, m), np.float32).T if transpose[0] == "t" else rng.random((m, k), np.float32)
        self.b = rng.random((n, k), np.float32).T if transpose[1] == "t" else rng.random((k, n), np.float32)
        self.c = np.empty((m, n), np.float32)
        self.run(2)

    def run(self, n: int) -> tuple[float, int]:
        a, b, c, matmul = self.a, self.b, self.c, np.matmul
        began = time.perf_counter()
        for _ in range(n):
            matmul(a, b, out=c)
        return time.perf_counter() - began, n
