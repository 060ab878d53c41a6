"""ResNet-20 in fresh processes: time to the first training step, cold and warm, and peak memory while training.

The time runs from before the model is created to the end of the first step; import and data are not in it. Memory is
the most that was resident (``ru_maxrss``) after 24 steps of batch 64, without what was resident after the import.
"""

from __future__ import annotations

import statistics
import tempfile
from typing import Any

from benchmarks import report
from benchmarks.first_step import caches
from benchmarks.harness import MissingPackageError, Plan, WorkerError, run_fresh

NAME, TITLE = "resnet_process", "ResNet-20, batch 64, in a fresh process: first step and peak memory"
SIDES = ("Ranvier", "PyTorch eager", "PyTorch eager, channels last", "torch.compile", "JAX jit")
SLOW = ("torch.compile",)  # a minute from a cold cache: only with --all
STEPS = 24
THREADS = {"OMP_NUM_THREADS": "2"}


def run(plan: Plan) -> dict[str, Any]:
    rows, found = [], {}
    for side in SIDES:
        if not plan.takes(side) or (side in SLOW and not plan.every):
            continue
        try:
            found[side] = measure(side, 3 if side == "Ranvier" and not plan.quick else 1)
        except WorkerError as error:
            told = ("" if isinstance(error, MissingPackageError) else "failed: ") + str(error)[:160]
            rows.append([side, told, *[""] * 4])
            continue
        f = found[side]
        times = [report.seconds(f[key]) for key in ("cold", "warm", "import")]
        rows.append([side, *times, report.mib(f["before"]), report.mib(f["memory"])])
    columns = ["who", "first step, cold", "first step, warm", "import", "after the import", "training adds at most"]
    return report.record(NAME, TITLE, [report.table("", columns, rows)], _bars(found), found)


def measure(side: str, rounds: int) -> dict[str, float]:
    """Medians of ``rounds`` cold starts, each followed by a warm one, and by one that goes on training."""
    cold, warm, trained = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for steps, kept in ((0, cold), (0, warm), (STEPS, trained)):
                arguments = [side, "resnet20", str(steps)]
                kept.append(run_fresh("benchmarks.contenders.net_process", arguments, {**caches(folder), **THREADS}))

    def middle(samples: list[dict[str, Any]], what: str) -> float:
        return statistics.median(s[what] for s in samples)

    return {
        "cold": middle(cold, "step_s"), "warm": middle(warm, "step_s"), "import": middle(warm, "import_s"),
        "before": middle(warm, "before"), "memory": statistics.median(s["peak"] - s["before"] for s in trained),
    }  # fmt: skip


def _bars(found: dict[str, Any]) -> list[dict[str, Any]]:
    ours = found.get("Ranvier")
    bars = [
        report.time_bar(f"first step, {when}", ours[when] if ours else None, limit)
        for when, limit in (("cold", 5.0), ("warm", 0.4))
    ]
    theirs = [f["memory"] for side, f in found.items() if side.startswith("PyTorch")]
    what, text = "peak memory of training", "≤ 0.7 of PyTorch's"
    if not ours or not theirs:
        return [*bars, report.bar(what, text, "not measured", None)]
    share = ours["memory"] / min(theirs)
    told = f"{share:.2f} ({report.mib(ours['memory'])} : {report.mib(min(theirs))})"
    return [*bars, report.bar(what, text, told, share <= 0.7)]
