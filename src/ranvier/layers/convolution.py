"""Convolution layers: the same small product of a window and a kernel at every place, for 1, 2 and 3 spatial axes.

Plain, transposed (the adjoint: from small to large), depthwise (each channel on its own) and separable (depthwise, then
across channels). Each class for one number of axes only names it; the equation stands in the base of its family.
Kernels have the shapes of Keras, so weights pass between the two unchanged.
"""

from __future__ import annotations

import math
from typing import Any

from ranvier import activations, initializers, regularizers
from ranvier.errors import ArgumentError, ShapeError
from ranvier.layers.base import InputSpec, register
from ranvier.layers.checks import whole
from ranvier.layers.windows import AXES, Spatial, arguments_of, channels_last, choice, times
from ranvier.ops.convolution import conv, conv_transpose
from ranvier.ops.shape import reshape
from ranvier.ops.spatial import per_axis
from ranvier.tensor import Tensor
from ranvier.variable import Variable

__all__ = [
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
]


class Convolutional(Spatial):
    """What the four families share: the window, the bias, the activation."""

    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation_rate: tuple[int, ...]
    padding: str
    bias: Variable | None = None

    def _set_window(
        self, kernel_size: Any, strides: Any, padding: Any, data_format: Any, dilation_rate: Any, causal: bool = False
    ) -> None:
        who = self._who()
        self.kernel_size = per_axis(who, "kernel_size", kernel_size, self.rank)
        self.strides = per_axis(who, "strides", strides, self.rank)
        self.dilation_rate = per_axis(who, "dilation_rate", dilation_rate, self.rank)
        self.padding = choice(who, "padding", padding, ("valid", "same", "causal") if causal else ("valid", "same"))
        self.data_format = channels_last(who, data_format)

    def _set_output(self, activation: Any, use_bias: Any, bias_initializer: Any, bias_regularizer: Any) -> None:
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def _refuse_stride_with_dilation(self) -> None:
        """Keras defines no such convolution either; a strided view of the input comes to the same."""
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ArgumentError(
                f"{self._who()}: expected strides or dilation_rate above 1, not both, got strides={self.strides} and "
                f"dilation_rate={self.dilation_rate}."
            )

    def _channels(self, input_shape: Any) -> int:
        """The number of channels of the input a layer is built for."""
        self._check_rank(input_shape)
        channels = input_shape[-1]
        if not channels:
            raise ShapeError(
                f"{self._who()}: expected an input of shape {AXES[self.rank]} with at least one channel, got "
                f"{tuple(input_shape)}."
            )
        return int(channels)

    def _finish_build(self, channels: int, outputs: int) -> None:
        if self.use_bias:
            self.bias = self.add_weight("bias", (outputs,), self.bias_initializer, regularizer=self.bias_regularizer)
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={-1: channels})

    def _finish(self, y: Tensor) -> Tensor:
        return self.activation(y if self.bias is None else y + self.bias)

    def _sizes_after(self, input_shape: Any) -> tuple[int | None, ...]:
        return self._slide(input_shape, "kernel_size", self.kernel_size, self.strides, self.dilation_rate, self.padding)

    def _describe(self) -> str:
        channels = f"{self.built_shape[-1]} -> " if self.built else ""
        parts = [f"{channels}{self._outputs()}", times(self.kernel_size)]
        if max(self.strides) > 1:
            parts.append(f"strides {times(self.strides)}")
        if max(self.dilation_rate) > 1:
            parts.append(f"dilation {times(self.dilation_rate)}")
        if getattr(self, "groups", 1) > 1:
            parts.append(f"groups {self.groups}")  # type: ignore[attr-defined]
        if self.padding != "valid":
            parts.append(self.padding)
        name = getattr(self.activation, "registered_name", getattr(self.activation, "__name__", "custom"))
        return ", ".join(parts if name == "linear" else [*parts, name])

    def _outputs(self) -> str:
        return str(self.filters)  # type: ignore[attr-defined]


# -- convolution --------------------------------------------------------------------------------------------------


