"""The residual unit: layers that only learn what is to be added to their input."""

from __future__ import annotations

from typing import Any

from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers import base
from ranvier.layers.base import Layer, register
from ranvier.tensor import Tensor

__all__ = ["Residual"]


def _layer(value: Any) -> Layer:
    return base.get(value)


@register
class Residual(Layer):
    """``h(x) = x + f(x)``: the layers learn the residual ``f(x) = h(x) - x`` instead of ``h`` itself.

    If the best a block can do is nothing, zero weights do it; and the gradient reaches the input by the sum unchanged,
    however deep the network is. Where the shapes of ``x`` and ``f(x)`` differ, a shortcut makes them the same:
    ``h(x) = shortcut(x) + f(x)``, usually a ``Dense`` or a ``Conv2D`` with a 1 x 1 kernel.

    Args:
        layers: a layer or a list of layers: ``f``, one after another. An activation after the sum is a layer of its own
            behind this one.
        shortcut: None for the input itself, or a layer.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ...)``; the output has the shape of ``f(x)``, which must be that of the shortcut. The weights are
        those of the layers, in order, then those of the shortcut.

    Raises:
        ArgumentError: no layers, or something that is none.
        ShapeError: the two sides have different shapes.

    Source:
        He et al., "Deep residual learning for image recognition", 2016.

    Example:
        >>> block = rv.layers.Residual([rv.layers.Dense(8, activation="relu"), rv.layers.Dense(3)])
        >>> block(rv.ones((2, 3))).shape
        (2, 3)
        >>> wider = rv.layers.Residual(rv.layers.Dense(4), shortcut=rv.layers.Dense(4, use_bias=False))
        >>> wider(rv.ones((2, 3))).shape
        (2, 4)
    """

    supports_masking = True

    def __init__(self, layers: Any, shortcut: Any = None, **common: Any):
        super().__init__(**common)
        given = list(layers) if isinstance(layers, list | tuple) else [layers]
        if not given:
            raise ArgumentError("Residual: expected at least one layer, got an empty list.")
        for value in [*given, *([] if shortcut is None else [shortcut])]:
            if not isinstance(value, Layer | dict):
                hint = "; make one of the class" if isinstance(value, type) else ""
                raise ArgumentError(f"Residual: expected a layer or a list of layers, got {describe(value)}{hint}.")
        self.layers = [_layer(value) for value in given]
        self.shortcut = None if shortcut is None else _layer(shortcut)

    def call(self, inputs: Tensor) -> Tensor:
        x, y = inputs, inputs
        for layer in self.layers:
            y = layer(y)
        if self.shortcut is not None:
            x = self.shortcut(x)
        if x.shape != y.shape:
            way = "the input has" if self.shortcut is None else f"the shortcut {self.shortcut.name!r} gives"
            fix = "Give a shortcut that changes the shape" if self.shortcut is None else "Change one of them"
            raise ShapeError(
                f"{self._who()}: the layers give shape {y.shape}, but {way} {x.shape}. {fix}, for example "
                f"shortcut=rv.layers.Dense({y.shape[-1] if y.ndim else 1})."
            )
        return x + y

    def compute_output_shape(self, input_shape: Any) -> Any:
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def _describe(self) -> str:
        inside = ", ".join(map(repr, self.layers))
        return inside if self.shortcut is None else f"{inside}, shortcut={self.shortcut!r}"
