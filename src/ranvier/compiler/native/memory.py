"""Memory that native code works in: aligned, owned by Python, and in checked mode fenced in by unreadable pages.

    weights = allocate(1 << 20)
    weights.address                          # for the program table
    weights.array("float32", (512, 512))     # the same memory as a NumPy array

The array keeps the memory alive, the address does not: hold on to the :class:`Buffer`.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier.compiler.native.limits import available_bytes

__all__ = ["ALIGNMENT", "Buffer", "allocate", "available_bytes"]

ALIGNMENT = 64  # bytes: one cache line and one AVX-512 register
_CANARY = 0xA5
_POISON = 0xFF  # fresh guarded memory reads as NaN in every float type


class Buffer:
    """A piece of aligned memory. Made by :func:`allocate`.

    Attributes:
        address: of the first byte, a multiple of 64.
        nbytes: the size asked for.
        guarded: whether an access before or behind it is noticed.
    """

    __slots__ = ("_base", "_bytes", "_fences", "address", "guarded", "nbytes")

    def __init__(self, base: np.ndarray, start: int, nbytes: int, fences: Sequence[tuple[int, int]] = ()):
        self._base = base
        self._bytes = base[start : start + nbytes]
        self._fences = [(low - start, base[low:high]) for low, high in fences]  # (offset from the start, bytes)
        self.address = base.ctypes.data + start
        self.nbytes = nbytes
        self.guarded = bool(fences)
        for _, fence in self._fences:
            fence[:] = _CANARY

    def array(self, dtype: Any, shape: Sequence[int], offset: int = 0) -> np.ndarray:
        """The memory from byte ``offset`` on, as a NumPy array that shares it."""
        return np.ndarray(tuple(shape), np.dtype(dtype), self._bytes, offset)

    def check_canaries(self) -> int | None:
        """The offset of a byte written outside the buffer (negative: before its start), or None.

        Guard pages stop a write at once, but only from the page's border on; the bytes between the buffer and the
        border hold a pattern, and this looks whether it is still there.
        """
        for offset, fence in self._fences:
            (damaged,) = np.nonzero(fence != _CANARY)
            if damaged.size:
                return offset + int(damaged[0])
        return None

    def __repr__(self) -> str:
        return f"Buffer({self.nbytes} bytes at {self.address:#x}{', guarded' if self.guarded else ''})"


def allocate(nbytes: int, zero: bool = True, guarded: bool = False) -> Buffer:
    """Allocate aligned memory.

    Args:
        nbytes: the size; 0 is allowed.
        zero: start as zeros. Otherwise the content is arbitrary (when guarded: bytes of ones, NaN as floats).
        guarded: checked mode. The page before and the page behind the buffer cannot be touched; the end of the
            buffer lies at that page but for alignment, and the slack holds a pattern for :meth:`check_canaries`.

    Raises:
        MemoryError: there is not so much memory.
    """
    if guarded:
        return _guarded(nbytes, zero)
    make = np.zeros if zero else np.empty
    base = make(nbytes + ALIGNMENT, np.uint8)  # NumPy asks for huge pages where that pays
    return Buffer(base, -base.ctypes.data % ALIGNMENT, nbytes)


def _round_up(size: int, to: int) -> int:
    return -(-size // to) * to


def _guarded(nbytes: int, zero: bool) -> Buffer:
    page = mmap.PAGESIZE
    inner = _round_up(max(nbytes, 1), page)
    base = _pages(inner + 2 * page)
    start = page + inner - _round_up(nbytes, ALIGNMENT)
    buffer = Buffer(base, start, nbytes, [(page, start), (start + nbytes, page + inner)])
    if not zero:
        base[start : start + nbytes] = _POISON
    for low in (0, page + inner):
        _forbid(base.ctypes.data + low, page)
    return buffer


def _pages(nbytes: int) -> np.ndarray:
    """Fresh zeroed memory that starts at a page border; it goes back to the system with the array."""
    try:
        if sys.platform == "win32":
            region = mmap.mmap(-1, nbytes)
        else:
            region = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"cannot map {nbytes} bytes: {error}") from error
    return np.frombuffer(region, np.uint8)


def _forbid(address: int, nbytes: int) -> None:
    """Make pages neither readable nor writable. Where that cannot be done the pattern alone must do."""
    if sys.platform == "win32":
        old = ctypes.c_ulong()
        no_access = 0x01  # PAGE_NOACCESS
        ctypes.windll.kernel32.VirtualProtect(
            ctypes.c_void_p(address), ctypes.c_size_t(nbytes), no_access, ctypes.byref(old)
        )
        return
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    protect(address, nbytes, 0)  # PROT_NONE
