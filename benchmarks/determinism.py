"""Whether training gives the same weights, bit for bit: two processes, one and two threads, cold and warm cache."""

from __future__ import annotations

import tempfile
from typing import Any

from benchmarks import mlp, mlp_large, report
from benchmarks.harness import Plan, WorkerError, plural, run_fresh

NAME, TITLE = "determinism", "identical weights after 3 epochs, MLP 784-512-256-10 with dropout, shuffled"
THREADS = (2, 1)


def run(plan: Plan) -> dict[str, Any]:
    data = mlp.data_file(mlp_large.SPEC.data)
    rows, runs = [], []
    for threads in THREADS:
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("cold", "warm"):
                environment = {"RANVIER_CACHE_DIR": folder, "RANVIER_THREADS": str(threads)}
                what = f"{plural(threads, 'thread')}, {cache} cache"
                try:
                    reply = run_fresh("benchmarks.contenders.determinism", [data], environment)
                except WorkerError as error:
                    rows.append([what, f"failed: {str(error)[:160]}", ""])
                    continue
                runs.append(reply)
                kernels = f"{reply['before']} before, {reply['after']} after; step on {reply['threads']}"
                rows.append([what, reply["hash"][:16], kernels])
    same, all_ran = len({r["hash"] for r in runs}) == 1, len(runs) == 2 * len(THREADS)
    told = f"{len(runs)} runs, {'one hash' if same else 'hashes differ'}" if runs else "not measured"
    bars = [report.bar("weights of 4 processes (1 and 2 threads, cold and warm cache)", "identical", told,
                       same and all_ran if runs else None)]  # fmt: skip
    tables = [report.table("", ["fresh process", "SHA-256 of the weights (first 16)", "cached files, threads"], rows)]
    return report.record(NAME, TITLE, tables, bars, runs)
