"""The code of the native driver: program interpreter, barrier, and worker loop, as one LLVM module.

``runtime.py`` describes what a program is, ``pool.py`` owns the threads. This file holds the layout of the memory they
share and the functions that work on it. The module's only symbol returns the address of each :class:`Entry`.

Barriers. Every thread has a line of memory in which it writes the number of the barrier it has arrived at, and then
waits until every other thread's number is as high. Numbers only grow, so nothing is ever reset, and one message
travels each way at the same time: with a few threads this beats a counter that all of them must change in turn.

Waiting. Spin for a few microseconds (with the CPU's pause instruction), then offer the processor to others at each
turn, then sleep: in short naps inside a run (a Python callback may take a second), until woken between runs. Offering
costs half a microsecond when nobody wants the processor. When the thread waited for is the one that wants it, because
other programs keep the other processors busy, it saves the whole time slice; so it starts early.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from ranvier.compiler.native.builder import Function, Value, Var
from ranvier.compiler.native.target import Isa

__all__ = ["COUNTER", "DRIVER", "MOST_BUFFERS", "WORDS", "Driver", "Entry", "Op", "mailbox"]

WORDS = 8  # of one instruction
COUNTER = 16  # words from one thread's counter of turns to the next one's: a pair of cache lines
MOST_BUFFERS = 512  # of a kernel whose buffers move


class Op(enum.IntEnum):
    """Opcodes; ``runtime.py`` says what their operands are."""

    END = 0
    KERNEL = 1
    JUMP = 2
    BRANCH_FALSE = 3
    ADD = 4
    SET = 5
    LESS = 6
    CALLBACK = 7
    BARRIER = 8
    ENTER = 9
    LOOP = 10
    MOVING = 11


class Entry(enum.IntEnum):
    """What the driver exports."""

    RUN = 0  # i64 (program, steps, threads, state, profile, spin, shared): thread 0; returns the steps done
    WORKER = 1  # ptr (mailbox): the life of another thread
    POST = 2  # void (mailbox, program, steps, threads, state, profile, shared, epoch): a worker's job; 0 threads: end
    SPIN = 3  # void (n): n turns of the spin loop, to time it


BAD_PROGRAM = -1  # the error code for an unknown opcode

# Shared memory, in 8-byte words. Lines that different threads write are 128 bytes apart (CPUs fetch them in pairs).
# Functions, the futex call's number, turns to spin; the number of the last barrier and the threads of the last run.
YIELD, NAP, SYSCALL, FUTEX, SPIN, EPOCH, LAST_THREADS = range(7)
DECISION = 16  # two words, used in turn
SLOTS = 32
SLOT = 32  # words of one thread: one line it writes itself, one line it is told things in
ARRIVED, DONE, SLEEPING = 0, 1, 2  # the barrier arrived at; the job finished; 1 while asleep
JOB, PROGRAM, STEPS, THREADS, STATE, PROFILE, SHARED, START, NUMBER = range(16, 25)  # JOB changes: there is a job
# A job, as passed to functions and as written into a mailbox: name -> (type, word).
_JOB = {"program": ("ptr", PROGRAM), "steps": ("i64", STEPS), "threads": ("i64", THREADS), "state": ("ptr", STATE),
        "profile": ("ptr", PROFILE), "shared": ("ptr", SHARED), "epoch": ("i64", START)}  # fmt: skip
_BODY = ("program", "steps", "thread", "threads", "state", "profile", "shared", "epoch")
FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE = 128, 129
_YIELDS = 4096  # before naps: some 2 ms
_IDLE_YIELDS = 100  # before sleep between runs: some 50 us, in which Python may start the next


def mailbox(thread: int) -> int:
    """The first word of a thread's slot."""
    return SLOTS + thread * SLOT


@dataclass(frozen=True)
class Driver:
    """The spec of the driver, so that it is compiled and cached like a kernel."""

    def key(self) -> str:
        return "driver"

    def ir(self, name: str, isa: Isa) -> str:
        functions = [_spin(isa), _wait(isa), _barrier(), _Body(isa).write(), _post(), _run(), _worker(isa)]
        entry = Function(name, [("which", "i64")], "ptr", target_width=128)
        address = Value(entry, "@rv_run", "ptr")
        for which, symbol in ((Entry.WORKER, "rv_worker"), (Entry.POST, "rv_post"), (Entry.SPIN, "rv_spin")):
            address = entry.select(entry["which"].eq(which), Value(entry, f"@{symbol}", "ptr"), address)
        entry.ret(address)
        functions.append(entry)
        declarations = set().union(*(f.declarations for f in functions))
        return "\n".join([*sorted(declarations), *(f.definition() for f in functions), ""])


