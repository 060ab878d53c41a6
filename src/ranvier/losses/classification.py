"""Losses for classes: cross-entropy of two classes, of many with one-hot targets, and of many with labels.

From logits (scores) the logarithm is taken analytically, by softplus or log-sum-exp, and nothing under- or overflows.
From probabilities it is ``log(clip(p, 1e-7, 1 - 1e-7))``, as in Keras; behind a softmax or sigmoid the compiler turns
that into the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import activations, dtypes
from ranvier.errors import ArgumentError, DataError, DTypeError, ShapeError
from ranvier.layers.checks import number
from ranvier.losses.base import Loss, floats, paired, register
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops.shape import expand_dims, reshape
from ranvier.tensor import Tensor, as_tensor

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
]

EPSILON = 1e-7  # keeps the logarithm of a probability finite, as in Keras


def _log_probability(p: Tensor) -> Tensor:
    return e.log(e.clip(p, EPSILON, 1 - EPSILON))


def class_labels(who: str, y_true: Any, y_pred: Tensor) -> Tensor:
    """Integer labels shaped like ``y_pred`` without its last axis, checked against the number of classes."""
    labels = as_tensor(y_true)
    if labels.dtype.is_float:
        raise DTypeError(
            f"{who}: expected integer class labels, got {labels.dtype} of shape {labels.shape}. Convert them with "
            "astype('int64'), or use categorical crossentropy for one-hot rows."
        )
    if labels.dtype is dtypes.bool_:
        labels = e.astype(labels, dtypes.int64)
    if y_pred.ndim == 0:
        raise ShapeError(f"{who}: expected y_pred to have an axis of classes, got a single number.")
    if labels.ndim == y_pred.ndim and labels.shape[-1] == 1:
        labels = reshape(labels, labels.shape[:-1])
    if labels.shape != y_pred.shape[:-1]:
        hint = " For one-hot rows use categorical crossentropy." if labels.shape == y_pred.shape else ""
        raise ShapeError(
            f"{who}: expected labels of shape {y_pred.shape[:-1]} for y_pred of shape {y_pred.shape}, "
            f"got {labels.shape}.{hint}"
        )
    if labels._data is not None and labels.size:
        low, high = int(np.min(labels._data)), int(np.max(labels._data))
        if low < 0 or high >= y_pred.shape[-1]:
            raise DataError(
                f"{who}: expected labels from 0 to {y_pred.shape[-1] - 1} for y_pred with {y_pred.shape[-1]} classes, "
                f"got {low if low < 0 else high}."
            )
    return labels


def _smoothed(y: Tensor, amount: float, classes: int) -> Tensor:
    """Targets moved towards the uniform distribution over ``classes``."""
    return y if amount == 0 else y * (1 - amount) + amount / classes


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """``-(y log p + (1 - y) log(1 - p))``, mean over an axis; from logits z it is ``softplus(z) - y z``.

    Args:
        y_true: 0 or 1, or probabilities.
        y_pred: probabilities, or logits, of the same shape.
        from_logits: whether y_pred are logits.
        label_smoothing: moves targets from 0 and 1 towards 1/2 by this fraction.
        axis: the axis averaged over.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> from ranvier import losses
        >>> losses.binary_crossentropy([[1.0]], [[0.5]]).tolist()
        [0.6931471824645996]
    """
    true, pred = paired("binary_crossentropy", y_true, y_pred)
    y = _smoothed(true, label_smoothing, 2)
    if from_logits:
        return r.mean(activations.softplus(pred) - y * pred, axis)
    p = e.clip(pred, EPSILON, 1 - EPSILON)
    return -r.mean(y * e.log(p) + (1 - y) * e.log(1 - p), axis)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """``-sum(y log p)`` over the classes; from logits z it is ``sum(y) logsumexp(z) - sum(y z)``.

    Args:
        y_true: one-hot rows, or distributions over the classes.
        y_pred: probabilities that sum to 1, or logits, of the same shape.
        from_logits: whether y_pred are logits.
        label_smoothing: moves targets towards the uniform distribution by this fraction.
        axis: the axis of classes.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> from ranvier import losses
        >>> losses.categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).tolist()
        [0.6931471824645996]
    """
    true, pred = paired("categorical_crossentropy", y_true, y_pred)
    y = _smoothed(true, label_smoothing, pred.shape[axis])
    if not from_logits:
        return -r.sum(y * _log_probability(pred), axis)
    z = activations._shifted("categorical_crossentropy", pred, axis)
    return r.sum(y, axis) * e.log(r.sum(e.exp(z), axis)) - r.sum(y * z, axis)


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Tensor:
    """``-log p[y]``; from logits z it is ``logsumexp(z) - z[y]``.

    The entry of the true class is picked by a comparison and a sum rather than by an index, so that the gradient,
    ``softmax(z) - onehot(y)``, is one pass over the row.

    Args:
        y_true: integer labels, the classes counted from 0.
        y_pred: probabilities that sum to 1, or logits, with the classes on the last axis.
        from_logits: whether y_pred are logits.

    Shape:
        y_true ``(batch, ...)`` or ``(batch, ..., 1)``, y_pred ``(batch, ..., classes)``, the result ``(batch, ...)``.

    Raises:
        DTypeError: the labels are floats.
        DataError: a label is negative or not below the number of classes (eager).
        ShapeError: shapes do not fit.

    Example:
        >>> from ranvier import losses
        >>> losses.sparse_categorical_crossentropy([1], [[0.5, 0.5]]).tolist()
        [0.6931471824645996]
    """
    who = "sparse_categorical_crossentropy"
    pred = floats(y_pred)
    labels = class_labels(who, y_true, pred)
    classes = Tensor._wrap(np.arange(pred.shape[-1], dtype=labels.dtype.numpy), labels.dtype)
    hit = e.equal(expand_dims(labels, -1), classes)
    if not from_logits:
        return -_log_probability(r.sum(e.where(hit, pred, 0), -1))
    z = activations._shifted(who, pred, -1)
    return e.log(r.sum(e.exp(z), -1)) - r.sum(e.where(hit, z, 0), -1)


# Activations whose values are probabilities. A loss from probabilities behind any other known one is a mistake.
PROBABILITIES = ("sigmoid", "softmax", "hard_sigmoid", "step")


class _Crossentropy(Loss):
    """What the three classes share: the arguments' checks."""

    def __init__(self, from_logits: bool, label_smoothing: float, reduction: str | None, name: str | None):
        super().__init__(name, reduction)
        self.from_logits = bool(from_logits)
        self.label_smoothing = float(number(type(self).__name__, "label_smoothing", label_smoothing, 0, 1))

    def check_activation(self, activation: str | None, layer: str) -> None:
        who = type(self).__name__
        if self.from_logits and activation in ("softmax", "sigmoid", "hard_sigmoid"):
            raise ArgumentError(
                f"{who}(from_logits=True): expected logits, but the last layer {layer!r} ends with {activation}, which "
                f"gives probabilities. Use {who}(), or remove the activation."
            )
        if not self.from_logits and activation in activations.names() and activation not in PROBABILITIES:
            usual = "sigmoid" if isinstance(self, BinaryCrossentropy) else "softmax"
            raise ArgumentError(
                f"{who}: expected probabilities, but the last layer {layer!r} ends with {activation}. Add "
                f"activation={usual!r}, or use {who}(from_logits=True)."
            )


