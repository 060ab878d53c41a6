"""Random numbers from one seed: reproducible eagerly, compiled, and on any number of threads.

Each :class:`Generator` keeps ``(seed, stream)`` in a variable; a draw uses the current stream and moves on to the
next. Compiled functions advance the same variable, so eager and compiled code continue one another's sequence.

``uniform`` comes straight from random bits. Float32 ``normal`` applies the inverse of the normal distribution function
(Wichura, "Algorithm AS 241", 1988) using only operations that IEEE 754 rounds exactly, so it too gives the same bits
everywhere; float64 ``normal`` uses ``log`` in the tails and agrees to the last places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.dtypes import as_dtype, iinfo
from ranvier.errors import ArgumentError, DTypeError, ShapeError, describe
from ranvier.ops import elementwise as e
from ranvier.ops.random import random_bits
from ranvier.ops.shape import as_shape
from ranvier.ops.table import require_memory
from ranvier.tensor import Tensor, as_tensor
from ranvier.variable import Variable

__all__ = [
    "Generator", "bernoulli", "default_generator", "inverse_normal", "normal", "permutation", "randint",
    "set_random_seed", "truncated_normal", "uniform",
]  # fmt: skip


def _check_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise ArgumentError(f"random seed: expected an integer from 0 to 2**63 - 1, got {describe(seed)}.")
    return int(seed)


class Generator:
    """A stream of random numbers.

    Args:
        seed: from 0 to 2**63 - 1.

    Example:
        >>> import ranvier as rv
        >>> g = rv.random.Generator(7)
        >>> a, b = g.uniform((2,)), g.uniform((2,))
        >>> a.tolist() == b.tolist()
        False
        >>> rv.random.Generator(7).uniform((2,)).tolist() == a.tolist()
        True
    """

    def __init__(self, seed: int):
        self.state = Variable(np.array([_check_seed(seed), 0], np.int64), name="random_state", trainable=False)

    def seed(self, seed: int) -> None:
        """Start again from a seed.

        Args:
            seed: from 0 to 2**63 - 1.
        """
        self.state.assign(np.array([_check_seed(seed), 0], np.int64))

    def next_state(self) -> Tensor:
        """The current ``(seed, stream)``; the generator moves on to the next stream."""
        now = self.state._read()
        self.state.assign(now + Tensor._wrap(np.array([0, 1], np.int64), dtypes.int64))
        return now

    def uniform(self, shape: Any = (), low: Any = 0.0, high: Any = 1.0, dtype: Any = dtypes.float32) -> Tensor:
        """Uniform on ``[low, high)``: 24 random bits for float32, 53 for float64, 8 for bfloat16.

        Args:
            shape: shape of the draw.
            low: lower end.
            high: upper end, above ``low``.
            dtype: a floating dtype.

        Raises:
            ArgumentError: ``low`` is not below ``high``.
            DTypeError: no floating dtype.

        Example:
            >>> import ranvier as rv
            >>> bool(rv.all(rv.random.uniform((100,), 2.0, 3.0) >= 2.0))
            True
        """
        sizes, wanted = as_shape("uniform", shape), _floating("uniform", dtype)
        if _plain(low) and _plain(high) and not low < high:
            raise ArgumentError(f"uniform: expected low < high, got low={low} and high={high}.")
        unit = self._unit(sizes, wanted)
        if _plain(low) and _plain(high) and (low, high) == (0.0, 1.0):
            return unit
        out = unit * (high - low) + low
        return e.where(out < high, out, low)  # rounding can reach the upper end

    def _unit(self, shape: tuple[int, ...], dtype: Any, half: bool = False) -> Tensor:
        """Uniform on [0, 1) in equal steps; with ``half`` on their middles, so that neither 0 nor 1 can occur.

        Every value is exact in ``dtype``: half a step needs one bit, which is taken from the random ones.
        """
        if math.prod(shape) > 2**32:
            raise ShapeError(f"random numbers: at most 2**32 in one draw, got shape {shape}.")
        require_memory("random numbers", shape, dtype)
        state, offset = self.next_state(), 0.5 if half else 0.0
        bits = {"bfloat16": 8, "float32": 24, "float64": 53}[dtype.name] - half
        high = random_bits(state, shape=shape, word=0)
        if dtype is not dtypes.float64:
            return (e.astype(high >> (32 - bits), dtype) + offset) * 2.0**-bits
        low = random_bits(state, shape=shape, word=1)
        return (e.astype(high >> (58 - bits), dtype) * 2.0**26 + e.astype(low >> 6, dtype) + offset) * 2.0**-bits

    def normal(self, shape: Any = (), mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32) -> Tensor:
        """Normal with the given mean and standard deviation.

        Args:
            shape: shape of the draw.
            mean: the mean.
            stddev: the standard deviation, not negative.
            dtype: a floating dtype.

        Raises:
            ArgumentError: a negative standard deviation.
            DTypeError: no floating dtype.

        Example:
            >>> import ranvier as rv
            >>> rv.random.normal((2, 3)).shape
            (2, 3)
        """
        sizes, wanted = as_shape("normal", shape), _floating("normal", dtype)
        _check_spread("normal", stddev)
        z = inverse_normal(self._unit(sizes, _wide(wanted), half=True))
        plain = _plain(mean) and _plain(stddev) and (mean, stddev) == (0.0, 1.0)
        return e.astype(z if plain else z * stddev + mean, wanted)

    def truncated_normal(
        self, shape: Any = (), mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32
    ) -> Tensor:
        """Normal, limited to two standard deviations from the mean (by the inverse distribution function).

        Args:
            shape: shape of the draw.
            mean: the mean before truncation.
            stddev: the standard deviation before truncation, not negative.
            dtype: a floating dtype.

        Raises:
            ArgumentError: a negative standard deviation.
            DTypeError: no floating dtype.

        Example:
            >>> import ranvier as rv
            >>> bool(rv.all(rv.abs(rv.random.truncated_normal((100,))) <= 2.0))
            True
        """
        sizes, wanted = as_shape("truncated_normal", shape), _floating("truncated_normal", dtype)
        _check_spread("truncated_normal", stddev)
        tail = 0.022750131948179195  # the normal probability of lying below -2
        u = self._unit(sizes, _wide(wanted), half=True)
        z = e.clip(inverse_normal(u * (1 - 2 * tail) + tail), -2.0, 2.0)
        return e.astype(z * stddev + mean, wanted)

    def bernoulli(self, shape: Any = (), p: Any = 0.5) -> Tensor:
        """True with probability p.

        Args:
            shape: shape of the draw.
            p: the probability, from 0 to 1.

        Raises:
            ArgumentError: no probability.

        Example:
            >>> import ranvier as rv
            >>> rv.random.bernoulli((2,), p=1.0).tolist()
            [True, True]
        """
        sizes = as_shape("bernoulli", shape)
        if _plain(p) and not 0 <= p <= 1:
            raise ArgumentError(f"bernoulli: expected a probability from 0 to 1, got {p}.")
        return self._unit(sizes, dtypes.float32) < p

    def randint(self, shape: Any, low: int, high: int, dtype: Any = dtypes.int64) -> Tensor:
        """Integers from ``[low, high)``, for ranges up to 2**31 (the bias is below 2**-21).

        Args:
            shape: shape of the draw.
            low: smallest value.
            high: one more than the largest.
            dtype: an integer dtype that holds them.

        Raises:
            ArgumentError: an empty or too wide range, or one that the dtype does not hold.
            DTypeError: no integer dtype.

        Example:
            >>> import ranvier as rv
            >>> sorted(set(rv.random.randint((100,), 0, 3).tolist()))
            [0, 1, 2]
        """
        sizes, wanted = as_shape("randint", shape), as_dtype(dtype)
        for value in (low, high):
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise ArgumentError(f"randint: expected integers, got {describe(value)}.")
        if not 0 < high - low <= 2**31:
            raise ArgumentError(f"randint: expected 0 < high - low <= 2**31, got low={low} and high={high}.")
        info = iinfo(wanted)
        if low < info.min or high - 1 > info.max:
            raise ArgumentError(f"randint: {wanted} does not hold the numbers from {low} to {high - 1}.")
        unit = self._unit(sizes, dtypes.float64)
        return e.astype(e.astype(e.floor(unit * float(high - low)), dtypes.int64) + int(low), wanted)

    def permutation(self, n: int) -> Tensor:
        """The numbers 0 to n - 1 in random order (drawn outside compiled functions).

        Each number gets 64 random bits (Philox-4x64 of seed and stream); sorting by them gives the order. The lowest
        bits are replaced by the number itself, so no two are equal and a plain sort carries the numbers along.

        Args:
            n: how many.

        Raises:
            ArgumentError: no non-negative integer.

        Example:
            >>> import ranvier as rv
            >>> sorted(rv.random.permutation(4).tolist())
            [0, 1, 2, 3]
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise ArgumentError(f"permutation: expected a non-negative integer, got {describe(n)}.")
        seed, stream = self.next_state()._concrete("permutation").tolist()
        bits = np.uint64(max(int(n) - 1, 1).bit_length())
        keys = np.random.Philox(key=seed, counter=[0, 0, stream, 0]).random_raw(int(n))
        keys = (keys << bits) | np.arange(n, dtype=np.uint64)
        keys.sort()
        order = keys & ((np.uint64(1) << bits) - np.uint64(1))
        return Tensor._wrap(order.astype(np.int64), dtypes.int64)


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)


