"""One small op outside any compiled function, recording its gradient: what the define-by-run layer costs.

Vectors of 32, matrices of 8 × 8, all requiring a gradient. ``chain``: 32 ops in a row, a sum, and the way back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks import report
from benchmarks.harness import Contender, Measurement, Plan, Session

NAME, TITLE = "eager_op", "small eager ops that record their gradient"
OPS = ("multiply", "tanh", "matmul", "chain")


def run(plan: Plan) -> dict[str, Any]:
    sides = [
        Contender("Ranvier", "ranvier_side:EagerOp", package="ranvier"),
        Contender("PyTorch eager", "torch_side:EagerOp", package="torch", environment={"OMP_NUM_THREADS": "1"}),
    ]
    rows, bars, raw = [], [], {}
    with Session(sides, replace(plan, slice_s=plan.slice_s / 2)) as session:
        for op in OPS:
            session.each("prepare", op=op)
            measured = session.measure()
            raw[op] = [m.record() for m in measured.values()]
            ours, theirs = measured.get("Ranvier"), measured.get("PyTorch eager")
            rows.append([op, *map(_told, (ours, theirs)), _ratio(ours, theirs)])
            if op != "chain":
                bars.append(report.time_bar(f"eager {op}", ours.median if ours and ours.ok else None, 7e-6))
        grown = session.each("retained")
    growth = grown.get("Ranvier")
    told = "not measured" if growth is None else f"{growth} objects after 200 chains"
    bars.append(report.bar("kept alive after backward", "nothing", told, None if growth is None else growth <= 0))
    tables = [report.table("", ["op", "Ranvier", "PyTorch eager", "Ranvier ÷ PyTorch"], rows)]
    return report.record(NAME, TITLE, tables, bars, {"ops": raw, "retained": grown})


def _told(m: Measurement | None) -> str:
    return "-" if m is None else report.seconds(m.median) if m.ok else m.note or m.status


def _ratio(ours: Measurement | None, theirs: Measurement | None) -> str:
    return f"{ours.median / theirs.median:.2f}" if ours and theirs and ours.ok and theirs.ok else "-"
