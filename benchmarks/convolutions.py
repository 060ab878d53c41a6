"""Sixty random convolutions, forward and both gradients, against PyTorch's better layout, on two threads."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks import report
from benchmarks.conv_shapes import Shape, drawn
from benchmarks.harness import Contender, Plan, Session

NAME, TITLE = "convolutions", "60 random convolutions: forward, gradient of the image, gradient of the kernel; fp32"
KINDS = {"forward": "forward", "image": "image gradient", "kernel": "kernel gradient"}
OURS, FIRST, LAST = "Ranvier", "PyTorch (channels first)", "PyTorch (channels last)"
WORST, MIDDLE, SLICE = 1.3, 0.9, 0.02
THREADS = 2


def contenders() -> list[Contender]:
    limit = {"OMP_NUM_THREADS": str(THREADS)}
    made = [Contender("Ranvier", "conv_sides:Ranvier", {}, "", "ranvier")]
    for last in (False, True):
        options = {"threads": THREADS, "last": last}
        made.append(
            Contender("PyTorch", "conv_sides:Torch", options, f"channels {'last' if last else 'first'}", "torch", limit)
        )
    return made


def run(plan: Plan) -> dict[str, Any]:
    shapes = drawn()[: 6 if plan.quick else None]
    found: list[dict[str, dict[str, float]]] = []  # by shape: side -> kind -> median seconds
    failed: list[str] = []
    with Session(contenders(), plan) as session:
        for number, shape in enumerate(shapes):
            session.each("prepare", number=number)
            found.append(measure(session, min(plan.slice_s, SLICE), 1 if plan.quick else 3))
            failed += [f"{m.contender.label} left at {shape.text}: {m.note}" for m in session.failures.values()][:1]
    ratios = {(n, k): r for n, times in enumerate(found) for k in KINDS if (r := ratio(times, k)) is not None}
    rows = [_row(shape, found[n], [ratios.get((n, k)) for k in KINDS]) for n, shape in enumerate(shapes)]
    columns = ["batch×height×width×channels→filters", "MFLOP", *(f"{k}: ours : PyTorch" for k in KINDS.values())]
    note = (
        "PyTorch has its operands channels first or last, whichever is faster for the call; Ranvier channels last. In"
        " brackets our time divided by PyTorch's. k kernel, s strides, d dilation, g groups, p padding on every side."
    )
    raw = [{"shape": s.text, "flops": s.flops, "times": t} for s, t in zip(shapes, found, strict=True)]
    return report.record(NAME, TITLE, [report.table("", columns, rows)], _bars(shapes, ratios), raw, [note, *failed])


def measure(session: Session, seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """Interleaved: every side once a round."""
    samples: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for label, times in session.each("times", seconds=seconds).items():
            for kind, value in times.items():
                samples.setdefault(label, {}).setdefault(kind, []).append(value)
    return {label: {k: statistics.median(v) for k, v in kinds.items()} for label, kinds in samples.items()}


def ratio(times: dict[str, dict[str, float]], kind: str) -> float | None:
    """Our time divided by PyTorch's in its better layout."""
    theirs = [times[side][kind] for side in (FIRST, LAST) if side in times]
    return times[OURS][kind] / min(theirs) if OURS in times and theirs else None


def _row(shape: Shape, times: dict[str, dict[str, float]], ratios: list[float | None]) -> list[str]:
    cells = []
    for kind, value in zip(KINDS, ratios, strict=True):
        ours = report.seconds(times[OURS][kind]) if OURS in times else "-"
        theirs = [times[side][kind] for side in (FIRST, LAST) if side in times]
        said = f" ({value:.2f})" if value is not None else ""
        cells.append(f"{ours} : {report.seconds(min(theirs)) if theirs else '-'}{said}")
    return [shape.text, f"{shape.flops / 1e6:.0f}", *cells]


def _bars(shapes: list[Shape], ratios: dict[tuple[int, str], float]) -> list[dict[str, Any]]:
    if not ratios:
        return [report.bar("time against PyTorch's better layout", f"≤ {WORST} each", "not measured", None)]
    (number, kind), worst = max(ratios.items(), key=lambda item: item[1])
    slow = sum(r > WORST for r in ratios.values())
    told = f"worst {worst:.2f} ({KINDS[kind]} of {shapes[number].text}); {slow} of {len(ratios)} above"
    middle = statistics.median(ratios.values())
    by_kind = {k: statistics.median(r for (_, kind), r in ratios.items() if kind == k) for k in KINDS}
    parts = ", ".join(f"{KINDS[k]} {v:.2f}" for k, v in by_kind.items())
    return [
        report.bar("slowest against PyTorch's better layout", f"≤ {WORST} each", told, slow == 0),
        report.bar("median against it", f"≤ {MIDDLE}", f"{middle:.2f} ({parts})", middle <= MIDDLE),
    ]
