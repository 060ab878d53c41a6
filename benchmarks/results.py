"""``results.json`` and ``results.md``.

Records are kept in ``results.json`` by workload, so that one workload can be run again alone; ``results.md`` is written
from all that is known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import summary
from benchmarks.report import markdown

FOLDER = Path(__file__).resolve().parent


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def save(records: dict[str, Any], environment: dict[str, str], order: Sequence[str], folder: Path = FOLDER) -> Path:
    """Merge ``records`` into ``results.json`` and write ``results.md`` from all that is known."""
    known = load(folder / "results.json")
    for name, item in records.items():
        known[name] = item | {"environment": environment}
    ordered = {name: known[name] for name in order if name in known}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(item, ensure_ascii=False)}" for name, item in ordered.items())
    _write(folder / "results.json", f"{{\n{lines}\n}}\n")
    _write(folder / "results.md", whole(ordered, environment))
    return folder / "results.md"


def order() -> tuple[str, ...]:
    """All workloads, those on real data last."""
    from benchmarks.__main__ import WORKLOADS
    from benchmarks.real import TASKS

    return (*WORKLOADS, *(f"real_{name}" for name in TASKS))


def whole(records: dict[str, Any], environment: dict[str, str]) -> str:
    """The whole report: machine, bars, then one section a workload."""
    parts = [
        "# Benchmarks",
        (
            "Written by `make bench`. Every contender runs in a process of its own; the processes take turns"
            " (A B C A B C …), one slice each, and the figures are medians over the rounds. Times depend on the"
            " machine: read the ratios. A peer that comes in several variants is compared by its fastest one, unless"
            " the bar names another."
        ),
        "\n".join(f"- {key}: {value}" for key, value in environment.items()),
    ]
    parts += ["## Summary", *summary.sections(records)]
    for item in records.values():
        date = item.get("environment", {}).get("date", "")
        parts.append(markdown(item) + (f"\n\nMeasured {date}." if date else ""))
    return "\n\n".join(parts) + "\n"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    os.replace(temporary, path)