class Convolution(Convolutional):
    """``y[n, o, f] = activation(sum over t, c of x[n, o * strides + t * dilation, c] * kernel[t, c, f] + bias[f])``.

    Args:
        filters: number of output channels, at least 1.
        kernel_size: size of the window: one integer, or one for each axis.
        strides: steps from one place of the window to the next: one integer, or one for each axis.
        padding: "valid" (only where the window fits), "same" (as many outputs as inputs, divided by the strides and
            rounded up; zeros beyond the borders), and for signals "causal" (an output sees no later input).
        data_format: "channels_last" or None, which means it.
        dilation_rate: steps from one tap of the window to the next; above 1 only where all strides are 1.
        groups: the channels fall into so many groups, each with filters of its own; it divides both numbers.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: how the kernel starts.
        bias_initializer: how the bias starts.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes or channels, groups does not divide its channels, or the window does not
            fit into it.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **common: Any,
    ):
        super().__init__(**common)
        self.filters = whole(self._who(), "filters", filters)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate, causal=self.rank == 1)
        self._refuse_stride_with_dilation()
        self.groups = whole(self._who(), "groups", groups)
        if self.filters % self.groups:
            raise ArgumentError(
                f"{self._who()}: expected groups to divide filters, got groups={self.groups} and "
                f"filters={self.filters}."
            )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self._set_output(activation, use_bias, bias_initializer, bias_regularizer)

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        if channels % self.groups:
            raise ShapeError(
                f"{self._who()}: expected groups to divide the input's channels, got groups={self.groups} and "
                f"{channels} channels (shape {tuple(input_shape)})."
            )
        self.compute_output_shape(input_shape)
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight("kernel", shape, self.kernel_initializer, regularizer=self.kernel_regularizer)
        self._finish_build(channels, self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        self._sizes_after(inputs.shape)
        x = self._floating(inputs)
        return self._finish(conv(x, self.kernel, self.strides, self.padding, self.dilation_rate, self.groups))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], *self._sizes_after(input_shape), self.filters)


@register("Convolution1D")
@arguments_of(Convolution)
class Conv1D(Convolution):
    """Convolution over one axis: signals, time series, text.

    ``y[n, o, f] = activation(sum over t, c of x[n, o * strides + t * dilation_rate, c] * kernel[t, c, f] + bias[f])``

    {arguments}

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, new_steps, filters)``; the kernel is
        ``(kernel_size, channels / groups, filters)``.

    Example:
        >>> layer = rv.layers.Conv1D(1, 2, kernel_initializer="ones", padding="causal")
        >>> layer(rv.tensor([[[1.0], [2.0], [3.0]]])).tolist()  # each number and the one before it
        [[[1.0], [3.0], [5.0]]]
        >>> layer
        Conv1D(1 -> 1, 2, causal)
    """

    rank = 1


@register("Convolution2D")
@arguments_of(Convolution)
class Conv2D(Convolution):
    """Convolution over two axes: images.

    ``y[n, i, j, f] = activation(sum over s, t, c of x[n, i * strides[0] + s * dilation_rate[0],
    j * strides[1] + t * dilation_rate[1], c] * kernel[s, t, c, f] + bias[f])``

    {arguments}

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, new_height, new_width, filters)``; the kernel is
        ``(*kernel_size, channels / groups, filters)``.

    Example:
        >>> layer = rv.layers.Conv2D(32, 3, padding="same", activation="relu")
        >>> layer(rv.ones((8, 28, 28, 1))).shape
        (8, 28, 28, 32)
        >>> layer
        Conv2D(1 -> 32, 3x3, same, relu)
    """

    rank = 2


@register("Convolution3D")
@arguments_of(Convolution)
class Conv3D(Convolution):
    """Convolution over three axes: volumes, or images over time.

    The sum runs over the three axes of the window and the channels, as in :class:`Conv2D`.

    {arguments}

    Shape:
        ``(batch, depth, height, width, channels)`` gives ``(batch, new_depth, new_height, new_width, filters)``; the
        kernel is ``(*kernel_size, channels / groups, filters)``.

    Example:
        >>> rv.layers.Conv3D(4, (1, 3, 3), strides=2)(rv.ones((2, 8, 9, 9, 1))).shape
        (2, 4, 4, 4, 4)
    """

    rank = 3


# -- transposed convolution ---------------------------------------------------------------------------------------


class TransposedConvolution(Convolutional):
    """Every input adds ``x[n, i, c] * kernel[t, f, c]`` to the output ``o = i * strides + t * dilation_rate - low``.

    Args:
        filters: number of output channels, at least 1.
        kernel_size: size of the window: one integer, or one for each axis.
        strides: how many times longer the output is: one integer, or one for each axis.
        padding: "valid" (everything that a window reaches) or "same" (``strides`` outputs for each input).
        output_padding: what is added to ``(size - 1) * strides + kernel_size`` ("valid") or to
            ``(size - 1) * strides + kernel_size % 2`` ("same"), less than the strides; None for the usual size.
        data_format: "channels_last" or None, which means it.
        dilation_rate: steps from one tap of the window to the next; above 1 only where all strides are 1.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: how the kernel starts.
        bias_initializer: how the bias starts.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes or channels, or there would be no output.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **common: Any,
    ):
        super().__init__(**common)
        who = self._who()
        self.filters = whole(who, "filters", filters)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        self._refuse_stride_with_dilation()
        self.output_padding = output_padding
        if output_padding is not None:
            self.output_padding = per_axis(who, "output_padding", output_padding, self.rank, 0)
            if any(extra >= stride for extra, stride in zip(self.output_padding, self.strides, strict=True)):
                raise ArgumentError(
                    f"{who}: expected output_padding below strides on every axis, got "
                    f"output_padding={self.output_padding} and strides={self.strides}."
                )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self._set_output(activation, use_bias, bias_initializer, bias_regularizer)

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        self.compute_output_shape(input_shape)
        shape = (*self.kernel_size, self.filters, channels)
        self.kernel = self.add_weight("kernel", shape, self.kernel_initializer, regularizer=self.kernel_regularizer)
        self._finish_build(channels, self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        x = self._floating(inputs)
        return self._finish(
            conv_transpose(x, self.kernel, self.strides, self.padding, self.dilation_rate, self.output_padding)
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        self._check_rank(input_shape)
        space = tuple(self._length(n, axis) for axis, n in enumerate(input_shape[1:-1]))
        if any(n is not None and n < 1 for n in space):
            raise ShapeError(
                f"{self._who()}: expected an input with at least one output, got shape {tuple(input_shape)}, which "
                f"gives {space} with kernel_size={self.kernel_size}, padding={self.padding!r} and "
                f"output_padding={self.output_padding}."
            )
        return (input_shape[0], *space, self.filters)

    def _length(self, size: int | None, axis: int) -> int | None:
        """The length that an axis of length ``size`` becomes."""
        if not size:
            return size
        stride, reach = self.strides[axis], (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1
        start = (size - 1) * stride
        if self.output_padding is None:
            return size * stride if self.padding == "same" else start + max(reach, stride)
        return start + (reach % 2 if self.padding == "same" else reach) + self.output_padding[axis]


@register("Convolution1DTranspose")
@arguments_of(TransposedConvolution)
class Conv1DTranspose(TransposedConvolution):
    """Transposed convolution over one axis: the adjoint of :class:`Conv1D`, from short signals to long ones.

    Every input adds ``x[n, i, c] * kernel[t, f, c]`` to the output ``o = i * strides + t * dilation_rate - low``, where
    ``low`` is what the padding cuts off in front; then bias and activation.

    {arguments}

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, new_steps, filters)``; the kernel is
        ``(kernel_size, filters, channels)``.

    Example:
        >>> layer = rv.layers.Conv1DTranspose(1, 2, strides=2, kernel_initializer="ones")
        >>> layer(rv.tensor([[[1.0], [2.0]]])).tolist()
        [[[1.0], [1.0], [2.0], [2.0]]]
    """

    rank = 1


@register("Convolution2DTranspose")
@arguments_of(TransposedConvolution)
class Conv2DTranspose(TransposedConvolution):
    """Transposed convolution over two axes: the adjoint of :class:`Conv2D`, from small images to large ones.

    Along each axis, every input adds ``x[n, i, c] * kernel[t, f, c]`` to the output
    ``o = i * strides + t * dilation_rate - low``, where ``low`` is what the padding cuts off in front; then bias and
    activation.

    {arguments}

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, new_height, new_width, filters)``; the kernel is
        ``(*kernel_size, filters, channels)``.

    Example:
        >>> rv.layers.Conv2DTranspose(8, 3, strides=2, padding="same")(rv.ones((2, 7, 7, 16))).shape
        (2, 14, 14, 8)
    """

    rank = 2


@register("Convolution3DTranspose")
@arguments_of(TransposedConvolution)
class Conv3DTranspose(TransposedConvolution):
    """Transposed convolution over three axes: the adjoint of :class:`Conv3D`.

    The equation is that of :class:`Conv2DTranspose` along three axes.

    {arguments}

    Shape:
        ``(batch, depth, height, width, channels)`` gives ``(batch, new_depth, new_height, new_width, filters)``; the
        kernel is ``(*kernel_size, filters, channels)``.

    Example:
        >>> rv.layers.Conv3DTranspose(4, 2, strides=2)(rv.ones((1, 3, 4, 5, 2))).shape
        (1, 6, 8, 10, 4)
    """

    rank = 3


# -- depthwise and separable convolution --------------------------------------------------------------------------


def depthwise(x: Tensor, kernel: Any, layer: Convolutional) -> Tensor:
    """Each channel convolved on its own: as many groups as channels, one operation for the compiler."""
    *window, channels, multiplier = kernel.shape
    grouped = reshape(kernel, (*window, 1, channels * multiplier))
    return conv(x, grouped, layer.strides, layer.padding, layer.dilation_rate, channels)


class DepthwiseConvolution(Convolutional):
    """``y[n, o, c * depth_multiplier + m] = activation(sum over t of x[n, o * strides + t * dilation_rate, c] *
    kernel[t, c, m] + bias)``.

    Args:
        kernel_size: size of the window: one integer, or one for each axis.
        strides: steps from one place of the window to the next: one integer, or one for each axis.
        padding: "valid" (only where the window fits) or "same" (as many outputs as inputs, divided by the strides and
            rounded up; zeros beyond the borders).
        depth_multiplier: number of filters for each channel, at least 1.
        data_format: "channels_last" or None, which means it.
        dilation_rate: steps from one tap of the window to the next.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        depthwise_initializer: how the kernel starts.
        bias_initializer: how the bias starts.
        depthwise_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes or channels, or the window does not fit into it.
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **common: Any,
    ):
        super().__init__(**common)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        self.depth_multiplier = whole(self._who(), "depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self._set_output(activation, use_bias, bias_initializer, bias_regularizer)

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        self.compute_output_shape(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self.add_weight(
            "kernel", shape, self.depthwise_initializer, regularizer=self.depthwise_regularizer
        )
        self._finish_build(channels, channels * self.depth_multiplier)

    def call(self, inputs: Tensor) -> Tensor:
        self._sizes_after(inputs.shape)
        return self._finish(depthwise(self._floating(inputs), self.kernel, self))

    def compute_output_shape(self, input_shape: Any) -> Any:
        channels = None if input_shape[-1] is None else input_shape[-1] * self.depth_multiplier
        return (input_shape[0], *self._sizes_after(input_shape), channels)

    def _outputs(self) -> str:
        return str(math.prod(self.kernel.shape[-2:])) if self.built else f"{self.depth_multiplier} each"


@register
@arguments_of(DepthwiseConvolution)
class DepthwiseConv1D(DepthwiseConvolution):
    """Convolution of each channel of a signal on its own.

    ``y[n, o, c * depth_multiplier + m] = activation(sum over t of x[n, o * strides + t * dilation_rate, c]
    * kernel[t, c, m] + bias[c * depth_multiplier + m])``

    {arguments}

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, new_steps, channels * depth_multiplier)``; the kernel is
        ``(kernel_size, channels, depth_multiplier)``.

    Example:
        >>> layer = rv.layers.DepthwiseConv1D(2, depthwise_initializer="ones")
        >>> layer(rv.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]])).tolist()
        [[[3.0, 30.0], [5.0, 50.0]]]
    """

    rank = 1


@register
@arguments_of(DepthwiseConvolution)
class DepthwiseConv2D(DepthwiseConvolution):
    """Convolution of each channel of an image on its own.

    ``y[n, i, j, c * depth_multiplier + m]`` is the activation of the sum over the window of channel ``c`` of the input
    times ``kernel[:, :, c, m]``, plus a bias.

    {arguments}

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, new_height, new_width, channels * depth_multiplier)``; the
        kernel is ``(*kernel_size, channels, depth_multiplier)``.

    Example:
        >>> rv.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(rv.ones((1, 8, 8, 3))).shape
        (1, 8, 8, 6)
    """

    rank = 2


class SeparableConvolution(Convolutional):
    """A depthwise convolution, then one of size 1 that mixes the channels; bias and activation come last.

    Args:
        filters: number of output channels, at least 1.
        kernel_size: size of the window: one integer, or one for each axis.
        strides: steps from one place of the window to the next: one integer, or one for each axis.
        padding: "valid" (only where the window fits) or "same" (as many outputs as inputs, divided by the strides and
            rounded up; zeros beyond the borders).
        data_format: "channels_last" or None, which means it.
        dilation_rate: steps from one tap of the window to the next.
        depth_multiplier: number of filters for each channel in the first of the two, at least 1.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        depthwise_initializer: how the first kernel starts.
        pointwise_initializer: how the second kernel starts.
        bias_initializer: how the bias starts.
        depthwise_regularizer: penalty on the first kernel.
        pointwise_regularizer: penalty on the second kernel.
        bias_regularizer: penalty on the bias.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes or channels, or the window does not fit into it.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **common: Any,
    ):
        super().__init__(**common)
        self.filters = whole(self._who(), "filters", filters)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        self.depth_multiplier = whole(self._who(), "depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)
        self._set_output(activation, use_bias, bias_initializer, bias_regularizer)

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        self.compute_output_shape(input_shape)
        self.depthwise_kernel = self.add_weight(
            "depthwise_kernel",
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
        )
        self.pointwise_kernel = self.add_weight(
            "pointwise_kernel",
            (*(1,) * self.rank, channels * self.depth_multiplier, self.filters),
            self.pointwise_initializer,
            regularizer=self.pointwise_regularizer,
        )
        self._finish_build(channels, self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        self._sizes_after(inputs.shape)
        x = depthwise(self._floating(inputs), self.depthwise_kernel, self)
        return self._finish(conv(x, self.pointwise_kernel))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], *self._sizes_after(input_shape), self.filters)


