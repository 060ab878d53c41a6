"""Holding out a test part: seeded, and with every class in the same proportion on both sides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, ShapeError, describe

__all__ = ["stratified_split"]


def stratified_split(
    y: Any, fraction: float = 0.2, seed: int = 0
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Row numbers of a training part and a test part, both in shuffled order.

    The test part has ``ceil(fraction * len(y))`` rows (as scikit-learn counts); each class gives its share, rounded by
    largest remainder. The same arguments give the same rows on every machine and every NumPy version.

    Args:
        y: labels, shape ``(samples,)``.
        fraction: share of the rows to hold out, between 0 and 1 (exclusive).
        seed: which of the many possible splits.

    Returns:
        ``(train, test)``: int64 row numbers that together are all rows, each once.

    Raises:
        ShapeError: ``y`` is not a vector, or is too short to give a row to each part.
        ArgumentError: ``fraction`` is not between 0 and 1, or ``seed`` is not an integer from 0 to 2**32 - 1.

    Example:
        >>> train, test = stratified_split([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], 0.2)
        >>> len(train), len(test)
        (8, 2)
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) < 2:
        raise ShapeError(f"stratified_split: expected at least two labels in one dimension, got {describe(labels)}.")
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise ArgumentError(f"stratified_split: fraction must lie between 0 and 1 (exclusive), got {fraction!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 1 << 32:
        raise ArgumentError(f"stratified_split: seed must be an integer from 0 to 2**32 - 1, got {seed!r}.")
    total = min(math.ceil(round(fraction * len(labels), 9)), len(labels) - 1)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares = counts * (total / len(labels))
    takes = np.floor(shares).astype(np.int64)
    short = total - int(takes.sum())
    takes[np.argsort(takes - shares, kind="stable")[:short]] += 1
    # RandomState and not Generator: NumPy promises that its stream never changes.
    random = np.random.RandomState(int(seed))
    order = random.permutation(len(labels)).astype(np.int64)
    seen = np.zeros(len(labels), np.int64)  # how many of the same class come earlier in the shuffled order
    for label in range(len(counts)):
        rows = classes[order] == label
        seen[rows] = np.arange(counts[label])
    held = seen < takes[classes[order]]
    return order[~held], order[held]
