"""Plain copies as kernels, and how much memory a value takes."""

from __future__ import annotations

from ranvier.compiler.graph import Value
from ranvier.compiler.kernel import Access, Kernel
from ranvier.compiler.native.expr import Instr
from ranvier.compiler.native.nest import Nest, Operand
from ranvier.compiler.views import row_strides, view

__all__ = ["SLACK", "bound", "copy_kernel", "extent", "flat_copy", "store_part"]

SLACK = 64
"""Elements behind every buffer of a plan that may be read and written: vectors are used in whole panels."""


def extent(v: Value) -> int:
    """Elements of memory that a value takes: whole panels, and vectors padded to whole panels."""
    if v.layout:
        *batch, rows, columns = v.shape
        width = abs(v.layout)
        rows += rows % 2 if v.layout < 0 else 0  # pairs of rows
        return (batch[0] if batch else 1) * rows * -(-columns // width) * width
    return v.size + SLACK


def bound(v: Value, checked: bool) -> int:
    """Elements that a kernel may touch: of an argument in checked mode, those that it really has."""
    exact = checked and v.op == "input" and "variable" not in v.attrs
    return v.size if exact else extent(v)


def store_part(
    v: Value, x: Value | None, offset: int, strides: tuple[int, ...], dims: tuple[int, ...], checked: bool
) -> Kernel:
    """A map that writes ``x`` (zeros if None) into part of ``v``."""
    dims, strides = (dims, strides) if dims else ((1,), (0,))
    out = Operand(v.dtype.name, strides, offset, extent(v))
    if x is None:
        body = (Instr("const", v.dtype.name, (), (0,)),)
        return Kernel(Nest(dims, "none", (out,), body, ((0, 0),), 0, checked), [Access(v)], [0], [v])
    seen = view(x)
    source = Operand(x.dtype.name, seen.strides or (0,), seen.offset, bound(seen.root, checked))
    body = (Instr("load", x.dtype.name, (), (0,)),)
    spec = Nest(dims, "none", (source, out), body, ((1, 0),), 0, checked)
    return Kernel(spec, [Access(seen.root), Access(v)], [1], [v])


def copy_kernel(target: Value, source: Value, checked: bool) -> Kernel:
    """A map that copies ``source`` (read through views) to ``target``, both in rows."""
    return store_part(target, source, 0, row_strides(target.shape), target.shape, checked)


def flat_copy(target: Value, source: Value, checked: bool) -> Kernel:
    """A map that copies all the memory of ``source`` (not a view) to ``target`` of the same layout."""
    size = extent(target) if target.layout else max(target.size, 1)
    operands = tuple(Operand(x.dtype.name, (1,), 0, extent(x)) for x in (source, target))
    body = (Instr("load", source.dtype.name, (), (0,)),)
    spec = Nest((size,), "none", operands, body, ((1, 0),), 0, checked)
    return Kernel(spec, [Access(source), Access(target)], [1], [target])
