"""Losses for numbers: squared, absolute, and Huber's mixture of both."""

from __future__ import annotations

from typing import Any

from ranvier.layers.checks import number
from ranvier.losses.base import Loss, paired, register
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.tensor import Tensor

__all__ = ["Huber", "MeanAbsoluteError", "MeanSquaredError", "huber", "mean_absolute_error", "mean_squared_error"]


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """``mean((y_true - y_pred)**2)`` over the last axis.

    Args:
        y_true: the truth.
        y_pred: the predictions, of the same shape.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> from ranvier import losses
        >>> losses.mean_squared_error([[0.0, 2.0]], [[1.0, 4.0]]).tolist()
        [2.5]
    """
    true, pred = paired("mean_squared_error", y_true, y_pred)
    return r.mean(e.square(pred - true), -1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """``mean(|y_true - y_pred|)`` over the last axis.

    Args:
        y_true: the truth.
        y_pred: the predictions, of the same shape.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> rv.losses.mean_absolute_error(rv.tensor([[0.0, 0.0]]), rv.tensor([[1.0, -3.0]])).tolist()
        [2.0]
    """
    true, pred = paired("mean_absolute_error", y_true, y_pred)
    return r.mean(e.abs(pred - true), -1)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """Squared near the truth, absolute far from it; mean over the last axis.

    With ``d = |y_true - y_pred|``: ``d**2 / 2`` up to delta, ``delta * (d - delta / 2)`` beyond.

    Args:
        y_true: the truth.
        y_pred: the predictions, of the same shape.
        delta: where the square turns into a straight line.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> rv.losses.huber(rv.tensor([[0.0, 0.0]]), rv.tensor([[1.0, 3.0]])).tolist()
        [1.5]
    """
    true, pred = paired("huber", y_true, y_pred)
    error = pred - true
    distance = e.abs(error)
    return r.mean(e.where(distance <= delta, e.square(error) * 0.5, (distance - 0.5 * delta) * delta), -1)


@register("mse", "MSE")
class MeanSquaredError(Loss):
    """``mean((y_true - y_pred)**2)``.

    Args:
        reduction: "sum_over_batch_size", "sum" or "none".
        name: its name in histories.

    Raises:
        ArgumentError: unknown reduction.

    Example:
        >>> from ranvier import losses
        >>> losses.MeanSquaredError()([[0.0], [2.0]], [[1.0], [4.0]]).item()
        2.5
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = "mean_squared_error"):
        super().__init__(name, reduction)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return mean_squared_error(y_true, y_pred)


@register("mae", "MAE")
class MeanAbsoluteError(Loss):
    """``mean(|y_true - y_pred|)``.

    Args:
        reduction: "sum_over_batch_size", "sum" or "none".
        name: its name in histories.

    Raises:
        ArgumentError: unknown reduction.

    Example:
        >>> from ranvier import losses
        >>> losses.MeanAbsoluteError()([[0.0], [2.0]], [[1.0], [4.0]]).item()
        1.5
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = "mean_absolute_error"):
        super().__init__(name, reduction)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return mean_absolute_error(y_true, y_pred)


@register
class Huber(Loss):
    """Squared near the truth, absolute far from it, so that outliers pull less: ``d**2 / 2`` up to delta, then a line.

    Args:
        delta: where the square turns into a straight line, above 0.
        reduction: "sum_over_batch_size", "sum" or "none".
        name: its name in histories.

    Raises:
        ArgumentError: delta is not positive, or the reduction unknown.

    Example:
        >>> from ranvier import losses
        >>> losses.Huber()([[0.0], [0.0]], [[1.0], [3.0]]).item()
        1.5
    """

    def __init__(
        self, delta: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str | None = "huber_loss"
    ):
        super().__init__(name, reduction)
        self.delta = float(number("Huber", "delta", delta, 0, above=True))

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return huber(y_true, y_pred, self.delta)
