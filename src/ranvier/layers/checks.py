"""Constraints on arguments, each declared once: the check and the message of every number that a word takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, describe

__all__ = ["number", "whole"]


def _limits(low: float, high: float, above: bool, below: bool) -> str:
    parts = []
    if low != -math.inf:
        parts.append(f"above {low:g}" if above else f"of at least {low:g}")
    if high != math.inf:
        parts.append(f"below {high:g}" if below else f"at most {high:g}")
    return "".join(f" {part}" if i == 0 else f" and {part}" for i, part in enumerate(parts))


def number(
    who: str,
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
) -> Any:
    """``value`` if it is a finite number in a range.

    Args:
        who: whose argument it is, for the message.
        name: the argument's name.
        value: what was given.
        low: least value.
        high: greatest value.
        above: ``low`` itself is not allowed.
        below: ``high`` itself is not allowed.

    Raises:
        ArgumentError: anything else; the message names the range.

    Example:
        >>> number("Dropout", "rate", 0.5, 0, 1, below=True)
        0.5
    """
    fine = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if (
        not fine
        or not math.isfinite(value)
        or not low <= value <= high
        or (above and value == low)
        or (below and value == high)
    ):
        limits = _limits(low, high, above, below)
        raise ArgumentError(f"{who}: expected {name} to be a finite number{limits}, got {describe(value)}.")
    return value.item() if isinstance(value, np.generic) else value


def whole(who: str, name: str, value: Any, low: int = 1) -> int:
    """``value`` as an int if it is an integer of at least ``low``.

    Args:
        who: whose argument it is, for the message.
        name: the argument's name.
        value: what was given.
        low: least value.

    Raises:
        ArgumentError: anything else.

    Example:
        >>> whole("Dense", "units", 10)
        10
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ArgumentError(f"{who}: expected {name} to be an integer of at least {low}, got {describe(value)}.")
    return int(value)
