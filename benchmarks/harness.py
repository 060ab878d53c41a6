"""How times are taken: every contender in a process of its own, measured in turns.

Each contender works for one slice (a fifth of a second or so), then the next one does, round after round (A B C A B C
...), so that whatever slows the machine for a while slows all of them. Only one process works at a time; the others
sleep, and a short pause lets spinning thread pools go quiet. The figure is the median over the rounds. A contender
whose package is not installed is reported as such; one that fails is reported with its error.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAUSE = 0.05  # seconds between slices: longer than the spin time of the usual OpenMP runtimes


@dataclass(frozen=True)
class Plan:
    """How long to measure, and who takes part.

    Args:
        slice_s: seconds in a slice.
        rounds: slices of each contender.
        quick: as little as shows that everything runs.
        sides: only contenders whose name holds one of these (empty: all).
        every: also the variants that cost minutes and have never been their peer's best.
    """

    slice_s: float = 0.2
    rounds: int = 7
    quick: bool = False
    sides: tuple[str, ...] = ()
    every: bool = False

    def takes(self, peer: str) -> bool:
        return not self.sides or any(side.lower() in peer.lower() for side in self.sides)


@dataclass(frozen=True)
class Contender:
    """One side of a comparison.

    Args:
        peer: who it is; variants of one peer compete for that peer's best time.
        target: ``"module:Class"`` inside this folder.
        options: the constructor's arguments (plain JSON values).
        variant: what sets it apart from the same peer's other variants.
        package: the import that must exist.
        environment: variables of its process.
    """

    peer: str
    target: str
    options: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    package: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.peer} ({self.variant})" if self.variant else self.peer


class WorkerError(Exception):
    """A contender failed; the message is what it said."""


class MissingPackageError(WorkerError):
    """A contender's package is not installed."""