@register
class BinaryCrossentropy(_Crossentropy):
    """Cross-entropy of yes-or-no outputs: ``-(y log p + (1 - y) log(1 - p))``.

    Args:
        from_logits: whether predictions are logits (no sigmoid in the last layer).
        label_smoothing: moves targets from 0 and 1 towards 1/2 by this fraction.
        axis: the axis averaged over.
        reduction: "sum_over_batch_size", "sum" or "none".
        name: its name in histories.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> from ranvier import losses
        >>> losses.BinaryCrossentropy(from_logits=True)([[1.0]], [[0.0]]).item()
        0.6931471824645996
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
    ):
        super().__init__(from_logits, label_smoothing, reduction, name)
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)


@register
class CategoricalCrossentropy(_Crossentropy):
    """Cross-entropy with one-hot targets: ``-sum(y log p)``.

    Args:
        from_logits: whether predictions are logits (no softmax in the last layer).
        label_smoothing: moves targets towards the uniform distribution by this fraction.
        axis: the axis of classes.
        reduction: "sum_over_batch_size", "sum" or "none".
        name: its name in histories.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> from ranvier import losses
        >>> losses.CategoricalCrossentropy(from_logits=True)([[0.0, 1.0]], [[0.0, 0.0]]).item()
        0.6931471824645996
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
    ):
        super().__init__(from_logits, label_smoothing, reduction, name)
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)


@register
class SparseCategoricalCrossentropy(_Crossentropy):
    """Cross-entropy with integer labels: ``-log p[y]``.

    Args:
        from_logits: whether predictions are logits (no softmax in the last layer).
        reduction: "sum_over_batch_size", "sum" or "none".
        name: its name in histories.

    Raises:
        ArgumentError: unknown reduction.
        DTypeError: labels are floats.
        DataError: a label is out of range (eager).

    Example:
        >>> from ranvier import losses
        >>> losses.SparseCategoricalCrossentropy(from_logits=True)([1], [[0.0, 0.0]]).item()
        0.6931471824645996
    """

    def __init__(
        self,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "sparse_categorical_crossentropy",
    ):
        super().__init__(from_logits, 0.0, reduction, name)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits)
