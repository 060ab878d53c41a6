"""Pooling layers: the largest or the mean of each window, or of everything there is (global pooling).

No weights. A window at the border counts only what lies inside the input, so a mean is a mean of real values.
"""

from __future__ import annotations

from typing import Any

from ranvier.errors import ShapeError
from ranvier.layers.base import register
from ranvier.layers.windows import Spatial, arguments_of, channels_last, choice, times
from ranvier.ops import reduce
from ranvier.ops.elementwise import astype, where
from ranvier.ops.shape import expand_dims
from ranvier.ops.spatial import per_axis
from ranvier.ops.window import average_pool, max_pool
from ranvier.tensor import Tensor

__all__ = [
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
]


class Pooling(Spatial):
    """Base of the layers that pool windows.

    Args:
        pool_size: size of the window: one integer, or one for each axis.
        strides: steps from one window to the next; None for the size of the window.
        padding: "valid" (only windows that fit) or "same" (as many outputs as inputs, divided by the strides and
            rounded up).
        data_format: "channels_last" or None, which means it.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes, or the window does not fit into it.
    """

    def __init__(
        self,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **common: Any,
    ):
        super().__init__(**common)
        who = self._who()
        self.pool_size = per_axis(who, "pool_size", pool_size, self.rank)
        self.strides = self.pool_size if strides is None else per_axis(who, "strides", strides, self.rank)
        self.padding = choice(who, "padding", padding, ("valid", "same"))
        self.data_format = channels_last(who, data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        ones = (1,) * self.rank
        space = self._slide(input_shape, "pool_size", self.pool_size, self.strides, ones, self.padding)
        return (input_shape[0], *space, input_shape[-1])

    def _describe(self) -> str:
        parts = [times(self.pool_size)]
        if self.strides != self.pool_size:
            parts.append(f"strides {times(self.strides)}")
        return ", ".join(parts if self.padding == "valid" else [*parts, self.padding])


class MaxPooling(Pooling):
    """``y[n, o, c] = max over t of x[n, o * strides + t, c]``; the gradient goes to the first of the largest.

    Args:
        pool_size: size of the window: one integer, or one for each axis.
        strides: steps from one window to the next; None for the size of the window.
        padding: "valid" (only windows that fit) or "same" (as many outputs as inputs, divided by the strides and
            rounded up).
        data_format: "channels_last" or None, which means it.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes, or the window does not fit into it.
    """

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **common: Any,
    ):
        super().__init__(pool_size, strides, padding, data_format, **common)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        return max_pool(self._floating(inputs), self.pool_size, self.strides, self.padding)


@register("MaxPool1D")
@arguments_of(MaxPooling)
class MaxPooling1D(MaxPooling):
    """The largest number of each window of a signal: ``y[n, o, c] = max over t of x[n, o * strides + t, c]``.

    {arguments}

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, new_steps, channels)``.

    Example:
        >>> rv.layers.MaxPooling1D(2)(rv.tensor([[[1.0], [5.0], [2.0], [3.0]]])).tolist()
        [[[5.0], [3.0]]]
    """

    rank = 1


@register("MaxPool2D")
@arguments_of(MaxPooling)
class MaxPooling2D(MaxPooling):
    """The largest number of each window of an image, channel by channel.

    ``y[n, i, j, c] = max over s, t of x[n, i * strides[0] + s, j * strides[1] + t, c]``

    {arguments}

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, new_height, new_width, channels)``.

    Example:
        >>> rv.layers.MaxPooling2D()(rv.ones((1, 28, 28, 32))).shape
        (1, 14, 14, 32)
    """

    rank = 2


@register("MaxPool3D")
@arguments_of(MaxPooling)
class MaxPooling3D(MaxPooling):
    """The largest number of each window of a volume, channel by channel.

    {arguments}

    Shape:
        ``(batch, depth, height, width, channels)`` gives ``(batch, new_depth, new_height, new_width, channels)``.

    Example:
        >>> rv.layers.MaxPooling3D((1, 2, 2))(rv.ones((1, 4, 8, 8, 3))).shape
        (1, 4, 4, 4, 3)
    """

    rank = 3


class AveragePooling(Pooling):
    """``y[n, o, c] = mean over t of x[n, o * strides + t, c]``; at the border the mean of what lies inside."""

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        return average_pool(self._floating(inputs), self.pool_size, self.strides, self.padding)


@register("AvgPool1D")
@arguments_of(Pooling)
class AveragePooling1D(AveragePooling):
    """The mean of each window of a signal: ``y[n, o, c] = mean over t of x[n, o * strides + t, c]``.

    {arguments}

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, new_steps, channels)``.

    Example:
        >>> rv.layers.AveragePooling1D(2, padding="same")(rv.tensor([[[1.0], [5.0], [2.0]]])).tolist()
        [[[3.0], [2.0]]]
    """

    rank = 1


@register("AvgPool2D")
@arguments_of(Pooling)
class AveragePooling2D(AveragePooling):
    """The mean of each window of an image, channel by channel.

    ``y[n, i, j, c] = mean over s, t of x[n, i * strides[0] + s, j * strides[1] + t, c]``

    {arguments}

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, new_height, new_width, channels)``.

    Example:
        >>> rv.layers.AveragePooling2D(2)(rv.ones((1, 28, 28, 32))).shape
        (1, 14, 14, 32)
    """

    rank = 2


