"""The dense (fully connected) layer."""

from __future__ import annotations

import math
from typing import Any

from ranvier import activations, initializers, regularizers
from ranvier.errors import ShapeError
from ranvier.layers.base import InputSpec, Layer, register
from ranvier.layers.checks import whole
from ranvier.ops.shape import reshape
from ranvier.tensor import Tensor
from ranvier.variable import Variable

__all__ = ["Dense"]


@register
class Dense(Layer):
    """Every output is a weighted sum of all inputs: ``y = activation(x @ kernel + bias)``.

    Args:
        units: number of outputs, at least 1.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: how the kernel starts.
        bias_initializer: how the bias starts.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ..., features)`` gives ``(batch, ..., units)``; the kernel is ``(features, units)``.

    Raises:
        ArgumentError: units is no positive integer.
        ShapeError: another number of features than the layer was built for.

    Example:
        >>> layer = rv.layers.Dense(2, activation="relu", kernel_initializer="ones")
        >>> layer(rv.tensor([[1.0, 2.0, 3.0]])).tolist()
        [[6.0, 6.0]]
        >>> layer
        Dense(3 -> 2, relu)
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **common: Any,
    ):
        super().__init__(**common)
        self.units, self.use_bias = whole("Dense", "units", units), bool(use_bias)
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias: Variable | None = None

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1] if len(input_shape) > 1 else None
        if not features:
            raise ShapeError(f"{self._who()}: expected input of shape (batch, features), got {input_shape}.")
        self.kernel = self.add_weight(
            "kernel", (features, self.units), self.kernel_initializer, regularizer=self.kernel_regularizer
        )
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.units,), self.bias_initializer, regularizer=self.bias_regularizer)
        self.input_spec = InputSpec(min_ndim=2, axes={-1: features})

    def call(self, inputs: Tensor) -> Tensor:
        x = inputs if inputs.ndim == 2 else reshape(inputs, (math.prod(inputs.shape[:-1]), inputs.shape[-1]))
        y = x @ self.kernel
        y = self.activation(y if self.bias is None else y + self.bias)
        return y if inputs.ndim == 2 else reshape(y, (*inputs.shape[:-1], self.units))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.units)

    def _describe(self) -> str:
        name = getattr(self.activation, "registered_name", getattr(self.activation, "__name__", "custom"))
        size = f"{self.kernel.shape[0]} -> {self.units}" if self.built else str(self.units)
        return size if name == "linear" else f"{size}, {name}"
