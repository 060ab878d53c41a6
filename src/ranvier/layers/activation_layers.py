"""Activations with arguments or weights of their own, as layers: ReLU, LeakyReLU, PReLU, ELU, Softmax."""

from __future__ import annotations

from typing import Any

from ranvier import activations, initializers, regularizers
from ranvier.errors import ShapeError
from ranvier.layers.base import InputSpec, Layer, register
from ranvier.layers.checks import number
from ranvier.layers.statistics import checked_axes, known_size
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.tensor import Tensor

__all__ = ["ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax"]


@register
class ReLU(Layer):
    """``min(x, max_value)`` at the threshold and above, ``negative_slope * (x - threshold)`` below.

    Args:
        max_value: upper limit, at least 0, or None.
        negative_slope: slope below the threshold, at least 0.
        threshold: where the unit starts, at least 0.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        any; the output has the same.

    Raises:
        ArgumentError: an argument is negative.

    Example:
        >>> rv.layers.ReLU(max_value=6.0)(rv.tensor([[-1.0, 2.0, 9.0]])).tolist()
        [[0.0, 2.0, 6.0]]
    """

    supports_masking = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **common: Any
    ):
        super().__init__(**common)
        self.max_value = None if max_value is None else float(number("ReLU", "max_value", max_value, 0))
        self.negative_slope = float(number("ReLU", "negative_slope", negative_slope, 0))
        self.threshold = float(number("ReLU", "threshold", threshold, 0))

    def call(self, inputs: Tensor) -> Tensor:
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)

    def _describe(self) -> str:
        given = (("max_value", self.max_value), ("negative_slope", self.negative_slope), ("threshold", self.threshold))
        return ", ".join(f"{name}={value:g}" for name, value in given if value)


@register
class LeakyReLU(Layer):
    """``x`` where positive, ``negative_slope * x`` elsewhere: a unit that never stops learning.

    Args:
        negative_slope: slope of the negative side, at least 0.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        any; the output has the same.

    Raises:
        ArgumentError: the slope is negative.

    Example:
        >>> rv.layers.LeakyReLU(0.5)(rv.tensor([[-1.0, 2.0]])).tolist()
        [[-0.5, 2.0]]
    """

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **common: Any):
        super().__init__(**common)
        self.negative_slope = float(number("LeakyReLU", "negative_slope", negative_slope, 0))

    def call(self, inputs: Tensor) -> Tensor:
        return activations.leaky_relu(inputs, self.negative_slope)

    def _describe(self) -> str:
        return f"{self.negative_slope:g}"


@register
class PReLU(Layer):
    """``x`` where positive, ``alpha * x`` elsewhere, with slopes that are learned (He et al., 2015).

    Args:
        alpha_initializer: how the slopes start.
        alpha_regularizer: penalty on the slopes.
        shared_axes: axes along which one slope serves all, for example ``[1, 2]`` for one slope per channel of images.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ...)``; the output has the same. ``alpha`` has the shape of a sample, 1 on shared axes.

    Raises:
        ArgumentError: shared_axes are no integers.
        ShapeError: a shared axis does not exist or is the batch, or an axis that is not shared has no known size.

    Example:
        >>> layer = rv.layers.PReLU("ones", shared_axes=[1])
        >>> layer(rv.tensor([[[-1.0, 2.0], [3.0, -4.0]]])).tolist()
        [[[-1.0, 2.0], [3.0, -4.0]]]
        >>> layer.alpha.shape
        (1, 2)
    """

    supports_masking = True

    def __init__(
        self, alpha_initializer: Any = "Zeros", alpha_regularizer: Any = None, shared_axes: Any = None, **common: Any
    ):
        super().__init__(**common)
        self.alpha_initializer = initializers.get(
            "zeros" if alpha_initializer == "Zeros" else alpha_initializer  # Keras writes this default so
        )
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        shared = None if shared_axes is None or shared_axes == [] else checked_axes("PReLU", shared_axes)
        self.shared_axes = None if shared is None else list(shared)

    def build(self, input_shape: Any) -> None:
        shared = self.shared_axes or []
        for axis in shared:
            if not 0 < axis < len(input_shape):
                raise ShapeError(
                    f"{self._who()}: shared axis {axis} does not exist in an input of shape {input_shape}; axes of a "
                    "sample count from 1."
                )
        own = [a for a in range(1, len(input_shape)) if a not in shared]
        sizes = {a: known_size(self._who(), input_shape, a) for a in own}
        self.alpha = self.add_weight(
            "alpha",
            tuple(sizes.get(a, 1) for a in range(1, len(input_shape))),
            self.alpha_initializer,
            regularizer=self.alpha_regularizer,
        )
        self.input_spec = InputSpec(ndim=len(input_shape), axes=sizes)

    def call(self, inputs: Tensor) -> Tensor:
        x = e.astype(inputs, self.compute_dtype)
        return e.where(x > 0, x, x * self.alpha.value)

    def _describe(self) -> str:
        return "" if self.shared_axes is None else f"shared_axes={self.shared_axes}"


