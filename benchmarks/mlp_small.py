"""The small network of the bars: 64-32-10 on the digits, batch 32, Adam. Overhead decides here, not arithmetic."""

from __future__ import annotations

from typing import Any

from benchmarks import mlp, report
from benchmarks.harness import Plan
from benchmarks.mlp import Limit

NAME, TITLE = "mlp_small", "training a small network"
SPEC = mlp.Spec((64, 32, 10), 32, "digits")
LIMITS = (
    Limit(1 / 4, mlp.STEP),
    Limit(1 / 4, mlp.SCAN, kind="extra"),
    Limit(1 / 20, "PyTorch eager"),
    Limit(1 / 15, "scikit-learn"),
)


def goal(step_s: float | None, *_: float) -> dict[str, Any]:
    return report.time_bar("time per step", step_s, 10e-6, kind="goal")


def run(plan: Plan) -> dict[str, Any]:
    return mlp.run(NAME, TITLE, SPEC, plan, LIMITS, goal)
