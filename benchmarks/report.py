"""Records and the Markdown table.

A workload returns one record (plain JSON): tables to print, bars to meet, and every sample that was taken. Records are
kept in ``results.json`` by workload, so that one workload can be run again alone; ``results.md`` is written from all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOFLINE, Measurement

FOLDER = Path(__file__).resolve().parent


def seconds(value: float) -> str:
    """A time with three figures and a fitting unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def mib(value: float) -> str:
    return f"{value / 2**20:.0f} MiB"


def table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {"heading": heading, "columns": list(columns), "rows": [list(row) for row in rows]}


def bar(what: str, limit: str, measured: str, met: bool | None) -> dict[str, Any]:
    """One requirement and how it came out (``met=None``: not measured)."""
    return {"what": what, "bar": limit, "measured": measured, "met": met}


def ratio_bar(
    what: str, ours: Measurement | None, theirs: Measurement | None, limit: float, whose: str
) -> dict[str, Any]:
    """The bar "our time is at most ``limit`` of theirs"."""
    wanted = f"≤ {limit:.3g} of {whose}"
    if ours is None or theirs is None:
        return bar(what, wanted, "Ranvier not measured" if ours is None else f"{whose} not measured", None)
    ratio = ours.median / theirs.median
    return bar(what, wanted, f"{ratio:.3f} ({seconds(ours.median)} : {seconds(theirs.median)})", ratio <= limit)


def time_bar(what: str, value: float | None, limit: float) -> dict[str, Any]:
    """The bar "takes at most ``limit`` seconds"."""
    if value is None:
        return bar(what, f"≤ {seconds(limit)}", "not measured", None)
    return bar(what, f"≤ {seconds(limit)}", seconds(value), value <= limit)


def comparison(
    heading: str, unit: str, measurements: dict[str, Measurement], flops: float = 0.0, peak: float = 0.0
) -> dict[str, Any]:
    """The table of one comparison: time, spread, times Ranvier's, share of the peak, memory."""
    ours = next((m for m in measurements.values() if m.ok and m.contender.peer == "Ranvier"), None)
    columns = ["who", unit, "± spread", "against Ranvier"]
    columns += ["share of peak"] if flops and peak else []
    columns += ["peak memory"]
    rows = []
    for label, m in measurements.items():
        if m.contender.peer == ROOFLINE:
            continue
        if not m.ok:
            rows.append([label, m.status + (f": {m.note}" if m.status == "failed" else "")] + [""] * (len(columns) - 2))
            continue
        row = [label, seconds(m.median), f"{100 * m.spread:.0f} %", f"{m.median / ours.median:.2f} ×" if ours else "-"]
        row += [f"{100 * flops / m.median / peak:.0f} %"] if flops and peak else []
        rows.append([*row, mib(m.memory.get("peak", 0))])
    return table(heading, columns, rows)


def record(
    name: str,
    title: str,
    tables: list[dict[str, Any]],
    bars: list[dict[str, Any]],
    measured: Any,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    return {"name": name, "title": title, "tables": tables, "bars": bars, "notes": list(notes), "measured": measured}


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    clean = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [
        max(len(line[i]) for line in [list(columns), *clean, ["---"] * len(columns)]) for i in range(len(columns))
    ]
    lines = [" | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in [list(columns), *clean]]
    return "\n".join(f"| {line} |" for line in [lines[0], " | ".join("-" * w for w in widths), *lines[1:]])


def markdown(item: dict[str, Any]) -> str:
    """One workload's section."""
    parts = [f"## {item['name']}: {item['title']}"]
    parts += list(item["notes"])
    for t in item["tables"]:
        parts += ([f"**{t['heading']}**"] if t["heading"] else []) + [markdown_table(t["columns"], t["rows"])]
    if item["bars"]:
        parts.append(bars_table(item["bars"]))
    return "\n\n".join(parts)


def bars_table(bars: Sequence[dict[str, Any]]) -> str:
    verdict = {True: "met", False: "**missed**", None: "not measured"}
    rows = [[b["what"], b["bar"], b["measured"], verdict[b["met"]]] for b in bars]
    return markdown_table(["what", "bar", "measured", "verdict"], rows)


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


def whole(records: dict[str, Any], environment: dict[str, str]) -> str:
    """The whole report: machine, bars, then one section a workload."""
    parts = [
        "# Benchmarks",
        (
            "Written by `make bench`. Every contender runs in a process of its own; the processes take turns"
            " (A B C A B C …), one slice each, and the figures are medians over the rounds. Times depend on the"
            " machine: read the ratios."
        ),
        "\n".join(f"- {key}: {value}" for key, value in environment.items()),
    ]
    bars = [b | {"what": f"{name}: {b['what']}"} for name, item in records.items() for b in item["bars"]]
    if bars:
        parts += ["## Bars", bars_table(bars)]
    for item in records.values():
        date = item.get("environment", {}).get("date", "")
        parts.append(markdown(item) + (f"\n\nMeasured {date}." if date else ""))
    return "\n\n".join(parts) + "\n"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    os.replace(temporary, path)