@register("AvgPool3D")
@arguments_of(Pooling)
class AveragePooling3D(AveragePooling):
    """The mean of each window of a volume, channel by channel.

    {arguments}

    Shape:
        ``(batch, depth, height, width, channels)`` gives ``(batch, new_depth, new_height, new_width, channels)``.

    Example:
        >>> rv.layers.AveragePooling3D(2)(rv.ones((1, 4, 8, 8, 3))).shape
        (1, 2, 4, 4, 3)
    """

    rank = 3


# -- global pooling -----------------------------------------------------------------------------------------------


class GlobalPooling(Spatial):
    """Base of the layers that pool all places at once.

    Args:
        data_format: "channels_last" or None, which means it.
        keepdims: whether the spatial axes stay, with size 1.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ArgumentError: the data format is another.
        ShapeError: the input has other axes, or no place at all.
    """

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **common: Any):
        super().__init__(**common)
        self.data_format = channels_last(self._who(), data_format)
        self.keepdims = bool(keepdims)

    def compute_output_shape(self, input_shape: Any) -> Any:
        self._check_rank(input_shape)
        if 0 in input_shape[1:-1]:
            raise ShapeError(f"{self._who()}: expected an input with at least one place, got {tuple(input_shape)}.")
        return (input_shape[0], *((1,) * self.rank if self.keepdims else ()), input_shape[-1])

    def _axes(self, inputs: Tensor) -> tuple[int, ...]:
        self.compute_output_shape(inputs.shape)
        return tuple(range(1, self.rank + 1))


class GlobalMaxPooling(GlobalPooling):
    """``y[n, c] = max over all places s of x[n, s, c]``."""

    def call(self, inputs: Tensor) -> Tensor:
        return reduce.max(self._floating(inputs), self._axes(inputs), self.keepdims)


@register("GlobalMaxPool1D")
@arguments_of(GlobalPooling)
class GlobalMaxPooling1D(GlobalMaxPooling):
    """The largest number of a whole signal, channel by channel: ``y[n, c] = max over s of x[n, s, c]``.

    {arguments}

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, channels)``.

    Example:
        >>> rv.layers.GlobalMaxPooling1D()(rv.tensor([[[1.0, 2.0], [3.0, 0.0]]])).tolist()
        [[3.0, 2.0]]
    """

    rank = 1


@register("GlobalMaxPool2D")
@arguments_of(GlobalPooling)
class GlobalMaxPooling2D(GlobalMaxPooling):
    """The largest number of a whole image, channel by channel.

    {arguments}

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, channels)``.

    Example:
        >>> rv.layers.GlobalMaxPooling2D(keepdims=True)(rv.ones((1, 8, 8, 3))).shape
        (1, 1, 1, 3)
    """

    rank = 2


@register("GlobalMaxPool3D")
@arguments_of(GlobalPooling)
class GlobalMaxPooling3D(GlobalMaxPooling):
    """The largest number of a whole volume, channel by channel.

    {arguments}

    Shape:
        ``(batch, depth, height, width, channels)`` gives ``(batch, channels)``.
    """

    rank = 3


class GlobalAveragePooling(GlobalPooling):
    """``y[n, c] = mean over all places s of x[n, s, c]``."""

    def call(self, inputs: Tensor) -> Tensor:
        return reduce.mean(self._floating(inputs), self._axes(inputs), self.keepdims)


@register("GlobalAvgPool1D")
@arguments_of(GlobalPooling)
class GlobalAveragePooling1D(GlobalAveragePooling):
    """The mean of a whole signal, channel by channel: ``y[n, c] = mean over s of x[n, s, c]``.

    Of a signal with a mask, only the steps that count: ``sum(mask * x) / sum(mask)``.

    {arguments}

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, channels)``; a mask is ``(batch, steps)``.

    Example:
        >>> rv.layers.GlobalAveragePooling1D()(rv.tensor([[[1.0, 2.0], [3.0, 0.0]]])).tolist()
        [[2.0, 1.0]]
    """

    rank = 1
    supports_masking = True

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return super().call(inputs)
        self.compute_output_shape(inputs.shape)
        counts = expand_dims(mask, -1)
        x = where(counts, self._floating(inputs), 0)
        return reduce.sum(x, 1, self.keepdims) / reduce.sum(astype(counts, x.dtype), 1, self.keepdims)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None  # the steps are gone


@register("GlobalAvgPool2D")
@arguments_of(GlobalPooling)
class GlobalAveragePooling2D(GlobalAveragePooling):
    """The mean of a whole image, channel by channel.

    {arguments}

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, channels)``.

    Example:
        >>> rv.layers.GlobalAveragePooling2D()(rv.ones((1, 8, 8, 3))).shape
        (1, 3)
    """

    rank = 2


@register("GlobalAvgPool3D")
@arguments_of(GlobalPooling)
class GlobalAveragePooling3D(GlobalAveragePooling):
    """The mean of a whole volume, channel by channel.

    {arguments}

    Shape:
        ``(batch, depth, height, width, channels)`` gives ``(batch, channels)``.
    """

    rank = 3
