"""Layout: which matrices lie in panels, and where values change from one layout to another.

A contraction wants its second factor in *panels* (strips of a few vectors of columns, see ``native/contraction.py``).
Matrices that are tied together by elementwise ops, or by being a variable and its new value, share one layout, so that
weights, their gradients and the optimizer's slots all live in panels and no copy is made during a step. Everything
else lies in rows. Where a value is needed in the other layout, a ``relayout`` node is put in.

Products of bfloat16 read both factors in 32-bit words of two numbers (see ``native/pairs.py``). B, and a transposed A,
are brought to *pairs*: panels of such words, which have the layout ``-width``. Weights kept in float32 are rounded on
the way there.

Afterwards ``matmul`` has become ``contract``: inputs (A, B in panels), attribute ``ta`` (A is read transposed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.views import VIEWS, view
from ranvier.ops.table import TABLE

__all__ = ["assign_layouts"]


def elementwise(v: Value) -> bool:
    """Whether ``v`` is computed position by position from inputs that broadcast."""
    op = TABLE.get(v.op)
    return v.op == "copy" or (op is not None and op.family == "elementwise")


class _Classes:
    """Sets of values that share a layout (union-find)."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}

    def find(self, v: Value) -> int:
        key = id(v)
        while self.parent.setdefault(key, key) != key:
            self.parent[key] = self.parent[self.parent[key]]
            key = self.parent[key]
        return key

    def join(self, a: Value, b: Value) -> None:
        self.parent[self.find(a)] = self.find(b)


def _matrix(v: Value) -> bool:
    return v.ndim == 2 and v.dtype.name in ("float32", "float64", "bfloat16", "bool", "int32", "int64") and v.size > 0


def assign_layouts(graph: Graph, width: Callable[[int], int], inside: bool = False) -> Graph:
    """The graph with layouts chosen and ``relayout`` nodes in place.

    Args:
        graph: after lowering.
        width: the panel width for a number of columns.
        inside: it is the body of a loop or a branch. What goes in and out lies in rows, so everything does, but the
            second factors of products: these are weights as a rule, and brought to panels in front of the loop.
    """
    nodes = graph.nodes()
    classes = _tie(graph, nodes)
    panels = set() if inside else _choose(graph, nodes, classes, width)
    return _insert(graph, classes, panels, width)


def _tie(graph: Graph, nodes: Sequence[Value]) -> _Classes:
    classes = _Classes()
    for v in nodes:
        if elementwise(v) and _matrix(v):
            for x in v.inputs:
                if x.shape == v.shape and x.op != "const":
                    classes.join(v, x)
    first = len(graph.inputs) - len(graph.variables)
    for index, new in zip(graph.updates, graph.outputs[len(graph.results) :], strict=True):
        if _matrix(new):
            classes.join(graph.inputs[first + index], new)
    return classes


def _product(v: Value) -> bool:
    """Whether ``v`` becomes a contraction: a product of floats with something to add up."""
    return v.op == "matmul" and v.dtype.is_float and v.size > 0 and v.inputs[0].shape[-1] > 0


def _second_factor(v: Value) -> Value | None:
    """The value that a plain product reads as B without transposing (before it was rounded to bfloat16)."""
    b = v.inputs[1]
    b = b.inputs[0] if b.op == "cast" and b.dtype.name == "bfloat16" else b
    return b if b.op not in VIEWS else None


def _choose(graph: Graph, nodes: Sequence[Value], classes: _Classes, width: Callable[[int], int]) -> set[int]:
    """The classes that live in panels."""
    variables = {id(v) for v in graph.inputs[len(graph.inputs) - len(graph.variables) :]}
    arguments = {classes.find(v) for v in graph.arguments if _matrix(v)}
    produced, factors, wanted, refused = set(), set(), set(), set()
    for v in nodes:
        if _matrix(v) and v.shape[1] == 1:
            refused.add(classes.find(v))  # a column in panels would be mostly padding
        if _product(v) and v.ndim == 2:
            produced.add(classes.find(v))
            for x in v.inputs:
                x = x.inputs[0] if x.op == "transpose" else x
                if _matrix(x):
                    factors.add(classes.find(x))
            b = _second_factor(v)
            if b is not None and id(b) in variables:
                wanted.add(classes.find(b))
        elif v.op.startswith("reduce_") and v.inputs[0].ndim == 2:
            x = v.inputs[0]
            if v.attrs["axes"] == (1,) and x.shape[1] > width(x.shape[1]):
                refused.add(classes.find(x))  # rows of several panels cannot be reduced in one loop
    for new in graph.outputs[len(graph.results) :]:
        if new.op == "reshape" and _matrix(new.inputs[0]):
            refused.add(classes.find(new.inputs[0]))  # the variable itself, of another shape, lies in rows
    return (wanted | (produced & factors)) - (refused - wanted) - (arguments - wanted - produced)


