"""Where compiled functions keep variables: one aligned buffer for each, in the layout the kernels want."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.compiler.native.memory import allocate
from ranvier.dtypes import DType
from ranvier.variable import Variable

__all__ = ["Home", "fenced", "from_memory", "memory_dtype", "to_memory"]

_MEMORY = {"bfloat16": np.dtype(np.uint16)}


def memory_dtype(dtype: DType) -> np.dtype:
    """The NumPy dtype of an element as compiled code stores it (the bits of a bfloat16 as uint16)."""
    return _MEMORY.get(dtype.name, dtype.numpy)


def to_memory(array: np.ndarray, dtype: DType) -> np.ndarray:
    """An array as compiled code reads it: contiguous, bfloat16 in two bytes."""
    if dtype is dtypes.bfloat16:
        return (np.ascontiguousarray(array).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return np.ascontiguousarray(array)


def from_memory(array: np.ndarray, dtype: DType) -> np.ndarray:
    """A copy of what compiled code wrote, as eager tensors carry it."""
    if dtype is dtypes.bfloat16:
        wide = array.astype(np.uint32)
        wide <<= np.uint32(16)  # in place: an array without axes stays an array
        return wide.view(np.float32)
    return np.array(array)


def fenced(array: np.ndarray) -> np.ndarray:
    """A copy between guard pages, for checked mode."""
    copy = allocate(array.nbytes, guarded=True).array(array.dtype, array.shape)
    copy[...] = array
    return copy


class Home:
    """The memory of one variable.

    Args:
        variable: whose value it holds; its present value is copied in.
        layout: 0 for rows, w for panels of w columns.
        elements: elements of memory, padding included.
        guarded: checked mode.

    Attributes:
        changes: how often the value in this memory was replaced.
        address: of the memory.
        stale: the variable was assigned outside; the memory must be filled again.
    """

    def __init__(self, variable: Variable, layout: int, elements: int, guarded: bool = False):
        self.variable, self.layout = variable, layout
        dtype = memory_dtype(variable.dtype)
        self._buffer = allocate(elements * dtype.itemsize, zero=True, guarded=guarded)
        self.address = self._buffer.address
        shape = variable.shape
        self._flat = self._buffer.array(dtype, (elements,))
        if layout:
            panels = -(-shape[1] // layout)
            self._panels = self._flat.reshape(panels, shape[0], layout)
        self.stale = False
        self.changes = 0
        self.push()

    @property
    def damaged(self) -> bool:
        """Checked mode: whether something was written just outside."""
        return self._buffer.check_canaries() is not None

    def push(self) -> None:
        """Copy the variable's present value into this memory."""
        variable = self.variable
        with_value = variable._leaf
        data: Any = with_value._data if with_value is not None else variable._home.pull()
        array = to_memory(data, variable.dtype)
        if not self.layout:
            self._flat[: array.size] = array.reshape(-1)
        else:
            w = self.layout
            for p, panel in enumerate(self._panels):
                part = array[:, p * w : (p + 1) * w]
                panel[:, : part.shape[1]] = part
        self.stale = False
        self.changes += 1

    def pull(self) -> np.ndarray:
        """The value in this memory as a plain array."""
        variable = self.variable
        shape = variable.shape
        if not self.layout:
            return from_memory(self._flat[: variable.size].reshape(shape), variable.dtype)
        rows = np.swapaxes(self._panels, 0, 1).reshape(shape[0], -1)[:, : shape[1]]
        return from_memory(rows, variable.dtype)
