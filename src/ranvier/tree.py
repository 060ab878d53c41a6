"""Nests: lists, tuples and dictionaries whose leaves are tensors, taken apart and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    return leaves, _walk(nest, leaves)


# Not closures: one that calls itself is a reference cycle, and would hold the leaves until the collector comes.


def _walk(value: Any, leaves: list[Any]) -> Any:
    if isinstance(value, list | tuple):
        return type(value), tuple([_walk(v, leaves) for v in value])
    if isinstance(value, dict):
        try:
            keys = tuple(sorted(value))
        except TypeError:
            raise ArgumentError(
                f"a dictionary of tensors needs keys that can be sorted, got {list(value)}; use strings."
            ) from None
        return dict, keys, tuple([_walk(value[k], leaves) for k in keys])
    if value is None:
        return None
    leaves.append(value)
    return _LEAF


def unflatten(structure: Any, leaves: Sequence[Any]) -> Any:
    """The nest of ``structure`` with new leaves.

    Args:
        structure: from :func:`flatten`.
        leaves: as many leaves as the structure has.
    """
    return _build(structure, iter(leaves))


def _build(part: Any, rest: Iterator[Any]) -> Any:
    if part is None:
        return None
    if part is _LEAF:
        return next(rest)
    if part[0] is dict:
        return dict(zip(part[1], [_build(p, rest) for p in part[2]], strict=True))
    values = [_build(p, rest) for p in part[1]]
    kind = part[0]
    return kind(*values) if hasattr(kind, "_fields") else kind(values)