def _insert(graph: Graph, classes: _Classes, panels: set[int], width: Callable[[int], int]) -> Graph:
    made: dict[int, Value] = {}
    moved: dict[Any, Value] = {}

    def target(v: Value) -> int:
        """The layout that ``v`` shall have."""
        if not _matrix(v) or not (elementwise(v) or _product(v) or v.op == "input"):
            return 0
        if v.op == "input" and not any(v is x for x in variables):
            return 0
        return width(v.shape[1]) if classes.find(v) in panels else 0

    variables = graph.inputs[len(graph.inputs) - len(graph.variables) :]
    arguments = {id(v) for v in graph.arguments}

    def to(x: Value, layout: int, transpose: bool = False) -> Value:
        if x.layout == layout and not transpose:
            return x
        key = (id(x), layout, transpose)
        if key not in moved:
            if not x.layout and view(x).strides[-1] != 1 and x.shape[-1] != 1:
                x = x.like("copy", [x], {})
            shape = (*x.shape[:-2], x.shape[-1], x.shape[-2]) if transpose else x.shape
            new = x.like("relayout", [x], {"transpose": transpose}, shape=shape)
            new.layout = layout
            moved[key] = new
        return moved[key]

    def pairs(x: Value, panel: int, transpose: bool = False) -> Value:
        """``x`` (or its transpose) in pairs of rows."""
        if transpose and not _words(x, 2 * width(1)):
            return pairs(to(x, 0, True), panel)
        key = (id(x), -panel, transpose)
        if key not in moved:
            source = x
            if x.op == "cast" and not transpose and any(x.inputs[0] is made[id(v)] for v in variables):
                source = x.inputs[0] if x.inputs[0].dtype.name == "float32" else x
            if not source.layout and view(source).strides[-1] != 1 and source.shape[-1] != 1:
                source = source.like("copy", [source], {})
            shape = (*x.shape[:-2], x.shape[-1], x.shape[-2]) if transpose else x.shape
            new = x.like("relayout", [source], {"transpose": transpose, "pairs": True}, shape=shape)
            new.layout = -panel
            moved[key] = new
        return moved[key]

    for v in graph.nodes():
        inputs = [made[id(i)] for i in v.inputs]
        layout = target(v)
        if _product(v) and v.inputs[0].dtype.name == "bfloat16":
            new = _contract_pairs(v, inputs, to, pairs, width)
        elif _product(v):
            new = _contract(v, inputs, to, width)
        elif v.op == "convolve":
            in_words = v.inputs[0].dtype.name == "bfloat16" and v.attrs["geometry"].channels % 2 == 0
            weights = _pairs_of(inputs[1], pairs, width) if in_words else _second(v, inputs[1], to, width)
            new = v.like(v.op, [to(inputs[0], 0), weights], v.attrs)
        elif v.op == "correlate" and _pairs_of_rows(v):
            new = v.like(v.op, [pairs(_table(x), x.shape[-1]) for x in inputs], v.attrs)
        elif elementwise(v) and layout:
            inputs = [to(x, layout) if x.shape == v.shape else _padded(to(x, 0), v, arguments) for x in inputs]
            new = v.like(v.op, inputs, v.attrs)
        elif v.op.startswith("reduce_") and inputs[0].layout and _reducible(inputs[0], v.attrs["axes"]):
            new = v.like(v.op, inputs, v.attrs)
        else:
            rows = [to(x, 0) for x in inputs]
            new = v.like(v.op, rows, v.attrs)
        new.layout = layout if v.op != "relayout" else new.layout
        made[id(v)] = new
    first = len(graph.inputs) - len(graph.variables)
    results = [to(made[id(v)], 0) for v in graph.results]
    updates = [
        to(made[id(v)], made[id(graph.inputs[first + i])].layout)
        for i, v in zip(graph.updates, graph.outputs[len(graph.results) :], strict=True)
    ]
    return Graph([made[id(v)] for v in graph.inputs], results + updates, graph.variables, graph.updates)


