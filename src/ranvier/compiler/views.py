"""Views: how a value that is only another arrangement of stored elements is read through strides."""

from __future__ import annotations

import math
from typing import NamedTuple

from ranvier.compiler.graph import Value

__all__ = ["VIEWS", "View", "view"]

VIEWS = frozenset({"reshape", "transpose", "broadcast_to", "slice", "flip"})


class View(NamedTuple):
    """``value`` read at ``offset + sum(index * stride)``; ``root`` is the value that lies in memory, row by row."""

    root: Value
    offset: int
    strides: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def contiguous(self) -> bool:
        """Whether the view reads consecutive elements, row by row."""
        return all(s == t for s, t, n in zip(self.strides, row_strides(self.shape), self.shape, strict=True) if n != 1)


def row_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements from one index to the next along each axis, for row-major memory."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def view(v: Value, strict: bool = True) -> View:
    """How ``v`` is read. A view op reads its root through strides; any other value lies in memory itself.

    With ``strict=False`` a reshape that strides cannot express gives None instead of failing.
    """
    chain = []
    while v.op in VIEWS:
        chain.append(v)
        v = v.inputs[0]
    found = View(v, 0, row_strides(v.shape), v.shape)
    for step in reversed(chain):
        made = _STEPS[step.op](found, step)
        if made is None:
            assert not strict, f"lowering left {step!r}, which strides cannot express"
            return None  # type: ignore[return-value]
        found = made
    return found


def _transpose(x: View, v: Value) -> View:
    axes = v.attrs["axes"]
    return View(x.root, x.offset, tuple(x.strides[a] for a in axes), v.shape)


def _broadcast(x: View, v: Value) -> View:
    extra = len(v.shape) - len(x.shape)
    strides = (0,) * extra + tuple(0 if n == 1 else s for n, s in zip(x.shape, x.strides, strict=True))
    return View(x.root, x.offset, strides, v.shape)


def _slice(x: View, v: Value) -> View:
    starts, steps = v.attrs["starts"], v.attrs["steps"]
    offset = x.offset + sum(a * s for a, s in zip(starts, x.strides, strict=True))
    return View(x.root, offset, tuple(s * c for s, c in zip(x.strides, steps, strict=True)), v.shape)


def _flip(x: View, v: Value) -> View:
    offset, strides = x.offset, list(x.strides)
    for a in v.attrs["axes"]:
        offset += (x.shape[a] - 1) * strides[a]
        strides[a] = -strides[a]
    return View(x.root, offset, tuple(strides), v.shape)


def _reshape(x: View, v: Value) -> View | None:
    """Axes are matched in groups of equal size; each group must walk memory as one (or be cut from one axis)."""
    if x.contiguous:
        return View(x.root, x.offset, row_strides(v.shape), v.shape)
    if math.prod(v.shape) == 0:
        return View(x.root, x.offset, (0,) * len(v.shape), v.shape)
    old = [(n, s) for n, s in zip(x.shape, x.strides, strict=True) if n != 1]
    strides: list[int] = []
    i = 0
    for n in v.shape:
        if n == 1:
            strides.append(0)
            continue
        if i < len(old) and old[i][0] % n == 0 and (old[i][0] > n or old[i][0] == n):
            size, step = old[i]
            strides.append(step * (size // n))
            old[i] = (size // n, step)
            if size == n:
                i += 1
            continue
        # Join old axes until they make n, if they walk memory as one.
        size = 1
        while i < len(old) and size < n:
            if size > 1 and old[i - 1][1] != old[i][0] * old[i][1]:
                return None
            size *= old[i][0]
            i += 1
        if size != n:
            return None
        strides.append(old[i - 1][1])
    return View(x.root, x.offset, tuple(strides), v.shape)


_STEPS = {"transpose": _transpose, "broadcast_to": _broadcast, "slice": _slice, "flip": _flip, "reshape": _reshape}
