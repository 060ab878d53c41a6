"""The training workloads' common part: the problem, the peers, the table and the check.

The problem (data, first weights, batch order) comes from NumPy with one seed and is the same for all. Loops that users
write themselves follow the given order; a ``fit`` that shuffles by itself (Ranvier, Keras, scikit-learn) draws its own
permutations of the same rows, and pays for drawing them. All use Adam with the same constants in float32.
"""

from __future__ import annotations

import functools
import gc
import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.harness import ROOFLINE, Contender, Measurement, Plan, Session, copy_contender, peak_contender, plural

EPSILON = 1e-7  # Keras's default; given to every peer


@dataclass(frozen=True)
class Spec:
    """A network and how it is trained. ``data`` names a function of :data:`DATA`."""

    sizes: tuple[int, ...]
    batch: int
    data: str
    loss: str = "softmax"  # "softmax" (integer labels) | "sigmoid" (one output, labels 0 and 1)
    rate: float = 1e-3

    @property
    def text(self) -> str:
        return f"MLP {'-'.join(map(str, self.sizes))}, batch {self.batch}, Adam"

    @property
    def flops(self) -> int:
        """Multiplications and additions in the matrix products of a step (the first layer needs no input gradient)."""
        pairs = list(itertools.pairwise(self.sizes))
        forward = sum(a * b for a, b in pairs)
        return 2 * self.batch * (3 * forward - pairs[0][0] * pairs[0][1])


@dataclass(frozen=True)
class Problem:
    """What a contender trains on."""

    spec: Spec
    x: np.ndarray  # float32 [rows, features], a whole number of batches
    y: np.ndarray  # int64 [rows]
    weights: list[np.ndarray]  # W1 [in, out], b1, W2, b2, ... as Keras orders them
    orders: np.ndarray  # int64 [epochs, steps, batch]: row numbers, to be cycled through

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return len(self.x) // self.spec.batch


def load(spec: dict[str, Any], data: str, most: int | None = None) -> Problem:
    """The problem, in a worker: ``spec`` as the parent sent it, ``data`` the file it wrote, at most ``most`` rows."""
    made = Spec(**{**spec, "sizes": tuple(spec["sizes"])})
    with np.load(data) as arrays:
        x, y = arrays["x"][:most], arrays["y"][:most]
    rng = np.random.default_rng(20)
    weights = []
    for a, b in itertools.pairwise(made.sizes):
        limit = np.sqrt(6 / (a + b))
        weights += [rng.uniform(-limit, limit, (a, b)).astype(np.float32), np.zeros(b, np.float32)]
    rows = len(x) // made.batch * made.batch
    orders = np.stack([rng.permutation(rows).reshape(-1, made.batch) for _ in range(8)])
    return Problem(made, x[:rows], y[:rows], weights, orders)


def mean_loss(problem: Problem, weights: list[np.ndarray]) -> float:
    """The loss over all rows, in float64, by NumPy."""
    h = problem.x.astype(np.float64)
    for i in range(0, len(weights), 2):
        h = h @ weights[i] + weights[i + 1]
        h = np.maximum(h, 0) if i < len(weights) - 2 else h
    if problem.spec.loss == "sigmoid":
        z = h[:, 0]
        return float(np.mean(np.logaddexp(0, z) - z * problem.y))
    top = h.max(1)
    log_sum = top + np.log(np.exp(h - top[:, None]).sum(1))
    return float(np.mean(log_sum - h[np.arange(len(h)), problem.y]))


def objects_left(work: Callable[[], object]) -> int:
    """How many more Python objects there are after ``work`` than before, once the collector has run."""
    work()  # caches fill on the first turn
    gc.collect()
    before = len(gc.get_objects())
    work()
    gc.collect()
    return len(gc.get_objects()) - before


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 handwritten digits of 8 × 8 pixels, scaled to [0, 1]."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x / 16, y


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """569 tumours, 30 measurements each, standardised; 1 = benign."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return (x - x.mean(0)) / x.std(0), y


def images() -> tuple[np.ndarray, np.ndarray]:
    """16,384 made-up images of 784 pixels in 10 classes (51 MB: more than the last-level cache)."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 10, 16384)
    return rng.normal(0, 1, (10, 784))[y] * 0.15 + rng.normal(0, 1, (16384, 784)) * 0.5, y