def _padded(x: Value, v: Value, arguments: set[int]) -> Value:
    """A row vector in memory that may be read to the end of the last panel: an argument's may not."""
    if x.ndim and x.shape[-1] == v.shape[-1] and id(view(x).root) in arguments:
        return x.like("copy", [x], {})
    return x


def _reducible(x: Value, axes: tuple[int, ...]) -> bool:
    return axes == (0,) or (axes == (1,) and x.shape[1] <= x.layout)


def _contract(v: Value, inputs: Sequence[Value], to: Any, width: Callable[[int], int]) -> Value:
    a, b = inputs
    swap = tuple(range(v.ndim - 2)) + (v.ndim - 1, v.ndim - 2)
    ta = a.op == "transpose" and a.attrs["axes"] == swap
    a = _untransposed(a) if ta else a
    return v.like("contract", [a, _second(v, b, to, width)], {"ta": ta})


def _contract_pairs(v: Value, inputs: Sequence[Value], to: Any, pairs: Any, width: Callable[[int], int]) -> Value:
    """A product of bfloat16. What is summed over is even in words: an odd one is filled up with a zero."""
    a, b = inputs
    ta = a.op == "transpose" and a.attrs["axes"] == (*range(v.ndim - 2), v.ndim - 1, v.ndim - 2)
    b = _pairs_of(b, pairs, width)
    if ta:
        a = pairs(_untransposed(a), width(a.shape[-2]))
    elif not _words(a, 2):
        a = to(to(a, 0), width(a.shape[-1]))  # panels made from rows have zeros in their last columns
    return v.like("contract", [a, b], {"ta": ta})


def _pairs_of(b: Value, pairs: Any, width: Callable[[int], int]) -> Value:
    """A second factor in pairs of rows; a transpose is done on the way."""
    panel, swap = width(b.shape[-1]), (*range(b.ndim - 2), b.ndim - 1, b.ndim - 2)
    if b.op == "transpose" and b.attrs["axes"] == swap:
        return pairs(_untransposed(b), panel, True)
    return pairs(b, panel)


def _pairs_of_rows(v: Value) -> bool:
    """Whether a gradient of a convolution's weights reads words of two rows: channels must fill vectors."""
    g = v.attrs["geometry"]
    if v.inputs[0].dtype.name != "bfloat16" or g.groups > 1 or g.rows % 2 or g.channels % 16 or g.filters % 16:
        return False
    apart = [(g.a_row, 1, g.channels), *((s, 2, g.channels) for s in g.a_steps)]
    apart += [(g.c_row, 1, g.filters), *((s, 2, g.filters) for s in g.c_steps)]
    return all(step % (rows * wide) == 0 for step, rows, wide in apart)  # a word never joins rows of two pixels


def _table(x: Value) -> Value:
    """An image as a matrix of pixels and rows by channels."""
    shape = (x.size // x.shape[-1], x.shape[-1])
    return x.like("reshape", [x], {"shape": shape}, shape=shape)


def _words(x: Value, width: int) -> bool:
    """Whether the rows of ``x`` can be read as words of two numbers, in panels in so many columns at a time."""
    if x.shape[-1] % 2:
        return False
    if x.layout:
        return x.layout > 0 and x.layout % width == 0
    seen = view(x)
    return seen.strides[-1] == 1 and all(s % 2 == 0 for s in (seen.offset, *seen.strides[:-1]))


def _second(v: Value, b: Value, to: Any, width: Callable[[int], int]) -> Value:
    """The second factor in panels; a transpose is done on the way."""
    panels, swap = width(b.shape[-1]), (*range(b.ndim - 2), b.ndim - 1, b.ndim - 2)
    if b.op == "transpose" and b.attrs["axes"] == swap:
        return to(_untransposed(b), panels, True)
    return to(b, panels)


def _untransposed(v: Value) -> Value:
    """Below a ``transpose`` (whose input was brought to rows for it): the value in the layout it really has."""
    x = v.inputs[0]
    plain = x.op == "relayout" and not x.attrs["transpose"] and "pairs" not in x.attrs
    return x.inputs[0] if plain else x
