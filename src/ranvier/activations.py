"""Activations: what a layer does to each number (or, for softmax, to each row) after its linear part.

Each is a function of one tensor, written as its formula, and safe at the extremes: nothing overflows, and gradients
are right at 0 and far from it. They are found by name wherever a layer takes ``activation=``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.registry import Registry
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.tensor import Tensor, as_tensor

__all__ = [
    "deserialize", "elu", "exponential", "gelu", "get", "hard_sigmoid", "leaky_relu", "linear", "log_softmax", "names",
    "register", "relu", "selu", "serialize", "sigmoid", "silu", "softmax", "softplus", "softsign", "step", "tanh",
]  # fmt: skip

registry = Registry("activation", "ranvier.activations")
register, serialize, names = registry.register, registry.serialize, registry.names

# Selu's constants make mean 0 and variance 1 a fixed point from layer to layer (Klambauer et al., 2017).
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def get(identifier: Any) -> Callable[..., Any]:
    """The activation meant by a name or a function; None is :func:`linear`.

    Args:
        identifier: a registered name, a function of one tensor, or None.

    Raises:
        ArgumentError: it means no activation; the message lists the known names.

    Example:
        >>> from ranvier import activations
        >>> activations.get("logsig") is activations.sigmoid
        True
    """
    return linear if identifier is None else registry.get(identifier)


def deserialize(data: Any) -> Callable[..., Any]:
    """The activation described by a configuration.

    Args:
        data: what :func:`serialize` returned.
    """
    return get(data)


def _float(x: Any) -> Tensor:
    """``x`` as a floating tensor: integers count as float32."""
    t = as_tensor(x)
    return t if t.dtype.is_float else e.astype(t, "float32")


@register
def linear(x: Any) -> Tensor:
    """``x`` itself.

    Args:
        x: any tensor.

    Example:
        >>> rv.activations.linear(rv.tensor([-1.0, 2.0])).tolist()
        [-1.0, 2.0]
    """
    return as_tensor(x)


@register("logsig")
def sigmoid(x: Any) -> Tensor:
    """``1 / (1 + e**-x)``, also called logsig: from 0 to 1.

    Args:
        x: any tensor.

    Example:
        >>> from ranvier import activations
        >>> activations.sigmoid([0.0]).tolist()
        [0.5]
    """
    return e.sigmoid(x)


@register("tansig")
def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent, also called tansig: from -1 to 1.

    Args:
        x: any tensor.

    Example:
        >>> [round(v, 3) for v in rv.activations.tanh(rv.tensor([-1.0, 2.0])).tolist()]
        [-0.762, 0.964]
    """
    return e.tanh(x)


@register
def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """``max(x, 0)``. In general ``x`` above a threshold, ``negative_slope * (x - threshold)`` below, and limited above.

    Args:
        x: any tensor.
        negative_slope: slope below the threshold.
        max_value: upper limit, or None.
        threshold: where the unit starts.

    Example:
        >>> from ranvier import activations
        >>> activations.relu([-1.0, 2.0]).tolist()
        [0.0, 2.0]
    """
    t = _float(x)
    if negative_slope == 0 and threshold == 0:
        out = e.relu(t)
    else:
        out = e.where(t > threshold, t, (t - threshold) * negative_slope)
    return out if max_value is None else e.minimum(out, max_value)


@register
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Tensor:
    """``x`` where positive, ``negative_slope * x`` elsewhere.

    Args:
        x: any tensor.
        negative_slope: slope of the negative side.

    Example:
        >>> [round(v, 3) for v in rv.activations.leaky_relu(rv.tensor([-1.0, 2.0])).tolist()]
        [-0.2, 2.0]
    """
    t = _float(x)
    return e.where(t > 0, t, t * negative_slope)


@register
def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """``x`` where positive, ``alpha * (e**x - 1)`` elsewhere.

    Args:
        x: any tensor.
        alpha: minus the limit on the negative side.

    Example:
        >>> [round(v, 3) for v in rv.activations.elu(rv.tensor([-1.0, 2.0])).tolist()]
        [-0.632, 2.0]
    """
    t = _float(x)
    positive = t > 0
    # The side not taken is kept at 0: e**x of a large x would be infinite, and 0 times its gradient NaN.
    return e.where(positive, t, e.expm1(e.where(positive, 0, t)) * alpha)


@register
def selu(x: Any) -> Tensor:
    """``scale * elu(x, alpha)`` with the constants that keep mean 0 and variance 1; use with ``lecun_normal``.

    Args:
        x: any tensor.

    Example:
        >>> [round(v, 3) for v in rv.activations.selu(rv.tensor([-1.0, 2.0])).tolist()]
        [-1.111, 2.101]
    """
    return elu(x, SELU_ALPHA) * SELU_SCALE


