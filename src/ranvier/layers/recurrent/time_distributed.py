"""TimeDistributed: one layer applied to every time step by itself."""

from __future__ import annotations

from typing import Any

from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.base import InputSpec, Layer, get, register
from ranvier.layers.masks import as_mask
from ranvier.ops.elementwise import astype
from ranvier.ops.shape import reshape, stack
from ranvier.tensor import Tensor

__all__ = ["TimeDistributed"]


@register
class TimeDistributed(Layer):
    """The same layer on every time step: ``y[:, t] = layer(x[:, t])``.

    All time steps go through the layer at once, as one large batch; a layer whose samples depend on each other (batch
    normalization) takes one time step after another.

    Args:
        layer: the layer, or its configuration.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, time, ...)`` gives ``(batch, time, *...)``, what the layer makes of ``(batch, ...)``.

    Raises:
        ArgumentError: no layer.
        ShapeError: an input with less than three axes, or a mask of another shape.

    Example:
        >>> layer = rv.layers.TimeDistributed(rv.layers.Dense(2))
        >>> layer(rv.ones((4, 10, 3))).shape
        (4, 10, 2)
    """

    supports_masking = True

    def __init__(self, layer: Any, **common: Any):
        super().__init__(**common)
        found = get(layer) if isinstance(layer, dict) else layer
        if not isinstance(found, Layer):
            raise ArgumentError(f"TimeDistributed: expected a layer, got {describe(layer)}.")
        self.layer = found
        self._freeze_inside()

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 3:
            raise ShapeError(
                f"{self._who()}: expected input of shape (batch, time, ...) with at least 3 axes, got "
                f"{tuple(input_shape)}."
            )
        self.layer.build((input_shape[0], *input_shape[2:]))
        self.input_spec = InputSpec(ndim=len(input_shape))

    def call(self, inputs: Tensor, mask: Any = None) -> Any:
        """The layer on all time steps.

        Args:
            inputs: shape ``(batch, time, ...)``.
            mask: boolean ``(batch, time, ...)``. What it says beyond batch and time goes to the layer.

        Raises:
            ShapeError: no time steps, or a mask of another shape.
        """
        batch, steps = inputs.shape[:2]
        if steps == 0:
            raise ShapeError(f"{self._who()}: expected at least one time step, got an input of shape {inputs.shape}.")
        mask = as_mask(mask)
        if mask is not None and mask.shape[:2] != (batch, steps):
            raise ShapeError(
                f"{self._who()}: expected a mask of shape (batch, time) = {(batch, steps)}, got {mask.shape}."
            )
        inner = mask if mask is not None and mask.ndim > 2 and self.layer._mask_arguments.whole else None
        if any(getattr(layer, "mixes_samples", False) for layer in self.layer._tree()):
            masks = [{} if inner is None else {"mask": inner[:, t]} for t in range(steps)]
            return astype(stack([self.layer(inputs[:, t], **masks[t]) for t in range(steps)], 1), self.compute_dtype)
        options: dict[str, Any] = {} if inner is None else {"mask": reshape(inner, (batch * steps, *inner.shape[2:]))}
        y = self.layer(reshape(inputs, (batch * steps, *inputs.shape[2:])), **options)
        return astype(reshape(y, (batch, steps, *y.shape[1:])), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        inner = self.layer.compute_output_shape((input_shape[0], *input_shape[2:]))
        return (inner[0], input_shape[1], *inner[1:])

    def _describe(self) -> str:
        return repr(self.layer)
