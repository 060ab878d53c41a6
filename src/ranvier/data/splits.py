"""Splitting rows and putting them in order: what ``fit`` does with ``validation_split`` and ``shuffle``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranvier import random
from ranvier.errors import ArgumentError, describe

__all__ = ["batch_order", "split_point"]


def split_point(n: int, fraction: Any, who: str = "split_point") -> int:
    """How many rows come before the last ``fraction`` of them, as Keras counts: ``floor(n * (1 - fraction))``.

    Args:
        n: number of rows.
        fraction: share of the rows to hold out, between 0 and 1 (exclusive).
        who: named in errors.

    Raises:
        ArgumentError: the fraction is out of range, or a part would be empty.

    Example:
        >>> from ranvier.data.splits import split_point
        >>> split_point(10, 0.25)
        7
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float | np.floating) or not 0 < fraction < 1:
        raise ArgumentError(
            f"{who}: expected validation_split to be a number between 0 and 1 (both excluded), got "
            f"{describe(fraction)}."
        )
    at = math.floor(n * (1.0 - float(fraction)))
    if at in (0, n):
        raise ArgumentError(
            f"{who}: validation_split={fraction} of {n} rows leaves {at} for training and {n - at} for validation. "
            "Both parts need at least one row: use another fraction or more data."
        )
    return at


def batch_order(n: int, batch: int, shuffle: bool, out: np.ndarray | None = None) -> np.ndarray:
    """Row numbers in the order in which an epoch goes through them, filled up with row 0 to whole batches.

    Args:
        n: number of rows.
        batch: rows in a batch.
        shuffle: draw a new order from the seeded generator (``rv.set_random_seed``), else 0, 1, 2, ....
        out: an array from an earlier call, to be filled again.

    Example:
        >>> from ranvier.data.splits import batch_order
        >>> batch_order(5, 3, shuffle=False).tolist()
        [0, 1, 2, 3, 4, 0]
    """
    order = np.zeros(math.ceil(n / batch) * batch, np.int64) if out is None else out
    order[:n] = random.permutation(n).numpy() if shuffle else np.arange(n)
    return order
