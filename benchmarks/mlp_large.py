"""The large network of the bars: 784-512-256-10, batch 128, Adam. Matrix products decide here."""

from __future__ import annotations

from typing import Any

from benchmarks import mlp
from benchmarks.harness import Plan

NAME, TITLE = "mlp_large", "training a network of MNIST's size"
SPEC = mlp.Spec((784, 512, 256, 10), 128, "images")


def run(plan: Plan) -> dict[str, Any]:
    return mlp.run(NAME, TITLE, SPEC, plan, {"best peer": 0.70}, "85 % of the peak")