DATA = {"digits": digits, "breast_cancer": breast_cancer, "images": images}


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="benchmarks-")


@functools.cache
def data_file(name: str) -> str:
    """The data set as a file for the workers (removed at exit).

    A tenth of the labels is random. Without that, long runs end with vanishing gradients, and what is timed is how a
    framework treats denormal numbers.
    """
    path = Path(_folder().name) / f"{name}.npz"
    x, y = DATA[name]()
    rng = np.random.default_rng(3)
    y = np.where(rng.random(len(y)) < 0.1, rng.permutation(y), y)
    np.savez(path, x=x.astype(np.float32), y=y.astype(np.int64))
    return str(path)


def contenders(spec: Spec, every: bool = False) -> list[Contender]:
    """Ranvier, its peers with their variants, and what gives the roofline.

    ``torch.compile`` runs on the number of threads that suits the size; with ``every`` on the other one too.
    """
    options = {"spec": asdict(spec), "data": data_file(spec.data)}
    single = {"RANVIER_THREADS": "1"}
    made = [
        Contender(OURS, "ranvier_side:Train", options, "fit", "ranvier"),
        Contender(OURS, "ranvier_side:Train", options, "fit, 1 thread", "ranvier", single),
        Contender(OURS, "ranvier_side:Native", options, "compiled step alone", "ranvier"),
    ]
    for threads in (1, 2):
        limit = {"OMP_NUM_THREADS": str(threads)}
        text = plural(threads, "thread")
        more = {**options, "threads": threads}
        made.append(Contender("PyTorch eager", "torch_side:TrainEager", more, text, "torch", limit))
        if every or threads == (2 if spec.flops > LARGE else 1):
            made += [
                Contender(
                    "torch.compile", "torch_side:TrainCompiled", more | {"how": h}, f"{h}, {text}", "torch", limit
                )
                for h in ("model", "step")
            ]
    made += [
        Contender("JAX jit", "jax_side:TrainStep", options, "one call a step", "jax"),
        Contender("JAX jit", "jax_side:TrainScan", options, "lax.scan over an epoch", "jax"),
        *(
            Contender("scikit-learn", "sklearn_side:Train", options | {"how": how}, how, "sklearn")
            for how in ("fit", "partial_fit")
        ),
        Contender("Keras on JAX", "keras_side:Train", options, "fit", "keras", {"KERAS_BACKEND": "jax"}),
    ]
    return [*made, peak_contender(2), copy_contender(2)]


LARGE = 20e6  # FLOP in a step from which a second thread is worth waking
OURS, FIT = "Ranvier", "Ranvier (fit)"
STEP, SCAN = "JAX jit (one call a step)", "JAX jit (lax.scan over an epoch)"
PEERS = ("PyTorch eager", "torch.compile", "JAX jit", "scikit-learn", "Keras on JAX")


@dataclass(frozen=True)
class Limit:
    """The bar "``fit`` takes at most ``share`` of a peer's time a step".

    ``peer`` is a peer (its fastest variant counts), the label of one variant, or ``"best peer"``; ``but`` is a variant
    that is left out.
    """

    share: float
    peer: str
    but: str = ""
    kind: str = "bar"


