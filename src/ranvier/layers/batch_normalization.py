"""Batch normalisation: every channel is shifted and scaled by the statistics of the batch, or, in use, by running ones.

The equations are written for few passes over memory. While training, both sums that the statistics need are taken in
one pass over the same differences from a sample of the data; the normalisation itself is one multiply and add per
element, in a second pass that also holds whatever follows (an activation, a residual sum). In use it is one multiply
and add per element and no statistics at all.
"""

from __future__ import annotations

from typing import Any

from ranvier import initializers, regularizers
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.base import InputSpec, Layer, register
from ranvier.layers.checks import number
from ranvier.layers.statistics import known_size, masked_moments, moments, wide
from ranvier.ops import elementwise as e
from ranvier.ops import shape as s
from ranvier.ops.table import no_grad
from ranvier.tensor import Tensor
from ranvier.variable import Variable

__all__ = ["BatchNormalization"]


@register
class BatchNormalization(Layer):
    """``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`` for each channel.

    While training, mean and variance are those of the batch, over all axes but ``axis``, and enter the moving ones:
    ``moving = momentum * moving + (1 - momentum) * batch``. In use, and where the layer is frozen (``trainable =
    False``), the moving ones are taken and nothing changes (Ioffe and Szegedy, 2015).

    Args:
        axis: the axis of channels, not 0.
        momentum: how much of the moving statistics stays from step to step, from 0 to 1.
        epsilon: added to the variance.
        center: whether there is a ``beta``.
        scale: whether there is a ``gamma``.
        beta_initializer: how beta starts.
        gamma_initializer: how gamma starts.
        moving_mean_initializer: how the moving mean starts.
        moving_variance_initializer: how the moving variance starts.
        beta_regularizer: penalty on beta.
        gamma_regularizer: penalty on gamma.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ..., channels)``; the output has the same. Weights of shape ``(channels,)`` in this order: gamma,
        beta, and, not trained, moving mean and moving variance. A mask ``(batch, ...)`` without the axis of channels
        leaves positions out of the statistics.

    Raises:
        ArgumentError: an argument is out of range.
        ShapeError: the axis does not exist or has no known size, the batch is empty, or the mask does not fit.

    Example:
        >>> layer = rv.layers.BatchNormalization(epsilon=0.0)
        >>> layer(rv.tensor([[1.0], [3.0]]), training=True).tolist()
        [[-1.0], [1.0]]
        >>> layer.moving_mean.numpy().round(4)
        array([0.02], dtype=float32)
        >>> layer
        BatchNormalization(1)
    """

    _rounds_weights = False
    supports_masking = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **common: Any,
    ):
        super().__init__(**common)
        who = "BatchNormalization"
        if isinstance(axis, bool) or not isinstance(axis, int) or axis == 0:
            raise ArgumentError(
                f"{who}: expected axis to be the number of the channels' axis, not 0 (the batch), got {describe(axis)}."
            )
        self.axis = axis
        self.momentum = float(number(who, "momentum", momentum, 0, 1))
        self.epsilon = float(number(who, "epsilon", epsilon, 0))
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None

    @property
    def mixes_samples(self) -> bool:
        """In training steps each sample's output depends on the whole batch, unless the layer is frozen."""
        return self.trainable

    def build(self, input_shape: Any) -> None:
        channels = known_size(self._who(), input_shape, self.axis)
        if self.scale:
            self.gamma = self.add_weight(
                "gamma", (channels,), self.gamma_initializer, regularizer=self.gamma_regularizer
            )
        if self.center:
            self.beta = self.add_weight("beta", (channels,), self.beta_initializer, regularizer=self.beta_regularizer)
        self.moving_mean = self.add_weight("moving_mean", (channels,), self.moving_mean_initializer, trainable=False)
        self.moving_variance = self.add_weight(
            "moving_variance", (channels,), self.moving_variance_initializer, trainable=False
        )
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: channels})

    def call(self, inputs: Tensor, training: bool = False, mask: Any = None) -> Tensor:
        if mask is not None and mask.shape != inputs.shape[:-1]:
            raise ShapeError(
                f"{self._who()}: expected a mask of shape {inputs.shape[:-1]} (the input's without its last axis), got "
                f"{mask.shape}."
            )
        x = wide(inputs)
        if training and self.trainable:
            d, mean, variance = self._statistics(x, mask)
        else:  # d is x itself: one multiply and add per element
            d, mean, variance = x, self._channels(self.moving_mean), self._channels(self.moving_variance)
        factor = e.rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            factor = factor * self._channels(self.gamma)
        offset = -mean * factor
        if self.beta is not None:
            offset = offset + self._channels(self.beta)
        return e.astype(d * factor + offset, self.compute_dtype)

    def _channels(self, weight: Variable) -> Tensor:
        """A weight as it is multiplied onto the input."""
        shape = [1] * self.input_spec.ndim  # type: ignore[union-attr, operator]
        shape[self.axis] = weight.shape[0]
        return s.reshape(wide(weight.value), shape)

    def _statistics(self, x: Tensor, mask: Any) -> tuple[Tensor, Tensor, Tensor]:
        """The input minus a shift, and the batch's mean (minus the shift) and variance; the moving ones follow."""
        axes = tuple(a for a in range(x.ndim) if a != self.axis % x.ndim)
        if 0 in x.shape:
            raise ShapeError(f"{self._who()}: a training step needs at least one sample, got shape {x.shape}.")
        if mask is None:
            d, shift, mean, variance = moments(x, axes)
        else:
            d, shift, mean, variance = masked_moments(x, axes, mask)
        with no_grad():
            for moving, now in ((self.moving_mean, mean + shift), (self.moving_variance, variance)):
                batch = s.reshape(e.stop_gradient(now), moving.shape)
                moving.assign(e.astype(wide(moving.value) * self.momentum + batch * (1 - self.momentum), moving.dtype))
        return d, mean, variance

    def _describe(self) -> str:
        return str(self.moving_mean.shape[0]) if self.built else ""
