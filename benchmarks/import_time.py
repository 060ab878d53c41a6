"""Import time over NumPy's own and size on disk, each in a fresh process (the files are in the page cache)."""

from __future__ import annotations

import importlib.metadata
import statistics
import subprocess
import sys
import tempfile
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
UNWANTED = ("sklearn", "matplotlib", "rich", "torch", "jax", "keras")


def run(plan: Plan) -> dict[str, Any]:
    times: dict[str, list[dict[str, Any]]] = {name: [] for name in PACKAGES if plan.takes(name)}
    failed: dict[str, str] = {}
    for turn in range(3 if plan.quick else 10):
        for name in [n for n in times if n not in failed and (n == "ranvier" or turn < 4)]:
            try:
                sample = run_fresh("benchmarks.contenders.imports", [name], {"KERAS_BACKEND": "jax"})
            except WorkerError as error:
                failed[name] = ("" if isinstance(error, MissingPackageError) else "failed: ") + str(error)[:160]
                continue
            if turn:  # the first only warms the page cache
                times[name].append(sample)
    sizes = {name: install_size(PACKAGES[name]) for name in times}
    rows = []
    for name, samples in times.items():
        told = failed.get(name) or report.seconds(statistics.median(s["package_s"] for s in samples))
        rows.append([name, told, report.mib(sum(sizes[name].values())) if sizes[name] else "-"])
    numpy_s = [s["numpy_s"] for samples in times.values() for s in samples]
    ours = times.get("ranvier") or None
    notes = [f"NumPy itself: {report.seconds(statistics.median(numpy_s))}."] if numpy_s else []
    notes += ["Size: the package and everything it requires, unpacked, without bytecode."]
    tables = [report.table("", ["import", "time over NumPy", "install size"], rows)]
    wheel = wheel_size() if "ranvier" in times else "-"
    parts = [["the wheel of ranvier (compressed)", wheel]]
    parts += [[name, f"{size / 2**20:.1f} MiB"] for name, size in sizes.get("ranvier", {}).items()]
    tables.append(report.table("What installing Ranvier puts on the disk", ["what", "size"], parts))
    raw = {"times": times, "failed": failed, "sizes": sizes, "wheel": wheel}
    return report.record(NAME, TITLE, tables, _bars(ours), raw, notes)


def _bars(ours: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    own = statistics.median(s["package_s"] for s in ours) if ours else None
    loaded = sorted({m for s in ours or [] for m in s["loaded"]} & set(UNWANTED))
    told = (", ".join(loaded) or "none") if ours else "not measured"
    return [
        report.time_bar("import ranvier, over NumPy's own", own, 0.25),
        report.bar("imported along with it", f"none of {', '.join(UNWANTED)}", told, not loaded if ours else None),
    ]


def wheel_size() -> str:
    """The size of the wheel that ``pip wheel`` makes, or why it made none."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        except (subprocess.SubprocessError, OSError) as error:
            return f"not built: {type(error).__name__} (pip needs the network for the build tools)"
        (wheel,) = Path(folder).glob("*.whl")
        return f"{wheel.stat().st_size / 2**10:.0f} KiB"


def install_size(distribution: str) -> dict[str, int]:
    """Bytes of a distribution and of all it requires, by name (nothing: not installed)."""
    if distribution == "ranvier":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        own = sum(f.stat().st_size for f in (ROOT / "src" / "ranvier").rglob("*") if f.is_file() and not _bytecode(f))
        found = {"ranvier": own}
        _collect(project["dependencies"], found)
        return found
    found = {}
    _collect([distribution], found)
    return found


def _collect(requirements: list[str], found: dict[str, int]) -> None:
    """Add the size of each requirement, and of what it requires, to ``found``."""
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:  # comes with pytest; without it only the sizes are missing
        return
    for text in requirements:
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        paths = [Path(str(installed.locate_file(f))) for f in installed.files or []]
        found[name] = sum(p.stat().st_size for p in paths if p.is_file() and not _bytecode(p))
        _collect(installed.requires or [], found)


def _bytecode(path: Path) -> bool:
    return path.suffix == ".pyc"
