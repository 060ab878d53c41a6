"""Dropout: units, or whole maps of them, left out at random while training."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import random
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.base import InputSpec, Layer, register
from ranvier.layers.checks import number
from ranvier.ops.elementwise import where
from ranvier.random import Generator
from ranvier.tensor import Tensor

__all__ = ["Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"]


def checked_noise_shape(who: str, value: Any) -> tuple[int | None, ...] | None:
    """A shape that random numbers are drawn in: sizes, None for the input's; None altogether for the input's shape.

    Args:
        who: the layer, for errors.
        value: what was given.

    Raises:
        ArgumentError: no such shape.
    """
    if value is None:
        return None
    sizes = tuple(value) if isinstance(value, tuple | list) else None
    if sizes is None or not all(
        n is None or (isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1) for n in sizes
    ):
        raise ArgumentError(f"{who}: expected noise_shape to be a tuple of sizes, got {describe(value)}.")
    return tuple(None if n is None else int(n) for n in sizes)


def noise_sizes(who: str, noise_shape: tuple[int | None, ...] | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of the noise for an input of some shape.

    Args:
        who: the layer, for errors.
        noise_shape: as checked.
        shape: of the input.

    Raises:
        ShapeError: the noise does not broadcast to the input.
    """
    if noise_shape is None:
        return shape
    sizes = tuple(b if a is None else a for a, b in zip(noise_shape, shape, strict=False))
    if len(noise_shape) != len(shape) or any(a not in (1, b) for a, b in zip(sizes, shape, strict=True)):
        raise ShapeError(f"{who}: noise_shape {noise_shape} does not fit an input of shape {shape}.")
    return sizes


class _Dropping(Layer):
    """What the layers share: a rate, a generator, and the draw."""

    supports_masking = True
    noise_shape: tuple[int | None, ...] | None = None

    def __init__(self, rate: float, seed: int | None = None, **common: Any):
        super().__init__(**common)
        self.rate, self.seed = float(number(type(self).__name__, "rate", rate, 0, 1, below=True)), seed
        self._generator = None if seed is None else Generator(seed)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        generator = self._generator or random.default_generator
        sizes = noise_sizes(self._who(), self.noise_shape, inputs.shape)
        return where(generator.uniform(sizes) >= self.rate, inputs * (1 / (1 - self.rate)), 0)

    def _describe(self) -> str:
        return f"{self.rate:g}"


@register
class Dropout(_Dropping):
    """Each number is kept with probability ``1 - rate`` and divided by it, else 0; only while training.

    ``y = where(u >= rate, x / (1 - rate), 0)`` with ``u ~ U[0, 1)``. The division keeps the expected value, so nothing
    has to change when the network is used (Srivastava et al., 2014).

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
        >>> layer = rv.layers.Dropout(0.5, seed=1)
        >>> layer(rv.ones((1, 3))).tolist()
        [[1.0, 1.0, 1.0]]
        >>> sorted(set(layer(rv.ones((1, 100)), training=True).numpy().ravel().tolist()))
        [0.0, 2.0]
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **common: Any):
        super().__init__(rate, seed, **common)
        self.noise_shape = checked_noise_shape("Dropout", noise_shape)


class _SpatialDropout(_Dropping):
    """Dropout of whole maps: all positions of a channel share one draw."""

    rank = 1

    def __init__(self, rate: float, seed: int | None = None, **common: Any):
        super().__init__(rate, seed, **common)
        self.noise_shape = (None, *(1,) * self.rank, None)
        self.input_spec = InputSpec(ndim=self.rank + 2)


@register
class SpatialDropout1D(_SpatialDropout):
    """:class:`Dropout` of whole channels of a sequence: neighbouring steps resemble one another too much for less.

    Args:
        rate: probability of being left out, from 0 up to but without 1.
        seed: a seed of its own; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, steps, channels)``; the output has the same.

    Raises:
        ArgumentError: the rate is outside [0, 1), or the seed is none.
        ShapeError: the input has another number of axes.

    Source:
        Tompson et al., "Efficient object localization using convolutional networks", 2015.

    Example:
        >>> y = rv.layers.SpatialDropout1D(0.5, seed=1)(rv.ones((1, 4, 50)), training=True).numpy()
        >>> bool((y == y[:, :1]).all())
        True
    """

    rank = 1


@register
class SpatialDropout2D(_SpatialDropout):
    """:class:`Dropout` of whole channels of an image.

    Args:
        rate: probability of being left out, from 0 up to but without 1.
        seed: a seed of its own; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, height, width, channels)``; the output has the same.

    Raises:
        ArgumentError: the rate is outside [0, 1), or the seed is none.
        ShapeError: the input has another number of axes.

    Example:
        >>> y = rv.layers.SpatialDropout2D(0.5, seed=1)(rv.ones((1, 2, 2, 50)), training=True).numpy()
        >>> bool((y == y[:, :1, :1]).all())
        True
    """

    rank = 2


@register
class SpatialDropout3D(_SpatialDropout):
    """:class:`Dropout` of whole channels of a volume.

    Args:
        rate: probability of being left out, from 0 up to but without 1.
        seed: a seed of its own; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, depth, height, width, channels)``; the output has the same.

    Raises:
        ArgumentError: the rate is outside [0, 1), or the seed is none.
        ShapeError: the input has another number of axes.

    Example:
        >>> y = rv.layers.SpatialDropout3D(0.5, seed=1)(rv.ones((1, 2, 2, 2, 50)), training=True).numpy()
        >>> bool((y == y[:, :1, :1, :1]).all())
        True
    """

    rank = 3
