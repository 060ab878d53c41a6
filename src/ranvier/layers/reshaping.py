"""Layers that only change the shape: Flatten and Reshape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranvier.errors import ShapeError, describe
from ranvier.layers.base import InputSpec, Layer, register
from ranvier.ops.shape import reshape
from ranvier.tensor import Tensor

__all__ = ["Flatten", "Reshape"]


@register
class Flatten(Layer):
    """All axes but the batch become one.

    Args:
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, a, b, ...)`` gives ``(batch, a * b * ...)``; ``(batch,)`` gives ``(batch, 1)``.

    Raises:
        ShapeError: the input has no axes.

    Example:
        >>> rv.layers.Flatten()(rv.ones((2, 3, 4))).shape
        (2, 12)
    """

    input_spec = InputSpec(min_ndim=1)

    def __init__(self, **common: Any):
        super().__init__(**common)

    def call(self, inputs: Tensor) -> Tensor:
        return reshape(inputs, (inputs.shape[0], math.prod(inputs.shape[1:])))

    def compute_output_shape(self, input_shape: Any) -> Any:
        rest = input_shape[1:]
        return (input_shape[0], None if None in rest else math.prod(rest))


@register
class Reshape(Layer):
    """Another shape for each sample, the same numbers in the same order.

    Args:
        target_shape: shape without the batch axis; one size may be -1, which is what remains.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ...)`` gives ``(batch, *target_shape)``.

    Raises:
        ShapeError: not a shape, or one that the input does not fill.

    Example:
        >>> rv.layers.Reshape((2, -1))(rv.ones((5, 6))).shape
        (5, 2, 3)
    """

    input_spec = InputSpec(min_ndim=1)

    def __init__(self, target_shape: Any, **common: Any):
        super().__init__(**common)
        sizes = tuple(target_shape) if isinstance(target_shape, tuple | list) else None
        if sizes is None or not all(
            isinstance(n, int | np.integer) and not isinstance(n, bool) and (n >= 0 or n == -1) for n in sizes
        ):
            raise ShapeError(f"Reshape: expected target_shape to be a tuple of sizes, got {describe(target_shape)}.")
        if sizes.count(-1) > 1:
            raise ShapeError(f"Reshape: expected at most one -1 in target_shape, got {sizes}.")
        self.target_shape = tuple(int(n) for n in sizes)

    def call(self, inputs: Tensor) -> Tensor:
        return reshape(inputs, (inputs.shape[0], *self._fill(inputs.shape)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        if None in input_shape[1:]:
            return (input_shape[0], *(None if n == -1 else n for n in self.target_shape))
        return (input_shape[0], *self._fill(input_shape))

    def _fill(self, input_shape: Any) -> tuple[int, ...]:
        """The target with -1 replaced by what remains."""
        total, known = math.prod(input_shape[1:]), math.prod(n for n in self.target_shape if n != -1)
        if (total % known if known and -1 in self.target_shape else total != known) or (known == 0 and total):
            raise ShapeError(
                f"{self._who()}: samples of shape {tuple(input_shape[1:])} have {total} numbers, which do not fill "
                f"target_shape {self.target_shape}."
            )
        return tuple((total // known if known else 0) if n == -1 else n for n in self.target_shape)

    def _describe(self) -> str:
        return str(self.target_shape)
