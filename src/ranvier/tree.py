"""Nests: lists, tuples and dictionaries whose leaves are tensors, taken apart and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranvier.errors import ArgumentError

__all__ = ["flatten", "unflatten"]

_LEAF = object()


def flatten(nest: Any) -> tuple[list[Any], Any]:
    """The leaves of a nest in a fixed order, and its structure (which compares equal for equal nests).

    Args:
        nest: lists, tuples and dictionaries (taken in sorted key order); None holds no leaf; all else is a leaf.

    Raises:
        ArgumentError: a dictionary whose keys cannot be sorted.
    """
    leaves: list[Any] = []

    def walk(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value), tuple(walk(v) for v in value)
        if isinstance(value, dict):
            try:
                keys = tuple(sorted(value))
            except TypeError:
                raise ArgumentError(
                    f"a dictionary of tensors needs keys that can be sorted, got {list(value)}; use strings."
                ) from None
            return dict, keys, tuple(walk(value[k]) for k in keys)
        if value is None:
            return None
        leaves.append(value)
        return _LEAF

    return leaves, walk(nest)


def unflatten(structure: Any, leaves: Sequence[Any]) -> Any:
    """The nest of ``structure`` with new leaves.

    Args:
        structure: from :func:`flatten`.
        leaves: as many leaves as the structure has.
    """
    rest = iter(leaves)

    def build(part: Any) -> Any:
        if part is None:
            return None
        if part is _LEAF:
            return next(rest)
        if part[0] is dict:
            return dict(zip(part[1], [build(p) for p in part[2]], strict=True))
        values = [build(p) for p in part[1]]
        kind = part[0]
        return kind(*values) if hasattr(kind, "_fields") else kind(values)

    return build(structure)
