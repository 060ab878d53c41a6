"""Work that short rows leave for later: costly scalars, computed for many rows at once.

A row of ten logits needs one logarithm. Computed with the row, its long chain of dependent scalar instructions takes
twice the time of everything else. So values that only scalar stores need are put off: each row leaves the scalars they
start from on the stack, and after a group of rows the rest is computed with one lane for each row.
"""

from __future__ import annotations

from .builder import Value, vector
from .emit import ELEMENTWISE, HEAVY, KINDS, REDUCTIONS, constant, emit_instr, operand_dtypes
from .nest_body import Frame, Kernel

__all__ = ["GROUP", "Later"]

GROUP = 64  # rows; a multiple of every number of lanes


class Later:
    """The values of a row kernel that are put off.

    Attributes:
        values: their numbers; empty if nothing is worth it.
    """

    def __init__(self, k: Kernel):
        self.k = k
        body = k.nest.body
        self.values = self._postponed() if k.last == 1 and not k.nest.checked else set()
        if not any(body[i].op in HEAVY or body[i].op in ("sqrt", "div") for i in self.values):
            self.values = set()
        sources = {a for i in self.values for a in body[i].args} - self.values
        self.scratch = {
            a: k.f.scratch("i8" if body[a].dtype == "bool" else KINDS[body[a].dtype], GROUP)
            for a in sorted(sources)
            if body[a].op != "const" and k.info.deps[a]
        }

    def _postponed(self) -> set[int]:
        """Scalars that depend on a reduction and that nothing but other such scalars and scalar stores read."""
        k, info = self.k, self.k.info
        body, found = k.nest.body, set()
        stored = {i for _, i in k.sorted_stores()[1]}
        for i in reversed(info.live):
            after = any(info.phase[a] or body[a].op in REDUCTIONS for a in body[i].args)
            users = [u for u in info.live if i in body[u].args]
            if body[i].op in ELEMENTWISE and after and not info.deps[i] & info.lane and i not in stored:
                if info.deps[i] and all(u in found for u in users):
                    found.add(i)
        return found

    def keep(self, row: Frame, at: Value) -> None:
        """Leave a row's scalars at place ``at`` of its group."""
        for a, place in self.scratch.items():
            self.k.f.store(self.k.scalar_of(row, a), place, at)

    def finish(self, top: Frame, first: Value, end: Value) -> None:
        """Compute and store what was put off for the rows ``first ... end``."""
        k, f, count = self.k, self.k.f, self.k.lanes
        whole = k.parts.rows % count == 0 and (k.parts.units == 1 or k.parts.group % count == 0)
        with f.loop(0, end - first, count) as at:
            mask = None if whole else f.first_lanes(end - first - at, count)
            known: dict[int, Value] = {}
            for i in sorted(self.values):
                instr = k.nest.body[i]
                args = [self._argument(top, known, a, at) for a in instr.args]
                known[i] = emit_instr(f, instr, args, count, operand_dtypes(k.nest.body, instr))
            for target, i in k.sorted_stores()[0]:
                if i in self.values:
                    self._store(top, target, known[i], first + at, mask)

    def _argument(self, top: Frame, known: dict[int, Value], a: int, at: Value) -> Value:
        k, f, instr = self.k, self.k.f, self.k.nest.body[a]
        if instr.op == "const":
            return constant(f, instr.attrs[0], instr.dtype, k.lanes)
        if a not in known:
            if a in self.scratch:
                known[a] = f.load(self.scratch[a], at, vector(KINDS[instr.dtype], k.lanes))
            else:
                known[a] = f.splat(k.scalar_of(top, a), k.lanes)
        return known[a]

    def _store(self, top: Frame, target: int, value: Value, row: Value, mask: Value | None) -> None:
        k, f = self.k, self.k.f
        place, stride = k.start(top, target), k.nest.operands[target].strides[0]
        if stride == 1:
            f.store(value, place, row, mask)
            return
        offsets = (f.splat(row, k.lanes) + f.lane_numbers(k.lanes)) * stride
        f.scatter(value, place, offsets, mask)
