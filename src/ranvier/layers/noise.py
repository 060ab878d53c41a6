"""Noise while training: added, multiplied, or, for selu networks, dropout that keeps mean and variance."""

from __future__ import annotations

import math
from typing import Any

from ranvier import activations, random
from ranvier.layers.base import Layer, register
from ranvier.layers.checks import number
from ranvier.layers.dropout import checked_noise_shape, noise_sizes
from ranvier.ops.elementwise import where
from ranvier.random import Generator
from ranvier.tensor import Tensor

__all__ = ["AlphaDropout", "GaussianDropout", "GaussianNoise"]


class _Noise(Layer):
    """What the layers share: a generator, their own or the global one."""

    supports_masking = True

    def __init__(self, seed: int | None = None, **common: Any):
        super().__init__(**common)
        self.seed = seed
        self._own_generator = None if seed is None else Generator(seed)

    @property
    def _generator(self) -> Generator:
        return self._own_generator or random.default_generator


@register
class GaussianNoise(_Noise):
    """``y = x + stddev * z`` with standard normal ``z``, only while training.

    Args:
        stddev: standard deviation of the noise, at least 0.
        seed: a seed of its own; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        any; the output has the same.

    Raises:
        ArgumentError: the standard deviation is negative, or the seed is none.

    Example:
        >>> layer = rv.layers.GaussianNoise(0.1, seed=1)
        >>> layer(rv.ones((1, 2))).tolist()
        [[1.0, 1.0]]
        >>> y = layer(rv.ones((100, 100)), training=True).numpy()
        >>> round(float(y.mean()), 2), round(float(y.std()), 2)
        (1.0, 0.1)
    """

    def __init__(self, stddev: float, seed: int | None = None, **common: Any):
        super().__init__(seed, **common)
        self.stddev = float(number("GaussianNoise", "stddev", stddev, 0))

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.stddev == 0:
            return inputs
        return inputs + self._generator.normal(inputs.shape, dtype=self.compute_dtype) * self.stddev

    def _describe(self) -> str:
        return f"{self.stddev:g}"


@register
class GaussianDropout(_Noise):
    """``y = x * (1 + s * z)`` with ``s = sqrt(rate / (1 - rate))`` and standard normal ``z``, only while training.

    The factor has the mean and variance of dropout's (Srivastava et al., 2014).

    Args:
        rate: the dropout it resembles, from 0 up to but without 1.
        seed: a seed of its own; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        any; the output has the same.

    Raises:
        ArgumentError: the rate is outside [0, 1), or the seed is none.

    Example:
        >>> y = rv.layers.GaussianDropout(0.2, seed=1)(rv.ones((100, 100)), training=True).numpy()
        >>> round(float(y.mean()), 2), round(float(y.std()), 1)
        (1.0, 0.5)
    """

    def __init__(self, rate: float, seed: int | None = None, **common: Any):
        super().__init__(seed, **common)
        self.rate = float(number("GaussianDropout", "rate", rate, 0, 1, below=True))

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        spread = math.sqrt(self.rate / (1 - self.rate))
        return inputs * (self._generator.normal(inputs.shape, dtype=self.compute_dtype) * spread + 1)

    def _describe(self) -> str:
        return f"{self.rate:g}"


@register
class AlphaDropout(_Noise):
    """Dropout to selu's lower limit, so that mean 0 and variance 1 stay what they are; only while training.

    ``y = a * where(u >= rate, x, low) + b`` with ``low = -1.7581``, selu's limit, and ``a = ((1 - rate) * (1 + rate *
    low**2))**-0.5``, ``b = -a * low * rate`` (Klambauer et al., 2017). Use with selu and ``lecun_normal``.

    Args:
        rate: probability of being left out, from 0 up to but without 1.
        noise_shape: shape of the draw, None standing for the input's sizes; along axes of size 1 all share one fate.
        seed: a seed of its own; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        any; the output has the same.

    Raises:
        ArgumentError: the rate is outside [0, 1), or the seed or the noise's shape is none.
        ShapeError: the noise's shape does not fit the input.

    Example:
        >>> x = rv.tensor(np.random.default_rng(0).normal(size=(300, 300)))
        >>> y = rv.layers.AlphaDropout(0.3, seed=1)(x, training=True).numpy()
        >>> bool(abs(y.mean()) < 0.02), round(float(y.std()), 1)
        (True, 1.0)
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **common: Any):
        super().__init__(seed, **common)
        self.rate = float(number("AlphaDropout", "rate", rate, 0, 1, below=True))
        self.noise_shape = checked_noise_shape("AlphaDropout", noise_shape)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        sizes = noise_sizes(self._who(), self.noise_shape, inputs.shape)
        low = -activations.SELU_ALPHA * activations.SELU_SCALE
        a = ((1 - self.rate) * (1 + self.rate * low**2)) ** -0.5
        kept = where(self._generator.uniform(sizes) >= self.rate, inputs, low)
        return kept * a - a * low * self.rate

    def _describe(self) -> str:
        return f"{self.rate:g}"
