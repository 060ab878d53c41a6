"""What the machine allows: peak FLOP/s of the project's micro-kernel and copy bandwidth, on one and two threads."""

from __future__ import annotations

from typing import Any

from benchmarks import report
from benchmarks.harness import Plan, Session, copy_contender, peak_contender

NAME, TITLE = "roofline", "what this machine allows"


def run(plan: Plan) -> dict[str, Any]:
    sides = [make(threads) for make in (peak_contender, copy_contender) for threads in (1, 2)]
    with Session(sides, plan) as session:
        measured = session.measure()
    rows = []
    for m in measured.values():
        kind, threads = m.contender.target.split(":")[1], m.contender.options["threads"]
        what = f"peak of the register tile ({m.info.get('tile', '')})" if kind == "Peak" else "copy (read and written)"
        unit = "GFLOP/s" if kind == "Peak" else "GB/s"
        rates = [f"{1 / value:.1f} {unit}" for value in (m.median, m.fastest)] if m.ok else [m.note, ""]
        rows.append([what, str(threads), *rates, f"{100 * m.spread:.0f} %" if m.ok else ""])
    tables = [report.table("", ["what", "threads", "rate", "best slice", "± spread"], rows)]
    return report.record(NAME, TITLE, tables, [], [m.record() for m in measured.values()])
