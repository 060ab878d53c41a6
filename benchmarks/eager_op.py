"""One small op outside any compiled function, recording its gradient: what the define-by-run layer costs.

Vectors of 32, matrices of 8 × 8, all requiring a gradient. ``chain``: 32 ops in a row, a sum, and the way back. The
long chain is there to end at all: a recursive backward pass would overflow the stack.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks import report
from benchmarks.harness import Contender, Measurement, Plan, Session

NAME, TITLE = "eager_op", "small eager ops that record their gradient"
OPS = ("multiply", "tanh", "matmul", "chain")
LONG = 100_000  # ops in the long chain
FLAT = 2**18  # bytes of growth over 1,000 chains that still count as nothing: less than 10 bytes an op


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
        left = session.each("retained")
        long = session.each("long_chain", count=LONG)
    rows += [_row("objects kept after 200 chains", left, lambda r: f"{r['objects']}"),
             _row("memory grown over 1,000 chains", left, lambda r: f"{r['resident'] / 1024:+.0f} KiB"),
             _row(f"backward through {LONG:,} ops", long, lambda r: report.seconds(r["seconds"]))]  # fmt: skip
    bars += [_nothing_kept(left.get("Ranvier")), _long_bar(long.get("Ranvier"))]
    tables = [report.table("", ["op", "Ranvier", "PyTorch eager", "Ranvier ÷ PyTorch"], rows)]
    return report.record(NAME, TITLE, tables, bars, {"ops": raw, "retained": left, "long": long})


def _nothing_kept(left: dict[str, int] | None) -> dict[str, Any]:
    what, limit = "kept alive after backward", f"nothing (no object, < {FLAT // 1024} KiB over 1,000 chains)"
    if left is None:
        return report.bar(what, limit, "not measured", None)
    told = f"{max(left['objects'], 0)} objects after 200 chains, {left['resident'] / 1024:+.0f} KiB over 1,000"
    return report.bar(what, limit, told, left["objects"] <= 0 and left["resident"] < FLAT)


def _long_bar(long: dict[str, float] | None) -> dict[str, Any]:
    what, limit = f"a chain of {LONG:,} ops", "differentiates, exact to 1e-9"
    if long is None:
        return report.bar(what, limit, "not measured or failed", None, row="gradient")
    told = f"relative error {long['error']:.0e}, {report.seconds(long['seconds'])}"
    return report.bar(what, limit, told, long["error"] < 1e-9, row="gradient")


def _row(what: str, replies: dict[str, Any], form: Any) -> list[str]:
    return [what, *(form(replies[who]) if who in replies else "-" for who in ("Ranvier", "PyTorch eager")), ""]


def _told(m: Measurement | None) -> str:
    return "-" if m is None else report.seconds(m.median) if m.ok else m.note or m.status


def _ratio(ours: Measurement | None, theirs: Measurement | None) -> str:
    return f"{ours.median / theirs.median:.2f}" if ours and theirs and ours.ok and theirs.ok else "-"
