"""Matrix products in float32: squares of 64 to 1024 and 128 × 784 × 100, all four transposes, one and two threads.

Ranvier's product is timed twice: *in a plan*, where one native call does all products of a slice, as inside a compiled
program; and in *one call* of a function under ``rv.jit`` a product, which adds the call and a new output array. The
peers write into a ready output; PyTorch's lies by rows or by columns, whichever is faster. A transposed operand ("t")
is stored transposed and given as a view, "n" is stored as it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from benchmarks import report
from benchmarks.harness import Contender, Measurement, Plan, Session, peak_contender, plural

NAME, TITLE = "matmul", "matrix products, float32"
SHAPES = [(n, n, n) for n in (64, 128, 256, 512, 1024)] + [(128, 784, 100)]  # rows, depth, columns
TRANSPOSES = ("nn", "nt", "tn", "tt")
THREADS = (1, 2)
PLAN, CALL = "Ranvier in a plan", "Ranvier, one call"
COLUMNS = (
    "rows×depth×columns", PLAN, CALL, "PyTorch", "NumPy", "PyTorch ÷ in a plan", "PyTorch ÷ one call",
    "peak: in a plan", "peak: one call", "peak: PyTorch",
)  # fmt: skip


@dataclass
class Case:
    """One product: its name, smallest size, FLOPs, and what was measured."""

    name: str
    least: int
    flops: int
    measured: dict[str, Measurement]

    def at(self, threads: int) -> dict[str, float]:
        """Seconds by side."""
        return {
            m.contender.peer: m.median
            for m in self.measured.values()
            if m.ok and m.contender.variant == plural(threads, "thread")
        }


def contenders() -> list[Contender]:
    made = []
    for threads in THREADS:
        text, limit = plural(threads, "thread"), str(threads)
        ours = {"RANVIER_THREADS": limit}
        made += [
            Contender(PLAN, "ranvier_side:Matmul", {"how": "plan"}, text, "ranvier", ours),
            Contender(CALL, "ranvier_side:Matmul", {"how": "call"}, text, "ranvier", ours),
            Contender("PyTorch", "torch_side:Matmul", {"threads": threads}, text, "torch", {"OMP_NUM_THREADS": limit}),
            Contender("NumPy", "numpy_side:Matmul", {}, text, "numpy", {"OPENBLAS_NUM_THREADS": limit}),
        ]
    return made


def run(plan: Plan) -> dict[str, Any]:
    short = replace(plan, slice_s=min(plan.slice_s, 0.2) / 8, rounds=min(plan.rounds, 5))
    shapes = [s for s in SHAPES if not plan.quick or s[0] in (64, 256)]
    cases: list[Case] = []
    peaks: dict[int, float] = {}  # by threads; the best slice of the whole run, for the peak is what can be reached
    with Session([peak_contender(t) for t in THREADS], short) as top, Session(contenders(), short) as session:
        for m, k, n in shapes:
            for r in top.measure().values():
                if r.ok:
                    threads = r.contender.options["threads"]
                    peaks[threads] = max(peaks.get(threads, 0.0), 1e9 / r.fastest)
            for transpose in TRANSPOSES:
                session.each("prepare", m=m, n=n, k=k, transpose=transpose)
                cases.append(Case(f"{m}×{k}×{n} {transpose}", min(m, k, n), 2 * m * n * k, session.measure()))
    tables = [_table(cases, threads, peaks.get(threads)) for threads in THREADS]
    bars = [
        bar for how in (PLAN, CALL) for threads in THREADS for bar in _bars(cases, threads, peaks.get(threads), how)
    ]
    raw = [{"case": c.name, "flops": c.flops, "sides": [m.record() for m in c.measured.values()]} for c in cases]
    failed = sorted({f"{label}: {m.status}: {m.note}" for c in cases for label, m in c.measured.items() if not m.ok})
    return report.record(
        NAME, TITLE, tables, bars, {"peaks": {str(t): p for t, p in peaks.items()}, "cases": raw}, failed
    )


def _table(cases: list[Case], threads: int, peak: float | None) -> dict[str, Any]:
    rows = []
    for case in cases:
        at = case.at(threads)
        row = [
            case.name,
            *(report.seconds(at[side]) if side in at else "-" for side in (PLAN, CALL, "PyTorch", "NumPy")),
        ]
        row += [f"{at['PyTorch'] / at[how]:.2f}" if how in at and "PyTorch" in at else "-" for how in (PLAN, CALL)]
        row += [
            f"{100 * case.flops / at[side] / peak:.0f} %" if side in at and peak else "-"
            for side in (PLAN, CALL, "PyTorch")
        ]
        rows.append(row)
    heading = plural(threads, "thread") + (f", peak {peak / 1e9:.0f} GFLOP/s" if peak else "")
    return report.table(heading, COLUMNS, rows)


def _bars(cases: list[Case], threads: int, peak: float | None, how: str) -> list[dict[str, Any]]:
    ratios, shares = {}, {}
    for case in cases:
        at = case.at(threads)
        if how in at and "PyTorch" in at:
            ratios[case.name] = at["PyTorch"] / at[how]
        if how in at and peak and case.least >= 256:
            shares[case.name] = case.flops / at[how] / peak
    text = f"{how.removeprefix('Ranvier').strip(', ')}, {plural(threads, 'thread')}"
    return [
        _least(f"speed against PyTorch, {text}", ratios, 1.0, "≥ 1.0 each", "{:.2f}"),
        _least(f"share of peak from 256 up, {text}", shares, 0.85, "≥ 85 % each", "{:.0%}"),
    ]


def _least(what: str, values: dict[str, float], limit: float, text: str, form: str) -> dict[str, Any]:
    if not values:
        return report.bar(what, text, "not measured", None)
    worst = min(values, key=values.__getitem__)
    good = sum(v >= limit for v in values.values())
    said = f"{good} of {len(values)} cases; least {form.format(values[worst])} ({worst})"
    return report.bar(what, text, said, good == len(values))
