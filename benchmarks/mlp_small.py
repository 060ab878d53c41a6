"""The small network of the bars: 64-32-10 on the digits, batch 32, Adam. Overhead decides here, not arithmetic."""

from __future__ import annotations

from typing import Any

from benchmarks import mlp
from benchmarks.harness import Plan

NAME, TITLE = "mlp_small", "training a small network"
SPEC = mlp.Spec((64, 32, 10), 32, "digits")


def run(plan: Plan) -> dict[str, Any]:
    limits = {"JAX jit (one call a step)": 1 / 4, "JAX jit": 1 / 4, "PyTorch eager": 1 / 20, "scikit-learn": 1 / 15}
    return mlp.run(NAME, TITLE, SPEC, plan, limits, "10 µs a step")
