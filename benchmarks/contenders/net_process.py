"""A fresh process that builds a network and trains it: ``python -m benchmarks.contenders.net_process SIDE NET STEPS``.

The last line printed is JSON: seconds for the import, seconds from the import to the end of the first step, resident
memory after the import, and the most that was resident. With ``STEPS`` 0 the process ends after the first step, else it
trains for so many steps as the training benchmarks do (Ranvier by ``fit``).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import resource
import sys
import time
from typing import Any

from benchmarks import nets

# side -> (package, module, options)
SIDES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Ranvier": ("ranvier", "ranvier_nets", {}),
    "PyTorch eager": ("torch", "torch_nets", {"threads": 2, "last": False}),
    "PyTorch eager, channels last": ("torch", "torch_nets", {"threads": 2, "last": True}),
    "torch.compile": ("torch", "torch_nets", {"threads": 2, "compiled": True}),
    "JAX jit": ("jax", "jax_nets", {}),
}


def most_resident() -> int:
    """Bytes. On Linux ``ru_maxrss`` counts KiB, and starts at what the parent had when it made this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(side: str, name: str, steps: str) -> dict[str, Any]:
    package, module, options = SIDES[side]
    if importlib.util.find_spec(package) is None:
        return {"missing": package}
    samples, start = nets.data(nets.NETS[name]), nets.weights(nets.NETS[name])
    nets.data, nets.weights = lambda *_: samples, lambda *_: start  # making them is not part of the figure
    began = time.perf_counter()
    found = importlib.import_module(f"benchmarks.contenders.{module}")
    imported, before = time.perf_counter(), most_resident()
    contender = (found.Train if int(steps) else found.FirstStep)(name, **options)
    done = time.perf_counter()
    if int(steps):
        contender.run(int(steps))
    return {"import_s": imported - began, "step_s": done - imported, "before": before, "peak": most_resident()}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
