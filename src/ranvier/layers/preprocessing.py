"""Layers that bring raw data into the range networks learn well from: Rescaling and Normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, DataError, DTypeError, ShapeError, describe
from ranvier.layers.base import InputSpec, Layer, register
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops.shape import reshape
from ranvier.ops.table import no_grad
from ranvier.tensor import Tensor, as_tensor, tensor

__all__ = ["Normalization", "Rescaling"]


def _numbers(who: str, name: str, value: Any) -> Any:
    """A number, or a list of numbers (one for each feature)."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.asarray(np.nan)
    if isinstance(value, bool) or not np.isfinite(array).all():
        raise ArgumentError(f"{who}: expected {name} to be a finite number or a list of them, got {describe(value)}.")
    return float(array) if array.ndim == 0 else array.tolist()


@register
class Rescaling(Layer):
    """``y = x * scale + offset``, for example bytes to [0, 1] with ``scale=1/255``.

    Args:
        scale: a number, or one for each entry of the last axis.
        offset: the same.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        any; the output has the same. Integers become the layer's dtype.

    Raises:
        ArgumentError: scale or offset are no finite numbers.

    Example:
        >>> rv.layers.Rescaling(1 / 4, offset=-1.0)(rv.tensor([[0, 8]])).tolist()
        [[-1.0, 1.0]]
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **common: Any):
        super().__init__(**common)
        self.scale, self.offset = _numbers("Rescaling", "scale", scale), _numbers("Rescaling", "offset", offset)

    def call(self, inputs: Tensor) -> Tensor:
        x = e.astype(inputs, self.compute_dtype)
        return x * self._factor(self.scale) + self._factor(self.offset)

    def _factor(self, value: Any) -> Any:
        return tensor(value, self.compute_dtype) if isinstance(value, list) else value

    def _describe(self) -> str:
        return f"{self.scale}" + (f", {self.offset}" if self.offset != 0 else "")


@register
class Normalization(Layer):
    """``y = (x - mean) / sqrt(variance)`` for each feature, with the statistics of your data.

    Call :meth:`adapt` on the training data first, or give mean and variance. A feature that never varies becomes 0.

    Args:
        axis: the axes that keep statistics of their own (an integer, a tuple, or None for one mean over all).
        mean: known means, instead of adapting.
        variance: known variances, given together with ``mean``.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ...)``; the output has the same. Two weights that are not trained, ``mean`` and ``variance``, have the
        sizes of ``axis``.

    Raises:
        ArgumentError: only one of mean and variance, or no axis.
        DataError: the data for ``adapt`` is empty or holds NaN or infinity.
        ShapeError: the input does not fit the statistics.

    Example:
        >>> layer = rv.layers.Normalization()
        >>> layer.adapt([[1.0, 10.0], [3.0, 30.0]])
        >>> layer([[1.0, 30.0]]).tolist()
        [[-1.0, 1.0]]
    """

    _rounds_weights = False

    EPSILON = 1e-7  # least standard deviation, as in Keras
    supports_masking = True

    def __init__(self, axis: Any = -1, mean: Any = None, variance: Any = None, **common: Any):
        super().__init__(**common)
        axes = () if axis is None else (axis,) if isinstance(axis, int) and not isinstance(axis, bool) else axis
        if not isinstance(axes, tuple | list) or not all(isinstance(a, int) and not isinstance(a, bool) for a in axes):
            raise ArgumentError(
                f"Normalization: expected axis to be an integer, a tuple or None, got {describe(axis)}."
            )
        if 0 in axes:
            raise ArgumentError("Normalization: axis 0 is the batch, which is always averaged over.")
        if (mean is None) != (variance is None):
            raise ArgumentError("Normalization: expected mean and variance together, got only one of them.")
        self.axis = axis if axis is None or isinstance(axis, int) else tuple(axis)
        self.mean = None if mean is None else _numbers("Normalization", "mean", mean)
        self.variance = None if variance is None else _numbers("Normalization", "variance", variance)
        self._axes = tuple(axes)

    def _kept(self, ndim: int) -> tuple[int, ...]:
        for a in self._axes:
            if not -ndim < a < ndim:
                raise ShapeError(f"{self._who()}: axis {a} does not exist in an input with {ndim} axes.")
        return tuple(sorted(a % ndim for a in self._axes))

    def build(self, input_shape: Any) -> None:
        kept = self._kept(len(input_shape))
        sizes = tuple(input_shape[a] for a in kept)
        if None in sizes:
            raise ShapeError(f"{self._who()}: expected known sizes on axis {self.axis}, got shape {input_shape}.")
        self.moments = tuple(
            self.add_weight(name, sizes, start, trainable=False)
            for name, start in (("mean", "zeros"), ("variance", "ones"))
        )
        if self.mean is not None:
            for weight, value in zip(self.moments, (self.mean, self.variance), strict=True):
                weight.assign(np.broadcast_to(np.asarray(value, np.float32), sizes))
        self.input_spec = InputSpec(ndim=len(input_shape), axes=dict(zip(kept, sizes, strict=True)))

    def adapt(self, data: Any) -> None:
        """Take mean and variance from data, in float64; earlier statistics are forgotten.

        Args:
            data: samples on the first axis.

        Raises:
            DTypeError: the data is not made of numbers.
            DataError: no samples, or NaN or infinity in some feature.
            ShapeError: the data does not fit an earlier input.
        """
        try:
            x = as_tensor(data)
        except (DTypeError, ShapeError) as error:
            raise type(error)(f"{self._who()}: {error.message}", error.where) from None
        if x.ndim == 0 or x.size == 0:
            raise DataError(f"{self._who()}: expected at least one sample to adapt to, got shape {x.shape}.")
        self.build((None, *x.shape[1:]))
        self._check_input(x)
        averaged = tuple(a for a in range(x.ndim) if a not in self._kept(x.ndim))
        with no_grad():
            wide = e.astype(x, "float64")
            mean, variance = r.mean(wide, averaged), r.var(wide, averaged)
        bad = np.flatnonzero(~np.isfinite(variance.numpy().ravel()))
        if bad.size:
            names = ", ".join(map(str, bad[:5])) + (", ..." if bad.size > 5 else "")
            raise DataError(f"{self._who()}: the data holds NaN or infinity in feature {names}. Clean it first.")
        for weight, value in zip(self.moments, (mean, variance), strict=True):
            weight.assign(value)

    def call(self, inputs: Tensor) -> Tensor:
        x = e.astype(inputs, self.compute_dtype)
        shape = [n if a in self._kept(x.ndim) else 1 for a, n in enumerate(x.shape)]
        mean, variance = (reshape(m, shape) for m in self.moments)
        return (x - mean) / e.maximum(e.sqrt(variance), self.EPSILON)

    def _describe(self) -> str:
        return "" if self.axis == -1 else f"axis={self.axis}"
