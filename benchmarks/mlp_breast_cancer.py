"""A table of measurements: 30-16-1 with a sigmoid, breast cancer, batch 16, Adam."""

from __future__ import annotations

from typing import Any

from benchmarks import mlp
from benchmarks.harness import Plan
from benchmarks.mlp import Limit

NAME, TITLE = "mlp_breast_cancer", "training on a small table"
SPEC = mlp.Spec((30, 16, 1), 16, "breast_cancer", loss="sigmoid")
LIMITS = (Limit(1 / 4, "best peer", but=mlp.SCAN), Limit(1 / 4, "best peer", kind="extra"))


def run(plan: Plan) -> dict[str, Any]:
    return mlp.run(NAME, TITLE, SPEC, plan, LIMITS)
