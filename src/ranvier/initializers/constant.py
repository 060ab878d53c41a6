"""Initializers without chance: zeros, ones, a constant, the identity."""

from __future__ import annotations

from typing import Any

from ranvier import dtypes
from ranvier.errors import ShapeError
from ranvier.initializers.base import Initializer, register
from ranvier.layers.checks import number
from ranvier.ops.creation import eye, full
from ranvier.ops.shape import broadcast_to
from ranvier.tensor import Tensor, tensor

__all__ = ["Constant", "Identity", "Ones", "Zeros"]


@register
class Zeros(Initializer):
    """All values 0.

    Example:
        >>> from ranvier.initializers import Zeros
        >>> Zeros()((2,)).tolist()
        [0.0, 0.0]
    """

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return full(shape, 0, dtype)


@register
class Ones(Initializer):
    """All values 1.

    Example:
        >>> from ranvier.initializers import Ones
        >>> Ones()((2,)).tolist()
        [1.0, 1.0]
    """

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return full(shape, 1, dtype)


@register
class Constant(Initializer):
    """All values equal to ``value``.

    Args:
        value: a number, or nested lists that broadcast to the shape asked for.

    Example:
        >>> from ranvier.initializers import Constant
        >>> Constant(0.5)((2,)).tolist()
        [0.5, 0.5]
    """

    def __init__(self, value: Any = 0.0):
        self.value = value

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        return broadcast_to(tensor(self.value, dtype), shape)


@register
class Identity(Initializer):
    """The identity matrix times ``gain``; only for matrices.

    Args:
        gain: the factor.

    Raises:
        ArgumentError: the gain is no number.
        ShapeError: called with a shape that has not two axes.

    Example:
        >>> from ranvier.initializers import Identity
        >>> Identity()((2, 2)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, gain: float = 1.0):
        self.gain = number("Identity", "gain", gain)

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        sizes = tuple(shape)
        if len(sizes) != 2:
            raise ShapeError(f"Identity: expected a shape with two axes, got {sizes}.")
        return eye(sizes[0], sizes[1], dtype) * self.gain