def child_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process: this checkout first on the path, then ``extra``.

    Python may write bytecode there, whatever the caller's environment says: an installed package has it too.
    """
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(extra or {})}


class Worker:
    """The parent's end of one contender's process."""

    def __init__(self, contender: Contender, timeout: float = 600.0):
        self.contender, self.timeout = contender, timeout
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, cwd=ROOT,
            env=child_environment(contender.environment),
        )  # fmt: skip
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]

    def start(self) -> dict[str, Any]:
        c = self.contender
        module, name = c.target.split(":")
        target = f"benchmarks.contenders.{module}:{name}"
        return self._request(command="start", package=c.package, target=target, options=c.options)

    def call(self, method: str, **arguments: Any) -> Any:
        return self._request(command="call", method=method, arguments=arguments)

    def memory(self) -> dict[str, int]:
        return self._request(command="memory")

    def _request(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerError(f"process ended: {self._tail()}") from None
        if not self._selector.select(self.timeout):
            self.close()
            raise WorkerError(f"no answer in {self.timeout:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"process ended with status {self._process.wait()}: {self._tail()}")
        reply = json.loads(line)
        if "missing" in reply:
            raise MissingPackageError(f"{reply['missing']} is not installed")
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply["ok"]

    def _tail(self) -> str:
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1] if lines else "nothing printed"

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # a process that is gone cannot take what was left to send
                    stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        self._log.close()


@dataclass
class Measurement:
    """What one contender did: seconds per unit in each slice, or why there are none."""

    contender: Contender
    samples: list[float] = field(default_factory=list)
    status: str = "ok"  # "ok" | "not installed" | "failed"
    note: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status == "ok" and bool(self.samples)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def fastest(self) -> float:
        """The best slice: for what the machine *can* do, which a disturbed slice does not show."""
        return min(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        if len(self.samples) < 3:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4)
        return (high - low) / 2 / self.median

    def fail(self, error: WorkerError) -> None:
        self.status = "not installed" if isinstance(error, MissingPackageError) else "failed"
        self.note = str(error).strip().splitlines()[0][:200]

    def record(self) -> dict[str, Any]:
        result: dict[str, Any] = {
            "peer": self.contender.peer, "variant": self.contender.variant, "status": self.status, "note": self.note,
            "info": self.info, "memory": self.memory,
        }  # fmt: skip
        if self.ok:
            result |= {"median_s": self.median, "spread": round(self.spread, 4)}
            result["samples_s"] = [float(f"{s:.4g}") for s in self.samples]
        return result


class Session:
    """Workers that are measured against each other; a context manager that ends their processes."""

    def __init__(self, contenders: Sequence[Contender], plan: Plan, report: Callable[[str], None] | None = None):
        self.plan = plan
        self.contenders = [c for c in contenders if plan.takes(c.peer) or c.peer == ROOFLINE]
        self.failures: dict[str, Measurement] = {}
        self.info: dict[str, dict[str, Any]] = {}
        self._say = report or (lambda text: print(text, file=sys.stderr, flush=True))

    def __enter__(self) -> Session:
        self._running: list[tuple[Contender, Worker]] = []
        for contender in self.contenders:
            worker = Worker(contender)
            try:
                self.info[contender.label] = worker.start()
                self._running.append((contender, worker))
            except WorkerError as error:
                self._drop(contender, worker, error)
        return self

    def __exit__(self, *_: object) -> None:
        for _contender, worker in self._running:
            worker.close()

    def _drop(self, contender: Contender, worker: Worker, error: WorkerError) -> None:
        failed = Measurement(contender)
        failed.fail(error)
        self.failures[contender.label] = failed
        self._say(f"  {contender.label}: {failed.status}: {failed.note}")
        worker.close()

    def each(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of every contender in turn; one that fails takes no further part."""
        replies = {}
        for contender, worker in list(self._running):
            try:
                replies[contender.label] = worker.call(method, **arguments)
            except WorkerError as error:
                self._running.remove((contender, worker))
                self._drop(contender, worker, error)
        return replies

    def measure(self) -> dict[str, Measurement]:
        """Interleaved slices of every contender; the result is by label and includes those that failed."""
        counts = {c.label: self._calibrate(c, w) for c, w in list(self._running)}
        results = {c.label: Measurement(c, info=self.info[c.label]) for c, _ in self._running}
        for turn in range(self.plan.rounds):
            shift = turn % max(1, len(self._running))  # nobody always follows the same neighbour
            for contender, worker in self._running[shift:] + self._running[:shift]:
                time.sleep(PAUSE)
                try:
                    seconds, units = worker.call("run", n=counts[contender.label])
                except WorkerError as error:
                    self._running.remove((contender, worker))
                    self._drop(contender, worker, error)
                    continue
                results[contender.label].samples.append(seconds / units)
        for contender, worker in self._running:
            results[contender.label].memory = worker.memory()
        order = {c.label: i for i, c in enumerate(self.contenders)}
        return dict(sorted((results | self.failures).items(), key=lambda item: order[item[0]]))

    def _calibrate(self, contender: Contender, worker: Worker) -> int:
        """How many units fill a slice (one that fails here leaves the session)."""
        count = 1
        try:
            while True:
                seconds, units = worker.call("run", n=count)
                if seconds >= self.plan.slice_s / 4:
                    return max(1, round(self.plan.slice_s * units / seconds))
                count = max(count * 2, round(units * self.plan.slice_s / max(seconds, 1e-6) / 2))
        except WorkerError as error:
            self._running.remove((contender, worker))
            self._drop(contender, worker, error)
            return 0


ROOFLINE = "roofline"


def peak_contender(threads: int) -> Contender:
    """The micro-kernel that measures the peak FLOP/s; it takes its turns among the others. Its unit is 1 GFLOP."""
    return Contender(ROOFLINE, "roofline:Peak", {"threads": threads}, variant=f"peak, {plural(threads, 'thread')}")


def copy_contender(threads: int) -> Contender:
    """The copy that measures the bandwidth; it takes its turns among the others. Its unit is 1 GB."""
    return Contender(ROOFLINE, "roofline:Copy", {"threads": threads}, variant=f"copy, {plural(threads, 'thread')}")


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def run_fresh(module: str, arguments: Sequence[str], environment: dict[str, str], timeout: float = 900) -> Any:
    """Run ``python -m module arguments`` in a fresh process and return the JSON of its last line.

    Raises:
        MissingPackageError: it answered ``{"missing": name}``.
        WorkerError: it failed; the message is the last line of its standard error.
    """
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=child_environment(environment), capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise WorkerError(f"no answer in {timeout:.0f} s") from None
    if done.returncode:
        raise WorkerError((done.stderr.strip().splitlines() or ["no message"])[-1])
    reply = json.loads(done.stdout.strip().splitlines()[-1])
    if isinstance(reply, dict) and "missing" in reply:
        raise MissingPackageError(f"{reply['missing']} is not installed")
    return reply
