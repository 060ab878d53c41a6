"""Counter-based random bits: the same numbers eagerly, compiled, on every backend and any thread count.

``random_bits`` is Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011):
a keyed bijection of a counter. Element i of a draw is the cipher of (i, stream) under the seed, so any element can be
computed alone, in any order. Everything else (uniform, normal, ...) is composed from these bits in ``ranvier.random``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ranvier import dtypes
from ranvier.errors import ShapeError
from ranvier.ops.table import Aval, Op
from ranvier.tensor import Tensor

__all__ = ["ROTATIONS", "random_bits"]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


Words = tuple[np.ndarray, np.ndarray]
_BLOCK = 1 << 14  # numbers made at a time, so that they stay in the first caches


def threefry(key: Words, counter: Words) -> Words:
    """Threefry-2x32-20 of uint32 arrays (not of scalars, which would warn when they wrap around)."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(PARITY))
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    carry = np.empty_like(x1)
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 += x1
            np.right_shift(x1, np.uint32(32 - rotation), out=carry)
            x1 <<= np.uint32(rotation)
            x1 |= carry
            x1 ^= x0
        x0 += schedule[(group + 1) % 3]
        x1 += schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def _reference(state: np.ndarray, shape: tuple[int, ...], word: int) -> np.ndarray:
    words = state.astype(np.int64).view(np.uint32)  # seed low, seed high, stream low, stream high (little-endian)
    key = (words[0:1], words[1:2] ^ words[3:4])
    n = math.prod(shape)
    out = np.empty(n, np.uint32)
    for start in range(0, n, _BLOCK):
        index = np.arange(start, min(start + _BLOCK, n), dtype=np.uint32)
        stream = np.full(index.shape, words[2], np.uint32)
        out[start : start + _BLOCK] = threefry(key, (index, stream))[word]
    return out.reshape(shape)


def _infer(inputs: Sequence[Tensor], shape: tuple[int, ...], word: int) -> Aval:
    if math.prod(shape) > 2**32:
        raise ShapeError(f"random_bits: at most 2**32 numbers in one draw, got shape {shape}.")
    return Aval(shape, dtypes.uint32)


random_bits = Op(
    "random_bits",
    _reference,
    _infer,
    family="random",
    no_gradient="random bits depend on no real number",
    doc="Random uint32 from a state ``(seed, stream)``; ``word`` chooses one of the cipher's two output words.",
    samples=lambda rng: [((np.array([7, 3], np.int64),), {"shape": (5, 4), "word": w}) for w in (0, 1)],
)
