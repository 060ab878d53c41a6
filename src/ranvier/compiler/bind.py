"""Binding: where a plan's values really lie, and the program that runs its steps.

:class:`Memory` gives every value of a plan, and of the plans inside its loops and branches, an address; it is made
once. :func:`make_program` then writes the driver's table (see ``native/runtime.py``) with the address of each kernel's
code and of its buffers; it is made again only if a variable has moved.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ranvier.compiler.graph import Value
from ranvier.compiler.hazards import Hazards
from ranvier.compiler.kernel import Alias, Callback, Control, Kernel
from ranvier.compiler.native.driver import MOST_BUFFERS
from ranvier.compiler.native.memory import Buffer, allocate
from ranvier.compiler.native.runtime import Op, program
from ranvier.compiler.plan import Place, Plan, nbytes
from ranvier.compiler.storage import memory_dtype, to_memory
from ranvier.compiler.views import view
from ranvier.errors import InternalError

__all__ = ["Memory", "Program", "all_kernels", "make_program", "seconds", "shared_seconds"]

SPLIT_SECONDS = 3e-6  # kernels that take less are left to one thread


def all_kernels(plan: Plan) -> list[Kernel]:
    """Every kernel of a plan, those inside loops and branches included."""
    found: list[Kernel] = []
    for s in plan.steps:
        if isinstance(s, Kernel):
            found.append(s)
        elif isinstance(s, Control):
            found.extend(k for phase in s.phases.values() for k in phase)
            found.extend(k for inside in s.plans for k in all_kernels(inside))
    return found


def seconds(step: Any) -> float:
    """A rough estimate of a step's time on one thread, for decisions about threads."""
    if isinstance(step, Callback):
        return 20e-6
    if isinstance(step, Control):
        return max(step.turns, 1) * sum(seconds(s) for inside in step.plans for s in inside.steps)
    return step.spec.flops / 90e9 + step.spec.bytes / 25e9 + 0.1e-6


def _split(step: Any) -> bool:
    """Whether all threads share a step."""
    if isinstance(step, Kernel):
        return step.spec.units > 1 and seconds(step) > SPLIT_SECONDS
    return not isinstance(step, Callback)


def shared_seconds(step: Any) -> float:
    """The part of a step's time that threads share."""
    if isinstance(step, Control):
        return max(step.turns, 1) * sum(shared_seconds(s) for inside in step.plans for s in inside.steps)
    return seconds(step) if _split(step) else 0.0


class Location(NamedTuple):
    """``fixed``: an address; ``argument`` or ``variable``: its number; and how many bytes behind that.

    ``moves``: inside loops, (address of the counters, bytes, mask) for each loop that moves it; see ``runtime.py``.
    """

    kind: str
    base: int
    offset: int = 0
    moves: tuple[tuple[int, int, int], ...] = ()


