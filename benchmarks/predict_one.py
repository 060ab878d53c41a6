"""One row through MLP 64-32-10: what a call costs when there is next to nothing to compute."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks import mlp, mlp_small, report
from benchmarks.harness import Contender, Plan, Session

NAME, TITLE = "predict_one", "predicting one row, MLP 64-32-10"


def contenders() -> list[Contender]:
    options = {"spec": asdict(mlp_small.SPEC), "data": mlp.data_file(mlp_small.SPEC.data)}
    single = {"OMP_NUM_THREADS": "1"}
    keras = {"KERAS_BACKEND": "jax"}
    made = []
    for how, text in (("predict", "model.predict"), ("call", "model(x)")):
        made.append(Contender("Ranvier", "ranvier_side:PredictOne", {**options, "how": how}, text, "ranvier"))
        made.append(Contender("Keras on JAX", "keras_side:PredictOne", {**options, "how": how}, text, "keras", keras))
    for compiled in (False, True):
        more = {**options, "threads": 1, "compiled": compiled}
        peer = "torch.compile" if compiled else "PyTorch eager"
        made.append(Contender(peer, "torch_side:PredictOne", more, "inference_mode", "torch", single))
    made.append(Contender("JAX jit", "jax_side:PredictOne", options, "NumPy in, waited for", "jax"))
    made.append(Contender("scikit-learn", "sklearn_side:PredictOne", options, "predict_proba", "sklearn"))
    return made


def run(plan: Plan) -> dict[str, Any]:
    with Session(contenders(), plan) as session:
        measured = session.measure()
    ours = measured.get("Ranvier (model.predict)")
    ours = ours if ours and ours.ok else None
    keras = measured.get("Keras on JAX (model.predict)")
    bars = [
        report.time_bar("model.predict of one row", ours.median if ours else None, 20e-6),
        report.ratio_bar("model.predict of one row", ours, keras if keras and keras.ok else None, 1 / 5, "Keras"),
    ]
    tables = [report.comparison("", "time per call", measured)]
    return report.record(NAME, TITLE, tables, bars, [m.record() for m in measured.values()])
