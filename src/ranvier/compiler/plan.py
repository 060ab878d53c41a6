"""The plan: kernels in order, and where every value lies.

Scheduling keeps the order of the groups, except that a kernel which updates a variable in its own memory waits for
all readers of the old value. Intermediate values share one arena: each gets the first gap that is free for as long as
the value lives, or takes over the place of an input that ends there. Nothing is allocated while a step runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.kernel import Callback, Control, Kernel
from ranvier.compiler.passes.copies import extent, flat_copy
from ranvier.compiler.storage import memory_dtype
from ranvier.compiler.views import VIEWS, view
from ranvier.errors import InternalError

__all__ = ["Place", "Plan", "make_plan"]

_ALIGN = 64

Step = Kernel | Callback | Control


@dataclass(frozen=True)
class Place:
    """Where a value lies: ``argument``, ``variable``, ``constant`` or ``arena``; its number or byte offset; size."""

    kind: str
    index: int
    nbytes: int


@dataclass
class Plan:
    """Everything an executor needs.

    Attributes:
        graph: the graph the kernels were made from.
        steps: kernels and callbacks in the order in which they run.
        places: id of a value -> its place.
        constants: values of constants that lie in memory.
        arena: bytes of the arena.
        keep: values that must stay alive because ``places`` knows them by id.
        kept: how many of the first steps depend on nothing but variables that the function leaves alone (packing
            weights, for example): they run again only when one of those has changed.
    """

    graph: Graph
    steps: list[Step]
    places: dict[int, Place]
    constants: list[Value]
    arena: int
    keep: list[Value] = field(default_factory=list)
    kept: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations of one run (of both branches of a condition, of one turn of an open loop)."""
        return sum(step_cost(s)[0] for s in self.steps)

    @property
    def bytes(self) -> int:
        """Bytes read and written by the kernels of one run."""
        return sum(step_cost(s)[1] for s in self.steps)


def step_cost(step: Step) -> tuple[int, int]:
    """(FLOPs, bytes) of one step."""
    if isinstance(step, Kernel):
        return step.spec.flops, step.spec.bytes
    if isinstance(step, Callback):
        return 0, 0
    costs = [step_cost(s) for plan in step.plans for s in plan.steps]
    turns = max(step.turns, 1)
    return turns * sum(c[0] for c in costs), turns * sum(c[1] for c in costs)


def nbytes(v: Value) -> int:
    """Bytes of memory that a value takes, padding included."""
    return extent(v) * memory_dtype(v.dtype).itemsize


def reads(step: Step) -> list[Value]:
    """The values whose memory a step reads."""
    if isinstance(step, Kernel):
        return [step.operands[i].value for i in step.reads]
    return [view(x).root for x in step.inputs]


def writes(step: Step) -> list[Value]:
    """The values whose memory a step writes."""
    if isinstance(step, Kernel):
        return [step.operands[i].value for i in step.writes]
    return list(step.outputs)


def make_plan(graph: Graph, steps: Sequence[Step], checked: bool = False) -> Plan:
    """Order the steps and give every value its place."""
    places: dict[int, Place] = {}
    constants: list[Value] = []
    keep: list[Value] = []
    for i, v in enumerate(graph.arguments):
        places[id(v)] = Place("argument", i, nbytes(v))
    first = len(graph.inputs) - len(graph.variables)
    for i, v in enumerate(graph.inputs[first:]):
        places[id(v)] = Place("variable", i, nbytes(v))
    for v in _constants(graph, steps):
        places[id(v)] = Place("constant", len(constants), nbytes(v))
        constants.append(v)
    ordered, inplace, copies = _schedule(graph, list(steps))
    for new, index in inplace:
        places[id(new)] = Place("variable", index, nbytes(new))
    lasting = _lasting(graph, ordered)
    ordered = lasting + [s for s in ordered if all(s is not k for k in lasting)]
    arena = _allocate(graph, ordered, places, copies, [v for k in lasting for v in writes(k)])
    ordered = ordered + [flat_copy(graph.inputs[first + index], new, checked) for new, index in copies]
    keep.extend(v for s in ordered for v in (*reads(s), *writes(s)))
    return Plan(graph, ordered, places, constants, arena, keep + graph.outputs + graph.inputs, len(lasting))


