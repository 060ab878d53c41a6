"""The op table and the functions built on it: everything a tensor can do.

Files are the families of the table: ``elementwise``, ``reduce``, ``shape``, ``contraction``, ``index``, ``random``,
``control``, and ``creation`` for tensors made from nothing. ``table`` holds the record every op is.
"""

from ranvier import tensor as _tensor  # loads the families in the right order
from ranvier.ops import contraction, control, creation, elementwise, index, random, reduce, shape, table

__all__ = ["contraction", "control", "creation", "elementwise", "index", "random", "reduce", "shape", "table"]

del _tensor
