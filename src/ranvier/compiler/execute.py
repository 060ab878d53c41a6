"""The native executor: binds a plan to memory and machine code, and runs it.

Binding turns the plan into a *program* (see ``native/runtime.py``): for each kernel the address of its code and of a
table of buffer addresses. Buffers of arguments change from call to call, so their table entries are patched before
each run; everything else is fixed once.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier import config
from ranvier.compiler.explain import explain_plan, profile_plan
from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.kernel import Callback, Kernel
from ranvier.compiler.native.cache import ObjectCache, default_directory
from ranvier.compiler.native.engine import KernelStore
from ranvier.compiler.native.memory import Buffer, allocate, available_bytes
from ranvier.compiler.native.runtime import CALLBACK, Op, Runtime, default_threads, program
from ranvier.compiler.native.target import Isa, host_isa
from ranvier.compiler.pipeline import compile_plan
from ranvier.compiler.plan import Place, Plan, reads, writes
from ranvier.compiler.storage import Home, from_memory, memory_dtype, to_memory
from ranvier.compiler.views import view
from ranvier.errors import InternalError, ResourceError

__all__ = ["NativeExecutor", "machine"]

_SPLIT_SECONDS = 3e-6  # kernels that take less are left to one thread
_PARALLEL_SECONDS = 40e-6  # steps that take less run on one thread: waking and waiting cost more


class Machine:
    """What all compiled functions of the process share for one instruction set: kernels and the driver."""

    def __init__(self, isa: Isa):
        directory = config.get("cache_dir") or default_directory(config.environment())
        cache = ObjectCache(directory, config.get("cache_mb") << 20) if config.get("cache") and directory else None
        self.isa = isa
        self.store = KernelStore(isa, cache)
        self.runtime = Runtime(isa, self.store)


@functools.cache
def machine(setting: str) -> Machine:
    """The shared machine for an ``isa`` setting."""
    return Machine(host_isa(setting))


def seconds(step: Any) -> float:
    """A rough estimate of a step's time on one thread, for decisions about threads."""
    if isinstance(step, Callback):
        return 20e-6
    return step.spec.flops / 90e9 + step.spec.bytes / 25e9 + 0.1e-6


