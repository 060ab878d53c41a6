"""From groups to kernels: each group's members become a body of instructions over operands with strides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.interpret import evaluate
from ranvier.compiler.kernel import Access, Callback, Control, Kernel
from ranvier.compiler.native.accumulate import Accumulate
from ranvier.compiler.native.contraction import (
    AOperand,
    Contraction,
    EpilogueOperand,
    a_panels_k,
    a_panels_m,
    a_rows,
)  # fmt: skip
from ranvier.compiler.native.convolution import Convolution, Geometry
from ranvier.compiler.native.convolution_gradient import ConvolutionGradient
from ranvier.compiler.native.nest import Nest, Operand, arranged
from ranvier.compiler.native.pairs import Pairs
from ranvier.compiler.native.relayout import Place, Relayout, in_panels, in_rows
from ranvier.compiler.native.scatter import Scatter
from ranvier.compiler.native.sort import Sort
from ranvier.compiler.native.target import multiplies_pairs
from ranvier.compiler.passes.body import Body
from ranvier.compiler.passes.control import control_step
from ranvier.compiler.passes.copies import bound, extent, store_part
from ranvier.compiler.passes.fuse import Alignment, Group
from ranvier.compiler.passes.parts import Part, parts
from ranvier.compiler.passes.simplify import uniform
from ranvier.compiler.passes.split import split, split_product
from ranvier.compiler.passes.window_kernels import WindowBody, window_weights
from ranvier.compiler.views import VIEWS, row_strides, view
from ranvier.ops.random import PARITY, ROTATIONS

__all__ = ["build"]

_BORDERED = 1 << 18  # elements of a padded value up to which its zeros are written once and for all

Step = Kernel | Callback | Control


def build(
    graph: Graph, groups: Sequence[Group], isa: Any, checked: bool, compile_body: Callable[[Graph], Any]
) -> list[Step]:
    """The kernels of all groups, in order; ``compile_body`` makes the plans inside loops and branches."""
    needed, within = _needed_outside(graph, groups), parts(graph, groups)
    kernels: list[Step] = []
    for group in groups:
        stored = [v for v in group.members if id(v) in needed and v.size]
        if group.members[0].op in ("scan", "cond", "while"):
            kernels.append(control_step(group.members, checked, compile_body))
        elif group.kind == "solo":
            kernels.extend(_solo(group.members, isa, checked, within))
        elif not stored:
            continue
        elif group.kind == "contract":
            root = _Convolve if group.members[0].op == "convolve" else _Contract
            kernels.extend(split_product(root(group, stored, isa).kernel(), checked))
        elif group.kind == "window":
            kernels.append(WindowBody(group, stored, isa).kernel())
        else:
            nest = _Nest(group, stored, checked, within)
            kernels.extend(split(nest.kernel(), nest.at))
    return kernels


def _needed_outside(graph: Graph, groups: Sequence[Group]) -> set[int]:
    """Values that must lie in memory: read by another group, through a view, or returned."""
    home = {id(v): g for g in groups for v in g.members}
    needed = {id(_root(v)) for v in graph.outputs}
    for v in graph.nodes():
        user = home.get(id(v))
        if user is None and v.op in VIEWS:
            continue  # a view costs nothing; whoever reads it reads its root
        for index, x in enumerate(v.inputs):
            source = _root(x)
            inside = home.get(id(x)) is user and user is not None and user.kind != "solo"
            gathered = v.op in ("take", "take_along_axis") and index == 0
            if not inside or gathered:
                needed.add(id(source))
    return needed


def _root(v: Value) -> Value:
    """The value in whose memory ``v`` is read."""
    while v.op in VIEWS:
        v = v.inputs[0]
    return v


class _Nest(Body):
    """Map and reduction kernels."""

    def __init__(self, group: Group, stored: Sequence[Value], checked: bool, within: dict[int, list[Part]]):
        super().__init__(group)
        self.stored, self.checked, self.within = stored, checked, within
        self.operands: list[Operand] = []
        self.accesses: list[Access] = []
        self.index: dict[Any, int] = {}
        self.valid = 0
        if group.layout:
            rows, columns = group.space
            panels = -(-columns // group.layout)
            if group.kind == "last":
                self.dims: tuple[int, ...] = (rows, group.layout)
                self.valid = columns
            else:
                self.dims = (panels, rows, group.layout)
        else:
            self.dims = group.space or (1,)

    def physical(self, x: Value, strides: Sequence[int], alignment: Alignment) -> tuple[int, ...]:
        """Strides of ``x`` for each loop, from strides along its own axes."""
        out = [0] * len(self.dims)
        w = self.group.layout
        for where, stride in zip(alignment, strides, strict=True):
            if where is None:
                continue
            if not w or self.group.kind == "last":
                out[where] = stride
            elif where == 0:
                out[1] = stride
            else:
                out[0], out[2] = stride * w, stride
        return tuple(out)

    def in_panels(self, rows: int) -> tuple[int, ...]:
        """Strides of a full-size matrix in the group's panels."""
        w = self.group.layout
        return (w, 1) if self.group.kind == "last" else (rows * w, w, 1)

    def operand(self, root: Value, offset: int, strides: tuple[int, ...], written: bool = False) -> int:
        key = (id(root), offset, strides, written)
        if key not in self.index:
            self.index[key] = len(self.operands)
            # A negative stride walks back from the offset; the operand then starts at the buffer itself.
            self.operands.append(Operand(root.dtype.name, strides, offset, bound(root, self.checked)))
            self.accesses.append(Access(root))
        return self.index[key]

    def load(self, x: Value, alignment: Alignment) -> int:
        if x.layout:
            return self.emit("load", x.dtype.name, (), (self.operand(x, 0, self.in_panels(x.shape[0])),))
        seen = view(x)
        at = self.operand(seen.root, seen.offset, self.physical(x, seen.strides, alignment))
        return self.emit("load", x.dtype.name, (), (at,))

    def gather(self, v: Value, alignment: Alignment) -> int:
        x, index = v.inputs
        axis = v.attrs["axis"]
        seen = view(x)
        strides = [0] * len(self.dims)
        for j, stride in enumerate(seen.strides):
            strides[alignment[j]] = stride  # type: ignore[index]
        position = self.input(v, index, alignment)
        at = self.operand(seen.root, seen.offset, tuple(strides))
        return self.emit("gather", v.dtype.name, (position,), (at, alignment[axis]))

    def random(self, v: Value, alignment: Alignment) -> int:
        """Threefry-2x32-20 of (element number, stream), as in ``ops/random.py``."""
        seen = view(v.inputs[0])
        zero = (0,) * len(self.dims)
        words = []
        for k in range(2):
            at = self.operand(seen.root, seen.offset + k * seen.strides[0], zero)
            state = self.emit("load", "int64", (), (at,))
            high = self.emit("right_shift", "int64", (state, self.number(32, "int64")))
            words.append([self.emit("cast", "uint32", (part,)) for part in (state, high)])
        (seed_low, seed_high), (stream_low, stream_high) = words
        linear = self.number(0, "uint32")
        for where, stride in zip(alignment, row_strides(v.shape), strict=True):
            if where is not None and v.shape[alignment.index(where)] != 1:
                position = self.emit("iota", "uint32", (), (where,))
                step = self.emit("mul", "uint32", (position, self.number(stride, "uint32")))
                linear = self.emit("add", "uint32", (linear, step))
        key = self.emit("bitwise_xor", "uint32", (seed_high, stream_high))
        return self._threefry((seed_low, key), (linear, stream_low))[v.attrs["word"]]

    def _threefry(self, key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
        def do(op: str, a: int, b: int) -> int:
            return self.emit(op, "uint32", (a, b))

        parity = do("bitwise_xor", do("bitwise_xor", key[0], key[1]), self.number(PARITY, "uint32"))
        schedule = (key[0], key[1], parity)
        x0, x1 = do("add", counter[0], schedule[0]), do("add", counter[1], schedule[1])
        for group in range(5):
            for r in ROTATIONS[group % 2]:
                x0 = do("add", x0, x1)
                left = do("left_shift", x1, self.number(r, "uint32"))
                x1 = do("bitwise_or", left, do("right_shift", x1, self.number(32 - r, "uint32")))
                x1 = do("bitwise_xor", x1, x0)
            x0 = do("add", x0, schedule[(group + 1) % 3])
            x1 = do("add", x1, do("add", schedule[(group + 2) % 3], self.number(group + 1, "uint32")))
        return x0, x1

    def kernel(self) -> Kernel:
        group = self.group
        for v in group.members:
            self.member(v)
        stores, writes = [], []
        kept: set[tuple[int, int]] = set()
        for v in self.stored:
            for target, offset in self.within.get(id(v), [(v, 0)]):
                if v.layout:
                    strides = self.in_panels(v.shape[0])
                else:
                    strides = self.physical(v, row_strides(target.shape), group.alignment[id(v)])
                    # Along a loop of one turn any stride will do; 0 would say that all lanes have the same value.
                    strides = tuple(s or int(n == 1) for s, n in zip(strides, self.dims, strict=True))
                at = self.operand(target, offset, strides, written=True)
                stores.append((at, self.at[id(v)]))
                writes.append(at)
                alike = (a.value for a, o in zip(self.accesses, self.operands, strict=True) if o.strides == strides)
                kept.update((id(x), id(v)) for x in alike if target is v)
        loaded: dict[int, set[tuple[int, ...]]] = {}
        for a, o in zip(self.accesses, self.operands, strict=True):
            loaded.setdefault(id(a.value), set()).add((o.offset, *o.strides))
        gathered = {id(self.accesses[i.attrs[0]].value) for i in self.instrs if i.op == "gather"}
        inplace = frozenset((i, o) for i, o in kept if len(loaded[i]) == 1 and i not in gathered)
        reduce = {"map": "none"}.get(group.kind, group.kind)
        spec = Nest(
            self.dims, reduce, tuple(self.operands), tuple(self.instrs), tuple(stores), self.valid, self.checked
        )
        spec = spec if group.layout or reduce == "none" else arranged(spec, group.axes)
        return Kernel(spec, self.accesses, writes, group.members, inplace)


class _Contract(Body):
    """Products with their epilogue."""

    def __init__(self, group: Group, stored: Sequence[Value], isa: Any):
        super().__init__(group)
        self.stored, self.isa = stored, isa
        self.product = group.members[0]
        a, b = self.product.inputs
        self.accesses = [Access(view(a).root if not a.layout else a, 0 if a.layout else view(a).offset), Access(b)]
        self.operands: list[EpilogueOperand] = []
        self.index: dict[Any, int] = {}

    def operand(self, root: Value, offset: int, dtype: str, mode: str, written: bool = False) -> int:
        key = (id(root), offset, mode, written)
        if key not in self.index:
            self.index[key] = len(self.operands)
            self.operands.append(EpilogueOperand(dtype, mode))
            self.accesses.append(Access(root, offset))
        return self.index[key]

    def load(self, x: Value, alignment: Alignment) -> int:
        if x.layout:
            at = self.operand(x, 0, x.dtype.name, "tile")
        else:
            seen, rank = view(x), len(self.group.space)
            along = [a for a, n in zip(alignment, x.shape, strict=True) if n != 1]
            if not along:
                mode = "scalar"
            elif x.shape == self.group.space:
                mode = "tile"
            else:
                mode = "row" if along == [rank - 1] else "column"
            at = self.operand(seen.root, seen.offset, x.dtype.name, mode)
        return self.emit("load", x.dtype.name, (), (at,))

    def gather(self, v: Value, alignment: Alignment) -> int:
        """Fusion puts no gather behind a product."""
        raise AssertionError(f"{v!r} cannot be computed in a product's epilogue")

    random = gather

    def _a(self) -> AOperand:
        x, ta = self.product.inputs[0], self.product.attrs["ta"]
        if x.dtype.name == "bfloat16":
            return self._a_pairs(x)
        if x.layout:
            return a_panels_m(x.shape[0], x.layout) if ta else a_panels_k(x.shape[0], x.layout)
        strides = view(x).strides
        row, column = (strides[-1], strides[-2]) if ta else (strides[-2], strides[-1])
        return a_rows(row, column, strides[0] if x.ndim == 3 else 0)

    def kernel(self) -> Kernel:
        v = self.product
        acc = self.emit("acc", "float64" if v.dtype.name == "float64" else "float32")
        self.at[id(v)] = self.emit("cast", "bfloat16", (acc,)) if v.dtype.name == "bfloat16" else acc
        for member in self.group.members[1:]:
            self.member(member)
        stores, writes = [], []
        for s in self.stored:
            at = self.operand(s, 0, s.dtype.name, "tile", written=True)
            stores.append((at, self.at[id(s)]))
            writes.append(at + 2)
        spec = self.spec(stores)
        modes = ["product", "product", *(o.mode for o in self.operands)]
        tiles = {id(x.value) for x, mode in zip(self.accesses, modes, strict=True) if mode == "tile" and not x.offset}
        others = {id(x.value) for x, mode in zip(self.accesses, modes, strict=True) if mode != "tile" or x.offset}
        inplace = frozenset((i, id(s)) for i in tiles - others for s in self.stored)
        return Kernel(spec, self.accesses, writes, self.group.members, inplace)

    def _a_pairs(self, x: Value) -> AOperand:
        """As :meth:`_a`, counted in words of two bfloat16."""
        batch = extent(x) // x.shape[0] // 2 if x.ndim == 3 and x.layout else 0
        if x.layout < 0:
            return a_panels_m(-(-x.shape[-2] // 2), -x.layout, batch)
        if x.layout:
            return a_panels_k(x.shape[-2], x.layout // 2, batch)
        strides = view(x).strides
        return a_rows(strides[-2] // 2, 1, strides[0] // 2 if x.ndim == 3 else 0)

    def spec(self, stores: Sequence[tuple[int, int]]) -> Any:
        """What ``native`` compiles, once the body is complete."""
        v, (a, b) = self.product, self.product.inputs
        m, n = v.shape[-2:]
        k = b.shape[-2]
        batch = v.shape[0] if v.ndim == 3 else 1
        panel, dtype = abs(b.layout), a.dtype.name
        if dtype == "bfloat16":
            k, dtype = -(-k // 2), "pairs"
        return Contraction(
            batch=batch, m=m, n=n, k=k, dtype=dtype, a=self._a(), dot=dtype == "pairs" and multiplies_pairs(self.isa),
            b_batch=-(-n // panel) * panel * k if batch > 1 else 0, width=panel,
            c="panels" if v.layout else "rows", c_batch=m * n if batch > 1 else 0, c_ld=0 if v.layout else n,
            operands=tuple(self.operands), body=tuple(self.instrs), stores=tuple(stores), isa=self.isa.name,
        )  # fmt: skip


class _Convolve(_Contract):
    """Convolutions with their epilogue."""

    def spec(self, stores: Sequence[tuple[int, int]]) -> Any:
        image, weights = self.product.inputs
        g: Geometry = self.product.attrs["geometry"]
        batch, k, _ = weights.shape
        size = extent(weights) // batch  # of one packed matrix: a whole group, or one tap of it
        one, width, dtype = batch == g.groups, abs(weights.layout), image.dtype.name
        if weights.layout < 0:  # in words of two channels
            k, size, dtype = k // 2, size // 2, "pairs"
            g = replace(g, a_steps=tuple(s // 2 for s in g.a_steps), a_row=g.a_row // 2, channels=g.channels // 2)
        return Convolution(
            geometry=g, dtype=dtype, width=width, b_group=size if one else size * g.taps,
            b_panel=k * width, b_tap=g.channels * width if one else size,
            operands=tuple(self.operands), body=tuple(self.instrs), stores=tuple(stores), isa=self.isa.name,
            dot=dtype == "pairs" and multiplies_pairs(self.isa),
        )  # fmt: skip


# -- nodes with kernels of their own ------------------------------------------------------------------------------


def _solo(members: Sequence[Value], isa: Any, checked: bool, within: dict[int, list[Part]]) -> list[Step]:
    v = members[0]
    if v.size == 0:
        return []
    if v.op == "relayout":
        return [_relayout(v, isa)]
    if v.op == "correlate":
        return [_correlate(v, isa)]
    if v.op == "window_weights":
        return [window_weights(v, isa)]
    if v.op == "concatenate":
        return _concatenate(v, checked, within)
    if v.op == "embed":
        return _embed(v, checked)
    if v.op in _ACCUMULATES:
        return [_accumulate(v)]
    if v.op == "argsort":
        return [_sort(v)]
    if v.op in ("scatter_add", "add_along_axis") and v.inputs[2].size:
        return [_scatter(v, checked)]
    return [_callback(members)]


def _correlate(v: Value, isa: Any) -> Kernel:
    geometry: Geometry = v.attrs["geometry"]
    if v.inputs[0].layout:  # in words of two rows
        a_steps, c_steps = (tuple(s // 2 for s in steps) for steps in (geometry.a_steps, geometry.c_steps))
        geometry = replace(geometry, a_steps=a_steps, c_steps=c_steps, rows=geometry.rows // 2)
        spec = ConvolutionGradient(geometry, "pairs", v.attrs["chunks"], isa.name, multiplies_pairs(isa))
        return Kernel(spec, [*map(Access, v.inputs), Access(v)], [2], [v])
    image, g = (view(x) for x in v.inputs)
    exact = g.root.op == "input" and "variable" not in g.root.attrs
    spec = ConvolutionGradient(geometry, v.inputs[0].dtype.name, v.attrs["chunks"], isa.name, exact=exact)
    return Kernel(spec, [Access(image.root, image.offset), Access(g.root, g.offset), Access(v)], [2], [v])


def _concatenate(v: Value, checked: bool, within: dict[int, list[Part]]) -> list[Step]:
    axis, strides, at = v.attrs["axis"], row_strides(v.shape), 0
    kernels: list[Step] = []
    for x in v.inputs:
        if x.size and id(x) not in within:
            kernels.append(store_part(v, x, at * strides[axis], strides, x.shape, checked))
        at += x.shape[axis]
    return kernels


def _embed(v: Value, checked: bool) -> list[Step]:
    strides, x = row_strides(v.shape), v.inputs[0]
    fill = store_part(v, None, 0, strides, v.shape, checked)
    if not x.size:
        return [fill]
    offset = sum(a * s for a, s in zip(v.attrs["starts"], strides, strict=True))
    steps = tuple(s * c for s, c in zip(strides, v.attrs["steps"], strict=True))
    part = store_part(v, x, offset, steps, x.shape, checked)
    if v.size <= min(_BORDERED, 2 * x.size):
        part.border = True
        return [part]
    return [fill, part]


def _relayout(v: Value, isa: Any) -> Kernel:
    x = v.inputs[0]
    *batch, rows, columns = v.shape
    if x.layout:
        source, access = in_panels(x.shape[-2], x.layout), Access(x)
    else:
        seen = view(x)
        source = in_rows(seen.strides[-2], seen.strides[0] if batch else 0)
        access = Access(seen.root, seen.offset)
    if v.attrs.get("pairs"):
        return _pairs(v, source, access, isa)
    size = extent(v) // batch[0] if batch else 0
    target = in_panels(rows, v.layout, size) if v.layout else in_rows(columns, rows * columns if batch else 0)
    spec = Relayout(
        batch[0] if batch else 1, rows, columns, v.dtype.name, source, target, v.attrs["transpose"], isa.name
    )
    return Kernel(spec, [access, Access(v)], [1], [v])


def _pairs(v: Value, source: Place, access: Access, isa: Any) -> Kernel:
    """Words of two bfloat16: made from rows, or words along rows transposed."""
    *batch, rows, columns = v.shape
    count, width, x = batch[0] if batch else 1, -v.layout, v.inputs[0]
    if not v.attrs["transpose"]:
        spec: Any = Pairs(count, rows, columns, x.dtype.name, source, width, isa.name)
    else:
        source = Place(source.stride // 2, source.width // 2, source.batch // 2)
        target = in_panels(-(-rows // 2), width, extent(v) // count // 2)
        spec = Relayout(count, -(-rows // 2), columns, "int32", source, target, True, isa.name)
    return Kernel(spec, [access, Access(v)], [1], [v])


def _scatter(v: Value, checked: bool) -> Kernel:
    axis, (base, index, updates) = v.attrs["axis"], v.inputs
    outer, inner = math.prod(v.shape[:axis]), math.prod(v.shape[axis + 1 :])
    seen = view(index)
    count = updates.shape[axis]
    packed = (count * inner, inner, 1)
    strides = (0, seen.strides[0], 0) if v.op == "scatter_add" else packed
    zero = uniform(base) == 0
    spec = Scatter(
        outer, v.shape[axis], count, inner, v.dtype.name, index.dtype.name, strides, packed, "add",
        "zero" if zero else "copy", checked,
    )  # fmt: skip
    sources = [index, updates] if zero else [index, updates, base]
    accesses = [Access(v), *(Access(view(x).root, view(x).offset) for x in sources)]
    return Kernel(spec, accesses, [0], [v])


_ACCUMULATES = {
    "cumulative_sum": "sum", "cumulative_prod": "prod", "cumulative_max": "max", "linear_recurrence": "linear",
}  # fmt: skip


def _accumulate(v: Value) -> Kernel:
    axis, seen = v.attrs["axis"], [view(x) for x in v.inputs]
    outer, inner = math.prod(v.shape[:axis]), math.prod(v.shape[axis + 1 :])
    spec = Accumulate(outer, v.shape[axis], inner, v.dtype.name, _ACCUMULATES[v.op], v.attrs["reverse"])
    source = seen[-1]  # a recurrence scales first
    accesses = [Access(v), Access(source.root, source.offset), *(Access(s.root, s.offset) for s in seen[:-1])]
    alone = source.offset == 0 and source.root.size == v.size
    return Kernel(spec, accesses, [0], [v], frozenset({(id(source.root), id(v))} if alone else ()))


def _sort(v: Value) -> Kernel:
    x = v.inputs[0]
    seen, count = view(x), x.shape[-1]
    spec = Sort(x.size // count, count, v.shape[-1], x.dtype.name, v.attrs["descending"])
    accesses, writes = [Access(v), Access(seen.root, seen.offset)], [0]
    if spec.workspace:  # written and never read: the plan frees its memory after this kernel
        accesses.append(Access(v.like("workspace", [], {}, shape=(spec.workspace,))))
        writes.append(2)
    return Kernel(spec, accesses, writes, [v])


def _callback(members: Sequence[Value]) -> Callback:
    v = members[0]
    return Callback(list(v.inputs), [v], lambda arrays: [evaluate(v, arrays)], members)
