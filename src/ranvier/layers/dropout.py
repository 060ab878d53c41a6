"""Dropout: units left out at random while training."""

from __future__ import annotations

from typing import Any

from ranvier import random
from ranvier.layers.base import Layer, register
from ranvier.layers.checks import number
from ranvier.ops.elementwise import where
from ranvier.random import Generator
from ranvier.tensor import Tensor

__all__ = ["Dropout"]


@register
class Dropout(Layer):
    """Each number is kept with probability ``1 - rate`` and divided by it, else 0; only while training.

    ``y = where(u >= rate, x / (1 - rate), 0)`` with ``u ~ U[0, 1)``. The division keeps the expected value, so nothing
    has to change when the network is used (Srivastava et al., 2014).

    Args:
        rate: probability of being left out, from 0 up to but without 1.
        seed: a seed of its own; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        any; the output has the same.

    Raises:
        ArgumentError: the rate is outside [0, 1), or the seed is none.

    Example:
        >>> layer = rv.layers.Dropout(0.5, seed=1)
        >>> layer(rv.ones((1, 3))).tolist()
        [[1.0, 1.0, 1.0]]
        >>> sorted(set(layer(rv.ones((1, 100)), training=True).numpy().ravel().tolist()))
        [0.0, 2.0]
    """

    supports_masking = True

    def __init__(self, rate: float, seed: int | None = None, **common: Any):
        super().__init__(**common)
        self.rate, self.seed = float(number("Dropout", "rate", rate, 0, 1, below=True)), seed
        self._generator = None if seed is None else Generator(seed)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        generator = self._generator or random.default_generator
        return where(generator.uniform(inputs.shape) >= self.rate, inputs * (1 / (1 - self.rate)), 0)

    def _describe(self) -> str:
        return f"{self.rate:g}"
