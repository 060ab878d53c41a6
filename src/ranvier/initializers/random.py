"""Random initializers: plain distributions, and those scaled to keep the variance of signals or gradients.

A layer with ``fan_in`` inputs that are independent with variance 1 has outputs of variance ``fan_in * Var[w]``. Glorot
(2010) chooses ``Var[w] = 2 / (fan_in + fan_out)``, a compromise between the way forward and the way back; He (2015)
``2 / fan_in``, because relu drops half of the signal; LeCun (1998) ``1 / fan_in``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier import random as rng
from ranvier.dtypes import as_dtype
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.initializers.base import Initializer, register
from ranvier.layers.checks import number
from ranvier.ops.elementwise import astype
from ranvier.ops.shape import as_shape
from ranvier.random import Generator
from ranvier.tensor import Tensor, as_tensor

__all__ = [
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
]

# The standard deviation of a standard normal limited to [-2, 2]; dividing by it restores the variance asked for.
TRUNCATED_STDDEV = 0.87962566103423978


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs that one unit of a weight connects: ``(..., in, out)``, leading axes being a window.

    Args:
        shape: shape of the weight.
    """
    if len(shape) < 2:
        n = math.prod(shape)
        return n, n
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


class _Random(Initializer):
    """Initializers that draw: with a seed the same values each time, without from the global generator."""

    def __init__(self, seed: int | None = None):
        if seed is not None:
            Generator(seed)  # refuses anything that is no seed
        self.seed = seed

    def _generator(self) -> Generator:
        return rng.default_generator if self.seed is None else Generator(self.seed)


@register("normal")
class RandomNormal(_Random):
    """Normal: ``w ~ N(mean, stddev**2)``.

    Args:
        mean: the mean.
        stddev: the standard deviation, not negative.
        seed: None for the global generator.

    Raises:
        ArgumentError: an argument is no number or a negative deviation.

    Example:
        >>> from ranvier.initializers import RandomNormal
        >>> RandomNormal(seed=1)((2, 3)).shape
        (2, 3)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.mean = number("RandomNormal", "mean", mean)
        self.stddev = number("RandomNormal", "stddev", stddev, 0)

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return self._generator().normal(shape, self.mean, self.stddev, dtype)


@register("uniform")
class RandomUniform(_Random):
    """Uniform: ``w ~ U[minval, maxval)``.

    Args:
        minval: lower end.
        maxval: upper end, above ``minval``.
        seed: None for the global generator.

    Raises:
        ArgumentError: an end is no number, or the interval is empty.

    Example:
        >>> from ranvier.initializers import RandomUniform
        >>> RandomUniform(seed=1)((2, 3)).shape
        (2, 3)
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.minval = number("RandomUniform", "minval", minval)
        self.maxval = number("RandomUniform", "maxval", maxval, minval, above=True)

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return self._generator().uniform(shape, self.minval, self.maxval, dtype)


@register
class TruncatedNormal(_Random):
    """Normal, limited to two standard deviations from the mean.

    Args:
        mean: the mean.
        stddev: the standard deviation before limiting, not negative.
        seed: None for the global generator.

    Raises:
        ArgumentError: an argument is no number or a negative deviation.

    Example:
        >>> from ranvier.initializers import TruncatedNormal
        >>> float(abs(TruncatedNormal(stddev=1.0, seed=1)((1000,))).max()) <= 2.0
        True
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.mean = number("TruncatedNormal", "mean", mean)
        self.stddev = number("TruncatedNormal", "stddev", stddev, 0)

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return self._generator().truncated_normal(shape, self.mean, self.stddev, dtype)


def _scaled(who: _Random, scale: float, mode: str, distribution: str, shape: Any, dtype: Any) -> Tensor:
    """Variance ``scale / fan`` in the distribution asked for."""
    wanted = as_shape(type(who).__name__, shape)
    fan_in, fan_out = fans(wanted)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    variance = scale / max(1.0, fan)
    generator = who._generator()
    if distribution == "uniform":
        limit = math.sqrt(3 * variance)
        return generator.uniform(wanted, -limit, limit, dtype)
    if distribution == "untruncated_normal":
        return generator.normal(wanted, 0.0, math.sqrt(variance), dtype)
    return generator.truncated_normal(wanted, 0.0, math.sqrt(variance) / TRUNCATED_STDDEV, dtype)


MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")


@register
class VarianceScaling(_Random):
    """Variance ``scale / fan``: what Glorot, He and LeCun are cases of.

    Args:
        scale: the numerator, above 0.
        mode: "fan_in", "fan_out" or "fan_avg" (their mean).
        distribution: "truncated_normal", "untruncated_normal" or "uniform".
        seed: None for the global generator.

    Raises:
        ArgumentError: an unknown mode or distribution, or a scale that is not positive.

    Example:
        >>> from ranvier.initializers import VarianceScaling
        >>> VarianceScaling(2.0, "fan_in", "uniform", seed=1)((4, 3)).shape
        (4, 3)
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ):
        super().__init__(seed)
        self.scale = number("VarianceScaling", "scale", scale, 0, above=True)
        for name, value, legal in (("mode", mode, MODES), ("distribution", distribution, DISTRIBUTIONS)):
            if value not in legal:
                raise ArgumentError(
                    f"VarianceScaling: expected {name} to be one of {', '.join(legal)}, got {describe(value)}."
                )
        self.mode, self.distribution = mode, distribution

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return _scaled(self, self.scale, self.mode, self.distribution, shape, dtype)


