"""A fresh process up to its first training step: ``python -m benchmarks.contenders.first_step SIDE DATA``.

The last line printed is JSON: seconds for the import, and seconds from the import to the end of the first step.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
from dataclasses import asdict
from typing import Any

from benchmarks import mlp, mlp_large

# side -> (package, module and class of the contender, its options)
SIDES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Ranvier": ("ranvier", "ranvier_side:FirstStep", {}),
    "PyTorch eager": ("torch", "torch_side:TrainEager", {"threads": 2}),
    "torch.compile": ("torch", "torch_side:TrainCompiled", {"threads": 2, "how": "step"}),
    "JAX jit": ("jax", "jax_side:TrainStep", {}),
    "Keras on JAX": ("keras", "keras_side:FirstStep", {}),
    "scikit-learn": ("sklearn", "sklearn_side:Train", {"how": "partial_fit"}),
}


def main(side: str, data: str) -> dict[str, Any]:
    package, target, options = SIDES[side]
    if importlib.util.find_spec(package) is None:
        return {"missing": package}
    spec = mlp_large.SPEC
    problem = mlp.load(asdict(spec), data, most=spec.batch)
    mlp.load = lambda *_: problem  # loading the data is not part of the figure
    module, name = target.split(":")
    began = time.perf_counter()
    factory = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), name)
    imported = time.perf_counter()
    factory(asdict(spec), data, **options)  # builds, and takes the first step
    done = time.perf_counter()
    return {"import_s": imported - began, "step_s": done - imported}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
