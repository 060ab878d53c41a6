"""Time to the first training step in a fresh process: cold (no compiled code in the cache) and warm (all of it).

The network is MLP 784-512-256-10 with batch 128. The time runs from before the model is created, through ``compile``,
to the end of the first ``train_on_batch`` (for frameworks without such a call, of the first step of their loop). The
import is given beside it, not in it; so is reading the data.
"""

from __future__ import annotations

import statistics
import tempfile
from typing import Any

from benchmarks import mlp, mlp_large, report
from benchmarks.harness import MissingPackageError, Plan, WorkerError, run_fresh

NAME, TITLE = "first_step", "time to the first step, MLP with 3 layers, fresh process"
SIDES = ("Ranvier", "PyTorch eager", "torch.compile", "JAX jit", "Keras on JAX", "scikit-learn")


def caches(folder: str) -> dict[str, str]:
    """Every contender's cache of compiled code, in ``folder``."""
    return {
        "RANVIER_CACHE_DIR": f"{folder}/ranvier",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "TRITON_CACHE_DIR": f"{folder}/triton",
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "KERAS_BACKEND": "jax",
    }


def run(plan: Plan) -> dict[str, Any]:
    sides = [side for side in SIDES if plan.takes(side)]
    times: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    failed: dict[str, str] = {}
    data = mlp.data_file(mlp_large.SPEC.data)
    for turn in range(1 if plan.quick else 5):
        for side in [s for s in sides if s not in failed and turn < _rounds(s, plan)]:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    cold, warm = (
                        run_fresh("benchmarks.contenders.first_step", [side, data], caches(folder)) for _ in range(2)
                    )
                except WorkerError as error:
                    failed[side] = ("" if isinstance(error, MissingPackageError) else "failed: ") + str(error)[:160]
                    continue
            times[side].append({"cold": cold, "warm": warm})
    rows = []
    for side in sides:
        if side in failed:
            rows.append([side, failed[side], "", ""])
            continue
        rows.append([side, *(report.seconds(_median(times[side], *key)) for key in _FIGURES)])
    ours = times.get("Ranvier")
    bars = [
        report.time_bar(f"first step, {when}", _median(ours, when, "step_s") if ours else None, limit)
        for when, limit in (("cold", 0.6), ("warm", 0.06))
    ]
    tables = [report.table("", ["who", "cold", "warm", "import"], rows)]
    return report.record(NAME, TITLE, tables, bars, times)


def _rounds(side: str, plan: Plan) -> int:
    """How often: torch.compile from a cold cache takes a good part of a minute, so it is tried once."""
    return 5 if side == "Ranvier" or plan.every else 1 if side == "torch.compile" else 2


_FIGURES = (("cold", "step_s"), ("warm", "step_s"), ("warm", "import_s"))


def _median(samples: list[dict[str, Any]], when: str, what: str) -> float:
    return statistics.median(sample[when][what] for sample in samples)