class Memory:
    """Addresses of the values of a plan.

    Args:
        plan: the plan.
        checked: give every value pages of its own, between guard pages.
    """

    def __init__(self, plan: Plan, checked: bool):
        self._checked = checked
        self._places: dict[int, Location] = {}
        self._aliases: dict[int, tuple[Alias, Value | None]] = {}  # with the counters of the loop
        self._nothing = allocate(64, zero=True)
        self._keep: list[Any] = [plan]
        self._add(plan, main=True)

    def _add(self, plan: Plan, main: bool) -> None:
        arena = self._arena(plan)
        self._keep.append(arena)
        for key, place in plan.places.items():
            if place.kind == "arena":
                base = arena[place.index].address if self._checked else arena[0].address + place.index
                self._places[key] = Location("fixed", base)
            elif place.kind == "constant":
                self._places[key] = Location("fixed", self._constant(plan.constants[place.index], place))
            elif place.kind == "variable" or main:
                self._places[key] = Location(place.kind, place.index)
        for step in plan.steps:
            if isinstance(step, Control):
                for inner in step.buffers:
                    self._places[id(inner)] = Location("fixed", self._allocate(nbytes(inner)))
                for alias in step.aliases:
                    self._aliases[id(alias.inner)] = (alias, step.counter)
                for inside in step.plans:
                    self._add(inside, main=False)

    def _allocate(self, size: int) -> int:
        buffer = allocate(size, zero=True, guarded=self._checked)
        self._keep.append(buffer)
        return buffer.address

    def _arena(self, plan: Plan) -> dict[int, Buffer]:
        """Offset in the arena -> buffer: one for all, or in checked mode one for each value."""
        if not self._checked:
            return {0: allocate(max(plan.arena, 64), zero=True)}
        sizes: dict[int, int] = {}
        for place in plan.places.values():
            if place.kind == "arena":
                sizes[place.index] = max(sizes.get(place.index, 0), place.nbytes)
        return {at: allocate(n, zero=True, guarded=True) for at, n in sizes.items()}

    def damaged(self) -> bool:
        """Checked mode: whether something was written just outside a buffer."""
        kept = [x for k in self._keep for x in (k.values() if isinstance(k, dict) else [k])]
        return any(x.check_canaries() is not None for x in kept if isinstance(x, Buffer))

    def _constant(self, v: Value, place: Place) -> int:
        array = to_memory(v.attrs["value"], v.dtype)
        buffer = allocate(place.nbytes, zero=True, guarded=self._checked)
        buffer.array(array.dtype, array.shape)[...] = array
        self._keep.append(buffer)
        return buffer.address

    def locate(self, v: Value, offset: int = 0) -> Location:
        """Where element ``offset`` of a value lies."""
        size = memory_dtype(v.dtype).itemsize
        total, moves = offset * size, []
        while id(v) in self._aliases:
            alias, counter = self._aliases[id(v)]
            v = alias.outer
            total += alias.offset * size
            if alias.stride and counter is not None:
                moves.append((self._places[id(counter)].base, alias.stride * size, alias.mask))
        found = self._places.get(id(v))
        if found is None:  # a value without elements, or one that nothing reads
            return Location("fixed", self._nothing.address)
        return found._replace(offset=total, moves=tuple(moves))

    def array(self, v: Value, arguments: Sequence[np.ndarray], homes: Sequence[Any]) -> np.ndarray:
        """A NumPy view of a value in rows, wherever it lies (through views); inside loops, in thread 0's turn."""
        dtype = memory_dtype(v.dtype)
        seen = view(v)
        place = self.locate(seen.root)
        if place.kind == "argument":
            address = arguments[place.base].ctypes.data + place.offset
        elif place.kind == "variable":
            address = homes[place.base].address + place.offset
        else:
            address = place.base + place.offset
        for counter, stride, mask in place.moves:
            address += (ctypes.c_int64.from_address(counter).value & mask) * stride
        return _array_at(address, dtype, seen.root.size, v.shape, seen.strides, seen.offset)