@register
def gelu(x: Any, approximate: bool = False) -> Tensor:
    """``x`` times the probability that a standard normal lies below ``x``: ``x/2 * (1 + erf(x / sqrt(2)))``.

    Args:
        x: any tensor.
        approximate: use ``x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x**3)))`` instead.

    Example:
        >>> [round(v, 3) for v in rv.activations.gelu(rv.tensor([-1.0, 2.0])).tolist()]
        [-0.159, 1.954]
    """
    t = _float(x)
    if approximate:
        return t * 0.5 * (e.tanh((t + t * t * t * 0.044715) * math.sqrt(2 / math.pi)) + 1)
    return t * 0.5 * (e.erf(t * math.sqrt(0.5)) + 1)


@register("swish")
def silu(x: Any) -> Tensor:
    """``x * sigmoid(x)``, also called swish.

    Args:
        x: any tensor.

    Example:
        >>> [round(v, 3) for v in rv.activations.silu(rv.tensor([-1.0, 2.0])).tolist()]
        [-0.269, 1.762]
    """
    t = _float(x)
    return t * e.sigmoid(t)


@register
def softplus(x: Any) -> Tensor:
    """``log(1 + e**x)``, a smooth relu; its derivative is the sigmoid.

    Written ``max(x, 0) + log1p(e**-|x|)``: nothing overflows, and either branch is the function itself, so gradients
    of every order are right, at 0 too.

    Args:
        x: any tensor.

    Example:
        >>> from ranvier import activations
        >>> activations.softplus([1000.0]).tolist()
        [1000.0]
    """
    t = _float(x)
    positive = t > 0
    return e.where(positive, t, 0) + e.log1p(e.exp(e.where(positive, -t, t)))


@register
def softsign(x: Any) -> Tensor:
    """``x / (1 + |x|)``: from -1 to 1, slower than tanh.

    Args:
        x: any tensor.

    Example:
        >>> rv.activations.softsign(rv.tensor([-1.0, 3.0])).tolist()
        [-0.5, 0.75]
    """
    t = _float(x)
    return t / (e.abs(t) + 1)


def _shifted(who: str, x: Any, axis: int) -> Tensor:
    """``x - max(x)`` along the axis. The result does not depend on the shift, so no gradient flows through it."""
    t = _float(x)
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise ArgumentError(f"{who}: expected axis to be an integer, got {describe(axis)}.")
    if not -t.ndim <= axis < t.ndim or t.shape[axis] == 0:
        raise ShapeError(f"{who}: expected at least one class on axis {axis}, got shape {t.shape}.")
    return t - e.stop_gradient(r.max(t, axis, keepdims=True))


@register
def softmax(x: Any, axis: int = -1) -> Tensor:
    """``e**x / sum(e**x)``: positive numbers that sum to 1, the probabilities of classes.

    Args:
        x: scores (logits).
        axis: the axis of classes.

    Raises:
        ShapeError: the axis does not exist or has size 0.

    Example:
        >>> from ranvier import activations
        >>> activations.softmax([1000.0, 1000.0]).tolist()
        [0.5, 0.5]
    """
    powers = e.exp(_shifted("softmax", x, axis))
    return powers / r.sum(powers, axis, keepdims=True)


@register
def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """``x - log(sum(e**x))``: the logarithm of :func:`softmax`, without the loss of digits.

    Args:
        x: scores (logits).
        axis: the axis of classes.

    Raises:
        ShapeError: the axis does not exist or has size 0.

    Example:
        >>> [round(v, 3) for v in rv.activations.log_softmax(rv.tensor([1.0, 1.0])).tolist()]
        [-0.693, -0.693]
    """
    t = _shifted("log_softmax", x, axis)
    return t - e.log(r.sum(e.exp(t), axis, keepdims=True))


@register
def step(x: Any) -> Tensor:
    """1 where ``x > 0``, else 0: the perceptron's unit. It passes no gradient.

    Args:
        x: any tensor.

    Example:
        >>> from ranvier import activations
        >>> activations.step([-0.5, 0.0, 2.0]).tolist()
        [0.0, 0.0, 1.0]
    """
    t = _float(x)
    return e.astype(t > 0, t.dtype)


@register
def exponential(x: Any) -> Tensor:
    """``e**x``.

    Args:
        x: any tensor.

    Example:
        >>> rv.activations.exponential(rv.tensor([0.0])).tolist()
        [1.0]
    """
    return e.exp(x)


@register
def hard_sigmoid(x: Any) -> Tensor:
    """``clip(x / 6 + 1/2, 0, 1)``: a sigmoid of straight lines.

    Args:
        x: any tensor.

    Example:
        >>> rv.activations.hard_sigmoid(rv.tensor([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    return e.clip(_float(x) * (1 / 6) + 0.5, 0, 1)
