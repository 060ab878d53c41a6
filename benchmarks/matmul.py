"""Matrix products in float32: squares of 64 to 1024 and 128 × 784 × 100, all four transposes, one and two threads.

Ranvier's product is one call of a function under ``rv.jit``, the peers' one call into a ready output. A transposed
operand ("t") is stored transposed and given as a view, "n" is stored as it is used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks import report
from benchmarks.harness import Contender, Measurement, Plan, Session, peak_contender

NAME, TITLE = "matmul", "matrix products, float32"
SHAPES = [(n, n, n) for n in (64, 128, 256, 512, 1024)] + [(128, 784, 100)]  # rows, depth, columns
TRANSPOSES = ("nn", "nt", "tn", "tt")
THREADS = (1, 2)


def contenders() -> list[Contender]:
    made = []
    for threads in THREADS:
        text = f"{threads} thread{'s' * (threads > 1)}"
        limit = str(threads)
        made += [
            Contender("Ranvier", "ranvier_side:Matmul", {}, text, "ranvier", {"RANVIER_THREADS": limit}),
            Contender("PyTorch", "torch_side:Matmul", {"threads": threads}, text, "torch", {"OMP_NUM_THREADS": limit}),
            Contender("NumPy", "numpy_side:Matmul", {}, text, "numpy", {"OPENBLAS_NUM_THREADS": limit}),
        ]
    return made


def run(plan: Plan) -> dict[str, Any]:
    short = replace(plan, slice_s=plan.slice_s / 5, rounds=min(plan.rounds, 7))
    shapes = [s for s in SHAPES if not plan.quick or s[0] <= 256]
    with Session([peak_contender(threads) for threads in THREADS], plan) as session:
        peaks = {m.contender.options["threads"]: 1e9 / m.median for m in session.measure().values() if m.ok}
    cases: list[tuple[str, int, dict[str, Measurement]]] = []
    with Session(contenders(), short) as session:
        for m, k, n in shapes:
            for transpose in TRANSPOSES:
                session.each("prepare", m=m, n=n, k=k, transpose=transpose)
                cases.append((f"{m}×{k}×{n} {transpose}", 2 * m * n * k, session.measure()))
    tables, bars = [], []
    for threads in THREADS:
        rows, shares, ratios = [], {}, {}
        for name, flops, measured in cases:
            at = {m.contender.peer: m for m in measured.values() if m.ok and threads == _threads(m)}
            row = [name, *(report.seconds(at[p].median) if p in at else "-" for p in ("Ranvier", "PyTorch", "NumPy"))]
            if "Ranvier" in at and "PyTorch" in at:
                ratios[name] = at["PyTorch"].median / at["Ranvier"].median
            for peer in ("Ranvier", "PyTorch"):
                share = flops / at[peer].median / peaks[threads] if peer in at and threads in peaks else None
                row.append(f"{100 * share:.0f} %" if share else "-")
                if peer == "Ranvier" and share and min(map(int, name.split()[0].split("×"))) >= 256:
                    shares[name] = share
            rows.append([*row, f"{ratios[name]:.2f}" if name in ratios else "-"])
        columns = [
            "rows×depth×columns",
            "Ranvier",
            "PyTorch",
            "NumPy",
            "share of peak: Ranvier",
            "PyTorch",
            "PyTorch ÷ Ranvier",
        ]
        heading = f"{threads} thread{'s' * (threads > 1)}"
        heading += f", peak {peaks[threads] / 1e9:.0f} GFLOP/s" if threads in peaks else ""
        tables.append(report.table(heading, columns, rows))
        bars.append(_least(f"speed against PyTorch, {threads} thread(s), each case", ratios, 1.0, "≥ 1.0", "{:.2f}"))
        bars.append(_least(f"share of peak from 256 up, {threads} thread(s)", shares, 0.85, "≥ 85 %", "{:.0%}"))
    raw = [{"case": name, "flops": flops, "sides": [m.record() for m in ms.values()]} for name, flops, ms in cases]
    failed = sorted(
        {f"{m.contender.label}: {m.status}: {m.note}" for _, _, ms in cases for m in ms.values() if not m.ok}
    )
    peak_record = {str(t): p for t, p in peaks.items()}
    return report.record(NAME, TITLE, tables, bars, {"peak_flops": peak_record, "cases": raw}, failed)


def _threads(m: Measurement) -> int:
    return int(m.contender.variant.split()[0])


def _least(what: str, values: dict[str, float], limit: float, text: str, form: str) -> dict[str, Any]:
    if not values:
        return report.bar(what, text, "not measured", None)
    worst = min(values, key=values.__getitem__)
    good = sum(v >= limit for v in values.values())
    said = f"{good} of {len(values)} cases; least {form.format(values[worst])} ({worst})"
    return report.bar(what, text, said, good == len(values))
