"""What convolution and window ops share: strides, padding and dilation as users write them, and the taps of a window.

Images are channels last: ``(batch, *spatial, channels)`` with one to three spatial axes. A window of size ``K`` has
taps ``t = 0 ... K - 1`` on each axis; at place ``o`` of the result, tap ``t`` lies over element
``o * stride + t * dilation - low`` of the input, where ``low`` is how much padding stands before it. Padding is never
stored: a tap that falls outside is left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.ops import elementwise as e
from ranvier.ops.table import Op, apply
from ranvier.tensor import Tensor, as_tensor

__all__ = ["Padding", "RealOp", "Tap", "floats", "padding_pairs", "per_axis", "places", "span", "taps"]

Padding = tuple[tuple[int, int], ...]


class RealOp(Op):
    """An op on real numbers that asks its shape rule before it runs, and takes integers as float32.

    NumPy would accept many shapes that mean nothing here, so the rule speaks first.
    """

    def __call__(self, *inputs: Any, **attrs: Any) -> Tensor:
        tensors = [as_tensor(x) for x in inputs]
        reals = iter(floats([t for i, t in enumerate(tensors) if i not in self.index_inputs]))
        tensors = [t if i in self.index_inputs else next(reals) for i, t in enumerate(tensors)]
        self.infer(tensors, **attrs)
        return apply(self, tuple(tensors), attrs)

    index_inputs: tuple[int, ...] = ()  # which inputs are positions, which keep their dtype


def floats(values: Sequence[Any]) -> tuple[Tensor, ...]:
    """Tensors of one floating dtype; integers and booleans become float32."""
    found = e.coerce(values)
    return found if found[0].dtype.is_float else tuple([e.astype(t, dtypes.float32) for t in found])


# -- arguments ----------------------------------------------------------------------------------------------------


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def per_axis(name: str, what: str, value: Any, rank: int, least: int = 1) -> tuple[int, ...]:
    """An integer for all spatial axes, or one for each, none below ``least``."""
    given = (value,) * rank if _is_integer(value) else value
    if (
        not isinstance(given, tuple | list)
        or len(given) != rank
        or not all([_is_integer(n) and n >= least for n in given])
    ):
        raise ArgumentError(
            f"{name}: expected {what} to be an integer of at least {least}, or one for each of the {rank} spatial "
            f"axes, got {describe(value)}."
        )
    return tuple([int(n) for n in given])


def span(window: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """How many elements a dilated window reaches over, on each axis."""
    return tuple([(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)])


def padding_pairs(
    name: str,
    padding: Any,
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    words: tuple[str, ...] = ("valid", "same"),
) -> Padding:
    """Padding as users write it (a word, or pairs) as ``(low, high)`` for each spatial axis."""
    rank, reach = len(sizes), span(window, dilation)
    word = padding.lower() if isinstance(padding, str) else None
    if word == "valid":
        return ((0, 0),) * rank
    if word == "same":
        totals = [max((math.ceil(n / s) - 1) * s + k - n, 0) for n, s, k in zip(sizes, strides, reach, strict=True)]
        return tuple([(total // 2, total - total // 2) for total in totals])
    if word == "causal" and "causal" in words:
        if rank != 1:
            raise ArgumentError(f"{name}: expected padding='causal' with one spatial axis only, got {rank} of them.")
        return ((reach[0] - 1, 0),)
    pairs = padding if isinstance(padding, tuple | list) else ()
    if len(pairs) != rank or not all(
        [isinstance(p, tuple | list) and len(p) == 2 and all([_is_integer(n) and n >= 0 for n in p]) for p in pairs]
    ):
        raise ArgumentError(
            f"{name}: expected padding to be {', '.join(map(repr, words))} or {rank} pairs (before, after) of "
            f"non-negative integers, got {describe(padding)}."
        )
    return tuple([(int(low), int(high)) for low, high in pairs])


def places(
    name: str,
    what: str,
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """How many places a window (``what``: "kernel" or "window") has on each axis; refuses what fits nowhere."""
    rank = len(sizes)
    for word, value in (("the size of the " + what, window), ("strides", strides), ("dilation", dilation)):
        per_axis(name, word, value, rank)
    padding_pairs(name, padding, sizes, window, strides, dilation)
    reach = span(window, dilation)
    padded = tuple([n + low + high for n, (low, high) in zip(sizes, padding, strict=True)])
    if any([k > n for k, n in zip(reach, padded, strict=True)]) or 0 in sizes:
        stretched = f" (dilation {tuple(dilation)} stretches it over {reach})" if reach != tuple(window) else ""
        raise ShapeError(
            f"{name}: expected a {what} that fits into the input, got {what} size {tuple(window)}{stretched} and "
            f"spatial size {tuple(sizes)}, {padded} with padding. Use a smaller {what}, less dilation, or "
            "padding='same'."
        )
    return tuple([(n - k) // s + 1 for n, k, s in zip(padded, reach, strides, strict=True)])


# -- taps ---------------------------------------------------------------------------------------------------------


class Tap(NamedTuple):
    """One tap of a window: where it lies inside the input."""

    number: int  # row-major in the window
    at: tuple[int, ...]  # its place in the window
    out: tuple[slice, ...]  # the places of the result, after the batch axis, at which it lies inside
    inside: tuple[slice, ...]  # the elements of the input it lies over there


def _tap_slices(size: int, count: int, stride: int, low: int, offset: int) -> tuple[slice, slice]:
    """Where one axis of a tap lies inside: slices of the places and of the elements."""
    shift = offset - low
    first = max(0, -(shift // stride))  # the ceiling of -shift / stride
    last = min(count - 1, (size - 1 - shift) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last + 1), slice(first * stride + shift, last * stride + shift + 1, stride)


def taps(
    sizes: Sequence[int],
    counts: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Iterator[Tap]:
    """The taps of a window in row-major order, with the places at which each lies inside the input."""
    axes = [
        [_tap_slices(size, count, stride, low, t * step) for t in range(k)]
        for size, count, k, stride, (low, _), step in zip(
            sizes, counts, window, strides, padding, dilation, strict=True
        )
    ]
    for number, at in enumerate(itertools.product(*[range(k) for k in window])):
        pairs = [axis[t] for axis, t in zip(axes, at, strict=True)]
        whole = slice(None)
        yield Tap(number, at, (whole, *[o for o, _ in pairs]), (whole, *[i for _, i in pairs]))
