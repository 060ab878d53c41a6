"""What the compiler's window ops mean, in NumPy: a loop over the taps, each over all pixels that it reaches at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

__all__ = ["window", "window_weights"]

Places = tuple[Any, ...]


def _reached(axes: Sequence[Any]) -> Iterator[tuple[int, Places, Places]]:
    """For each tap of the window: its number, the output pixels at which it reaches something, and what it reaches."""
    for number, taps in enumerate(itertools.product(*(range(a.taps) for a in axes))):
        out, inside = [], []
        for axis, t in zip(axes, taps, strict=True):
            o = np.arange(axis.out)
            at = o * axis.out_step + t * axis.tap_step + axis.offset
            good = (at % axis.in_step == 0) & (at >= 0) & (at < axis.size * axis.in_step)
            out.append(o[good])
            inside.append(at[good] // axis.in_step)
        yield number, np.ix_(*out), np.ix_(*inside)


def window(kind: str, axes: Sequence[Any], x: np.ndarray, second: np.ndarray | None = None) -> np.ndarray:
    """The value of a ``window`` node."""
    shape = (*(a.out for a in axes), *x.shape[len(axes) :])
    value = np.zeros(shape, x.dtype)
    best = np.full(shape, -1, np.int32)
    for number, out, inside in _reached(axes):
        here = x[inside]
        if kind == "argmax":
            old, seen = value[out], best[out] >= 0
            wins = ~seen | (here > old) | (np.isnan(here) & ~np.isnan(old))
            value[out], best[out] = np.where(wins, here, old), np.where(wins, np.int32(number), best[out])
        elif second is None:
            value[out] += here
        elif kind == "weighted":
            value[out] += here * second[number]
        elif kind == "take":
            value[out] = np.where(second[out] == number, here, value[out])
        else:
            value[out] += np.where(second[inside] == number, here, here.dtype.type(0))
    return best if kind == "argmax" else value


def window_weights(axes: Sequence[Any], shape: Sequence[int], x: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The value of a ``window_weights`` node: all of it in the first chunk, zeros in the others."""
    value = np.zeros(tuple(shape), np.float64 if x.dtype == np.float64 else np.float32)
    for number, out, inside in _reached(axes):
        products = x[inside] * g[out]
        value[0, number] = products.reshape(-1, products.shape[-1]).sum(0)
    return value
