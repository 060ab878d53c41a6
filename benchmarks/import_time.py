"""Import time over NumPy's own and size on disk, each in a fresh process (the files are in the page cache)."""

from __future__ import annotations

import importlib.metadata
import statistics
import tomllib
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.harness import ROOT, MissingPackageError, Plan, WorkerError, run_fresh

NAME, TITLE = "import_time", "import time and install size"
# what is imported -> the distribution that carries it
PACKAGES = {
    "ranvier": "ranvier",
    "torch": "torch",
    "jax": "jax",
    "keras": "keras",
    "sklearn.neural_network": "scikit-learn",
}
UNWANTED = ("sklearn", "matplotlib", "rich")


def run(plan: Plan) -> dict[str, Any]:
    rounds = 2 if plan.quick else 7
    times: dict[str, list[dict[str, Any]]] = {name: [] for name in PACKAGES if plan.takes(name)}
    failed: dict[str, str] = {}
    for turn in range(rounds + 1):
        for name in [n for n in times if n not in failed]:
            try:
                sample = run_fresh("benchmarks.contenders.imports", [name], {"KERAS_BACKEND": "jax"})
            except WorkerError as error:
                failed[name] = ("" if isinstance(error, MissingPackageError) else "failed: ") + str(error)[:160]
                continue
            if turn:  # the first only warms the page cache
                times[name].append(sample)
    rows = []
    for name, samples in times.items():
        size = install_size(PACKAGES[name])
        told = failed.get(name) or report.seconds(statistics.median(s["package_s"] for s in samples))
        rows.append([name, told, report.mib(size) if size else "-"])
    numpy_s = [s["numpy_s"] for samples in times.values() for s in samples]
    ours = times.get("ranvier") or None
    loaded = sorted({m for s in ours for m in s["loaded"]} & set(UNWANTED)) if ours else []
    own = statistics.median(s["package_s"] for s in ours) if ours else None
    bars = [
        report.time_bar("import ranvier, over NumPy", own, 0.25),
        report.bar("imported along with it", f"none of {', '.join(UNWANTED)}",
                   ", ".join(loaded) or "none" if ours else "not measured", not loaded if ours else None),
    ]  # fmt: skip
    notes = [f"NumPy itself: {report.seconds(statistics.median(numpy_s))}."] if numpy_s else []
    notes += ["Size: the package and everything it requires, unpacked, without bytecode."]
    tables = [report.table("", ["import", "time over NumPy", "install size"], rows)]
    return report.record(NAME, TITLE, tables, bars, {"times": times, "failed": failed}, notes)


def install_size(distribution: str) -> int:
    """Bytes of a distribution and of all it requires (0: not installed)."""
    if distribution == "ranvier":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        own = sum(f.stat().st_size for f in (ROOT / "src" / "ranvier").rglob("*") if f.is_file() and not _bytecode(f))
        return own + _closure(project["dependencies"], set())
    return _closure([distribution], set())


def _closure(requirements: list[str], seen: set[str]) -> int:
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:  # comes with pytest; without it only the sizes are missing
        return 0
    total = 0
    for text in requirements:
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        paths = [Path(str(found.locate_file(f))) for f in found.files or []]
        total += sum(p.stat().st_size for p in paths if p.is_file() and not _bytecode(p))
        total += _closure(found.requires or [], seen)
    return total


def _bytecode(path: Path) -> bool:
    return path.suffix == ".pyc"