@register
class GlorotUniform(_Random):
    """Glorot (Xavier): ``w ~ U[-a, a)`` with ``a = sqrt(6 / (fan_in + fan_out))``.

    Args:
        seed: None for the global generator.

    Example:
        >>> from ranvier.initializers import GlorotUniform
        >>> GlorotUniform(seed=1)((4, 3)).shape
        (4, 3)
    """

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return _scaled(self, 1.0, "fan_avg", "uniform", shape, dtype)


@register
class GlorotNormal(_Random):
    """Glorot (Xavier): truncated normal with ``stddev = sqrt(2 / (fan_in + fan_out))``.

    Args:
        seed: None for the global generator.
    """

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return _scaled(self, 1.0, "fan_avg", "truncated_normal", shape, dtype)


@register
class HeUniform(_Random):
    """He: ``w ~ U[-a, a)`` with ``a = sqrt(6 / fan_in)``.

    Args:
        seed: None for the global generator.
    """

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return _scaled(self, 2.0, "fan_in", "uniform", shape, dtype)


@register
class HeNormal(_Random):
    """He: truncated normal with ``stddev = sqrt(2 / fan_in)``.

    Args:
        seed: None for the global generator.
    """

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return _scaled(self, 2.0, "fan_in", "truncated_normal", shape, dtype)


@register
class LecunUniform(_Random):
    """LeCun: ``w ~ U[-a, a)`` with ``a = sqrt(3 / fan_in)``.

    Args:
        seed: None for the global generator.
    """

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return _scaled(self, 1.0, "fan_in", "uniform", shape, dtype)


@register
class LecunNormal(_Random):
    """LeCun: truncated normal with ``stddev = sqrt(1 / fan_in)``.

    Args:
        seed: None for the global generator.
    """

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return _scaled(self, 1.0, "fan_in", "truncated_normal", shape, dtype)


@register
class Orthogonal(_Random):
    """Orthogonal rows or columns, whichever are fewer: the Q of a random normal matrix (Saxe et al., 2013).

    Q is made unique by the signs of R's diagonal, so that it is uniform over the orthogonal matrices.

    Args:
        gain: factor on the result.
        seed: None for the global generator.

    Shape:
        at least two axes; all but the last count as rows.

    Raises:
        ArgumentError: the gain is no number.
        ShapeError: called with fewer than two axes.

    Example:
        >>> from ranvier.initializers import Orthogonal
        >>> q = Orthogonal(seed=1)((3, 3))
        >>> bool((abs(q.T @ q - rv.eye(3)) < 1e-5).numpy().all())
        True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        super().__init__(seed)
        self.gain = number("Orthogonal", "gain", gain)

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        wanted = as_shape("Orthogonal", shape)
        if len(wanted) < 2:
            raise ShapeError(f"Orthogonal: expected a shape with at least two axes, got {wanted}.")
        rows, columns = math.prod(wanted[:-1]), wanted[-1]
        draw = self._generator().normal((max(rows, columns), min(rows, columns)), dtype=dtypes.float64)
        q, r = np.linalg.qr(draw.numpy())  # initial values are concrete, so NumPy's own factorisation serves
        q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
        q = self.gain * (q.T if rows < columns else q)
        return astype(as_tensor(q.reshape(wanted)), as_dtype(dtype))