def _check_spread(name: str, stddev: Any) -> None:
    if _plain(stddev) and not stddev >= 0:
        raise ArgumentError(f"{name}: expected a standard deviation of at least 0, got {stddev}.")


def _wide(dtype: Any) -> Any:
    """The dtype in which draws for ``dtype`` are computed."""
    return dtypes.float64 if dtype is dtypes.float64 else dtypes.float32


def _floating(name: str, dtype: Any) -> Any:
    wanted = as_dtype(dtype)
    if not wanted.is_float:
        raise DTypeError(f"{name}: expected a floating dtype, got {wanted}.")
    return wanted


# -- the inverse normal distribution function ---------------------------------------------------------------------
# AS 241: PPND7 (7 figures) for float32, PPND16 (16 figures) for float64. Rational functions of (u - 1/2) in the
# middle and of sqrt(-log(tail)) outside.

_MIDDLE32 = (
    (3.3871327179, 5.0434271938e1, 1.5929113202e2, 5.9109374720e1),
    (1.0, 1.7895169469e1, 7.8757757664e1, 6.7187563600e1),
)
_OUTER32 = ((1.4234372777, 2.7568153900, 1.3067284816, 1.7023821103e-1), (1.0, 7.3700164250e-1, 1.2021132975e-1))
_MIDDLE64 = (
    (3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
_OUTER64 = (
    (1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
     1.27045825245236838258, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
_FAR64 = (
    (6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2, 7.86869131145613259100e-4,
     1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    total: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def _ratio(x: Tensor, pair: tuple[Sequence[float], Sequence[float]]) -> Tensor:
    return _polynomial(x, pair[0]) / _polynomial(x, pair[1])


def _plain_log(x: Tensor) -> Tensor:
    """log of a positive normal float32 from exactly rounded operations only, so that every backend agrees bit for bit.

    x = 2**k * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) by the odd series in s = f / (2 + f).
    """
    bits = e.bitcast(x, dtypes.int32)
    k = (bits - 0x3F3504F3) >> 23
    f = e.bitcast(bits - (k << 23), dtypes.float32) - 1.0
    s = f / (f + 2.0)
    q = s * s
    series = _polynomial(q, (2.0, 2 / 3, 2 / 5, 2 / 7, 2 / 9, 2 / 11))
    return e.astype(k, dtypes.float32) * 0.6931471805599453 + s * series


def inverse_normal(u: Any) -> Tensor:
    """The value below which a standard normal falls with probability u, for u strictly between 0 and 1.

    Float32 reaches to 2**-32 from either end.

    Args:
        u: probabilities, float32 or float64.

    Raises:
        DTypeError: another dtype.

    Example:
        >>> import ranvier as rv
        >>> round(rv.random.inverse_normal(rv.tensor(0.975)).item(), 4)
        1.96
    """
    u = as_tensor(u)
    if u.dtype not in (dtypes.float32, dtypes.float64):
        raise DTypeError(f"inverse_normal: expected float32 or float64, got {u.dtype}.")
    double = u.dtype is dtypes.float64
    q = u - 0.5
    middle = q * _ratio(0.180625 - q * q, _MIDDLE64 if double else _MIDDLE32)
    tail = e.minimum(u, 1.0 - u)
    r = e.sqrt(-(e.log(tail) if double else _plain_log(tail)))
    outer = _ratio(r - 1.6, _OUTER64 if double else _OUTER32)
    if double:
        outer = e.where(r <= 5.0, outer, _ratio(r - 5.0, _FAR64))
    return e.where(e.abs(q) <= 0.425, middle, e.where(q < 0, -outer, outer))


# -- the global generator -----------------------------------------------------------------------------------------

default_generator = Generator(0)


def set_random_seed(seed: int) -> None:
    """Seed everything random in Ranvier: initializers, dropout, shuffling and the functions of this module.

    Args:
        seed: from 0 to 2**63 - 1.

    Raises:
        ArgumentError: not such an integer.

    Example:
        >>> import ranvier as rv
        >>> rv.set_random_seed(1)
        >>> a = rv.random.normal((3,))
        >>> rv.set_random_seed(1)
        >>> rv.random.normal((3,)).tolist() == a.tolist()
        True
    """
    default_generator.seed(seed)


uniform = default_generator.uniform
normal = default_generator.normal
truncated_normal = default_generator.truncated_normal
bernoulli = default_generator.bernoulli
randint = default_generator.randint
permutation = default_generator.permutation