@register("SeparableConvolution1D")
@arguments_of(SeparableConvolution)
class SeparableConv1D(SeparableConvolution):
    """Separable convolution over one axis: :class:`DepthwiseConv1D`, then across the channels.

    ``y = activation(conv(depthwise(x, depthwise_kernel), pointwise_kernel) + bias)``

    {arguments}

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, new_steps, filters)``; the kernels are
        ``(kernel_size, channels, depth_multiplier)`` and ``(1, channels * depth_multiplier, filters)``.

    Example:
        >>> rv.layers.SeparableConv1D(8, 3, padding="same")(rv.ones((2, 20, 4))).shape
        (2, 20, 8)
    """

    rank = 1


@register("SeparableConvolution2D")
@arguments_of(SeparableConvolution)
class SeparableConv2D(SeparableConvolution):
    """Separable convolution over two axes: :class:`DepthwiseConv2D`, then across the channels.

    ``y = activation(conv(depthwise(x, depthwise_kernel), pointwise_kernel) + bias)``: nearly the reach of
    :class:`Conv2D` with a fraction of its weights and work (Chollet, 2017).

    {arguments}

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, new_height, new_width, filters)``; the kernels are
        ``(*kernel_size, channels, depth_multiplier)`` and ``(1, 1, channels * depth_multiplier, filters)``.

    Example:
        >>> layer = rv.layers.SeparableConv2D(16, 3)
        >>> layer(rv.ones((1, 8, 8, 8))).shape, layer.count_params()
        ((1, 6, 6, 16), 216)
    """

    rank = 2