def _array_at(
    address: int, dtype: np.dtype, size: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> np.ndarray:
    raw: Any = (ctypes.c_char * max(size * dtype.itemsize, 1)).from_address(address)
    base: np.ndarray = np.frombuffer(raw, dtype, count=size)
    steps = tuple(s * dtype.itemsize for s in strides)
    return np.lib.stride_tricks.as_strided(base[offset:], shape, steps)


class Program:
    """The driver's table for a plan.

    Attributes:
        table: the instructions, at ``address``.
        steps: for each instruction, the step of the outermost plan that it belongs to, or None.
        pointers: the buffer addresses that the instructions point to.
        moves: how buffers move from turn to turn, as the driver reads it.
        patches: for each argument, the entries of ``pointers`` that hold its address, and the bytes behind it.
    """

    def __init__(self, arguments: int):
        self.rows: list[list[int]] = []
        self.steps: list[Any] = []
        self.entries: list[int] = []
        self.movements: list[int] = []
        self.patches: list[list[tuple[int, int]]] = [[] for _ in range(arguments)]
        self.pointers = self.moves = np.zeros(0, np.int64)
        self.table = np.zeros((0, 8), np.int64)
        self.address = 0


def make_program(
    plan: Plan,
    steps: Sequence[Any],
    memory: Memory,
    homes: Sequence[Any],
    code: dict[int, int],
    callback: Callable[[Any], int],
) -> Program:
    """The program of steps of a plan.

    Args:
        plan: the outermost plan.
        steps: those of its steps that it shall run.
        memory: its memory.
        homes: where its variables live now.
        code: id of a kernel -> address of its code.
        callback: the address of a native function for a callback.
    """
    writer = _Writer(Program(len(plan.graph.arguments)), memory, homes, code, callback)
    writer.outermost(steps)
    return writer.finish()


class _Writer:
    def __init__(self, made: Program, memory: Memory, homes: Sequence[Any], code: dict[int, int], callback: Any):
        self.made, self.memory, self.homes, self.code, self.callback = made, memory, homes, code, callback
        self.current: Any = None
        self.targets: set[int] = set()  # instructions that are jumped to

    def outermost(self, steps: Sequence[Any]) -> None:
        hazards = Hazards(self.memory.locate, nbytes)
        for self.current in steps:
            self.step(self.current, hazards)
        self.current = None
        self.row(Op.END)

    def row(self, *words: int) -> int:
        self.made.rows.append(list(words))
        self.made.steps.append(self.current)
        return len(self.made.rows) - 1

    def barrier(self) -> None:
        """All threads wait here: on the last kernel if there is one just before."""
        rows = self.made.rows
        if rows and rows[-1][0] in (Op.KERNEL, Op.MOVING) and len(rows) not in self.targets:
            rows[-1][5] = 1
        elif rows:
            self.row(Op.BARRIER)

    def plan(self, plan: Plan) -> Hazards:
        """The steps of an inner plan; returns what its end has not waited for."""
        hazards = Hazards(self.memory.locate, nbytes)
        for step in plan.steps:
            self.step(step, hazards)
        return hazards

    def step(self, step: Any, hazards: Hazards) -> None:
        split = _split(step)
        if hazards.before(step, split):
            self.barrier()
        if isinstance(step, Kernel):
            self.kernel(step, split)
        elif isinstance(step, Callback):
            self.row(Op.CALLBACK, self.callback(step), 0)
        else:
            self.control(step)

    def kernel(self, k: Kernel, split: bool = False) -> None:
        start, moves = len(self.made.entries), []
        for i, access in enumerate(k.operands):
            place = self.memory.locate(access.value, access.offset)
            self.made.entries.append(self.address(place))
            moves += [word for move in place.moves for word in (i, *move)]
        words = (self.code[id(k)], start, k.spec.units, int(split), 0)
        if not moves:
            self.row(Op.KERNEL, *words)
            return
        if len(k.operands) > MOST_BUFFERS:
            raise InternalError(f"a kernel inside a loop has {len(k.operands)} buffers: more than {MOST_BUFFERS}")
        self.row(Op.MOVING, *words, len(self.made.movements), len(k.operands))
        self.made.movements += [len(moves) // 4, *moves]

    def address(self, place: Location) -> int:
        """An address; for arguments 0, and a note where to put it."""
        if place.kind == "argument":
            self.made.patches[place.base].append((len(self.made.entries), place.offset))
            return 0
        base = self.homes[place.base].address if place.kind == "variable" else place.base
        return base + place.offset

    def phase(self, step: Control, name: str) -> None:
        """Kernels between barriers."""
        self.barrier()
        hazards = Hazards(self.memory.locate, nbytes)
        for k in step.phases.get(name, ()):
            self.step(k, hazards)
        self.barrier()

    def control(self, step: Control) -> None:
        {"scan": self.scan, "cond": self.cond, "while": self.while_loop}[step.kind](step)
        self.barrier()

    def target(self, row: int, word: int) -> None:
        """Let the jump in ``row`` lead to the next instruction."""
        self.made.rows[row][word] = self.label()

    def label(self) -> int:
        """The next instruction's number: somebody jumps there."""
        self.targets.add(len(self.made.rows))
        return len(self.made.rows)

    def scan(self, step: Control) -> None:
        assert step.counter is not None
        counters = self.memory.locate(step.counter).base
        if step.phases.get("before"):
            self.phase(step, "before")
        self.row(Op.ENTER, counters)
        head = self.label()
        pending = self.plan(step.plans[0]).pending
        if step.phases.get("bottom"):
            self.phase(step, "bottom")
        elif pending and any(_split(s) for s in step.plans[0].steps):
            self.barrier()  # else thread 0 does everything, turn by turn
        self.row(Op.LOOP, counters, step.turns, head)

    def flag(self, step: Control) -> int:
        """The address of the deciding byte: a flag computed outside is copied where it can be found."""
        assert step.flag is not None
        place = self.memory.locate(step.flag.value, step.flag.offset)
        base = self.homes[place.base].address if place.kind == "variable" else place.base
        return base + place.offset

    def cond(self, step: Control) -> None:
        self.phase(step, "before")
        branch = self.row(Op.BRANCH_FALSE, self.flag(step), 0)
        self.plan(step.plans[0])
        self.phase(step, "after")
        leave = self.row(Op.JUMP, 0)
        self.target(branch, 2)
        self.plan(step.plans[1])
        self.phase(step, "else")
        self.target(leave, 1)

    def while_loop(self, step: Control) -> None:
        self.phase(step, "before")
        head = self.label()
        self.plan(step.plans[0])
        self.barrier()
        branch = self.row(Op.BRANCH_FALSE, self.flag(step), 0)
        self.plan(step.plans[1])
        self.phase(step, "bottom")
        self.row(Op.JUMP, head)
        self.target(branch, 2)
        self.phase(step, "after")

    def finish(self) -> Program:
        made = self.made
        made.pointers = np.array(made.entries or [0], np.int64)
        base = made.pointers.ctypes.data
        made.moves = np.array(made.movements or [0], np.int64)
        for row in made.rows:
            if row[0] in (Op.KERNEL, Op.MOVING):
                row[2] = base + 8 * row[2]
            if row[0] == Op.MOVING:
                row[6] = made.moves.ctypes.data + 8 * row[6]
        made.table = program(made.rows)
        made.address = made.table.ctypes.data
        return made