DRIVER = Driver()


# -- small pieces -----------------------------------------------------------------------------------------------------


def _function(name: str, arguments: str, returns: str = "void") -> Function:
    pairs = [tuple(reversed(argument.split())) for argument in arguments.split(", ")]
    return Function(name, pairs, returns, linkage="internal", target_width=128)  # type: ignore[arg-type]


def _atomic_load(f: Function, base: Value, index: Value | int, order: str = "acquire") -> Value:
    return f.emit(f"load atomic i64, ptr {f.at(base, index, 'i64').name} {order}, align 8", "i64")


def _atomic_store(f: Function, value: Value | int, base: Value, index: Value | int, order: str = "release") -> None:
    value = f.as_value(value, "i64")
    f.line(f"store atomic i64 {value.name}, ptr {f.at(base, index, 'i64').name} {order}, align 8")


def _put(f: Function, value: Value | int, base: Value, index: Value | int) -> None:
    f.store(f.as_value(value, "i64"), base, index)


def _pause(f: Function, isa: Isa) -> None:
    """Tell the CPU that this is a spin loop. (On ARM ``isb`` waits as long as x86's pause; ``yield`` does not.)"""
    if isa.name in ("avx2", "avx512"):
        f.call("llvm.x86.sse2.pause", [], "void")
    elif isa.name == "neon":
        f.call("llvm.aarch64.isb", [f.const(15, "i32")], "void")


def _cycles(f: Function, isa: Isa) -> Value:
    """A counter that user code may read: the cycle counter of ARM is closed to it."""
    return f.call("llvm.readsteadycounter" if isa.name == "neon" else "llvm.readcyclecounter", [], "i64")


def _set_float_mode(f: Function, isa: Isa, mode: Value) -> None:
    """Write the register that holds the floating-point mode."""
    if isa.name == "neon":
        f.call("llvm.aarch64.set.fpcr", [f.cast("zext", mode, "i64")], "void")
    else:
        slot = f.var(mode)
        f.call("llvm.x86.sse.ldmxcsr", [Value(f, slot.slot, "ptr")], "void")


def _float_mode(f: Function, isa: Isa) -> Value:
    """Read the register that holds the floating-point mode."""
    if isa.name == "neon":
        return f.cast("trunc", f.call("llvm.aarch64.get.fpcr", [], "i64"), "i32")
    slot = f.var(0, "i32")
    f.call("llvm.x86.sse.stmxcsr", [Value(f, slot.slot, "ptr")], "void")
    return slot.get()


# Bits that make denormal results and (x86) denormal inputs zero.
_FLUSH = {"neon": 1 << 24}
_FLUSH_X86 = 0x8040


def _not_null(f: Function, pointer: Value) -> Value:
    return f.emit(f"icmp ne ptr {pointer.name}, null", "i1")


def _invoke(f: Function, pointer: Value, arguments: list[Value], returns: str = "void", kind: str = "") -> None:
    """Call through a pointer; ``kind`` is the full function type where it differs from the arguments' (variadic)."""
    text = f"call {kind or returns} {pointer.name}({', '.join(f'{a.kind} {a.name}' for a in arguments)})"
    if returns == "void":
        f.line(text)
    else:
        f.emit(text, returns)


def _futex(f: Function, shared: Value, word: Value, operation: int, value: Value | int) -> None:
    """The futex system call on the low half of a word, through libc's ``syscall``, which takes longs."""
    number = f.load(shared, FUTEX, "i64")
    arguments = [number, word, f.const(operation, "i64"), f.as_value(value, "i64"), f.const(0, "ptr")]
    _invoke(f, f.load(shared, SYSCALL, "ptr"), arguments, "i64", "i64 (i64, ...)")


def _count(counter: Var) -> Value:
    value = counter.get() + 1
    counter.set(value)
    return value


# -- waiting ----------------------------------------------------------------------------------------------------------


def _spin(isa: Isa) -> Function:
    f = _function("rv_spin", "i64 n")
    word = f.scratch("i64", 1)
    _put(f, 0, word, 0)
    with f.loop(0, f["n"]):
        _atomic_load(f, word, 0)
        _pause(f, isa)
    return f


def _wait(isa: Isa) -> Function:
    """Until the word is at least ``value``."""
    f = _function("rv_wait", "ptr word, i64 value, ptr shared")
    turns = f.var(0, "i64")
    with f.forever() as done:
        f.leave(done, _atomic_load(f, f["word"], 0) >= f["value"])
        _pause(f, isa)
        beyond = _count(turns) - f.load(f["shared"], SPIN, "i64")
        with f.when(beyond > 0):
            with f.when(beyond <= _YIELDS):
                _invoke(f, f.load(f["shared"], YIELD, "ptr"), [])
            with f.when(beyond > _YIELDS):
                _invoke(f, f.load(f["shared"], NAP, "ptr"), [f.const(50, "i32")])
    return f


