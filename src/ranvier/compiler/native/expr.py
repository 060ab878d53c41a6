"""Expressions: the straight-line code inside a kernel, as data.

A *body* is a tuple of :class:`Instr` in SSA order: each names an op, its result dtype, the indices of the earlier
instructions it reads, and its attributes. Maps, reductions and contraction epilogues all carry such bodies, and one
emitter (``emit.py``) turns them into vector code. A body is plain data, so it is part of a kernel's cache key.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Body", "Instr"]


class Instr(NamedTuple):
    """One operation of a body.

    Attributes:
        op: a leaf (``load``, ``const``, ``iota``, ``gather``, ``acc``), an elementwise op of the op table, or a
            reduction (``reduce_sum``, ...).
        dtype: the dtype of the result.
        args: indices of the instructions it reads.
        attrs: ``load``: (operand,); ``const``: (value,); ``iota``: (loop dim,); ``gather``: (operand, loop dim).
    """

    op: str
    dtype: str
    args: tuple[int, ...] = ()
    attrs: tuple[Any, ...] = ()


Body = tuple[Instr, ...]
