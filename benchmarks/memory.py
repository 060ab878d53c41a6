"""Memory while training: the peak, and whether it stays flat over 100,000 steps of the small network.

For Ranvier also 300 models built and fitted in one process. That eager ops keep nothing is measured in ``eager_op``.
"""

from __future__ import annotations

from typing import Any

from benchmarks import mlp, mlp_small, report
from benchmarks.contenders.memory import SIDES
from benchmarks.harness import MissingPackageError, Plan, WorkerError, run_fresh

NAME, TITLE = "memory", "memory while training, MLP 64-32-10, batch 32"
FLAT_STEPS, FLAT_MODELS = 2**20, 4 * 2**20  # growth that still counts as flat: 12 bytes a step, 16 KiB a model
PEER_STEPS = 12_000  # of the peers, which would take minutes for the full number


def run(plan: Plan) -> dict[str, Any]:
    data = mlp.data_file(mlp_small.SPEC.data)
    steps, models = (1200, 24) if plan.quick else (100_000, 300)
    fewer = steps if plan.every else min(steps, PEER_STEPS)
    work = [(side, "steps", steps if side == "Ranvier" else fewer) for side in SIDES if plan.takes(side)]
    work += [("Ranvier", "models", models)] if plan.takes("Ranvier") else []
    rows, found = [], {}
    for side, kind, count in work:
        what = f"{count:,} {kind}" + (" built and fitted" if kind == "models" else "")
        environment = {"KERAS_BACKEND": "jax", "OMP_NUM_THREADS": "1"}
        try:
            r = run_fresh("benchmarks.contenders.memory", [side, data, kind, str(count)], environment, timeout=1800)
        except WorkerError as error:
            told = ("" if isinstance(error, MissingPackageError) else "failed: ") + str(error)[:160]
            rows.append([side, what, told, *[""] * 5])
            continue
        found[f"{side}, {kind}"] = r
        taken = [r["before"], *r["resident"], r["peak"]]
        rows.append([side, what, *(f"{value / 2**20:.1f} MiB" for value in taken), _kib(_growth(r))])
    bars = [_bar(found, "steps", steps, FLAT_STEPS), _bar(found, "models", models, FLAT_MODELS)]
    columns = ["who", "what", "after the imports", "after 1/6", "after 1/2", "at the end", "peak", "growth from 1/6 on"]
    return report.record(NAME, TITLE, [report.table("", columns, rows)], bars, found)


def _bar(found: dict[str, Any], kind: str, count: int, limit: int) -> dict[str, Any]:
    what, text = f"growth from {count // 6:,} to {count:,} {kind}", f"flat (≤ {report.mib(limit)})"
    if f"Ranvier, {kind}" not in found:
        return report.bar(what, text, "not measured", None)
    r = found[f"Ranvier, {kind}"]
    at = ", ".join(f"{value / 2**20:.1f}" for value in r["resident"])
    places = ", ".join(f"{n:,}" for n in (count // 6, count // 2, count))
    return report.bar(what, text, f"{_kib(_growth(r))} ({at} MiB after {places})", _growth(r) <= limit)


def _growth(r: dict[str, Any]) -> int:
    return int(r["resident"][-1] - r["resident"][0])


def _kib(value: int) -> str:
    return f"{value / 1024:+,.0f} KiB"
