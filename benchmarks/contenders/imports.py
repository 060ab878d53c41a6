"""A fresh process that imports NumPy, then one package: ``python -m benchmarks.contenders.imports NAME``."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time


def main(name: str) -> dict[str, object]:
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        return {"missing": name}
    times = [time.perf_counter()]
    for module in ("numpy", name):
        importlib.import_module(module)
        times.append(time.perf_counter())
    loaded = sorted({module.partition(".")[0] for module in sys.modules})
    return {"numpy_s": times[1] - times[0], "package_s": times[2] - times[1], "loaded": loaded}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
