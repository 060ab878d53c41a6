"""The main jobs as a user runs them: ``ranvier train``, from the command to the written run folder.

Accuracy is that of the test part after the last epoch; nothing is chosen by it. MNIST and Fashion-MNIST are read from
``mnist`` and ``fashion_mnist`` in the folder that ``RANVIER_TEST_DATA`` names, or in ``../shared/data`` beside the
repository; without them only the digits, which are part of the package, are trained.

``python -m benchmarks.accuracy NAME`` trains one of the networks of ``real.py`` instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.harness import ROOT, Plan, child_environment

NAME, TITLE = "accuracy", "`ranvier train`: accuracy and time of the whole command"
# data set -> folder of its files, least accuracy, most seconds, requirement
JOBS = {
    "digits": ("", 0.975, 5.0, "digits"),
    "mnist": ("mnist", 0.982, 60.0, "images"),
    "fashion-mnist": ("fashion_mnist", 0.89, 60.0, "images"),
}
SEEDS = 3  # of the digits, whose test part is small


def run(plan: Plan) -> dict[str, Any]:
    rows, bars, raw = [], [], []
    with tempfile.TemporaryDirectory() as work:
        for name, (folder, least, most, row) in JOBS.items():
            found = data_folder() / folder
            if folder and not found.is_dir():
                rows.append([name, "", f"not measured: no folder {folder} of data", "", "", ""])
                bars.append(report.bar(f"{name}, accuracy", f"≥ {least:.1%}", "not measured: no data", None, row))
                continue
            extra = (["--data", str(found)] if folder else []) + (["--epochs", "1"] if plan.quick else [])
            done = [train(name, seed, extra, work) for seed in range(SEEDS if not folder else 1)]
            raw += done
            rows += [_row(r) for r in done]
            made = _bars(name, [r for r in done if "accuracy" in r], least, most, row)
            bars += [b | {"met": None} for b in made] if plan.quick else made  # one epoch proves nothing
    columns = ["data", "seed", "test accuracy", "whole command", "of it training", "a step"]
    note = "Seed 0 is the default; the first run of each finds no compiled kernels in the cache."
    tables = [report.table("", columns, rows)]
    return report.record(NAME, TITLE, tables, bars, raw, [note])


def data_folder() -> Path:
    """Where the published data sets are."""
    named = os.environ.get("RANVIER_TEST_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


def train(name: str, seed: int, extra: list[str], work: str) -> dict[str, Any]:
    """One command: what it reported, and how long it took."""
    command = [sys.executable, "-m", "ranvier", "train", name, "--json", "--quiet", "--seed", str(seed)]
    command += [*extra, "--out", f"{work}/{name}-{seed}"]
    environment = child_environment({"RANVIER_CACHE_DIR": f"{work}/cache-{name}"})
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    facts = {"data": name, "seed": seed, "wall_s": wall}
    if done.returncode:
        return facts | {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    said = json.loads(done.stdout)
    return facts | {"accuracy": said["test_accuracy"], "training_s": said["training_seconds"],
                    "step_s": said["step_seconds"], "epochs": said["epochs"]}  # fmt: skip


def _row(r: dict[str, Any]) -> list[str]:
    if "failed" in r:
        return [r["data"], str(r["seed"]), f"failed: {r['failed']}", "", "", ""]
    times = [report.seconds(r[key]) for key in ("wall_s", "training_s", "step_s")]
    return [r["data"], str(r["seed"]), f"{r['accuracy']:.2%}", *times]


def _bars(name: str, done: list[dict[str, Any]], least: float, most: float, row: str) -> list[dict[str, Any]]:
    if not done:
        return [report.bar(f"{name}, accuracy", f"≥ {least:.1%}", "failed", None, row)]
    accuracies = [r["accuracy"] for r in done]
    told = ", ".join(f"{a:.2%}" for a in accuracies) + (" (seeds 0, 1, 2)" if len(done) > 1 else "")
    slowest = max(r["wall_s"] for r in done)
    return [
        report.bar(f"{name}, accuracy", f"≥ {least:.1%}", told, min(accuracies) >= least, row),
        report.time_bar(f"{name}, whole command" + (", slowest" if len(done) > 1 else ""), slowest, most, row),
    ]


if __name__ == "__main__":
    from benchmarks import real

    real.main(sys.argv[1:])
