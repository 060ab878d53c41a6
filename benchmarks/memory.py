"""Memory while training: the peak, and whether it stays flat over 100,000 steps of the small network.

For Ranvier also 300 models built and fitted in one process.
"""

from __future__ import annotations

from typing import Any

from benchmarks import mlp, mlp_small, report
from benchmarks.harness import MissingPackageError, Plan, WorkerError, run_fresh

NAME, TITLE = "memory", "memory while training, MLP 64-32-10, batch 32"
SIDES = ("Ranvier", "PyTorch eager", "JAX jit", "Keras on JAX", "scikit-learn")
FLAT_STEPS, FLAT_MODELS = 2**20, 4 * 2**20  # bytes of growth that still count as flat: 10 bytes a step, 14 KiB a model


def run(plan: Plan) -> dict[str, Any]:
    data = mlp.data_file(mlp_small.SPEC.data)
    steps, models = (600, 20) if plan.quick else (100_000, 300)
    work = [(side, "steps", steps) for side in SIDES if plan.takes(side)]
    work += [("Ranvier", "models", models)] if plan.takes("Ranvier") else []
    rows, found = [], {}
    for side, kind, count in work:
        what = f"{count:,} {kind}" + (" built and fitted" if kind == "models" else "")
        environment = {"KERAS_BACKEND": "jax", "OMP_NUM_THREADS": "1"}
        try:
            r = run_fresh("benchmarks.contenders.memory", [side, data, kind, str(count)], environment, timeout=1800)
        except WorkerError as error:
            rows.append(
                [side, what, ("" if isinstance(error, MissingPackageError) else "failed: ") + str(error)[:160], "", ""]
            )
            continue
        found[f"{side}, {kind}"] = r
        growth = r["resident"][-1] - r["resident"][0]
        rows.append([side, what, report.mib(r["before"]), report.mib(r["peak"]), f"{growth / 1024:+.0f} KiB"])
    bars = [_bar(found, "steps", steps, FLAT_STEPS), _bar(found, "models", models, FLAT_MODELS)]
    columns = ["who", "what", "after the imports", "peak", "growth from the first tenth to the end"]
    return report.record(NAME, TITLE, [report.table("", columns, rows)], bars, found)


def _bar(found: dict[str, Any], kind: str, count: int, limit: int) -> dict[str, Any]:
    what, text = f"growth over {count:,} {kind}", f"flat (≤ {report.mib(limit)})"
    if f"Ranvier, {kind}" not in found:
        return report.bar(what, text, "not measured", None)
    resident = found[f"Ranvier, {kind}"]["resident"]
    growth = resident[-1] - resident[0]
    return report.bar(what, text, f"{growth / 1024:+.0f} KiB", growth <= limit)
