"""What the figures were measured on: processor, cores, versions, commit, date."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import resource
import subprocess
import time
from pathlib import Path

PACKAGES = ("numpy", "llvmlite", "torch", "jax", "jaxlib", "keras", "scikit-learn", "onnxruntime")


def environment() -> dict[str, str]:
    """Facts for the head of the report."""
    facts = {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }
    commit = _commit()
    return facts | ({"commit": commit} if commit else {})


def cpu_seconds() -> tuple[float, float, float]:
    """The clock, and processor seconds so far of the whole machine and of this process with its ended children."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return time.monotonic(), 0.0, 0.0
    fields = [int(f) for f in stat.read_text().splitlines()[0].split()[1:9]]  # user nice system idle iowait irq ...
    busy = (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.monotonic(), busy, sum(use.ru_utime + use.ru_stime for use in uses)


def disturbance(before: tuple[float, float, float], after: tuple[float, float, float]) -> list[str]:
    """A note when other programs took a tenth of a core or more meanwhile: figures from such a run mean little."""
    wall, busy, own = (b - a for a, b in zip(before, after, strict=True))
    others = (busy - own) / wall if wall > 0 else 0.0
    return [f"**Other programs took {others:.1f} cores meanwhile.**"] if others >= 0.1 else []


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in info.read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
