"""A fresh process that trains and watches its memory: ``python -m benchmarks.contenders.memory SIDE DATA KIND COUNT``.

KIND is ``steps`` (one model, many steps) or ``models`` (many models, one short fit each). Resident memory is taken
after each tenth of the work.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from dataclasses import asdict
from typing import Any

from benchmarks import mlp_small
from benchmarks.contenders.first_step import SIDES
from benchmarks.worker import peak_resident, resident


def main(side: str, data: str, kind: str, count: str) -> dict[str, Any]:
    package, target, options = SIDES[side]
    if importlib.util.find_spec(package) is None:
        return {"missing": package}
    if "threads" in options:
        options = {**options, "threads": 1}
    module, name = target.split(":")
    factory = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), name)
    spec, before, sizes = asdict(mlp_small.SPEC), resident(), []
    contender = factory(spec, data, **options) if kind == "steps" else None
    for _ in range(10):
        if contender is not None:
            contender.run(int(count) // 10)
        else:
            for _ in range(int(count) // 10):
                factory(spec, data, **options)
        sizes.append(resident())
    return {"before": before, "peak": peak_resident(), "resident": sizes}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
