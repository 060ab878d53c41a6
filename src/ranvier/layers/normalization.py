"""Normalisation of each sample by its own statistics: over features, over groups of channels, by size alone.

Unlike batch normalisation none of these looks at other samples, so training and use are the same, and nothing is kept
from step to step.
"""

from __future__ import annotations

from typing import Any

from ranvier import initializers, regularizers
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.base import InputSpec, Layer, register
from ranvier.layers.checks import number
from ranvier.layers.statistics import checked_axes, known_size, moments, resolved_axes, wide
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops import shape as s
from ranvier.tensor import Tensor
from ranvier.variable import Variable

__all__ = ["GroupNormalization", "LayerNormalization", "RMSNormalization", "UnitNormalization"]


def _spread(weight: Variable, shape: tuple[int, ...]) -> Tensor:
    """A weight in the shape in which it is multiplied onto the input."""
    return s.reshape(wide(weight.value), shape)


class _Scaled(Layer):
    """What layer and group normalisation share: gamma, beta, and their arguments."""

    _rounds_weights = False
    supports_masking = True

    def __init__(
        self,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **common: Any,
    ):
        super().__init__(**common)
        self.epsilon = float(number(type(self).__name__, "epsilon", epsilon, 0))
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None

    def _add_weights(self, shape: tuple[int, ...]) -> None:
        if self.scale:
            self.gamma = self.add_weight("gamma", shape, self.gamma_initializer, regularizer=self.gamma_regularizer)
        if self.center:
            self.beta = self.add_weight("beta", shape, self.beta_initializer, regularizer=self.beta_regularizer)


