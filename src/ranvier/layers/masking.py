"""Masking: time steps that are only filled up are left out from here on."""

from __future__ import annotations

from typing import Any

from ranvier.layers.base import InputSpec, Layer, register
from ranvier.layers.checks import number
from ranvier.ops.elementwise import not_equal, where
from ranvier.ops.reduce import any as any_of
from ranvier.tensor import Tensor

__all__ = ["Masking"]


@register
class Masking(Layer):
    """A time step whose features all equal ``mask_value`` is masked: the layers that follow leave it out.

    ``mask[b, t] = any(x[b, t] != mask_value)`` goes with the output from layer to layer: recurrent layers keep their
    state at masked steps, attention and averages skip them, and losses and metrics do not count them. Masked steps of
    the output are 0.

    Args:
        mask_value: the number that stands for a missing step.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, time, features)``; the output has the same, and a mask ``(batch, time)``.

    Raises:
        ArgumentError: mask_value is no finite number.

    Example:
        >>> x = rv.tensor([[[1.0, 2.0], [9.0, 9.0]]])
        >>> layer = rv.layers.Masking(mask_value=9.0)
        >>> layer(x).tolist(), layer.compute_mask(x).tolist()
        ([[[1.0, 2.0], [0.0, 0.0]]], [[True, False]])
    """

    input_spec = InputSpec(min_ndim=2)

    def __init__(self, mask_value: float = 0.0, **common: Any):
        super().__init__(**common)
        self.mask_value = number("Masking", "mask_value", mask_value)

    def call(self, inputs: Tensor) -> Tensor:
        return where(any_of(not_equal(inputs, self.mask_value), -1, keepdims=True), inputs, 0)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return any_of(not_equal(inputs, self.mask_value), -1)

    def _describe(self) -> str:
        return f"{self.mask_value:g}"
