"""Accuracies: the share of samples that are right, for binary, one-hot and integer targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.layers.checks import number, whole
from ranvier.losses.base import floats, paired
from ranvier.losses.classification import class_labels
from ranvier.metrics.base import ValueMean, register
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops.shape import expand_dims
from ranvier.tensor import Tensor, as_tensor

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def _as_one(condition: Tensor) -> Tensor:
    return e.astype(condition, dtypes.float32)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """Share of outputs on the right side of the threshold, for each sample: ``mean(y_true == (y_pred > threshold))``.

    Args:
        y_true: 0 or 1.
        y_pred: probabilities, of the same shape.
        threshold: from where a prediction counts as 1.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> from ranvier import metrics
        >>> metrics.binary_accuracy([[1], [0]], [[0.9], [0.8]]).tolist()
        [1.0, 0.0]
    """
    true, pred = paired("binary_accuracy", y_true, y_pred)
    return r.mean(_as_one(e.equal(true, e.astype(pred > threshold, true.dtype))), -1)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 where the largest prediction stands at the class of the one-hot truth, else 0.

    Args:
        y_true: one-hot rows.
        y_pred: scores or probabilities, of the same shape.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> rv.metrics.categorical_accuracy(rv.tensor([[1, 0], [0, 1]]), rv.tensor([[0.9, 0.1], [0.6, 0.4]])).tolist()
        [1.0, 0.0]
    """
    true, pred = paired("categorical_accuracy", y_true, y_pred)
    return _as_one(e.equal(r.argmax(true, -1), r.argmax(pred, -1)))


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 where the largest prediction stands at the label, else 0.

    Args:
        y_true: integer labels.
        y_pred: scores or probabilities, with the classes on the last axis.

    Raises:
        DTypeError: the labels are floats.
        DataError: a label is out of range (eager).
        ShapeError: shapes do not fit.

    Example:
        >>> from ranvier import metrics
        >>> metrics.sparse_categorical_accuracy([1, 1], [[0.1, 0.9], [0.8, 0.2]]).tolist()
        [1.0, 0.0]
    """
    pred = floats(y_pred)
    return _as_one(e.equal(class_labels("sparse_categorical_accuracy", y_true, pred), r.argmax(pred, -1)))


def _in_top_k(labels: Tensor, pred: Tensor, k: int) -> Tensor:
    """1 where fewer than k classes score higher than the label's; NaN never counts."""
    classes = Tensor._wrap(np.arange(pred.shape[-1], dtype=labels.dtype.numpy), labels.dtype)
    mine = r.sum(e.where(e.equal(expand_dims(labels, -1), classes), pred, 0), -1, keepdims=True)
    above = r.sum(e.astype(e.logical_and(pred > mine, ~e.isnan(mine)), dtypes.int32), -1)
    return _as_one(e.logical_and(above < k, ~e.isnan(mine[..., 0])))


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """1 where the class of the one-hot truth is among the k largest predictions, else 0.

    Args:
        y_true: one-hot rows.
        y_pred: scores or probabilities, of the same shape.
        k: how many guesses count.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> scores = rv.tensor([[0.3, 0.6, 0.1], [0.5, 0.4, 0.1]])
        >>> rv.metrics.top_k_categorical_accuracy(rv.tensor([[1, 0, 0], [0, 0, 1]]), scores, k=2).tolist()
        [1.0, 0.0]
    """
    true, pred = paired("top_k_categorical_accuracy", y_true, y_pred)
    return _in_top_k(r.argmax(true, -1), pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """1 where the label is among the k largest predictions, else 0.

    Args:
        y_true: integer labels.
        y_pred: scores or probabilities, with the classes on the last axis.
        k: how many guesses count.

    Raises:
        DTypeError: the labels are floats.
        DataError: a label is out of range (eager).
        ShapeError: shapes do not fit.

    Example:
        >>> scores = rv.tensor([[0.3, 0.6, 0.1], [0.5, 0.4, 0.1]])
        >>> rv.metrics.sparse_top_k_categorical_accuracy(rv.tensor([0, 2]), scores, k=2).tolist()
        [1.0, 0.0]
    """
    pred = floats(y_pred)
    return _in_top_k(class_labels("sparse_top_k_categorical_accuracy", y_true, pred), pred, k)


@register
class Accuracy(ValueMean):
    """Share of predictions that equal the truth exactly.

    Args:
        name: its name in histories.

    Example:
        >>> from ranvier import metrics
        >>> metrics.Accuracy()([1, 2], [1, 3]).item()
        0.5
    """

    def __init__(self, name: str | None = "accuracy"):
        super().__init__(name)

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        true, pred = paired("accuracy", as_tensor(y_true), y_pred)
        return r.mean(_as_one(e.equal(true, pred)), -1)


@register
class BinaryAccuracy(ValueMean):
    """Share of outputs on the right side of the threshold.

    Args:
        name: its name in histories.
        threshold: from where a prediction counts as 1 (0 for logits).

    Raises:
        ArgumentError: the threshold is no number.

    Example:
        >>> from ranvier import metrics
        >>> metrics.BinaryAccuracy()([[1], [0]], [[0.9], [0.8]]).item()
        0.5
    """

    def __init__(self, name: str | None = "binary_accuracy", threshold: float = 0.5):
        super().__init__(name)
        self.threshold = number("BinaryAccuracy", "threshold", threshold)

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        return binary_accuracy(y_true, y_pred, self.threshold)


@register
class CategoricalAccuracy(ValueMean):
    """Share of samples whose largest prediction stands at the class of the one-hot truth.

    Args:
        name: its name in histories.

    Example:
        >>> metric = rv.metrics.CategoricalAccuracy()
        >>> metric.update_state([[1, 0], [0, 1]], [[0.9, 0.1], [0.6, 0.4]])
        >>> metric.result().item()
        0.5
    """

    def __init__(self, name: str | None = "categorical_accuracy"):
        super().__init__(name)

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        return categorical_accuracy(y_true, y_pred)


@register
class SparseCategoricalAccuracy(ValueMean):
    """Share of samples whose largest prediction stands at the label.

    Args:
        name: its name in histories.

    Example:
        >>> from ranvier import metrics
        >>> metrics.SparseCategoricalAccuracy()([1, 1], [[0.1, 0.9], [0.8, 0.2]]).item()
        0.5
    """

    def __init__(self, name: str | None = "sparse_categorical_accuracy"):
        super().__init__(name)

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        return sparse_categorical_accuracy(y_true, y_pred)


@register
class TopKCategoricalAccuracy(ValueMean):
    """Share of samples whose one-hot class is among the k largest predictions.

    Args:
        k: how many guesses count.
        name: its name in histories.

    Raises:
        ArgumentError: k is no positive integer.

    Example:
        >>> metric = rv.metrics.TopKCategoricalAccuracy(k=2)
        >>> metric.update_state([[1, 0, 0], [0, 0, 1]], [[0.3, 0.6, 0.1], [0.5, 0.4, 0.1]])
        >>> metric.result().item()
        0.5
    """

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy"):
        super().__init__(name)
        self.k = whole("TopKCategoricalAccuracy", "k", k)

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        return top_k_categorical_accuracy(y_true, y_pred, self.k)


@register
class SparseTopKCategoricalAccuracy(ValueMean):
    """Share of samples whose label is among the k largest predictions.

    Args:
        k: how many guesses count.
        name: its name in histories.

    Raises:
        ArgumentError: k is no positive integer.

    Example:
        >>> from ranvier import metrics
        >>> metrics.SparseTopKCategoricalAccuracy(k=2)([2, 2], [[0.1, 0.6, 0.3], [0.5, 0.4, 0.1]]).item()
        0.5
    """

    def __init__(self, k: int = 5, name: str | None = "sparse_top_k_categorical_accuracy"):
        super().__init__(name)
        self.k = whole("SparseTopKCategoricalAccuracy", "k", k)

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        return sparse_top_k_categorical_accuracy(y_true, y_pred, self.k)