@register
class ELU(Layer):
    """``x`` where positive, ``alpha * (e**x - 1)`` elsewhere.

    Args:
        alpha: minus the limit on the negative side.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        any; the output has the same.

    Raises:
        ArgumentError: alpha is no finite number.

    Example:
        >>> [round(v, 3) for v in rv.layers.ELU()(rv.tensor([[-1.0, 2.0]]))[0].tolist()]
        [-0.632, 2.0]
    """

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **common: Any):
        super().__init__(**common)
        self.alpha = float(number("ELU", "alpha", alpha))

    def call(self, inputs: Tensor) -> Tensor:
        return activations.elu(inputs, self.alpha)

    def _describe(self) -> str:
        return f"{self.alpha:g}"


def masked_softmax(scores: Tensor, axes: tuple[int, ...], mask: Tensor | None) -> Tensor:
    """``e**x / sum(e**x)`` over the axes, counting only positions where the mask is true; 0 elsewhere.

    Where the mask is true nowhere along the axes, the result is 0 throughout.

    Args:
        scores: a floating tensor.
        axes: the axes that sum to 1.
        mask: booleans that broadcast to the scores, or None.
    """
    lowest = -1e9 if mask is None else e.where(mask, scores, -1e9)  # as Keras; e**-1e9 is 0 beside any real score
    x = scores if mask is None else lowest
    powers = e.exp(x - e.stop_gradient(r.max(x, axes, keepdims=True)))
    share = powers / r.sum(powers, axes, keepdims=True)
    return share if mask is None else e.where(mask, share, 0)


@register
class Softmax(Layer):
    """``e**x / sum(e**x)`` along an axis: positive numbers that sum to 1, the probabilities of classes.

    Args:
        axis: the axis of classes, or several.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        any with such an axis; the output has the same. Called with ``mask=``, which broadcasts to the input, only
        positions where it is true count, and the others become 0.

    Raises:
        ArgumentError: axis is no integer or list of them.
        ShapeError: the axis does not exist or has size 0, or the mask does not broadcast to the input.

    Example:
        >>> layer = rv.layers.Softmax()
        >>> layer(rv.tensor([[0.0, 0.0]])).tolist()
        [[0.5, 0.5]]
        >>> layer(rv.tensor([[0.0, 0.0, 9.0]]), mask=rv.tensor([[True, True, False]])).tolist()
        [[0.5, 0.5, 0.0]]
    """

    supports_masking = True

    def __init__(self, axis: Any = -1, **common: Any):
        super().__init__(**common)
        self._axes = checked_axes("Softmax", axis)
        self.axis = axis if isinstance(axis, int) else list(axis)

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        x = inputs if inputs.dtype.is_float else e.astype(inputs, self.compute_dtype)
        if any(not -x.ndim <= a < x.ndim or x.shape[a] == 0 for a in self._axes):
            raise ShapeError(f"{self._who()}: expected at least one class on axis {self.axis}, got shape {x.shape}.")
        if mask is not None:
            fits = mask.ndim <= x.ndim and all(
                m in (1, n) for m, n in zip(mask.shape[::-1], x.shape[::-1], strict=False)
            )
            if not fits:
                raise ShapeError(
                    f"{self._who()}: expected a mask that broadcasts to the input's shape {x.shape}, got {mask.shape}."
                )
            mask = mask if mask.dtype.kind == "bool" else mask > 0.5
        return masked_softmax(x, self._axes, mask)

    def _describe(self) -> str:
        return "" if self.axis == -1 else f"axis={self.axis}"
