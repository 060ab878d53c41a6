"""The native executor: binds a plan to memory and machine code, and runs it.

Binding (``bind.py``) gives every value an address and writes the driver's program. Arguments change from call to call,
so their addresses are patched into the program's tables before each run; everything else is fixed once.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier import config
from ranvier.compiler.bind import Memory, Program, all_kernels, make_program, seconds, shared_seconds
from ranvier.compiler.explain import explain_plan, profile_plan
from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.kernel import Callback
from ranvier.compiler.machine import machine
from ranvier.compiler.native.memory import available_bytes
from ranvier.compiler.native.runtime import CALLBACK, default_threads
from ranvier.compiler.passes.copies import extent
from ranvier.compiler.pipeline import compile_plan
from ranvier.compiler.plan import Plan
from ranvier.compiler.storage import Home, fenced, from_memory, to_memory
from ranvier.compiler.views import view
from ranvier.errors import InternalError, ResourceError

__all__ = ["NativeExecutor"]

_SHARED = 0.25  # share of the work that threads must be able to divide
_PARALLEL_SECONDS = 40e-6  # steps that take less run on one thread: waking and waiting cost more


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
        self._refuse_too_large()
        kernels = all_kernels(self.plan)
        self._code = dict(zip(map(id, kernels), self.machine.store.get([k.spec for k in kernels]), strict=True))
        limit = config.get("threads") or default_threads()
        total, shared = (sum(map(part, self.plan.steps)) for part in (seconds, shared_seconds))
        self.threads = limit if total > _PARALLEL_SECONDS and shared > total * _SHARED else 1
        self._lock = threading.RLock()
        self._state = np.zeros(8, np.int64)
        self._state[2] = config.get("denormals") == "flush"
        self._state_address = self._state.ctypes.data
        self._memory = Memory(self.plan, self.checked)
        self._homes: list[Home] = []
        self._arguments: list[Any] = [None] * len(self.plan.graph.arguments)
        self._thunks: list[Any] = []
        self._failure: BaseException | None = None
        self._written = sorted(set(self.plan.graph.updates))
        self._program: Program | None = None
        self._before: Program | None = None  # the steps whose results last, see Plan.kept
        self._seen: list[int] = []  # how often each variable had changed when they last ran
        self._results = [(v, self._fixed_result(v)) for v in self.plan.graph.results]

    def _refuse_too_large(self) -> None:
        free = available_bytes()
        if free is not None and self.plan.arena > free:
            raise ResourceError(
                f"this function needs {self.plan.arena / 2**20:.0f} MiB for intermediate values, but only "
                f"{free / 2**20:.0f} MiB are available. Use a smaller batch."
            )

    def _fixed_result(self, v: Value) -> np.ndarray | None:
        """A view of a result whose memory never moves, else None."""
        return self._memory.array(v, [], []) if self._memory.locate(view(v).root).kind == "fixed" else None

    # -- binding --------------------------------------------------------------------------------------------------

    def _variable_values(self) -> list[Value]:
        graph = self.plan.graph
        return graph.inputs[len(graph.inputs) - len(graph.variables) :]

    def _bind(self) -> Program:
        self._homes = [
            self._home(variable, v)
            for variable, v in zip(self.plan.graph.variables, self._variable_values(), strict=True)
        ]
        self._thunks = []
        self._arguments = [None] * len(self._arguments)
        steps, kept = self.plan.steps, self.plan.kept
        rest = (self._memory, self._homes, self._code, self._callback)
        self._before = make_program(self.plan, steps[:kept], *rest) if kept else None
        self._seen = []
        return make_program(self.plan, steps[kept:], *rest)

    def _home(self, variable: Any, value: Value) -> Home:
        home = variable._home
        if home is None or home.layout != value.layout:
            home = variable._home = Home(variable, value.layout, extent(value), self.checked)
        elif home.stale:
            home.push()
        return home

    def _callback(self, step: Callback) -> int:
        """The address of a native function that runs a callback."""
        function = self._run_callback(step)

        def call(_: int) -> None:
            if self._failure is not None:
                return  # the turns of a loop that are left: nothing is computed with what a failed one left behind
            try:
                function()
            except BaseException as error:  # noqa: BLE001  must not cross native frames; raised again by run
                self._failure = error
                self._state[0] = 2

        thunk = CALLBACK(call)
        self._thunks.append(thunk)
        return ctypes.cast(thunk, ctypes.c_void_p).value or 0

    def _array(self, v: Value) -> np.ndarray:
        return self._memory.array(v, self._arguments, self._homes)

    def _run_callback(self, step: Callback) -> Any:
        def run() -> None:
            arrays = [from_memory(self._array(x), x.dtype) for x in step.inputs]
            for v, made in zip(step.outputs, step.function(arrays), strict=True):
                self._array(v)[...] = to_memory(np.asarray(made), v.dtype).reshape(v.shape)

        return run

    # -- running --------------------------------------------------------------------------------------------------

    def _prepare(self, arrays: Sequence[np.ndarray]) -> Program:
        """Point the tables at this call's arguments and this moment's variables."""
        made = self._program
        for variable, home in zip(self.plan.graph.variables, self._homes, strict=False):
            if variable._home is not home:
                made = None  # another function moved it to a layout of its own
                break
            if home.stale:
                home.push()
        if made is None:
            made = self._program = self._bind()
        for i, (value, array) in enumerate(zip(self.plan.graph.arguments, arrays, strict=True)):
            if array is self._arguments[i]:
                continue
            ready = to_memory(array, value.dtype)
            address = ready.__array_interface__["data"][0]
            if address % ready.itemsize:
                ready = ready.copy()
                address = ready.ctypes.data
            if self.checked:
                ready = fenced(ready)
                address = ready.ctypes.data
            self._arguments[i] = ready
            for at, offset in made.patches[i]:
                made.pointers[at] = address + offset
        if self._before is not None:
            self._refresh(self._before)
        return made

    def _refresh(self, before: Program) -> None:
        """Run the steps whose results last, if a variable has changed since."""
        now = [home.changes for home in self._homes]
        if now != self._seen:
            self.machine.runtime.run(before.address, 1, self.threads, self._state_address)
            self._seen = now

    def run(self, arrays: Sequence[np.ndarray], steps: int) -> list[np.ndarray]:
        """The function's results after ``steps`` runs."""
        with self._lock:
            self._state[:2] = 0
            made = self._prepare(arrays)
            self._forget()  # an interrupt may come before the next line but one
            self.machine.runtime.run(made.address, steps, self.threads, self._state_address)
            self._finish()
            return [from_memory(self._array(v) if fixed is None else fixed, v.dtype) for v, fixed in self._results]

    def _forget(self) -> None:
        """The values that variables were last read as: the newer ones are in their homes."""
        variables = self.plan.graph.variables
        for i in self._written:
            variables[i]._leaf = None
            self._homes[i].changes += 1

    def _finish(self) -> None:
        self._forget()
        if self._state[0]:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            raise InternalError(f"compiled code touched memory outside its buffers (code {self._state[0]})")
        if self.checked and (self._memory.damaged() or any(home.damaged for home in self._homes)):
            raise InternalError("compiled code wrote outside its buffers: the bytes around one of them have changed")

    # -- looking inside -------------------------------------------------------------------------------------------

    def explain(self) -> str:
        """The plan as text."""
        return explain_plan(self.plan, self.threads)

    def profile(self, arrays: Sequence[np.ndarray], steps: int) -> str:
        """The plan with the measured time of each kernel."""
        with self._lock:
            self._state[:2] = 0
            made = self._prepare(arrays)
            self._forget()
            cycles = np.zeros(len(made.table), np.int64)

            def run(count: int, counters: int) -> None:
                self.machine.runtime.run(made.address, count, self.threads, self._state_address, counters)

            run(1, 0)
            measured = profile_plan(
                self.plan, self.threads, made.steps, cycles, steps, lambda: run(steps, cycles.ctypes.data)
            )
            self._finish()
            return measured