def _barrier() -> Function:
    f = _function("rv_barrier", "ptr shared, i64 thread, i64 threads, i64 epoch")
    slots = f.at(f["shared"], SLOTS, "i64")
    _atomic_store(f, f["epoch"], slots, f["thread"] * SLOT + ARRIVED)
    with f.loop(0, f["threads"]) as other:
        word = f.at(slots, other * SLOT + ARRIVED, "i64")
        f.call("rv_wait", [word, f["epoch"], f["shared"]], "void", declare=False)
    return f


# -- the interpreter --------------------------------------------------------------------------------------------------


class _Body:
    """Writes ``rv_body``: one thread's walk through the program."""

    def __init__(self, isa: Isa):
        arguments = ", ".join(f"{_JOB.get(name, ('i64',))[0]} {name}" for name in _BODY)
        self.isa, self.f = isa, _function("rv_body", arguments, "i64")
        f = self.f
        self.first, self.many = f["thread"].eq(0), f["threads"] > 1
        self.pc, self.epoch, self.steps = f.var(0, "i64"), f.var(f["epoch"]), f.var(0, "i64")
        self.following, self.before = f.var(0, "i64"), f.var(0, "i64")
        self.moved = f.scratch("i64", MOST_BUFFERS)

    def write(self) -> Function:
        f = self.f
        profiling = _not_null(f, f["profile"]) & self.first
        self.saved = _float_mode(f, self.isa)
        self._flush_denormals()
        with f.forever() as self.done:
            pc = self.pc.get()
            self.row = pc * WORDS
            self.following.set(pc + 1)
            with f.when(profiling):
                self.before.set(_cycles(f, self.isa))
            self._dispatch()
            with f.when(profiling):
                spent = _cycles(f, self.isa) - self.before.get()
                _put(f, f.load(f["profile"], pc, "i64") + spent, f["profile"], pc)
            self.pc.set(self.following.get())
            f.leave(self.done, self.following.get() < 0)
        with f.when(self.many & self.first):
            _put(f, self.epoch.get(), f["shared"], EPOCH)
        _set_float_mode(f, self.isa, self.saved)
        f.ret(self.steps.get())
        return f

    def _flush_denormals(self) -> None:
        """As the state's word 2 asks: treat denormal numbers as zero. Optimizer slots decay into them, and then cost
        ten times as much.
        """
        f = self.f
        with f.when(f.compare("ne", f.load(f["state"], 2, "i64"), 0)):
            _set_float_mode(f, self.isa, self.saved | _FLUSH.get(self.isa.name, _FLUSH_X86))

    def _dispatch(self) -> None:
        f = self.f
        cases = " ".join(f"i64 {op.value}, label %{op.name}" for op in Op)
        f.line(f"switch i64 {self._word(0).name}, label %UNKNOWN [ {cases} ]")
        for op in Op:
            f.label(op.name)
            getattr(self, f"_{op.name.lower()}")()
            f.branch("next")
        f.label("UNKNOWN")
        with f.when(self.first):
            _put(f, BAD_PROGRAM, f["state"], 0)
        self._barrier()  # nobody returns, and lets the program be freed, before all have read it
        self.following.set(-1)
        f.branch("next")
        f.label("next")

    def _word(self, number: int, kind: str = "i64") -> Value:
        return self.f.load(self.f["program"], self.row + number, kind)

    def _barrier(self) -> None:
        f = self.f
        with f.when(self.many):
            epoch = _count(self.epoch)
            f.call("rv_barrier", [f["shared"], f["thread"], f["threads"], epoch], "void", declare=False)

    def _decide(self, decide: Callable[[], Value], target: Value | None = None) -> None:
        """Thread 0 calls ``decide()``; all threads go where its result says: 0 on, 1 to the target, 2 out.

        The two decision words are used in turn, so that a thread that is late to read one cannot miss it: the word
        is written again two barriers later, and the late thread has to arrive at the one between.
        """
        f = self.f
        choice = f.var(0, "i64")
        with f.when(self.first):
            choice.set(decide())
        with f.when(self.many & self.first):
            _put(f, choice.get(), f["shared"], ((self.epoch.get() + 1) & 1) + DECISION)
        self._barrier()
        with f.when(self.many):
            choice.set(f.load(f["shared"], (self.epoch.get() & 1) + DECISION, "i64"))
        if target is not None:
            with f.when(choice.get().eq(1)):
                self.following.set(target)
        with f.when(choice.get().eq(2)):
            self.following.set(-1)

    def _failed(self, words: int) -> Value:
        """Whether any of the first words of the state is set. Other threads may set them at any time."""
        f = self.f
        total = _atomic_load(f, f["state"], 0, "monotonic")
        if words == 2:
            total = total | _atomic_load(f, f["state"], 1, "monotonic")
        return f.compare("ne", total, 0)

    # one method for each opcode

    def _end(self) -> None:
        f = self.f
        steps = _count(self.steps)
        self.following.set(0)
        self._decide(lambda: f.select(self._failed(2) | (steps >= f["steps"]), f.const(2, "i64"), 0))

    def _kernel(self) -> None:
        self._call(self._word(2, "ptr"))

    def _moving(self) -> None:
        """A kernel inside loops: the addresses of this turn are worked out on the stack."""
        f = self.f
        buffers, moves, count = self._word(2, "ptr"), self._word(6, "ptr"), self._word(7)
        with f.loop(0, count) as i:
            f.store(f.load(buffers, i, "i64"), self.moved, i)
        with f.loop(0, f.load(moves, 0, "i64")) as i:
            which, stride, mask = (f.load(moves, i * 4 + k, "i64") for k in (1, 3, 4))
            turn = f.load(self._counter(f.load(moves, i * 4 + 2, "ptr")), 0, "i64") & mask
            f.store(f.load(self.moved, which, "i64") + turn * stride, self.moved, which)
        self._call(self.moved)

    def _counter(self, counters: Value) -> Value:
        """The address of this thread's counter of turns."""
        return self.f.at(counters, self.f["thread"] * COUNTER, "i64")

    def _enter(self) -> None:
        _put(self.f, 0, self._counter(self._word(1, "ptr")), 0)

    def _loop(self) -> None:
        f = self.f
        counter = self._counter(self._word(1, "ptr"))
        turn = f.load(counter, 0, "i64") + 1
        _put(f, turn, counter, 0)
        with f.when(turn < self._word(2)):
            self.following.set(self._word(3))

    def _call(self, buffers: Value) -> None:
        f = self.f
        units, split = self._word(3), f.compare("ne", self._word(4), 0)
        low, high = f.var(0, "i64"), f.var(units)
        with f.when(self.many):
            share = f.select(split, f["thread"], 0)
            low.set(f.select(split, units * share // f["threads"], 0))
            high.set(f.select(split, units * (share + 1) // f["threads"], f.select(self.first, units, 0)))
        with f.when(low.get() < high.get()):
            _invoke(f, self._word(1, "ptr"), [buffers, low.get(), high.get(), f["state"]])
        with f.when(f.compare("ne", self._word(5), 0)):
            self._barrier()

    def _jump(self) -> None:
        self.following.set(self._word(1))

    def _branch_false(self) -> None:
        f = self.f

        def decide() -> Value:
            false = f.load(self._word(1, "ptr"), 0, "i8").eq(0)
            return f.select(self._failed(1), f.const(2, "i64"), f.cast("zext", false, "i64"))

        self._decide(decide, self._word(2))

    def _less(self) -> None:
        f = self.f

        def decide() -> Value:
            limit = f.var(self._word(2))
            with f.when(f.compare("ne", self._word(4), 0)):
                limit.set(f.load(self._word(2, "ptr"), 0, "i64"))
            reached = f.load(self._word(1, "ptr"), 0, "i64") >= limit.get()
            return f.select(self._failed(1), f.const(2, "i64"), f.cast("zext", reached, "i64"))

        self._decide(decide, self._word(3))

    def _add(self) -> None:
        f = self.f
        with f.when(self.first):
            pointer = self._word(1, "ptr")
            _put(f, f.load(pointer, 0, "i64") + self._word(2), pointer, 0)
        self._barrier_unless_quiet()

    def _set(self) -> None:
        f = self.f
        with f.when(self.first):
            _put(f, self._word(2), self._word(1, "ptr"), 0)
        self._barrier_unless_quiet()

    def _barrier_unless_quiet(self) -> None:
        with self.f.when(self._word(3).eq(0)):
            self._barrier()

    def _callback(self) -> None:
        with self.f.when(self.first):
            _set_float_mode(self.f, self.isa, self.saved)  # Python keeps its own mode
            _invoke(self.f, self._word(1, "ptr"), [self._word(2)])
            self._flush_denormals()
        self._barrier()


# -- jobs -------------------------------------------------------------------------------------------------------------


def _post() -> Function:
    """Write a job into a worker's mailbox once its last one is finished, and wake it if it sleeps."""
    f = _function("rv_post", ", ".join(["ptr box", *(f"{kind} {name}" for name, (kind, _) in _JOB.items())]))
    box, shared = f["box"], f["shared"]
    job = f.load(box, JOB, "i64")
    f.call("rv_wait", [f.at(box, DONE, "i64"), job, shared], "void", declare=False)
    for name, (_, word) in _JOB.items():
        f.store(f[name], box, word)
    # The worker marks itself as asleep and then looks for a job; here the job comes first and then the look at the
    # mark. With sequential consistency at least one side sees the other.
    _atomic_store(f, job + 1, box, JOB, "seq_cst")
    with f.when(f.compare("ne", _atomic_load(f, box, SLEEPING, "seq_cst"), 0)):  # only ever set where there is a futex
        _futex(f, shared, f.at(box, JOB, "i64"), FUTEX_WAKE_PRIVATE, 1)
    return f


def _wait_for_leavers(f: Function) -> None:
    """Wait for threads of the last run that this run does without: they may still have to read its last decision."""
    shared = f["shared"]
    with f.loop(f["threads"], f.load(shared, LAST_THREADS, "i64")) as thread:
        box = f.at(shared, thread * SLOT + SLOTS, "i64")
        f.call("rv_wait", [f.at(box, DONE, "i64"), f.load(box, JOB, "i64"), shared], "void", declare=False)
    _put(f, f["threads"], shared, LAST_THREADS)


def _run() -> Function:
    f = _function("rv_run", "ptr program, i64 steps, i64 threads, ptr state, ptr profile, i64 spin, ptr shared", "i64")
    shared, result = f["shared"], f.var(0, "i64")
    job: dict[str, Value] = {name: f[name] for name in _JOB if name != "epoch"}
    epoch = f.var(0, "i64")
    with f.when(f["steps"] > 0):
        with f.when(f["threads"] > 1):
            _put(f, f["spin"], shared, SPIN)
            epoch.set(f.load(shared, EPOCH, "i64"))
            _wait_for_leavers(f)
            with f.loop(1, f["threads"]) as thread:
                box = f.at(shared, thread * SLOT + SLOTS, "i64")
                job["epoch"] = epoch.get()
                f.call("rv_post", [box, *(job[name] for name in _JOB)], "void", declare=False)
        job["epoch"], job["thread"] = epoch.get(), f.const(0, "i64")
        result.set(f.call("rv_body", [job[name] for name in _BODY], "i64", declare=False))
    f.ret(result.get())
    return f


def _worker(isa: Isa) -> Function:
    f = _function("rv_worker", "ptr box", "ptr")
    box = f["box"]
    shared = f.load(box, SHARED, "ptr")
    last, turns = f.var(f.load(box, DONE, "i64")), f.var(0, "i64")
    with f.forever() as ended:
        turns.set(0)
        with f.forever() as found:
            f.leave(found, f.compare("ne", _atomic_load(f, box, JOB), last.get()))
            _pause(f, isa)
            beyond = _count(turns) - f.load(shared, SPIN, "i64")
            with f.when(beyond > 0):
                _invoke(f, f.load(shared, YIELD, "ptr"), [])
            with f.when(beyond > _IDLE_YIELDS):
                _sleep(f, box, shared, last.get())
        last.set(_atomic_load(f, box, JOB))
        job = {name: f.load(box, word, kind) for name, (kind, word) in _JOB.items()}
        f.leave(ended, job["threads"].eq(0))
        job["thread"] = f.load(box, NUMBER, "i64")
        f.call("rv_body", [job[name] for name in _BODY], "i64", declare=False)
        _atomic_store(f, last.get(), box, DONE)
    f.ret(f.const(0, "ptr"))
    return f


def _sleep(f: Function, box: Value, shared: Value, last: Value) -> None:
    """Sleep until there is a job, or (where there is no futex) for a moment. May return early for no reason."""
    futex = _not_null(f, f.load(shared, SYSCALL, "ptr"))
    with f.when(futex):
        _atomic_store(f, 1, box, SLEEPING, "seq_cst")
        with f.when(_atomic_load(f, box, JOB, "seq_cst").eq(last)):
            _futex(f, shared, f.at(box, JOB, "i64"), FUTEX_WAIT_PRIVATE, last & 0xFFFFFFFF)
        _atomic_store(f, 0, box, SLEEPING)
    with f.when(futex ^ True):
        _invoke(f, f.load(shared, NAP, "ptr"), [f.const(100, "i32")])