def _constants(graph: Graph, steps: Sequence[Step]) -> list[Value]:
    seen: dict[int, Value] = {}
    for s in steps:
        for v in reads(s):
            if v.op == "const":
                seen[id(v)] = v
    for v in graph.outputs:
        root = view(v).root if not v.layout else v
        if root.op == "const":
            seen[id(root)] = root
    return list(seen.values())


# -- scheduling ---------------------------------------------------------------------------------------------------


def _schedule(graph: Graph, steps: list[Step]) -> tuple[list[Step], list[tuple[Value, int]], list[tuple[Value, int]]]:
    """Steps in order; updates that happen in the variable's memory; updates copied at the end."""
    after: dict[int, set[int]] = {i: set() for i in range(len(steps))}  # step -> steps that must come before
    writers: dict[int, list[int]] = {}
    readers: dict[int, list[int]] = {}
    for i, s in enumerate(steps):
        for v in reads(s):
            after[i].update(w for w in writers.get(id(v), ()) if w != i)
            readers.setdefault(id(v), []).append(i)
        for v in writes(s):
            after[i].update(w for w in writers.get(id(v), ()) if w != i)
            writers.setdefault(id(v), []).append(i)
    first = len(graph.inputs) - len(graph.variables)
    inplace: list[tuple[Value, int]] = []
    copies: list[tuple[Value, int]] = []
    for index, new in zip(graph.updates, graph.outputs[len(graph.results) :], strict=True):
        old = graph.inputs[first + index]
        if new is old:
            continue
        new = _in_memory(new)
        made = writers.get(id(new), [])
        taken = any(new is v for v, _ in inplace)
        if len(made) == 1 and not taken and _may_overwrite(steps[made[0]], old, new):
            others = {r for r in readers.get(id(old), ()) if r != made[0]}
            if not any(_reaches(after, r, made[0]) for r in others):
                after[made[0]] |= others
                inplace.append((new, index))
                continue
        copies.append((new, index))
    return [steps[i] for i in _topological(after)], inplace, copies


def _in_memory(new: Value) -> Value:
    """A variable's new value as it was computed: flattening leaves it a plain reshape of that."""
    root = new
    while root.op == "reshape":
        root = root.inputs[0]
    if root.op in VIEWS or (root is not new and root.layout):
        raise InternalError(f"plan: the new value of a variable, {new.op}{list(new.shape)}, does not lie in memory")
    return root


def _may_overwrite(step: Step, old: Value, new: Value) -> bool:
    """Whether the step that makes ``new`` may write over ``old``: it does not read it, or reads each element just
    before writing it.
    """
    if not isinstance(step, Kernel) or step.border or old.layout != new.layout:
        return False
    return all(v is not old for v in reads(step)) or (id(old), id(new)) in step.inplace


def _reaches(after: dict[int, set[int]], start: int, goal: int) -> bool:
    """Whether ``goal`` must come before ``start``."""
    stack, seen = [start], set()
    while stack:
        i = stack.pop()
        if i == goal:
            return True
        if i not in seen:
            seen.add(i)
            stack.extend(after[i])
    return False


def _topological(after: dict[int, set[int]]) -> list[int]:
    order: list[int] = []
    done: set[int] = set()
    waiting = sorted(after)
    while waiting:
        ready = next(i for i in waiting if after[i] <= done)
        order.append(ready)
        done.add(ready)
        waiting.remove(ready)
    return order


def _lasting(graph: Graph, steps: Sequence[Step]) -> list[Kernel]:
    """The kernels whose results last from call to call: see :attr:`Plan.kept`."""
    first = len(graph.inputs) - len(graph.variables)
    updated = {id(graph.inputs[first + i]) for i in graph.updates}
    weights = [v for v in graph.inputs[first:] if id(v) not in updated]
    known = {id(v) for v in weights}
    returned = {id(v) for v in graph.outputs[len(graph.results) :]}
    allowed = 4 * sum(map(nbytes, weights))  # what they keep stays allocated: about as much as the weights themselves
    found: list[Kernel] = []
    writers: dict[int, list[Step]] = {}
    for s in steps:
        for v in writes(s):
            writers.setdefault(id(v), []).append(s)
    passed: set[int] = set()  # values of which a part must be written anew: so must the others
    for s in steps:
        made = writes(s)
        parts = [w for v in made for w in writers[id(v)]]
        fits = all(isinstance(w, Kernel) for w in [s, *parts]) and all(
            v.op == "const" or id(v) in known for w in [s, *parts] for v in reads(w)
        )
        fresh = sum(nbytes(v) for v in made if id(v) not in known)
        if fits and fresh <= allowed and not any(id(v) in returned or id(v) in passed for v in made):
            assert isinstance(s, Kernel)
            found.append(s)
            known.update(map(id, made))
            allowed -= fresh
        else:
            passed.update(map(id, made))
    return found


