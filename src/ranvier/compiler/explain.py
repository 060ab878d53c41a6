"""Plans as text: what each kernel does, where it comes from, what it costs, and how long it took."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier.compiler.kernel import Callback, Control
from ranvier.compiler.measure import measure_peak
from ranvier.compiler.plan import Plan, step_cost

__all__ = ["explain_plan", "profile_plan", "roofline"]


@functools.cache
def roofline() -> tuple[float, float]:
    """This machine's (peak FLOP/s, bytes/s) on one core, measured once per process in a few milliseconds."""
    return measure_peak()


def _short(step: Any) -> str:
    """What kind of kernel, and its loops."""
    if isinstance(step, Callback):
        return "reference"
    if isinstance(step, Control):
        return f"{step.kind} x{step.turns}" if step.turns else step.kind
    spec = step.spec
    kind = type(spec).__name__.lower()
    if kind == "contraction":
        batch = f"{spec.batch}x" if spec.batch > 1 else ""
        return f"product {batch}{spec.m}x{spec.k}x{spec.n}"
    if kind == "nest":
        name = {"none": "map", "last": "rows", "middle": "columns"}[spec.reduce]
        return f"{name} {'x'.join(map(str, spec.dims))}"
    if kind == "window":
        window, out = ("x".join(str(n) for n in part) for part in _window_sizes(spec))
        return f"{spec.kind} {window} {out}"
    return kind


def _window_sizes(spec: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The taps of a window along its real axes, and the pixels and elements of what it makes."""
    taps = tuple(a.taps for a in spec.axes if a.taps > 1) or (1,)
    return taps, (*(a.out for a in spec.axes), spec.rows * spec.width)


def _ops(step: Any) -> str:
    names = [v.op for v in step.nodes if v.op not in ("copy", "reshape", "broadcast_to")] or ["copy"]
    counted: list[str] = []
    for name in dict.fromkeys(names):
        n = names.count(name)
        counted.append(name if n == 1 else f"{name} x{n}")
    text = " ".join(counted)
    return text if len(text) <= 70 else text[:67] + "..."


def _source(step: Any) -> str:
    places = []
    for v in step.nodes:
        scope = v.scope.rsplit("/", 1)[-1]
        line = f"{v.where[0].rsplit('/', 1)[-1]}:{v.where[1]}" if v.where else ""
        text = scope or line
        if text and text not in places:
            places.append(text)
    return ", ".join(places[:3]) + (" ..." if len(places) > 3 else "")


def _bound(step: Any, threads: int) -> float:
    """Roofline time in seconds: arithmetic at peak or traffic at full bandwidth, whichever is longer."""
    peak, bandwidth = roofline()
    if isinstance(step, Control):
        return max(step.turns, 1) * sum(_bound(s, threads) for inside in step.plans for s in inside.steps)
    flops, moved = step_cost(step)
    used = threads if not isinstance(step, Callback) and step.spec.units > 1 else 1
    return max(flops / (peak * used), moved / bandwidth)


def _rows(plan: Plan, threads: int, times: Sequence[float] | None) -> list[str]:
    head = f"{'':>3} {'kernel':<28} {'kFLOP':>9} {'kB':>8} {'bound us':>9}"
    head += f" {'us':>9} {'share':>6}" if times is not None else ""
    lines = [head + "  ops  # source"]
    for i, step in enumerate(plan.steps):
        flops, moved = step_cost(step)
        bound = _bound(step, threads)
        line = f"{i:>3} {_short(step):<28} {flops / 1e3:>9.1f} {moved / 1e3:>8.1f} {bound * 1e6:>9.2f}"
        if times is not None:
            share = bound / times[i] if times[i] > 0 else 0.0
            line += f" {times[i] * 1e6:>9.2f} {share:>6.0%}"
        once = "; only when a weight has changed" if i < plan.kept else ""
        lines.append(f"{line}  {_ops(step)}  # {_source(step)}{once}".rstrip())
        if isinstance(step, Control):
            for inside in step.plans:
                lines.extend("    | " + inner for inner in _rows(inside, threads, None)[1:])
    return lines


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _summary(plan: Plan, threads: int) -> str:
    bound = sum(_bound(s, threads) for s in plan.steps[plan.kept :]) * 1e6
    fallback = sum(isinstance(s, Callback) for s in plan.steps)
    text = (
        f"{_count(len(plan.steps), 'kernel')}, {_count(threads, 'thread')}, {plan.flops / 1e6:.3f} MFLOP, "
        f"{plan.bytes / 1e6:.3f} MB moved, {plan.arena / 1e6:.3f} MB of intermediate values, roofline {bound:.2f} us"
    )
    return text + (f"; {fallback} op(s) run on the reference: they have no kernel" if fallback else "")


def explain_plan(plan: Plan, threads: int) -> str:
    """The plan: each kernel, the ops it fuses, their source lines, FLOPs, bytes, and the time the machine allows."""
    return "\n".join([_summary(plan, threads), *_rows(plan, threads, None)])


def profile_plan(
    plan: Plan, threads: int, rows: Sequence[Any], cycles: np.ndarray, steps: int, run: Callable[[], Any]
) -> str:
    """The plan with measured times: ``run`` adds each instruction's cycles to ``cycles``."""
    start = time.perf_counter()
    run()
    elapsed = time.perf_counter() - start
    total = int(cycles.sum()) or 1
    by_step: dict[int, float] = {}
    for s, c in zip(rows, cycles, strict=True):
        if s is not None:
            by_step[id(s)] = by_step.get(id(s), 0.0) + float(c) / total * elapsed / steps
    times = [by_step.get(id(s), 0.0) for s in plan.steps]
    head = f"{elapsed / steps * 1e6:.2f} us a step over {steps} steps; " + _summary(plan, threads)
    return "\n".join([head, *_rows(plan, threads, times)])