@register
class LayerNormalization(_Scaled):
    """``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``, with the statistics of each sample's features.

    Mean and variance are taken over ``axis`` alone, so in a sequence every step is normalised for itself (Ba et al.,
    2016). The variance is the mean of squared differences from the mean; a row stays in the cache for it.

    Args:
        axis: the axis of features, or several.
        epsilon: added to the variance.
        center: whether there is a ``beta``.
        scale: whether there is a ``gamma``.
        beta_initializer: how beta starts.
        gamma_initializer: how gamma starts.
        beta_regularizer: penalty on beta.
        gamma_regularizer: penalty on gamma.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ..., features)``; the output has the same. Gamma, then beta, have the sizes of ``axis``.

    Raises:
        ArgumentError: an argument is out of range.
        ShapeError: an axis does not exist, is the batch, or has no known size.

    Example:
        >>> layer = rv.layers.LayerNormalization(epsilon=0.0)
        >>> layer(rv.tensor([[1.0, 3.0], [10.0, 30.0]])).tolist()
        [[-1.0, 1.0], [-1.0, 1.0]]
        >>> layer
        LayerNormalization(2)
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **common: Any,
    ):
        super().__init__(
            epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, **common
        )
        self._axes = checked_axes("LayerNormalization", axis)
        self.axis = axis if isinstance(axis, int) else list(axis)

    def build(self, input_shape: Any) -> None:
        axes = resolved_axes(self._who(), self._axes, len(input_shape))
        self._sizes = tuple(known_size(self._who(), input_shape, a) for a in axes)
        self._add_weights(self._sizes)
        self.input_spec = InputSpec(ndim=len(input_shape), axes=dict(zip(axes, self._sizes, strict=True)))

    def call(self, inputs: Tensor) -> Tensor:
        x, axes = wide(inputs), tuple(self.input_spec.axes)  # type: ignore[union-attr]
        shape = tuple(n if a in axes else 1 for a, n in enumerate(x.shape))
        d = x - r.mean(x, axes, keepdims=True)
        y = d * e.rsqrt(r.mean(d * d, axes, keepdims=True) + self.epsilon)
        if self.gamma is not None:
            y = y * _spread(self.gamma, shape)
        if self.beta is not None:
            y = y + _spread(self.beta, shape)
        return e.astype(y, self.compute_dtype)

    def _describe(self) -> str:
        return ", ".join(map(str, self._sizes)) if self.built else ""


@register
class GroupNormalization(_Scaled):
    """Like :class:`LayerNormalization`, over each group of channels and all positions of a sample (Wu and He, 2018).

    With ``groups=1`` all channels share their statistics; with one channel in each group (``groups=-1``) this is
    instance normalisation.

    Args:
        groups: number of groups; -1 for one channel in each.
        axis: the axis of channels, not 0.
        epsilon: added to the variance.
        center: whether there is a ``beta``.
        scale: whether there is a ``gamma``.
        beta_initializer: how beta starts.
        gamma_initializer: how gamma starts.
        beta_regularizer: penalty on beta.
        gamma_regularizer: penalty on gamma.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ..., channels)``; the output has the same. Gamma, then beta, have the shape ``(channels,)``.

    Raises:
        ArgumentError: an argument is out of range.
        ShapeError: the groups do not divide the channels, or the axis does not exist or has no known size.

    Example:
        >>> layer = rv.layers.GroupNormalization(groups=2, epsilon=0.0)
        >>> layer(rv.tensor([[1.0, 3.0, 10.0, 30.0]])).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **common: Any,
    ):
        super().__init__(
            epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, **common
        )
        if isinstance(groups, bool) or not isinstance(groups, int) or (groups < 1 and groups != -1):
            raise ArgumentError(
                f"GroupNormalization: expected groups to be an integer of at least 1, or -1, got {describe(groups)}."
            )
        if len(checked_axes("GroupNormalization", axis)) != 1 or not isinstance(axis, int):
            raise ArgumentError(f"GroupNormalization: expected axis to be one integer, got {describe(axis)}.")
        self.groups, self.axis = groups, axis

    def build(self, input_shape: Any) -> None:
        channels = known_size(self._who(), input_shape, self.axis)
        count = channels if self.groups == -1 else self.groups
        if channels % count:
            raise ShapeError(
                f"{self._who()}: {channels} channels cannot be divided into {count} groups. Choose a number of groups "
                "that divides the channels."
            )
        self._add_weights((channels,))
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: channels})

    def call(self, inputs: Tensor) -> Tensor:
        at, channels = self.axis % inputs.ndim, inputs.shape[self.axis]
        count = channels if self.groups == -1 else self.groups
        if 0 in inputs.shape:
            return e.astype(inputs, self.compute_dtype)
        split = (*inputs.shape[:at], count, channels // count, *inputs.shape[at + 1 :])
        x = s.reshape(wide(inputs), split)
        each = tuple(n if a in (at, at + 1) else 1 for a, n in enumerate(split))
        d, _, mean, variance = moments(x, tuple(a for a in range(1, len(split)) if a != at))
        factor = e.rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            factor = factor * _spread(self.gamma, each)
        offset = -mean * factor
        if self.beta is not None:
            offset = offset + _spread(self.beta, each)
        return e.astype(s.reshape(d * factor + offset, inputs.shape), self.compute_dtype)

    def _describe(self) -> str:
        return f"groups={self.groups}"


@register
class RMSNormalization(Layer):
    """``y = scale * x / sqrt(mean(x * x) + epsilon)`` over the features of each sample (Zhang and Sennrich, 2019).

    Args:
        axis: the axis of features, or several.
        epsilon: added to the mean of squares.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ..., features)``; the output has the same. The weight ``scale`` has the sizes of ``axis``.

    Raises:
        ArgumentError: an argument is out of range.
        ShapeError: an axis does not exist, is the batch, or has no known size.

    Example:
        >>> layer = rv.layers.RMSNormalization(epsilon=0.0)
        >>> layer(rv.tensor([[1.0, 7.0]])).numpy().round(4)
        array([[0.2, 1.4]], dtype=float32)
    """

    _rounds_weights = False
    supports_masking = True

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **common: Any):
        super().__init__(**common)
        self._axes = checked_axes("RMSNormalization", axis)
        self.axis = axis if isinstance(axis, int) else list(axis)
        self.epsilon = float(number("RMSNormalization", "epsilon", epsilon, 0))

    def build(self, input_shape: Any) -> None:
        axes = resolved_axes(self._who(), self._axes, len(input_shape))
        sizes = tuple(known_size(self._who(), input_shape, a) for a in axes)
        self.scale = self.add_weight("scale", sizes, "ones")
        self.input_spec = InputSpec(ndim=len(input_shape), axes=dict(zip(axes, sizes, strict=True)))

    def call(self, inputs: Tensor) -> Tensor:
        x, axes = wide(inputs), tuple(self.input_spec.axes)  # type: ignore[union-attr]
        shape = tuple(n if a in axes else 1 for a, n in enumerate(x.shape))
        y = x * e.rsqrt(r.mean(x * x, axes, keepdims=True) + self.epsilon)
        return e.astype(y * _spread(self.scale, shape), self.compute_dtype)

    def _describe(self) -> str:
        return ", ".join(map(str, self.scale.shape)) if self.built else ""


@register
class UnitNormalization(Layer):
    """``y = x / max(sqrt(sum(x * x)), 1e-12)``: every sample gets Euclidean length 1.

    Args:
        axis: the axis of features, or several.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ..., features)``; the output has the same. A sample of zeros stays as it is.

    Raises:
        ArgumentError: axis is no integer or list of them.
        ShapeError: an axis does not exist or is the batch.

    Example:
        >>> [round(v, 4) for v in rv.layers.UnitNormalization()(rv.tensor([[3.0, 4.0]]))[0].tolist()]
        [0.6, 0.8]
    """

    supports_masking = True
    EPSILON = 1e-12  # least length that is divided by, as in Keras

    def __init__(self, axis: Any = -1, **common: Any):
        super().__init__(**common)
        self._axes = checked_axes("UnitNormalization", axis)
        self.axis = axis if isinstance(axis, int) else list(axis)

    def call(self, inputs: Tensor) -> Tensor:
        x, axes = wide(inputs), resolved_axes(self._who(), self._axes, inputs.ndim)
        squares = r.sum(x * x, axes, keepdims=True)
        # The root is taken of the larger one: sqrt(0) has an infinite slope, and 0 times it would be NaN.
        return e.astype(x / e.sqrt(e.maximum(squares, self.EPSILON**2)), self.compute_dtype)

    def _describe(self) -> str:
        return "" if self.axis == -1 else f"axis={self.axis}"
