"""A fresh process that trains and watches its memory: ``python -m benchmarks.contenders.memory SIDE DATA KIND COUNT``.

KIND is ``steps`` (one model, many steps) or ``models`` (many models, each built, compiled and fitted). Resident memory
is taken after a sixth of the work, a half and all of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from dataclasses import asdict
from typing import Any

from benchmarks import mlp_small
from benchmarks.worker import peak_resident, resident

# side -> (package, module and class of the contender, its options)
SIDES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Ranvier": ("ranvier", "ranvier_side:Train", {}),
    "PyTorch eager": ("torch", "torch_side:TrainEager", {"threads": 1}),
    "JAX jit": ("jax", "jax_side:TrainStep", {}),
    "Keras on JAX": ("keras", "keras_side:Train", {}),
    "scikit-learn": ("sklearn", "sklearn_side:Train", {"how": "partial_fit"}),
}


def main(side: str, data: str, kind: str, count: str) -> dict[str, Any]:
    package, target, options = SIDES[side]
    if importlib.util.find_spec(package) is None:
        return {"missing": package}
    if kind == "models":
        target = "ranvier_side:Models"
    module, name = target.split(":")
    factory = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), name)
    spec, before, sizes = asdict(mlp_small.SPEC), resident(), []
    contender = factory(spec, data, **options)
    whole, done = int(count), 0
    for until in (whole // 6, whole // 2, whole):
        done += contender.run(until - done)[1]
        sizes.append(resident())
    return {"before": before, "peak": peak_resident(), "resident": sizes}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