def run(name: str, title: str, spec: Spec, plan: Plan, limits: Sequence[Limit], goal: Any = None) -> dict[str, Any]:
    """Measure one training workload.

    Args:
        limits: the bars.
        goal: a function that makes one more bar from the time of a step (None: not measured) and the shares of the
            two rooflines.
    """
    with Session(contenders(spec, plan.every), plan) as session:
        measured = session.measure()
    ours = measured.get(FIT)
    step_s = ours.median if ours and ours.ok else None
    rates = {m.contender.target: 1e9 / m.fastest for m in measured.values() if m.ok and m.contender.peer == ROOFLINE}
    peak, bandwidth = rates.get("roofline:Peak", 0.0), rates.get("roofline:Copy", 0.0)
    bound = _roofline(measured, peak, bandwidth)
    shares = [value / step_s if step_s else 0.0 for value in (bound, spec.flops / peak if peak else 0.0)]
    bars = [_bar(measured, limit) for limit in limits] + ([goal(step_s, *shares)] if goal else [])
    text = (
        f"{spec.text}, on {spec.data.replace('_', ' ')} with a tenth of the labels random. Ranvier's and Keras's time "
        "is that of a `fit` of many epochs, after a first one, divided by its steps. Matrix products of a step: "
        f"{spec.flops / 1e6:.3g} MFLOP."
    )
    notes = [text]
    if bound and step_s and spec.flops > LARGE:  # what fits the caches is not bound by the copy
        notes.append(
            f"Roofline of Ranvier's step, each kernel at {peak / 1e9:.0f} GFLOP/s (micro-kernel, 2 threads) or "
            f"{bandwidth / 1e9:.0f} GB/s (copy, 2 threads), the best of this run: {report.seconds(bound)}, "
            f"{100 * shares[0]:.0f} % of the time in `fit`. The matrix products alone, as if all else were free: "
            f"{100 * shares[1]:.0f} %."
        )
    compile_note = _compile_note(measured)
    notes += [compile_note] if compile_note else []
    tables = [report.comparison("", "time per step", measured, spec.flops, peak)]
    return report.record(name, title, tables, bars, [m.record() for m in measured.values()], notes)


def _bar(measured: dict[str, Measurement], limit: Limit) -> dict[str, Any]:
    """Our ``fit`` against what the limit names."""
    found = [
        m for label, m in measured.items()
        if m.ok and label != limit.but
        and (m.contender.peer in PEERS if limit.peer == "best peer" else limit.peer in (label, m.contender.peer))
    ]  # fmt: skip
    theirs = min(found, key=lambda m: m.median) if found else None
    named = theirs.contender.label if theirs else limit.peer
    named = f"the best peer, {named}" if limit.peer == "best peer" and theirs else named
    ours = measured.get(FIT)
    return report.ratio_bar("time per step", ours if ours and ours.ok else None, theirs, limit.share, named, limit.kind)


def _roofline(measured: dict[str, Measurement], peak: float, bandwidth: float) -> float:
    """Seconds that the kernels of the compiled step need at least: arithmetic or memory, whichever takes longer."""
    native = next((m for m in measured.values() if "kernels" in m.info), None)
    if native is None or not peak or not bandwidth:
        return 0.0
    return sum(max(flops / peak, moved / bandwidth) for flops, moved in native.info["kernels"])


def _compile_note(measured: dict[str, Measurement]) -> str:
    times = [f"{label} {m.info['compile_s']:.1f} s" for label, m in measured.items() if m.ok and "compile_s" in m.info]
    return f"Build and compile: {', '.join(times)}." if times else ""


def check(spec: Spec, plan: Plan) -> dict[str, Any]:
    """Prove that all do the same sums: one epoch in the same order from the same weights gives the same loss."""
    problem = load(asdict(spec), data_file(spec.data))
    rows = [["before training", f"{mean_loss(problem, problem.weights):.6f}", ""]]
    sides = [c for c in contenders(spec, plan.every) if c.peer != ROOFLINE]
    reference = None
    with Session(sides, plan) as session:
        for label, loss in session.each("trained").items():
            reference = loss if reference is None else reference
            rows.append([label, f"{loss:.6f}", f"{abs(loss - reference):.1e}"])
        rows += [[label, m.status, m.note] for label, m in session.failures.items()]
    return report.table(f"{spec.text}: loss after one epoch", ["who", "loss", "difference from the first"], rows)
