"""Inference on batches of 1 and 64 against ONNX Runtime, whose model is exported from the PyTorch twin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks import nets, report
from benchmarks.harness import Contender, Measurement, Plan, Session, plural

NAME, TITLE = "inference", "inference against ONNX Runtime, fp32, 2 threads"
NETS, BATCHES, THREADS = ("mlp", "cnn", "resnet20", "lstm"), (1, 64), 2
OURS, RIVAL = "Ranvier (predict)", "ONNX Runtime"


def contenders(name: str, batch: int) -> list[Contender]:
    shared = {"net": name, "batch": batch}
    more, limit = {**shared, "threads": THREADS}, {"OMP_NUM_THREADS": str(THREADS)}
    made = [Contender("Ranvier", "ranvier_nets:Predict", shared, "predict", "ranvier")]
    made.append(Contender(RIVAL, "onnx_nets:Predict", more, "", "onnxruntime", limit))
    made.append(Contender("PyTorch eager", "torch_nets:Predict", more, "", "torch", limit))
    return [*made, Contender("JAX jit", "jax_nets:Predict", shared, "", "jax")]


def run(plan: Plan) -> dict[str, Any]:
    short = replace(plan, slice_s=plan.slice_s / 2, rounds=min(plan.rounds, 5))
    rows, bars, raw, failed = [], [], [], set()
    sides = (OURS, RIVAL, "PyTorch eager", "JAX jit")
    for name in NETS:
        for batch in BATCHES:
            with Session(contenders(name, batch), short) as session:
                measured = session.measure()
            good = {label: m for label, m in measured.items() if m.ok}
            failed |= {f"{label}, {name}: {m.status}: {m.note}" for label, m in measured.items() if not m.ok}
            what = f"{nets.NETS[name].title.split(',')[0]}, {plural(batch, 'sample')}"
            ratio = f"{good[OURS].median / good[RIVAL].median:.2f}" if OURS in good and RIVAL in good else "-"
            rows.append([what, *(report.seconds(good[s].median) if s in good else "-" for s in sides), ratio])
            bars.append(_bar(what, good))
            raw.append({"net": name, "batch": batch, "sides": [m.record() for m in measured.values()]})
    columns = ["network", *sides, "predict ÷ ONNX Runtime"]
    note = "Networks as in training; normalisation uses its moving statistics. `predict` returns NumPy arrays."
    return report.record(NAME, TITLE, [report.table("", columns, rows)], bars, raw, [note, *sorted(failed)])


def _bar(what: str, good: dict[str, Measurement]) -> dict[str, Any]:
    return report.ratio_bar(what, good.get(OURS), good.get(RIVAL), 1.0, RIVAL)