# -- memory -------------------------------------------------------------------------------------------------------


def _allocate(
    graph: Graph,
    steps: Sequence[Step],
    places: dict[int, Place],
    copies: Sequence[tuple[Value, int]],
    lasting: Sequence[Value],
) -> int:
    """Offsets of intermediate values in the arena; returns its size. What is ``lasting`` shares its place with none."""
    end = len(steps)
    born: dict[int, int] = {}
    dies: dict[int, int] = {}
    values: dict[int, Value] = {}
    for i, s in enumerate(steps):
        for v in writes(s):
            if id(v) not in places:
                born.setdefault(id(v), i)
                dies[id(v)] = max(dies.get(id(v), i), i)
                values[id(v)] = v
        for v in reads(s):
            if id(v) in values:
                dies[id(v)] = i
    kept = [view(v).root if not v.layout else v for v in graph.results] + [v for v, _ in copies]
    own = [*lasting, *(v for s in steps if isinstance(s, Kernel) and s.border for v in writes(s))]
    for v in kept + own:
        if id(v) in dies:
            dies[id(v)] = end
    free = _Arena()
    taken: dict[int, tuple[int, int]] = {}  # id(value) -> (offset, size)
    for v in own:  # memory that is zero to begin with and that nothing else ever uses
        if id(v) in values and id(v) not in taken:
            size = -(-nbytes(v) // _ALIGN) * _ALIGN
            taken[id(v)] = (free.take(size), size)
            places[id(v)] = Place("arena", taken[id(v)][0], nbytes(v))
    for i, s in enumerate(steps):
        leaving = [v for v in {id(v): v for v in reads(s)}.values() if dies.get(id(v)) == i and id(v) in taken]
        for v in {id(v): v for v in writes(s)}.values():
            if born.get(id(v)) != i or id(v) in taken:
                continue
            heir = next((x for x in leaving if _takes_over(s, x, v)), None)
            if heir is not None:
                leaving.remove(heir)
                taken[id(v)] = taken.pop(id(heir))
            else:
                size = -(-nbytes(v) // _ALIGN) * _ALIGN
                taken[id(v)] = (free.take(size), size)
            places[id(v)] = Place("arena", taken[id(v)][0], nbytes(v))
        for x in leaving:
            free.give(*taken.pop(id(x)))
        for v in writes(s):
            if dies.get(id(v)) == i and id(v) in taken:  # written and never read
                free.give(*taken.pop(id(v)))
    return free.size


def _takes_over(step: Step, x: Value, v: Value) -> bool:
    return isinstance(step, Kernel) and (id(x), id(v)) in step.inplace and nbytes(x) == nbytes(v)


class _Arena:
    """Best-fit allocation of byte ranges that come and go."""

    def __init__(self) -> None:
        self.gaps: list[tuple[int, int]] = []  # (offset, size), sorted, never adjacent
        self.size = 0

    def take(self, size: int) -> int:
        fitting = [(gap, at) for at, gap in self.gaps if gap >= size]
        if fitting:
            gap, at = min(fitting)
            self.gaps.remove((at, gap))
            if gap > size:
                self.give(at + size, gap - size)
            return at
        at = self.size
        self.size += size
        return at

    def give(self, at: int, size: int) -> None:
        if not size:
            return
        self.gaps.append((at, size))
        self.gaps.sort()
        joined: list[tuple[int, int]] = []
        for offset, n in self.gaps:
            if joined and sum(joined[-1]) == offset:
                joined[-1] = (joined[-1][0], joined[-1][1] + n)
            else:
                joined.append((offset, n))
        self.gaps = joined