class NativeExecutor:
    """Runs one compiled graph.

    Attributes:
        plan: the plan.
        threads: threads it runs on.
    """

    def __init__(self, graph: Graph):
        self.machine = machine(config.get("isa"))
        self.checked = config.get("checked")
        self.plan: Plan = compile_plan(graph, self.machine.isa, self.checked)
        self._lock = threading.RLock()
        self._refuse_too_large()
        steps = self.plan.steps
        kernels = [s for s in steps if isinstance(s, Kernel)]
        self._code = dict(zip(map(id, kernels), self.machine.store.get([k.spec for k in kernels]), strict=True))
        limit = config.get("threads") or default_threads()
        self.threads = limit if sum(map(seconds, steps)) > _PARALLEL_SECONDS else 1
        self._state = np.zeros(8, np.int64)
        self._arena = self._allocate_arena()
        self._constants = [self._constant(v) for v in self.plan.constants]
        self._homes: list[Home] = []
        self._arguments: list[Any] = [None] * len(self.plan.graph.arguments)
        self._callbacks: list[Any] = []
        self._failure: BaseException | None = None
        self._written = sorted(set(self.plan.graph.updates))
        self._bound = False
        self._results = [self._result(v) for v in self.plan.graph.results]

    # -- memory ---------------------------------------------------------------------------------------------------

    def _refuse_too_large(self) -> None:
        free = available_bytes()
        if free is not None and self.plan.arena > free:
            raise ResourceError(
                f"this function needs {self.plan.arena / 2**20:.0f} MiB for intermediate values, but only "
                f"{free / 2**20:.0f} MiB are available. Use a smaller batch."
            )

    def _allocate_arena(self) -> dict[int, Buffer]:
        """Arena offset -> buffer: one for all, or in checked mode one for each value."""
        if not self.checked:
            return {0: allocate(max(self.plan.arena, 64), zero=True)}
        places = [p for p in self.plan.places.values() if p.kind == "arena"]
        sizes: dict[int, int] = {}
        for p in places:
            sizes[p.index] = max(sizes.get(p.index, 0), p.nbytes)
        return {at: allocate(n, zero=True, guarded=True) for at, n in sizes.items()}

    def _constant(self, v: Value) -> Buffer:
        array = to_memory(v.attrs["value"], v.dtype)
        buffer = allocate(self.plan.places[id(v)].nbytes, zero=True, guarded=self.checked)
        buffer.array(array.dtype, array.shape)[...] = array
        return buffer

    def _arena_address(self, place: Place) -> int:
        if self.checked:
            return self._arena[place.index].address
        return self._arena[0].address + place.index

    def _address(self, v: Value) -> int:
        """The address of a value's memory; 0 for arguments, which are patched in."""
        place = self.plan.places.get(id(v))
        if place is None:
            assert v.size == 0, f"{v!r} was given no place"
            return self._state.ctypes.data
        if place.kind == "arena":
            return self._arena_address(place)
        if place.kind == "constant":
            return self._constants[place.index].address
        return self._homes[place.index].address if place.kind == "variable" else 0

    def _array(self, v: Value) -> np.ndarray:
        """A NumPy view of a value in rows, wherever it lies (through views)."""
        seen = view(v)
        place = self.plan.places.get(id(seen.root))
        dtype = memory_dtype(v.dtype)
        if place is None:
            return np.empty(v.shape, dtype)
        if place.kind == "argument":
            base = self._arguments[place.index].reshape(-1)
        else:
            count = max(place.nbytes // dtype.itemsize, 1)
            raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(self._address(seen.root))
            base = np.frombuffer(raw, dtype)
        strides = tuple(s * dtype.itemsize for s in seen.strides)
        return np.lib.stride_tricks.as_strided(base[seen.offset :], v.shape, strides)

    def _result(self, v: Value) -> Any:
        """Shape, dtype and a fixed view of a result, or None for the view where it moves from call to call."""
        place = self.plan.places.get(id(view(v).root))
        fixed = self._array(v) if place is not None and place.kind in ("arena", "constant") else None
        return v, fixed

    # -- binding --------------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        graph = self.plan.graph
        self._homes = [self._home(v, x) for v, x in zip(graph.variables, self._variable_values(), strict=True)]
        entries: list[int] = []
        self._patches: list[list[tuple[int, int]]] = [[] for _ in graph.arguments]
        starts: dict[int, int] = {}
        for s in self.plan.steps:
            if isinstance(s, Kernel):
                starts[id(s)] = len(entries)
                for access in s.operands:
                    offset = access.offset * memory_dtype(access.value.dtype).itemsize
                    place = self.plan.places.get(id(access.value))
                    if place is not None and place.kind == "argument":
                        self._patches[place.index].append((len(entries), offset))
                    entries.append(self._address(access.value) + offset)
        self._table = np.array(entries or [0], np.int64)
        self._program = self._make_program(starts)
        self._bound = True

    def _variable_values(self) -> list[Value]:
        graph = self.plan.graph
        return graph.inputs[len(graph.inputs) - len(graph.variables) :]

    def _home(self, variable: Any, value: Value) -> Home:
        home = variable._home
        elements = self.plan.places[id(value)].nbytes // memory_dtype(value.dtype).itemsize
        if home is None or home.layout != value.layout:
            home = Home(variable, value.layout, elements, self.checked)
            variable._home = home
        elif home.stale:
            home.push()
        return home

    def _make_program(self, starts: dict[int, int]) -> np.ndarray:
        rows: list[list[int]] = []
        self._rows: list[Any] = []  # the step behind each instruction, for profiles
        hazards = _Hazards(self.plan)
        base = self._table.ctypes.data
        for s in self.plan.steps:
            split = isinstance(s, Kernel) and s.spec.units > 1 and seconds(s) > _SPLIT_SECONDS
            if hazards.before(s, split) and rows:
                self._mark_barrier(rows)
            if isinstance(s, Kernel):
                buffers = base + 8 * starts[id(s)]
                rows.append([Op.KERNEL, self._code[id(s)], buffers, s.spec.units, int(split), 0])
            else:
                rows.append([Op.CALLBACK, self._callback(s), 0])
            self._rows.append(s)
        for new, index in self.plan.copies:
            if rows:
                self._mark_barrier(rows)
            rows.append([Op.CALLBACK, self._copy_back(new, index), 0])
            self._rows.append(None)
        rows.append([Op.END])
        self._rows.append(None)
        return program(rows)

    @staticmethod
    def _mark_barrier(rows: list[list[int]]) -> None:
        if rows[-1][0] == Op.KERNEL:
            rows[-1][5] = 1

    def _guarded(self, function: Any) -> int:
        """The address of a native callback that keeps an exception for the caller of :meth:`run`."""

        def call(_: int) -> None:
            try:
                function()
            except BaseException as error:  # must not cross native frames; re-raised by run
                self._failure = error
                self._state[0] = 2

        thunk = CALLBACK(call)
        self._callbacks.append(thunk)
        return ctypes.cast(thunk, ctypes.c_void_p).value or 0

    def _callback(self, step: Callback) -> int:
        def run() -> None:
            arrays = [from_memory(self._array(x), x.dtype) for x in step.inputs]
            for v, made in zip(step.outputs, step.function(arrays), strict=True):
                self._array(v)[...] = to_memory(np.asarray(made), v.dtype).reshape(v.shape)

        return self._guarded(run)

    def _copy_back(self, new: Value, index: int) -> int:
        target = self._variable_values()[index]

        def run() -> None:
            if target.layout or new.layout:
                source, place = self._address(new), self.plan.places[id(target)]
                ctypes.memmove(self._homes[index].address, source, place.nbytes)
            else:
                self._array(target)[...] = self._array(new)

        return self._guarded(run)

    # -- running --------------------------------------------------------------------------------------------------

    def _prepare(self, arrays: Sequence[np.ndarray]) -> None:
        """Point the tables at this call's arguments and this moment's variables."""
        for variable, home in zip(self.plan.graph.variables, self._homes, strict=False):
            if variable._home is not home:
                self._bound = False  # another function moved it to a layout of its own
                break
            if home.stale:
                home.push()
        if not self._bound:
            self._bind()
            self._arguments = [None] * len(self._arguments)
        for i, (value, array) in enumerate(zip(self.plan.graph.arguments, arrays, strict=True)):
            if array is self._arguments[i]:
                continue
            ready = to_memory(array, value.dtype)
            if ready.ctypes.data % ready.itemsize:
                ready = ready.copy()
            self._arguments[i] = ready
            for at, offset in self._patches[i]:
                self._table[at] = ready.ctypes.data + offset

    def run(self, arrays: Sequence[np.ndarray], steps: int) -> list[np.ndarray]:
        """The function's results after ``steps`` runs."""
        with self._lock:
            self._prepare(arrays)
            self._state[:2] = 0
            self.machine.runtime.run(self._program.ctypes.data, steps, self.threads, self._state.ctypes.data)
            self._finish()
            return [from_memory(self._array(v) if fixed is None else fixed, v.dtype) for v, fixed in self._results]

    def _finish(self) -> None:
        variables = self.plan.graph.variables
        for i in self._written:
            variables[i]._leaf = None  # the newer value is in its home
        if self._state[0]:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            raise InternalError(f"compiled code touched memory outside its buffers (code {self._state[0]})")

    # -- looking inside -------------------------------------------------------------------------------------------

    def explain(self) -> str:
        """The plan as text."""
        return explain_plan(self.plan, self.threads)

    def profile(self, arrays: Sequence[np.ndarray], steps: int) -> str:
        """The plan with the measured time of each kernel."""
        with self._lock:
            self._prepare(arrays)
            self._state[:2] = 0
            cycles = np.zeros(len(self._program), np.int64)
            self.machine.runtime.run(self._program.ctypes.data, 1, self.threads, self._state.ctypes.data)
            measured = profile_plan(
                self.plan, self.threads, self._rows, cycles, steps,
                lambda: self.machine.runtime.run(
                    self._program.ctypes.data, steps, self.threads, self._state.ctypes.data, cycles.ctypes.data
                ),
            )  # fmt: skip
            self._finish()
            return measured


class _Hazards:
    """Who must wait for whom: memory touched since the last barrier."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.reads: list[tuple[Place, bool]] = []
        self.writes: list[tuple[Place, bool]] = []

    def before(self, step: Any, split: bool) -> bool:
        """Whether a barrier must stand before this step; the step is then taken note of."""
        read = [p for p in (self.plan.places.get(id(v)) for v in reads(step)) if p is not None]
        written = [p for p in (self.plan.places.get(id(v)) for v in writes(step)) if p is not None]
        # Two steps that thread 0 does alone follow each other anyway.
        wait = any(
            (split or other_split) and _overlap(a, b)
            for mine, others in ((read, self.writes), (written, self.writes), (written, self.reads))
            for a in mine
            for b, other_split in others
        )
        if wait:
            self.reads, self.writes = [], []
        self.reads += [(p, split) for p in read]
        self.writes += [(p, split) for p in written]
        if isinstance(step, Callback):  # a callback ends with a barrier of its own
            self.reads, self.writes = [], []
        return wait


def _overlap(a: Place, b: Place) -> bool:
    if a.kind != b.kind:
        return False
    if a.kind == "arena":
        return a.index < b.index + b.nbytes and b.index < a.index + a.nbytes
    return a.index == b.index
