"""Loop nests as data: what a map or reduction kernel computes, before any code exists.

A :class:`Nest` is a box of loops (``dims``), operands with one stride per loop, a body of instructions and a list of
stores. Three shapes of nest cover everything that is not a contraction:

- ``reduce="none"``: a map. Elementwise chains, broadcasts, gathers, optimizer updates.
- ``reduce="last"``: row kernels. Reductions run along the last loop: softmax with cross-entropy, layer
  normalisation, sums of rows. Dependent reductions (maximum, then sum of exponentials) become phases of one kernel.
- ``reduce="middle"``: column kernels. Reductions run along the last loop but one while vector lanes run along the
  last: bias gradients, batch normalisation.

This file holds the spec, its simplest equal form (:func:`canonical`) and the division of the work into units;
``nest_body.py`` turns bodies into vector code, ``nest_map.py`` and ``nest_reduce.py`` write the loops.

Rules a maker of nests must keep: an output may share memory with an input only if both have the same strides; an
output overlaps no other output; indices of a ``gather`` are in range; the body's dtypes agree with the operands'.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from .emit import HEAVY, ITEMSIZE, REDUCTIONS
from .expr import Body, Instr

if TYPE_CHECKING:
    from .target import Isa

__all__ = ["Nest", "Operand", "Partition", "arranged", "canonical", "partition", "tiled", "weight"]


@dataclass(frozen=True)
class Operand:
    """One buffer of a nest.

    Attributes:
        dtype: of its elements.
        strides: elements to step for each loop; 0 repeats the same element.
        offset: the element at index 0 of every loop.
        size: elements in the buffer. Checked mode needs it; else it may be 0 for unknown.
    """

    dtype: str
    strides: tuple[int, ...]
    offset: int = 0
    size: int = 0


@dataclass(frozen=True)
class Nest:
    """A map or reduction kernel.

    Attributes:
        dims: loop sizes, outermost first. Vector lanes run along the last.
        reduce: ``"none"``, ``"last"`` or ``"middle"``: the loop that reductions run along.
        operands: inputs and outputs in the order of the kernel's buffers.
        body: the instructions.
        stores: (operand, body value) pairs. Values that do not depend on a loop are stored once where the operand's
            stride along it is 0.
        valid: for ``reduce="last"``, how many elements of the last loop have a meaning (0: all). The rest is
            padding: no reduction sees it, and stores fill it with zeros.
        checked: test the bounds of every access; a bad one is skipped and puts 1 into word 0 of the state.
    """

    dims: tuple[int, ...]
    reduce: str
    operands: tuple[Operand, ...]
    body: Body
    stores: tuple[tuple[int, int], ...]
    valid: int = 0
    checked: bool = False

    def key(self) -> str:
        """Canonical text of everything that affects the code."""
        operands = " ".join(f"{o.dtype}{list(o.strides)}+{o.offset}<{o.size}" for o in self.operands)
        body = " ".join(f"{i.op}:{i.dtype}{list(i.args)}{i.attrs!r}" for i in self.body)
        flags = f"{self.reduce} valid={self.valid} checked={int(self.checked)}"
        return f"nest {list(self.dims)} {flags} | {operands} | {body} | {self.stores!r}"

    @property
    def units(self) -> int:
        """How many independent pieces the work has; 0 if there is nothing to do."""
        return partition(canonical(self)).units

    @property
    def flops(self) -> int:
        """Arithmetic operations, roughly: a transcendental function counts as 20."""
        return math.prod(self.dims) * sum(_FLOPS.get(i.op, 1) for i in self.body if i.op not in _FREE)

    @property
    def bytes(self) -> int:
        """Bytes of the elements read and written, each counted once."""
        return sum(
            ITEMSIZE[o.dtype] * math.prod(n for n, s in zip(self.dims, o.strides, strict=True) if s)
            for o in self.operands
        )

    def ir(self, name: str, isa: Isa) -> str:
        """The LLVM module that defines the kernel as ``name``."""
        from .nest_body import Kernel
        from .nest_map import emit_map
        from .nest_reduce import emit_columns, emit_rows
        from .nest_tile import emit_tiles

        self.check()
        kernel = Kernel(canonical(self), name, isa)
        emit_maps = emit_tiles if tiled(kernel.nest) else emit_map
        if kernel.parts.units:
            {"none": emit_maps, "last": emit_rows, "middle": emit_columns}[self.reduce](kernel)
        return kernel.f.module()

    def check(self) -> None:
        """Assert that the spec is well formed."""
        rank = len(self.dims)
        assert self.reduce in ("none", "last", "middle"), self.reduce
        assert rank >= {"none": 0, "last": 1, "middle": 2}[self.reduce], f"{self.reduce} needs more loops than {rank}"
        assert not self.valid or self.reduce == "last", "only row kernels have padding"
        assert all(len(o.strides) == rank for o in self.operands), "an operand has one stride per loop"
        for at, instr in enumerate(self.body):
            assert all(a < at for a in instr.args), f"instruction {at} reads a later one"
            assert instr.op not in REDUCTIONS or self.reduce != "none", "a map has no reductions"
            if instr.op in ("load", "gather"):
                assert self.operands[instr.attrs[0]].dtype == instr.dtype, f"instruction {at}: dtype of operand"
        for target, value in self.stores:
            stored, wanted = self.body[value].dtype, self.operands[target].dtype
            assert stored == wanted, f"a {stored} value is stored into a {wanted} operand"


_FREE = frozenset(("load", "const", "iota", "gather", "cast", "bitcast"))
_FLOPS = dict.fromkeys(HEAVY, 20)


def weight(body: Iterable[Instr]) -> int:
    """Roughly how many vector instructions the body makes: what unrolling and unit sizes go by."""
    total = 0
    for instr in body:
        if instr.op == "const":
            continue
        cost = 20 if instr.op in HEAVY else 4 if instr.op in ("div", "sqrt") else 1
        cost *= 2 if instr.dtype in ("float64", "int64") else 1
        total += cost + (5 if instr.dtype == "bfloat16" and instr.op not in ("load", "where") else 0)
    return total


# -- the simplest equal nest ------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def canonical(nest: Nest) -> Nest:
    """An equal nest with fewer loops: loops of one turn go, loops that walk memory as one are joined.

    In a map, the loop that most operands walk element by element becomes the innermost; if others walk another loop
    so, that one comes next, and the map is made in tiles (:func:`tiled`).
    """
    nest = _drop_single(nest)
    if nest.reduce == "none":
        nest = _choose_second(_choose_innermost(nest))
    return _join(nest)


def _fixed(nest: Nest) -> int:
    """How many loops at the end have a role and stay as they are."""
    return {"none": 0, "last": 1, "middle": 2}[nest.reduce]


def _named(nest: Nest) -> set[int]:
    """The loops that instructions name: their index is a value, or is replaced by one."""
    return {i.attrs[0] for i in nest.body if i.op == "iota"} | {i.attrs[1] for i in nest.body if i.op == "gather"}


def _keep(nest: Nest, order: list[int]) -> Nest:
    """The nest with the loops ``order`` only, in that order."""
    new = {old: at for at, old in enumerate(order)}
    body = []
    for instr in nest.body:
        if instr.op == "iota":
            if instr.attrs[0] in new:
                instr = instr._replace(attrs=(new[instr.attrs[0]],))
            else:
                instr = Instr("const", instr.dtype, (), (0,))
        elif instr.op == "gather":
            instr = instr._replace(attrs=(instr.attrs[0], new[instr.attrs[1]]))
        body.append(instr)
    operands = tuple(replace(o, strides=tuple(o.strides[d] for d in order)) for o in nest.operands)
    return replace(nest, dims=tuple(nest.dims[d] for d in order), operands=operands, body=tuple(body))


def arranged(nest: Nest, axes: tuple[int, ...]) -> Nest:
    """A reduction along the neighbouring loops ``axes``, brought to the form in which one loop is reduced.

    The reduced loops, along which every operand walks evenly, become one. Loops inside them become one if they can,
    and else go outside, all but the last.
    """
    nest = _merged(nest, axes)
    a, rank = axes[0], len(nest.dims)
    if nest.reduce == "last" or a == rank - 2:
        return nest
    inside = tuple(range(a + 1, rank))
    if all(_even(o.strides, nest.dims, inside) for o in nest.operands) and not _named(nest) & set(inside):
        return _merged(nest, inside)
    return _keep(nest, [*range(a), *inside[:-1], a, rank - 1])


def _even(strides: tuple[int, ...], dims: tuple[int, ...], loops: tuple[int, ...]) -> bool:
    """Whether an operand walks along some neighbouring loops as along one."""
    turning = [d for d in loops if dims[d] != 1]
    return all(strides[d] == strides[e] * dims[e] for d, e in itertools.pairwise(turning))


def _merged(nest: Nest, loops: tuple[int, ...]) -> Nest:
    """The nest with some neighbouring loops as one."""
    if len(loops) == 1:
        return nest
    first, last = loops[0], loops[-1]
    assert all(_even(o.strides, nest.dims, loops) for o in nest.operands), "loops that are not walked as one"
    assert not _named(nest) & set(loops), "a loop with a name of its own cannot be joined"
    turning = max((d for d in loops if nest.dims[d] != 1), default=last)
    dims = (*nest.dims[:first], math.prod(nest.dims[first : last + 1]), *nest.dims[last + 1 :])
    operands = tuple(
        replace(o, strides=(*o.strides[:first], o.strides[turning], *o.strides[last + 1 :])) for o in nest.operands
    )
    gone = last - first
    body = []
    for i in nest.body:
        if i.op == "iota" and i.attrs[0] > last:
            i = i._replace(attrs=(i.attrs[0] - gone,))
        elif i.op == "gather" and i.attrs[1] > last:
            i = i._replace(attrs=(i.attrs[0], i.attrs[1] - gone))
        body.append(i)
    return replace(nest, dims=dims, operands=operands, body=tuple(body))


def _drop_single(nest: Nest) -> Nest:
    rank = len(nest.dims)
    gathered = {i.attrs[1] for i in nest.body if i.op == "gather"}
    keep = [d for d, n in enumerate(nest.dims) if n != 1 or d in gathered or d >= rank - _fixed(nest)]
    nest = _keep(nest, keep)
    if not nest.dims:  # everything was a single element: a map of one turn
        operands = tuple(replace(o, strides=(0,)) for o in nest.operands)
        nest = replace(nest, dims=(1,), operands=operands)
    return nest


def _choose_innermost(nest: Nest) -> Nest:
    rank = len(nest.dims)
    used = [i.attrs[0] for i in nest.body if i.op in ("load", "gather")] + 2 * [target for target, _ in nest.stores]

    def cost(d: int) -> float:
        steps = sum({0: 0.3, 1: 1.0}.get(nest.operands[o].strides[d], 10.0) for o in used)
        return steps * (math.ceil(nest.dims[d] / 16) * 16 / max(nest.dims[d], 1))

    best = min(range(rank), key=cost)
    if rank == 1 or cost(best) > 0.8 * cost(rank - 1):  # as it is, unless another loop is clearly better
        return nest
    return _keep(nest, [d for d in range(rank) if d != best] + [best])


def _turned(nest: Nest, d: int) -> int:
    """How many loads step by one element along loop ``d`` and jump along the last."""
    loads = [nest.operands[i.attrs[0]].strides for i in nest.body if i.op == "load"]
    return sum(s[d] == 1 and s[-1] not in (0, 1) for s in loads)


def _choose_second(nest: Nest) -> Nest:
    rank = len(nest.dims)
    if rank < 3:
        return nest
    best = max(range(rank - 1), key=lambda d: (_turned(nest, d), d))
    if not _turned(nest, best):
        return nest
    return _keep(nest, [d for d in range(rank - 1) if d != best] + [best, rank - 1])


def tiled(nest: Nest) -> bool:
    """Whether a canonical map reads something transposed, so that it is worth turning tiles of it in registers."""
    if nest.reduce != "none" or nest.checked or len(nest.dims) < 2 or min(nest.dims[-2:]) < 8:
        return False
    return _turned(nest, len(nest.dims) - 2) > 0 and all(nest.operands[o].strides[-1] for o, _ in nest.stores)


def _join(nest: Nest) -> Nest:
    dims, strides = list(nest.dims), [list(o.strides) for o in nest.operands]
    limit, named = len(dims) - _fixed(nest), _named(nest)
    new = list(range(len(dims)))  # where each loop went
    d = 0
    while d + 1 < limit:
        joined = all(s[d] == s[d + 1] * dims[d + 1] for s in strides)
        if not joined or any(new[old] in (d, d + 1) for old in named):
            d += 1
            continue
        dims[d : d + 2] = [dims[d] * dims[d + 1]]
        for s in strides:
            s[d : d + 2] = [s[d + 1]]
        new = [at if at <= d else at - 1 for at in new]
        limit -= 1
    body = []
    for instr in nest.body:
        if instr.op == "iota":
            instr = instr._replace(attrs=(new[instr.attrs[0]],))
        elif instr.op == "gather":
            instr = instr._replace(attrs=(instr.attrs[0], new[instr.attrs[1]]))
        body.append(instr)
    operands = tuple(replace(o, strides=tuple(s)) for o, s in zip(nest.operands, strides, strict=True))
    return replace(nest, dims=tuple(dims), operands=operands, body=tuple(body))


# -- units ------------------------------------------------------------------------------------------------------------

BLOCK = 2048  # elements of a long row in one item; a multiple of every unrolled step
COLUMNS = 128  # columns of a column kernel, or of tiles, in one item
TILE = 16  # rows of tiles in one item


class Partition(NamedTuple):
    """The work as a list of items, ``group`` of them to a unit.

    An item is a row (of the loops outside those with a role), or one of ``blocks`` pieces of it.
    """

    rows: int
    blocks: int
    group: int

    @property
    def items(self) -> int:
        return self.rows * self.blocks

    @property
    def units(self) -> int:
        return -(-self.items // self.group) if self.items else 0


def partition(nest: Nest) -> Partition:
    """How a canonical nest is cut. It depends on the problem alone, so that results never depend on the threads."""
    heavy = weight(nest.body)
    target = 2048 if heavy < 24 else 1024 if heavy < 60 else 512  # elements that make a unit worth its barrier
    if nest.reduce == "middle":
        rows, (m, n) = math.prod(nest.dims[:-2]), nest.dims[-2:]
        blocks = -(-n // COLUMNS)
        size = max(m, 1) * min(n, COLUMNS)
    elif tiled(nest):
        rows, (m, n) = math.prod(nest.dims[:-2]), nest.dims[-2:]
        blocks = -(-m // TILE) * -(-n // COLUMNS)
        size = TILE * min(n, COLUMNS)
    elif nest.reduce == "last":
        rows, blocks, size = math.prod(nest.dims[:-1]), 1, nest.dims[-1]
    else:
        n = nest.dims[-1]
        rows = math.prod(nest.dims[:-1]) if n else 0
        blocks = -(-n // BLOCK) if n > BLOCK * 3 // 2 else 1
        size = n if blocks == 1 else BLOCK
    group = max(1, target // max(size, 1))
    if rows * blocks <= group + group // 2:  # a half-filled second unit is not worth having
        group = max(rows * blocks, 1)
    return Partition(rows, blocks, group)
