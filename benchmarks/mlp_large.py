"""The large network of the bars: 784-512-256-10, batch 128, Adam. Matrix products decide here."""

from __future__ import annotations

from typing import Any

from benchmarks import mlp, report
from benchmarks.harness import Plan
from benchmarks.mlp import Limit

NAME, TITLE = "mlp_large", "training a network of MNIST's size"
SPEC = mlp.Spec((784, 512, 256, 10), 128, "images")


def goal(step_s: float | None, roofline: float, products: float) -> dict[str, Any]:
    what, limit = "share of the roofline", "≥ 85 %"
    if not step_s or not roofline:
        return report.bar(what, limit, "not measured", None, kind="goal")
    told = f"{100 * roofline:.0f} % (matrix products alone {100 * products:.0f} %)"
    return report.bar(what, limit, told, roofline >= 0.85, kind="goal")


def run(plan: Plan) -> dict[str, Any]:
    return mlp.run(NAME, TITLE, SPEC, plan, [Limit(0.70, "best peer")], goal)
