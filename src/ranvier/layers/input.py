"""The input: a layer that only says what shape comes in."""

from __future__ import annotations

from typing import Any

from ranvier.dtypes import as_dtype
from ranvier.errors import ShapeError
from ranvier.layers.base import InputSpec, Layer, as_batch_shape, register
from ranvier.layers.checks import whole
from ranvier.tensor import Tensor

__all__ = ["Input", "InputLayer"]


@register
class InputLayer(Layer):
    """Passes its input on, and fixes its shape, so that a model can be built before it sees data.

    Args:
        shape: shape of one sample, without the batch axis.
        batch_size: size of the batch axis; None leaves it open.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, *shape)``; the output has the same.

    Raises:
        ShapeError: not a shape, or an input of another one.

    Example:
        >>> rv.layers.InputLayer((4,)).batch_shape
        (None, 4)
    """

    supports_masking = True

    def __init__(self, shape: Any, batch_size: int | None = None, **common: Any):
        super().__init__(**common)
        if isinstance(shape, int) and not isinstance(shape, bool):
            raise ShapeError(f"Input: expected a shape such as ({shape},), got the number {shape}.")
        self.shape = as_batch_shape("Input", shape)
        self.batch_size = None if batch_size is None else whole("Input", "batch_size", batch_size)
        sizes = {i + 1: n for i, n in enumerate(self.shape) if n is not None}
        if 0 in sizes.values():
            raise ShapeError(f"Input: expected every size to be at least 1, got {self.shape}.")
        if self.batch_size is not None:
            sizes[0] = self.batch_size
        self.batch_input_shape = self.batch_shape
        self.input_spec = InputSpec(ndim=len(self.shape) + 1, axes=sizes)
        self.build(self.batch_shape)

    @property
    def batch_shape(self) -> tuple[int | None, ...]:
        """The shape with the batch axis."""
        return (self.batch_size, *self.shape)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def _describe(self) -> str:
        return str(self.batch_shape)


def Input(shape: Any, batch_size: int | None = None, dtype: Any = "float32", name: str | None = None) -> InputLayer:
    """The first layer of a model: what shape a sample has.

    Args:
        shape: shape of one sample, without the batch axis.
        batch_size: size of the batch axis; None leaves it open.
        dtype: a floating dtype. Integer ones are taken for the sake of Keras programs: integers go in as they are where
            the layer behind takes them (Embedding), and are converted elsewhere.
        name: name of the layer.

    Raises:
        ShapeError: not a shape.

    Example:
        >>> rv.layers.Input(shape=(784,))
        InputLayer((None, 784))
    """
    wanted = as_dtype(dtype)
    return InputLayer(shape, batch_size, dtype=wanted if wanted.is_float else "float32", name=name)
