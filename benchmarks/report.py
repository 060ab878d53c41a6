"""Records and their Markdown.

A workload returns one record (plain JSON): tables to print, bars to meet, and every sample that was taken. How records
are kept, and the whole report, are in ``results.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.harness import ROOFLINE, Measurement


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


def bar(what: str, limit: str, measured: str, met: bool | None, row: str = "", kind: str = "bar") -> dict[str, Any]:
    """One requirement and how it came out.

    Args:
        what: what is measured.
        limit: the bar, as text.
        measured: the figure, as text.
        met: None if not measured.
        row: the requirement (of ``summary.ROWS``) it belongs to, by default the workload's own.
        kind: ``"bar"``, ``"goal"`` (hoped for, not required) or ``"extra"`` (harder than what is required).
    """
    return {"what": what, "bar": limit, "measured": measured, "met": met, "row": row, "kind": kind}


def ratio_bar(
    what: str, ours: Measurement | None, theirs: Measurement | None, limit: float, whose: str, kind: str = "bar"
) -> dict[str, Any]:
    """The bar "our time is at most ``limit`` of theirs"."""
    wanted = f"≤ {limit:.3g} of {whose}"
    if ours is None or theirs is None:
        told = "Ranvier not measured" if ours is None else f"{whose} not measured"
        return bar(what, wanted, told, None, kind=kind)
    ratio = ours.median / theirs.median
    told = f"{ratio:.3f} ({seconds(ours.median)} : {seconds(theirs.median)})"
    return bar(what, wanted, told, ratio <= limit, kind=kind)


def time_bar(what: str, value: float | None, limit: float, row: str = "", kind: str = "bar") -> dict[str, Any]:
    """The bar "takes at most ``limit`` seconds"."""
    if value is None:
        return bar(what, f"≤ {seconds(limit)}", "not measured", None, row, kind)
    return bar(what, f"≤ {seconds(limit)}", seconds(value), value <= limit, row, kind)


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


def verdict(item: dict[str, Any]) -> str:
    """Whether a bar is met, in a word; a miss of what is not required is not printed bold."""
    if item["met"] is None:
        return "not measured"
    return "yes" if item["met"] else "**no**" if item["kind"] == "bar" else "no"


def bar_name(item: dict[str, Any]) -> str:
    """What is measured; goals and comparisons harder than required are marked."""
    return {"bar": "", "goal": "goal, ", "extra": "beyond the bar, "}[item["kind"]] + item["what"]


def bars_table(bars: Sequence[dict[str, Any]]) -> str:
    rows = [[bar_name(b), b["bar"], b["measured"], verdict(b)] for b in bars]
    return markdown_table(["what", "bar", "measured", "met"], rows)
