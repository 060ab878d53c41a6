"""The training step of every network in ``nets.py``: Ranvier's ``fit`` against the peers, on two threads.

``torch.compile`` takes a minute for the deep networks and has been the best peer only where ``COMPILED`` says so;
elsewhere it is measured with ``--all``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks import nets, report
from benchmarks.harness import ROOFLINE, Contender, Measurement, Plan, Session, copy_contender, peak_contender

OURS, THREADS = "Ranvier", 2
# network -> our time as a share of the best peer's; share of the roofline, where one is asked for
BARS: dict[str, tuple[float, float]] = {
    "cnn": (0.70, 0.0), "resnet20": (0.80, 0.70), "vgg": (0.85, 0.0), "ecg_cnn": (0.40, 0.0), "lstm": (0.50, 0.0),
    "char_lstm": (0.75, 0.0), "gru": (0.40, 0.0), "transformer": (0.80, 0.0), "autoencoder": (0.60, 0.0),
}  # fmt: skip
COMPILED = {"transformer", "lstm", "gru", "ecg_cnn"}  # where torch.compile is, or comes close to, the best peer


def contenders(name: str, every: bool = False) -> list[Contender]:
    net, limit = nets.NETS[name], {"OMP_NUM_THREADS": str(THREADS)}
    images = len(net.input) == 3
    made = [Contender(OURS, "ranvier_nets:Train", {"net": name}, "fit", "ranvier")]
    options = {"net": name, "threads": THREADS}
    for last in (False, True)[: 1 + images]:
        order = ("channels last" if last else "channels first") if images else "eager"
        more = options | {"last": last}
        made.append(Contender("PyTorch eager", "torch_nets:Train", more, order if images else "", "torch", limit))
        if every or name in COMPILED:
            more = more | {"compiled": True}
            made.append(Contender("torch.compile", "torch_nets:Train", more, order if images else "", "torch", limit))
    made.append(Contender("JAX jit", "jax_nets:Train", {"net": name}, "", "jax"))
    return [*made, peak_contender(THREADS), copy_contender(THREADS)]


def run(name: str, plan: Plan) -> dict[str, Any]:
    """Measure one network."""
    short = replace(plan, rounds=min(plan.rounds, 5))
    with Session(contenders(name, plan.every), short) as session:
        measured = session.measure()
    net = nets.NETS[name]
    rates = {m.contender.target: 1e9 / m.fastest for m in measured.values() if m.ok and m.contender.peer == ROOFLINE}
    peak, bandwidth = rates.get("roofline:Peak", 0.0), rates.get("roofline:Copy", 0.0)
    ours = measured.get(f"{OURS} (fit)")
    ours = ours if ours and ours.ok else None
    share, least = BARS.get(name, (1.0, 0.0))
    bars = [_against_best(measured, ours, share)]
    counted = f"Products and convolutions of a step: {nets.flops(net) / 1e6:.4g} MFLOP."
    notes = [f"{net.title}; Adam, fp32, {THREADS} threads. {counted}"]
    bound = _roofline(ours, peak, bandwidth)
    if ours and bound:
        notes.append(
            f"Roofline of Ranvier's step, each kernel at {peak / 1e9:.0f} GFLOP/s (micro-kernel) or "
            f"{bandwidth / 1e9:.0f} GB/s (copy): {report.seconds(bound)}, {100 * bound / ours.median:.0f} % of the "
            f"time in `fit`; products and convolutions alone: {100 * nets.flops(net) / peak / ours.median:.0f} %."
        )
    if least:
        told = f"{100 * bound / ours.median:.0f} %" if ours and bound else "not measured"
        met = bound / ours.median >= least if ours and bound else None
        bars.append(report.bar("share of the roofline", f"≥ {100 * least:.0f} %", told, met))
    notes += _compile_note(measured)
    tables = [report.comparison("", "time per step", measured, nets.flops(net), peak)]
    return report.record(
        name, f"training step, {net.title}", tables, bars, [m.record() for m in measured.values()], notes
    )


def _against_best(measured: dict[str, Measurement], ours: Measurement | None, share: float) -> dict[str, Any]:
    peers = [m for m in measured.values() if m.ok and m.contender.peer not in {OURS, ROOFLINE}]
    best = min(peers, key=lambda m: m.median) if peers else None
    named = f"the best peer, {best.contender.label}" if best else "the best peer"
    return report.ratio_bar("time per step", ours, best, share, named)


def _roofline(ours: Measurement | None, peak: float, bandwidth: float) -> float:
    """Seconds that the kernels of our step need at least: arithmetic or memory, whichever takes longer."""
    kernels = ours.info.get("kernels", []) if ours else []
    return sum(max(f / peak, moved / bandwidth) for f, moved in kernels) if peak and bandwidth else 0.0


def _compile_note(measured: dict[str, Measurement]) -> list[str]:
    times = [f"{label} {m.info['compile_s']:.1f} s" for label, m in measured.items() if m.ok and "compile_s" in m.info]
    return [f"Build, compile and first step: {', '.join(times)}."] if times else []


def check(name: str, plan: Plan, steps: int = 4) -> dict[str, Any]:
    """Prove that all do the same sums: the losses of the first steps from the same weights, rows in the same order."""
    rows = []
    with Session([c for c in contenders(name, plan.every) if c.peer != ROOFLINE], plan) as session:
        for label, losses in session.each("losses", steps=steps).items():
            rows.append([label, *(f"{value:.5f}" for value in losses)])
        rows += [[label, m.status, m.note, "", ""] for label, m in session.failures.items()]
    columns = ["who", *(f"step {i + 1}" for i in range(steps))]
    return report.table(f"{nets.NETS[name].title}: loss of the first steps", columns, rows)
