"""An activation as a layer of its own."""

from __future__ import annotations

from typing import Any

from ranvier import activations
from ranvier.layers.base import Layer, register
from ranvier.tensor import Tensor

__all__ = ["Activation"]


@register
class Activation(Layer):
    """``y = activation(x)``.

    Args:
        activation: name or function.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        any; the output has the same.

    Raises:
        ArgumentError: no such activation.

    Example:
        >>> rv.layers.Activation("relu")(rv.tensor([[-1.0, 2.0]])).tolist()
        [[0.0, 2.0]]
    """

    supports_masking = True

    def __init__(self, activation: Any, **common: Any):
        super().__init__(**common)
        self.activation = activations.get(activation)

    def call(self, inputs: Tensor) -> Tensor:
        return self.activation(inputs)

    def _describe(self) -> str:
        return str(getattr(self.activation, "registered_name", getattr(self.activation, "__name__", "custom")))
